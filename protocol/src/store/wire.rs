//! The messages about the store: operations, answers, changes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Revision, StoreRefusal};
use crate::{CodecError, Payload, encode};

/// The fields of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreOpHead<'a> {
    /// What its answer will show; chosen by whoever asks.
    pub id: u64,
    /// What is asked.
    #[serde(borrow)]
    pub op: StoreOp<'a>,
}

/// What must be so for a change to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Nothing.
    Always,
    /// There is no such key.
    Absent,
    /// The key's version is this.
    At(Revision),
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// With what there is, then what changes.
    Content,
    /// With what changes from now on.
    Now,
}

/// One operation on the store. Every one is answered but [`StoreOp::Next`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreOp<'a> {
    /// Reads a key.
    Get {
        /// The key.
        #[serde(borrow)]
        key: Cow<'a, str>,
    },
    /// Sets a key. The value is the frame's payload.
    Set {
        /// The key.
        #[serde(borrow)]
        key: Cow<'a, str>,
        /// What must be so.
        when: Condition,
        /// The key is deleted so much later, in nanoseconds, unless it is set again.
        ttl_nanos: Option<u64>,
        /// The value.
        #[serde(skip)]
        value: Bytes,
    },
    /// Deletes a key.
    Delete {
        /// The key.
        #[serde(borrow)]
        key: Cow<'a, str>,
        /// What must be so.
        when: Condition,
    },
    /// Adds to a number; one that is not there counts as 0.
    Increment {
        /// The key.
        #[serde(borrow)]
        key: Cow<'a, str>,
        /// How much.
        by: i64,
    },
    /// Reads the keys with a prefix, in their order, as many as one frame takes.
    List {
        /// The prefix.
        #[serde(borrow)]
        prefix: Cow<'a, str>,
        /// Only keys behind this one.
        after: Option<Cow<'a, str>>,
    },
    /// Asks how far the store is.
    Revision,
    /// Wants a lock.
    Lock {
        /// Its name.
        #[serde(borrow)]
        name: Cow<'a, str>,
        /// How long to wait for it, in nanoseconds.
        wait_nanos: u64,
    },
    /// Gives a lock back.
    Unlock {
        /// Its name.
        #[serde(borrow)]
        name: Cow<'a, str>,
        /// The token with which it was had.
        token: Revision,
    },
    /// Follows the keys with a prefix; the first piece is asked for by this.
    Watch {
        /// What its pieces will show; chosen by whoever asks, and not in use.
        watch: u32,
        /// The prefix.
        #[serde(borrow)]
        prefix: Cow<'a, str>,
        /// Where it begins.
        origin: Origin,
    },
    /// Wants to be told by a watch how far it is, although nothing may have changed.
    Sync {
        /// The watch.
        watch: u32,
    },
    /// Follows no longer.
    Unwatch {
        /// The watch.
        watch: u32,
    },
    /// Has taken in a piece and wants the next. Not answered; another one before that has come is an offence.
    Next {
        /// The watch.
        watch: u32,
    },
}

/// A payload where there can be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes behind a message about the store that has no value")]
pub struct StrayPayload {
    length: usize,
}

impl<'a> StoreOp<'a> {
    /// The same, with the payload that came behind it.
    ///
    /// # Errors
    /// When there is a payload and it can have none.
    pub fn with_payload(mut self, payload: Payload<'_>) -> Result<StoreOp<'a>, StrayPayload> {
        match &mut self {
            StoreOp::Set { value, .. } => *value = bytes_of(payload),
            _ if payload.is_empty() => {}
            _ => return Err(StrayPayload { length: payload.len() }),
        }
        Ok(self)
    }

    /// The payload that goes behind it.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        match self {
            StoreOp::Set { value, .. } => value.clone(),
            _ => Bytes::new(),
        }
    }

    /// The same, owned.
    #[must_use]
    pub fn into_owned(self) -> StoreOp<'static> {
        let own = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        match self {
            StoreOp::Get { key } => StoreOp::Get { key: own(key) },
            StoreOp::Set { key, when, ttl_nanos, value } => {
                StoreOp::Set { key: own(key), when, ttl_nanos, value }
            }
            StoreOp::Delete { key, when } => StoreOp::Delete { key: own(key), when },
            StoreOp::Increment { key, by } => StoreOp::Increment { key: own(key), by },
            StoreOp::List { prefix, after } => StoreOp::List { prefix: own(prefix), after: after.map(own) },
            StoreOp::Revision => StoreOp::Revision,
            StoreOp::Lock { name, wait_nanos } => StoreOp::Lock { name: own(name), wait_nanos },
            StoreOp::Unlock { name, token } => StoreOp::Unlock { name: own(name), token },
            StoreOp::Watch { watch, prefix, origin } => StoreOp::Watch { watch, prefix: own(prefix), origin },
            StoreOp::Sync { watch } => StoreOp::Sync { watch },
            StoreOp::Unwatch { watch } => StoreOp::Unwatch { watch },
            StoreOp::Next { watch } => StoreOp::Next { watch },
        }
    }

    /// How long it is willing to wait in the store.
    #[must_use]
    pub fn wait(&self) -> Duration {
        match self {
            StoreOp::Lock { wait_nanos, .. } => Duration::from_nanos(*wait_nanos),
            _ => Duration::ZERO,
        }
    }
}

/// The fields of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreReplyHead {
    /// The operation that it answers.
    pub id: u64,
    /// The answer.
    pub reply: StoreReply,
}

