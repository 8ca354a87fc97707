//! What the relay knows of one worker, and what a target holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::scheduler::GroupIndex;

use super::call::Key;
use super::config::RelayConfig;

/// How far a worker is, as its callers see it. It only moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It has not said that it is ready or busy.
    Booting,
    /// It can be called.
    Up,
    /// It was told to leave.
    Leaving,
}

/// A worker.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: Arc<str>,
    pub(super) group: GroupIndex,
    pub(super) standing: Standing,
    /// What it was asked and has not answered.
    pub(super) hold: Hold,
    /// Its own calls that are in flight, by its own numbers.
    pub(super) made: BTreeMap<u64, Key>,
    /// The number of the call that it was given last.
    pub(super) last: u64,
}

impl Member {
    pub(super) fn new(name: Arc<str>, group: GroupIndex) -> Member {
        Member {
            name,
            group,
            standing: Standing::Booting,
            hold: Hold::default(),
            made: BTreeMap::new(),
            last: 0,
        }
    }
}

/// What a target was asked and has not answered, by number.
#[derive(Debug, Default)]
pub(super) struct Hold {
    items: BTreeMap<u64, Held>,
    bytes: usize,
}

/// One call that a target holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// `None`: nobody waits for its answer any more.
    pub(super) call: Option<Key>,
    bytes: usize,
}

impl Hold {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn has_room_for(&self, bytes: usize, config: &RelayConfig) -> bool {
        let is_alone = self.items.is_empty();
        self.len() < config.held && (is_alone || self.bytes + bytes <= config.held_bytes)
    }

    pub(super) fn put(&mut self, number: u64, call: Key, bytes: usize) {
        self.items.insert(number, Held { call: Some(call), bytes });
        self.bytes += bytes;
    }

    pub(super) fn take(&mut self, number: u64) -> Option<Held> {
        let held = self.items.remove(&number)?;
        self.bytes -= held.bytes;
        Some(held)
    }

    /// Nobody waits for the answer any more; it is held for as long as it is not given.
    pub(super) fn abandon(&mut self, number: u64) {
        if let Some(held) = self.items.get_mut(&number) {
            held.call = None;
        }
    }

    pub(super) fn into_items(self) -> impl Iterator<Item = (u64, Held)> {
        self.items.into_iter()
    }

    pub(super) fn items(&self) -> impl Iterator<Item = (u64, Held)> {
        self.items.iter().map(|(number, held)| (*number, *held))
    }

    /// Whether the sum is what its parts are.
    pub(super) fn adds_up(&self) -> bool {
        self.items.values().map(|held| held.bytes).sum::<usize>() == self.bytes
    }
}
