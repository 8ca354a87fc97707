//! A value as a program's argument: its encoding in hexadecimal digits.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The value as an argument.
///
/// # Panics
/// When it cannot be encoded.
#[must_use]
pub fn pack<T: Serialize>(value: &T) -> String {
    let bytes = ganger_protocol::encode(value).expect("it can be encoded");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value that an argument is.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn unpack<T: DeserializeOwned>(arg: &str) -> T {
    let digits = |at: usize| u8::from_str_radix(&arg[at..at + 2], 16).expect("two digits");
    let bytes: Vec<u8> = (0..arg.len()).step_by(2).map(digits).collect();
    ganger_protocol::decode(&bytes).expect("the value")
}
