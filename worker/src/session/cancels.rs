//! Which requests in hand were cancelled, readable by their handlers without a lock.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use ganger_protocol::Page;

use super::Ticket;

/// One word for each slot: the request cancelled last in it. A (ordinal, epoch) pair names one request, so
/// that a word left by an earlier tenant of the slot means nothing to the next and is never cleared.
#[derive(Debug)]
pub struct Cancels {
    words: Box<[AtomicU64]>,
}

impl Cancels {
    pub(super) fn new() -> Cancels {
        Cancels { words: (0..Page::SLOTS).map(|_| AtomicU64::new(0)).collect() }
    }

    pub(super) fn note(&self, ticket: Ticket) {
        self.words[ticket.slot()].store(word(ticket), Relaxed);
    }

    /// Whether the supervisor has cancelled this request.
    #[must_use]
    pub fn has(&self, ticket: Ticket) -> bool {
        self.words[ticket.slot()].load(Relaxed) == word(ticket)
    }
}

/// Never zero: epochs begin at 1.
fn word(ticket: Ticket) -> u64 {
    u64::from(ticket.ordinal().0) << 32 | u64::from(ticket.epoch().0)
}
