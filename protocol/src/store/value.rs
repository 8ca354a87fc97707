//! Revisions, and values that have one.

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{CodecError, decode};

/// A point in the store's history: each change takes the next one. The version of a key is the revision of its last
/// change; the token of a lock is the revision at which it was had.
///
/// Revisions grow strictly while the supervisor lives, over all keys together, and are never used twice: of two
/// changes the one with the greater revision came later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision(pub u64);

impl Revision {
    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value, and the revision of its key's last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// When it was set.
    pub version: Revision,
}

/// What a compare-and-set expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No such key.
    Absent,
    /// The key as it was left by the change of this revision.
    Version(Revision),
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The revision of its last change.
    pub version: Revision,
    /// The value's bytes.
    pub value: Bytes,
}

impl Entry {
    /// The value.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are not exactly one `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, CodecError> {
        decode(&self.value)
    }
}
