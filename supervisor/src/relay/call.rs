//! One call, and the table of those in flight.

use std::collections::BTreeMap;
use std::sync::Arc;

use ganger_protocol::{Answers, CallReply, Part};

use crate::scheduler::TimerId;

use super::{Action, Origin, Target};

/// Names a call in flight; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

/// A call in flight.
#[derive(Debug)]
pub(super) struct Call<T> {
    pub(super) from: Origin<T>,
    pub(super) timer: TimerId,
    /// Who has not answered, by the number under which it holds the call, with its name.
    pub(super) open: BTreeMap<u64, (Target, Option<Arc<str>>)>,
    /// How many words its caller still waits for.
    pub(super) left: usize,
    /// What has come, for a caller in this process. A worker is told at once.
    pub(super) answers: Answers,
}

impl<T> Call<T> {
    pub(super) fn new(from: Origin<T>, left: usize) -> Call<T> {
        Call { from, timer: TimerId::UNSET, open: BTreeMap::new(), left, answers: Vec::new() }
    }

    /// One word more for the caller, and what is to be done for it now.
    pub(super) fn tell(&mut self, from: Option<Arc<str>>, reply: CallReply) -> Option<Action<T>> {
        self.left -= 1;
        match self.from {
            Origin::Primary(_) => {
                self.answers.push(Part { from, reply });
                None
            }
            Origin::Worker { worker, call } => {
                let left = u32::try_from(self.left).unwrap_or(u32::MAX);
                Some(Action::Tell { worker, call, from, left, reply })
            }
        }
    }
}

/// The calls in flight.
#[derive(Debug)]
pub(super) struct Calls<T> {
    last: u64,
    calls: BTreeMap<Key, Call<T>>,
}

impl<T> Calls<T> {
    pub(super) fn insert(&mut self, call: Call<T>) -> Key {
        self.last += 1;
        let key = Key(self.last);
        self.calls.insert(key, call);
        key
    }

    pub(super) fn get(&self, key: Key) -> Option<&Call<T>> {
        self.calls.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Call<T>> {
        self.calls.get_mut(&key)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Call<T>> {
        self.calls.remove(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.calls.keys().copied().collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Call<T>)> {
        self.calls.iter().map(|(key, call)| (*key, call))
    }
}

impl<T> Default for Calls<T> {
    fn default() -> Calls<T> {
        Calls { last: 0, calls: BTreeMap::new() }
    }
}