/// What the store answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreReply {
    /// There is such a key. The value is the frame's payload.
    Value {
        /// The key's version.
        version: Revision,
        /// The value.
        #[serde(skip)]
        value: Bytes,
    },
    /// There is no such key.
    Absent,
    /// It is done, and the store is so far.
    Done {
        /// The change's revision; the store's own, if it was no change.
        revision: Revision,
    },
    /// The number after an increment.
    Number {
        /// The key's version.
        version: Revision,
        /// The number.
        value: i64,
    },
    /// Some of what was to be listed. The entries are the frame's payload.
    Page {
        /// Whether there are more behind them.
        has_more: bool,
        /// The entries, in the order of their keys.
        #[serde(skip)]
        entries: Vec<KeyChange>,
    },
    /// The lock is held by somebody: the answer will follow, under the same id.
    Waiting,
    /// The lock is had.
    Locked {
        /// Its token.
        token: Revision,
    },
    /// The lock was not had in time.
    NotLocked,
    /// It is not done.
    Refused(StoreRefusal),
}

impl StoreReply {
    /// The same, with the payload that came behind it.
    ///
    /// # Errors
    /// [`CodecError`] for entries that do not decode; a payload that is out of place is one, too.
    pub fn with_payload(mut self, payload: Payload<'_>) -> Result<StoreReply, CodecError> {
        match &mut self {
            StoreReply::Value { value, .. } => *value = bytes_of(payload),
            StoreReply::Page { entries, .. } => *entries = decode_changes(&payload.into_vec())?,
            _ => crate::decode::<()>(&payload.into_vec())?,
        }
        Ok(self)
    }

    /// The payload that goes behind it.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        match self {
            StoreReply::Value { value, .. } => value.clone(),
            StoreReply::Page { entries, .. } => encode_changes(entries),
            _ => Bytes::new(),
        }
    }
}

/// A key's last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// The key.
    pub key: Arc<str>,
    /// The change's revision.
    pub version: Revision,
    /// The value; `None`: it was deleted, or its time was over.
    pub value: Option<Bytes>,
}

/// The fields of a piece of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreChangeHead {
    /// The watch.
    pub watch: u32,
    /// Whether what was told before is void, and all is told anew from here.
    pub is_reset: bool,
    /// Everything up to this revision is told; `None`: there is more.
    pub complete: Option<Revision>,
}

/// A piece of what a watch tells: the last changes of some keys, in the order of their revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its fields.
    pub head: StoreChangeHead,
    /// The changes.
    pub changes: Vec<KeyChange>,
}

impl Piece {
    /// The payload that goes behind its fields.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        encode_changes(&self.changes)
    }

    /// Puts it together again.
    ///
    /// # Errors
    /// [`CodecError`] for changes that do not decode.
    pub fn decode(head: StoreChangeHead, payload: Payload<'_>) -> Result<Piece, CodecError> {
        Ok(Piece { head, changes: decode_changes(&payload.into_vec())? })
    }
}

#[derive(Serialize, Deserialize)]
struct WireChange<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    version: Revision,
    #[serde(borrow)]
    value: Option<&'a serde_bytes::Bytes>,
}

fn encode_changes(changes: &[KeyChange]) -> Bytes {
    let wire: Vec<WireChange<'_>> = changes
        .iter()
        .map(|change| WireChange {
            key: Cow::Borrowed(&change.key),
            version: change.version,
            value: change.value.as_deref().map(serde_bytes::Bytes::new),
        })
        .collect();
    encode(&wire).expect("strings and bytes encode").into()
}

/// Each value gets a buffer of its own: a small one that is kept must not keep a whole piece.
fn decode_changes(payload: &[u8]) -> Result<Vec<KeyChange>, CodecError> {
    let (wire, rest): (Vec<WireChange<'_>>, _) =
        postcard::take_from_bytes(payload).map_err(|error| unreadable(payload, &error.to_string()))?;
    if !rest.is_empty() {
        return Err(unreadable(payload, "bytes are left over"));
    }
    let owned = |change: WireChange<'_>| KeyChange {
        key: change.key.into(),
        version: change.version,
        value: change.value.map(|value| Bytes::copy_from_slice(value)),
    };
    Ok(wire.into_iter().map(owned).collect())
}

fn unreadable(payload: &[u8], reason: &str) -> CodecError {
    CodecError::Decode { type_name: "a list of changes", length: payload.len(), reason: String::from(reason) }
}

fn bytes_of(payload: Payload<'_>) -> Bytes {
    match payload {
        Payload::Small(bytes) => Bytes::copy_from_slice(bytes),
        Payload::Large(bytes) => bytes.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_survive_the_way_there_and_back() {
        let change = |key: &str, value: Option<&'static [u8]>| KeyChange {
            key: key.into(),
            version: Revision(7),
            value: value.map(Bytes::from_static),
        };
        let changes = vec![change("a", Some(b"")), change("b", None), change("é", Some(b"\x00\xff"))];
        let bytes = encode_changes(&changes);
        assert_eq!(decode_changes(&bytes).expect("decodes"), changes);
        assert!(decode_changes(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode_changes(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_payload_out_of_place_is_refused() {
        let get = StoreOp::Get { key: "a".into() };
        assert!(get.clone().with_payload(Payload::Small(&[])).is_ok());
        assert!(get.with_payload(Payload::Small(&[1])).is_err());
        assert!(StoreReply::Absent.with_payload(Payload::Small(&[1])).is_err());
    }
}
