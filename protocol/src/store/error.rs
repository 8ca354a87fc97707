//! Why the store did not do something.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Revision;
use crate::CodecError;

/// Why an operation was refused, as it travels: whoever asked knows the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreRefusal {
    /// The key is not as it was expected.
    Conflict {
        /// Its version; `None`: there is no such key.
        found: Option<Revision>,
    },
    /// The value is not an `i64`.
    NotANumber,
    /// The sum is no `i64`.
    Overflow {
        /// The number as it is.
        value: i64,
    },
    /// The key, prefix or name is too long, or a key is empty.
    KeyLength {
        /// Its length in bytes.
        length: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The value is too large.
    TooLarge {
        /// Its length in bytes.
        length: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// There are as many keys as there may be.
    TooManyKeys {
        /// The limit.
        limit: u64,
    },
    /// Keys and values have as many bytes as they may have together.
    Full {
        /// How many there would have been.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Whoever asks has as many watches as he may have.
    TooManyWatches {
        /// The limit.
        limit: u64,
    },
    /// Whoever asks holds, or waits for, as many locks as he may.
    TooManyLocks {
        /// The limit.
        limit: u64,
    },
    /// The worker asks more often than it may.
    TooOften {
        /// The limit.
        per_second: u64,
    },
    /// The lock is not held with this token.
    NotHeld,
    /// There is no such watch, or there is one already.
    NoSuchWatch,
}

impl StoreRefusal {
    /// What is told to whoever asked about `key`.
    #[must_use]
    pub fn about(self, key: &str) -> StoreError {
        let key = String::from(key);
        match self {
            StoreRefusal::Conflict { found } => StoreError::Conflict { key, found },
            StoreRefusal::NotANumber => StoreError::NotANumber { key },
            StoreRefusal::Overflow { value } => StoreError::Overflow { key, value },
            StoreRefusal::KeyLength { length, limit } => StoreError::KeyLength { length, limit },
            StoreRefusal::TooLarge { length, limit } => StoreError::TooLarge { key, length, limit },
            StoreRefusal::TooManyKeys { limit } => StoreError::TooManyKeys { key, limit },
            StoreRefusal::Full { bytes, limit } => StoreError::Full { key, bytes, limit },
            StoreRefusal::TooManyWatches { limit } => StoreError::TooManyWatches { limit },
            StoreRefusal::TooManyLocks { limit } => StoreError::TooManyLocks { limit },
            StoreRefusal::TooOften { per_second } => StoreError::TooOften { per_second },
            StoreRefusal::NotHeld => StoreError::NotHeld { name: key },
            StoreRefusal::NoSuchWatch => StoreError::Gone,
        }
    }
}

/// Why the shared store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The value cannot be encoded, or what is stored is not a value of the type asked for.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A compare-and-set, or a conditional delete, found something else. Nothing was changed.
    #[error(
        "key {key:?} is not as it was expected: {}; read it again, and decide anew",
        found.map_or_else(|| String::from("there is no such key"), |found| format!("its version is {found}"))
    )]
    Conflict {
        /// The key.
        key: String,
        /// Its version; `None`: there is no such key.
        found: Option<Revision>,
    },
    /// What is stored is not an `i64`.
    #[error("key {key:?} holds no i64, and cannot be incremented; set it with an i64, or delete it")]
    NotANumber {
        /// The key.
        key: String,
    },
    /// The sum is no `i64`. Nothing was changed.
    #[error("key {key:?} is {value}, and the increment leaves the range of an i64")]
    Overflow {
        /// The key.
        key: String,
        /// The number as it is.
        value: i64,
    },
    /// A key, a prefix or a lock's name is too long, or a key or name is empty.
    #[error("a key of {length} bytes; it must have from 1 to {limit} (StoreLimits::key_bytes)")]
    KeyLength {
        /// Its length in bytes.
        length: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The value is over the limit.
    #[error("a value of {length} bytes for key {key:?}; the limit is {limit} (StoreLimits::value_bytes)")]
    TooLarge {
        /// The key.
        key: String,
        /// The value's length in bytes.
        length: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// There are as many keys as there may be.
    #[error(
        "no room for key {key:?}: there are {limit} keys already; delete some, or raise StoreLimits::keys"
    )]
    TooManyKeys {
        /// The key.
        key: String,
        /// The limit.
        limit: u64,
    },
    /// Keys and values would have too many bytes together.
    #[error("no room for key {key:?}: {bytes} bytes in all; the limit is {limit} (StoreLimits::bytes)")]
    Full {
        /// The key.
        key: String,
        /// How many bytes there would have been.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// This process follows as much as it may.
    #[error(
        "no further watch or replica: there are {limit} already; drop some, or raise StoreLimits::watches"
    )]
    TooManyWatches {
        /// The limit.
        limit: u64,
    },
    /// This process holds, or waits for, as many locks as it may.
    #[error("no further lock: {limit} are held or waited for; release some, or raise StoreLimits::locks")]
    TooManyLocks {
        /// The limit.
        limit: u64,
    },
    /// This worker asks more often than it may. Nothing was changed.
    #[error(
        "more than {per_second} operations a second; ask less often, or raise StoreLimits::ops_per_second"
    )]
    TooOften {
        /// The limit.
        per_second: u64,
    },
    /// The lock was held by somebody else all the time.
    #[error("the lock {name:?} was not had in {waited:?}")]
    LockTimedOut {
        /// The lock's name.
        name: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The lock is not held any more.
    #[error("the lock {name:?} is not held with this token")]
    NotHeld {
        /// The lock's name.
        name: String,
    },
    /// No answer has come. Nobody knows whether it was done: at most once.
    #[error("the store did not answer in {waited:?}; what was asked may have been done, once, or not at all")]
    Unanswered {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The supervisor has stopped, or this worker has left it: there is no store any more.
    #[error("there is no store any more: the supervisor has stopped, or this worker has left it")]
    Gone,
}
