//! What was asked of the supervisor and is not answered yet.
//!
//! Whoever asks enters himself under the lock before the frame is written, so that the answer finds him, and then
//! blocks outside of the lock on an [`Awaited`](ganger_protocol::Awaited). The supervisor rings the bell for answers,
//! so that they are heard while all handler threads are busy, which is what a handler is that waits. While something
//! is pending the sentry hears before `serve()` as well: see [`State::listens`](crate::link::State::listens).

use std::collections::BTreeMap;

/// Those who wait, by the numbers of what they have asked. Numbers only grow.
#[derive(Debug)]
pub(crate) struct Pending<W> {
    last: u64,
    waiting: BTreeMap<u64, W>,
}

impl<W> Pending<W> {
    /// Enters one who waits, and says the number to ask under.
    pub(crate) fn enter(&mut self, waits: W) -> u64 {
        self.last += 1;
        self.waiting.insert(self.last, waits);
        self.last
    }

    /// Who waits for the answer with this number; there is more to come for him.
    pub(crate) fn find(&mut self, number: u64) -> Option<&mut W> {
        self.waiting.get_mut(&number)
    }

    /// Who has waited for the answer with this number, which is the last.
    pub(crate) fn leave(&mut self, number: u64) -> Option<W> {
        self.waiting.remove(&number)
    }

    /// Everybody, because no answer will come any more.
    pub(crate) fn leave_all(&mut self) -> impl Iterator<Item = W> {
        std::mem::take(&mut self.waiting).into_values()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl<W> Default for Pending<W> {
    fn default() -> Pending<W> {
        Pending { last: 0, waiting: BTreeMap::new() }
    }
}
