//! A worker, as far as it calls and is called.

use std::collections::VecDeque;

use fastrand::Rng;
use ganger::internals::WorkerKey;

/// A worker.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) key: WorkerKey,
    /// The numbers of the calls that it was given and has not answered.
    pub(super) desk: VecDeque<u64>,
    last_call: u64,
}

impl Peer {
    pub(super) fn new(key: WorkerKey) -> Peer {
        Peer { key, desk: VecDeque::new(), last_call: 0 }
    }

    /// Its own number for its next call.
    pub(super) fn next_call(&mut self, rng: &mut Rng) -> u64 {
        self.last_call += rng.u64(1..3);
        self.last_call
    }
}
