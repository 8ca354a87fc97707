//! Who is called, and who calls.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whom a call is for.
///
/// A worker never calls itself by `Any` or `All`: it is left out of both. What is meant by a group that is not named
/// is every worker of the supervisor.
///
/// ```
/// use ganger_protocol::Address;
///
/// assert_eq!(Address::worker("thumbs-0"), Address::Worker("thumbs-0".into()));
/// assert_eq!(Address::all_of("thumbs").to_string(), "all of group thumbs");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Address {
    /// The process of the supervisor.
    Primary,
    /// The worker of this name.
    Worker(String),
    /// One worker of this group, or of any: the one with the fewest calls in hand.
    Any(Option<String>),
    /// Every worker of this group, or of all.
    All(Option<String>),
}

impl Address {
    /// The worker of this name.
    #[must_use]
    pub fn worker(name: impl Into<String>) -> Address {
        Address::Worker(name.into())
    }

    /// One worker, of whatever group.
    #[must_use]
    pub fn any() -> Address {
        Address::Any(None)
    }

    /// One worker of this group.
    #[must_use]
    pub fn any_of(group: impl Into<String>) -> Address {
        Address::Any(Some(group.into()))
    }

    /// Every worker, of whatever group.
    #[must_use]
    pub fn all() -> Address {
        Address::All(None)
    }

    /// Every worker of this group.
    #[must_use]
    pub fn all_of(group: impl Into<String>) -> Address {
        Address::All(Some(group.into()))
    }

    /// Bytes of the name in it.
    #[must_use]
    pub fn name_len(&self) -> usize {
        match self {
            Address::Primary | Address::Any(None) | Address::All(None) => 0,
            Address::Worker(name) | Address::Any(Some(name)) | Address::All(Some(name)) => name.len(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Primary => f.write_str("the primary process"),
            Address::Worker(name) => write!(f, "worker {name}"),
            Address::Any(None) => f.write_str("any worker"),
            Address::Any(Some(group)) => write!(f, "any worker of group {group}"),
            Address::All(None) => f.write_str("all workers"),
            Address::All(Some(group)) => write!(f, "all of group {group}"),
        }
    }
}

/// On whose behalf a handler was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Caller<'a> {
    /// A job's owner.
    Job,
    /// The process of the supervisor, by a call.
    Primary,
    /// The worker of this name, by a call.
    Worker(&'a str),
}
