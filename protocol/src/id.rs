//! The numbers by which the two ends name things.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A job's name for the outside: a version 4 UUID, the same through all its attempts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId([u8; 16]);

impl JobId {
    /// A new random id.
    #[must_use]
    pub fn random() -> JobId {
        JobId(*Uuid::new_v4().as_bytes())
    }

    /// The id with these sixteen bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> JobId {
        JobId(bytes)
    }

    /// Its sixteen bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// The id as a [`Uuid`].
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        Uuid::from_bytes(self.0)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uuid().fmt(f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uuid().fmt(f)
    }
}

/// Which assignment of a job to a worker this is; never used twice for one job. The first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch of the next assignment.
    ///
    /// # Panics
    /// After 2³² − 1 assignments of one job, which the limits on retries and losses exclude.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0.checked_add(1).expect("a job is not assigned four thousand million times"))
    }
}

/// A request's place in the order in which one worker starts requests; the first is 1, and it wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Ordinal(pub u32);

impl Ordinal {
    /// The ordinal that follows.
    #[must_use]
    pub const fn next(self) -> Ordinal {
        Ordinal(self.0.wrapping_add(1))
    }

    /// How far this ordinal is behind `later`, on the circle of 2³² ordinals.
    #[must_use]
    pub const fn distance_to(self, later: Ordinal) -> u32 {
        later.0.wrapping_sub(self.0)
    }

    /// Whether a worker that has started `started` requests has started this one.
    ///
    /// Both lie on a circle; the two are never more than 2³¹ apart, because a window is far smaller.
    #[must_use]
    pub const fn is_started(self, started: Ordinal) -> bool {
        self.distance_to(started) < 1 << 31
    }
}

/// Which take-back a worker's start mark has seen; each take-back moves it on, and it wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Generation(pub u32);

impl Generation {
    /// The generation that the next take-back begins.
    #[must_use]
    pub const fn next(self) -> Generation {
        Generation(self.0.wrapping_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn started_holds_across_the_wrap() {
        let last = Ordinal(u32::MAX);
        assert!(last.is_started(last.next()));
        assert!(!last.next().is_started(last));
        assert!(last.is_started(last));
    }

    #[test]
    fn job_ids_are_version_4() {
        assert_eq!(JobId::random().uuid().get_version_num(), 4);
    }
}
