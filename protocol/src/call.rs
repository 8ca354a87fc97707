//! A call: a named request with its reply type, and the codec of both.

use std::any::type_name;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A request that a worker can handle, named, with the type of its reply.
///
/// The value itself is the argument. Supervisor and worker share the definition, usually in a small library
/// of the program's own. Arguments and replies travel in the
/// [postcard wire format](https://postcard.jamesmunns.com/wire-format), which is compact and not
/// self-describing: both ends must be built from the same definition. For raw bytes use the `raw` functions
/// of the two crates.
///
/// ```
/// use ganger_protocol::Call;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Greet {
///     name: String,
/// }
///
/// impl Call for Greet {
///     const NAME: &'static str = "greet";
///     type Reply = String;
/// }
/// ```
pub trait Call: Serialize + DeserializeOwned {
    /// The name that travels; unique among the calls of one worker program.
    const NAME: &'static str;
    /// What a successful handler answers.
    type Reply: Serialize + DeserializeOwned;
}

/// A value that could not be turned into bytes, or bytes that are not the value they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The value's own `Serialize` refused.
    #[error("a value of type {type_name} cannot be encoded: {reason}")]
    Encode {
        /// The Rust type that was to be encoded.
        type_name: &'static str,
        /// What the encoder said.
        reason: String,
    },
    /// The bytes are not a value of the type.
    #[error("{length} bytes do not decode as {type_name}: {reason}")]
    Decode {
        /// The Rust type that was expected.
        type_name: &'static str,
        /// How many bytes there were.
        length: usize,
        /// What the decoder said.
        reason: String,
    },
    /// The bytes hold a value of the type and then some more: the two ends disagree about the type.
    #[error("{length} bytes decode as {type_name} with {left} bytes left over")]
    LeftOver {
        /// The Rust type that was expected.
        type_name: &'static str,
        /// How many bytes there were.
        length: usize,
        /// How many of them the value did not use.
        left: usize,
    },
}

/// Encodes `value` as a payload.
///
/// # Errors
/// [`CodecError::Encode`] when the value's `Serialize` fails, for instance on a sequence of unknown length.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    postcard::to_stdvec(value)
        .map_err(|error| CodecError::Encode { type_name: type_name::<T>(), reason: error.to_string() })
}

/// Encodes `value` as a payload behind what `buffer` already holds: for a buffer that is used again and again.
///
/// # Errors
/// As [`encode`]; the buffer is then as it was.
pub fn encode_onto<T: Serialize + ?Sized>(value: &T, buffer: &mut Vec<u8>) -> Result<(), CodecError> {
    let before = buffer.len();
    postcard::serialize_with_flavor(value, Tail(buffer)).map_err(|error| {
        buffer.truncate(before);
        CodecError::Encode { type_name: type_name::<T>(), reason: error.to_string() }
    })
}

/// Serializes behind what a buffer already holds.
pub(crate) struct Tail<'a>(pub(crate) &'a mut Vec<u8>);

impl Flavor for Tail<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Decodes a payload that must be exactly one `T`.
///
/// # Errors
/// [`CodecError::Decode`] when the bytes are not a `T`, [`CodecError::LeftOver`] when they are more than one.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|error| CodecError::Decode {
        type_name: type_name::<T>(),
        length: bytes.len(),
        reason: error.to_string(),
    })?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(CodecError::LeftOver { type_name: type_name::<T>(), length: bytes.len(), left: rest.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_left_over_are_an_error_that_names_the_type() {
        let mut bytes = encode(&7u16).expect("encodes");
        bytes.push(0);
        let error = decode::<u16>(&bytes).expect_err("one byte is left");
        assert_eq!(error, CodecError::LeftOver { type_name: "u16", length: 2, left: 1 });
    }

    #[test]
    fn a_value_that_cannot_be_encoded_leaves_the_buffer_as_it_was() {
        struct Refuses;
        impl Serialize for Refuses {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::{Error, SerializeSeq};
                let mut seq = serializer.serialize_seq(Some(1))?;
                seq.serialize_element(&7u8)?;
                Err(S::Error::custom("no"))
            }
        }
        let mut buffer = vec![1, 2];
        encode_onto(&7u8, &mut buffer).expect("encodes");
        encode_onto(&Refuses, &mut buffer).expect_err("refuses");
        assert_eq!(buffer, [1, 2, 7]);
    }

    #[test]
    fn the_unit_type_is_a_payload_of_no_bytes() {
        assert!(encode(&()).expect("encodes").is_empty());
        decode::<()>(&[]).expect("decodes");
    }
}
