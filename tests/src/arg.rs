//! Arguments of programs: numbers as people write them, and values as their encodings in hexadecimal digits.

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

/// A number that people write, `1_000_000` too.
///
/// # Errors
/// What it is instead.
pub fn number(text: &str) -> Result<u64, String> {
    text.replace('_', "").parse().map_err(|_| format!("{text} is no number"))
}

/// The same, above 0.
///
/// # Errors
/// As [`number`].
pub fn positive(text: &str) -> Result<u64, String> {
    match number(text)? {
        0 => Err(String::from("it must be at least 1")),
        number => Ok(number),
    }
}

/// The same, of things that are counted in memory.
///
/// # Errors
/// As [`number`].
pub fn count(text: &str) -> Result<usize, String> {
    usize::try_from(positive(text)?).map_err(|_| format!("{text} is too many"))
}

/// For a program that tests start: `--help` says what it is.
pub fn explain_if_asked(what: &str) {
    if std::env::args().nth(1).is_some_and(|word| word == "--help" || word == "-h") {
        println!("{what}");
        std::process::exit(0);
    }
}
