//! Which program a worker runs.

use std::fmt;

/// Which of a group's programs: 0 is what it was started with, and each rollout brings the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Edition(pub u32);

impl Edition {
    pub(super) fn next(self) -> Edition {
        Edition(self.0.wrapping_add(1))
    }
}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
