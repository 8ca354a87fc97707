//! Jobs whose turn is not simply that of their place in the queue: those of another class than the normal one, and
//! those with a key.
//!
//! Each has a *rank*: when it began to wait, and later by the group's `ageing` for every class below the highest. The
//! lowest rank comes first. A rank never changes, so that a job ages without anybody doing anything about it: one of a
//! lower class goes before all of the next higher class that come more than one `ageing` after it. These are the dynamic
//! priorities of J. R. Jackson, "Some Problems in Queueing with Dynamic Priorities" (Naval Research Logistics
//! Quarterly 7, 1960).
//!
//! Jobs that ended while they waited are skipped when they are met, and swept when they are many.

use std::collections::BTreeMap;

use ganger_protocol::Time;

/// This many dead ones are not yet worth a sweep.
const MANY: usize = 1024;

/// A place in the order of turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// When it began to wait, moved on by its class.
    pub(super) at: Time,
    /// Tells those apart that are equal.
    pub(super) seq: u64,
}

/// Keys, lowest rank first.
#[derive(Debug)]
pub(super) struct Ranks<K> {
    waiting: BTreeMap<Rank, K>,
    dead: usize,
}

impl<K> Default for Ranks<K> {
    fn default() -> Ranks<K> {
        Ranks { waiting: BTreeMap::new(), dead: 0 }
    }
}

impl<K: Copy> Ranks<K> {
    /// Live keys.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() - self.dead
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn insert(&mut self, rank: Rank, key: K) {
        let before = self.waiting.insert(rank, key);
        debug_assert!(before.is_none(), "no two jobs have the same rank");
    }

    /// The live key of the lowest rank, left in its place.
    pub(super) fn first(&mut self, is_live: impl Fn(K) -> bool) -> Option<(Rank, K)> {
        while let Some(entry) = self.waiting.first_entry() {
            let (rank, key) = (*entry.key(), *entry.get());
            if is_live(key) {
                return Some((rank, key));
            }
            entry.remove();
            self.dead = self.dead.saturating_sub(1);
        }
        None
    }

    /// The same, without tidying up on the way.
    pub(super) fn peek(&self, is_live: impl Fn(K) -> bool) -> Option<K> {
        self.waiting.values().copied().find(|key| is_live(*key))
    }

    pub(super) fn remove(&mut self, rank: Rank) {
        self.waiting.remove(&rank);
    }

    /// Notes that one of the keys is dead: its job ended while it waited. Sweeps when half of them are.
    pub(super) fn bury_one(&mut self, is_live: impl Fn(K) -> bool) {
        self.dead += 1;
        if self.dead > MANY && self.dead * 2 > self.waiting.len() {
            self.waiting.retain(|_, key| is_live(*key));
            self.dead = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rank(seconds: u64, seq: u64) -> Rank {
        Rank { at: Time::ZERO + Duration::from_secs(seconds), seq }
    }

    #[test]
    fn the_lowest_rank_comes_first_and_equal_ones_as_they_came() {
        let mut ranks = Ranks::default();
        for (at, seq) in [(3, 0), (1, 1), (3, 2), (2, 3)] {
            ranks.insert(rank(at, seq), seq);
        }
        let order: Vec<u64> = std::iter::from_fn(|| {
            let (rank, key) = ranks.first(|_| true)?;
            ranks.remove(rank);
            Some(key)
        })
        .collect();
        assert_eq!(order, [1, 3, 0, 2]);
    }

    #[test]
    fn dead_ones_are_skipped_and_swept() {
        let mut ranks = Ranks::default();
        for seq in 0..5_000 {
            ranks.insert(rank(1, seq), seq);
        }
        for died in 0..4_000 {
            ranks.bury_one(|key: u64| key > died);
        }
        assert_eq!(ranks.len(), 1_000);
        assert!(ranks.waiting.len() < 2_100, "swept down to {}", ranks.waiting.len());
        assert_eq!(ranks.peek(|key| key >= 4_000), Some(4_000));
        assert_eq!(ranks.first(|key| key >= 4_000).map(|(_, key)| key), Some(4_000));
    }
}
