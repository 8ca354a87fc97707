//! The relay's limits.

use std::sync::Arc;

use crate::scheduler::GroupIndex;

/// What the relay is told once.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// The groups' names, in the order of their indices.
    pub groups: Vec<Arc<str>>,
    /// Calls that one target may hold, unanswered. 1,024.
    pub held: usize,
    /// Bytes of arguments that one target may hold; a call that is alone may have more. 64 MiB.
    pub held_bytes: usize,
    /// Calls of one worker's own that may be in flight. 256.
    pub made_by_worker: usize,
    /// Calls that may be in flight, all together. 65,536.
    pub in_flight: usize,
}

impl RelayConfig {
    /// These groups, with the limits that are documented.
    #[must_use]
    pub fn new(groups: Vec<Arc<str>>) -> RelayConfig {
        RelayConfig { groups, held: 1024, held_bytes: 64 << 20, made_by_worker: 256, in_flight: 65_536 }
    }

    pub(super) fn group(&self, name: &str) -> Option<GroupIndex> {
        let place = self.groups.iter().position(|known| **known == *name)?;
        u16::try_from(place).ok().map(GroupIndex)
    }
}
