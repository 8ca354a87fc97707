//! The requests in hand: started and not yet answered.

use std::sync::Arc;

use ganger_protocol::{Cancel, Epoch, JobId, Ordinal, Page, Time};

use super::Received;

/// What names a request in hand; only this module makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    slot: u32,
    ordinal: Ordinal,
    epoch: Epoch,
}

impl Ticket {
    /// The slot of the shared page that shows the request.
    #[must_use]
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// The request's place in the order of starts.
    #[must_use]
    pub fn ordinal(self) -> Ordinal {
        self.ordinal
    }

    /// Which assignment of the job it is.
    #[must_use]
    pub fn epoch(self) -> Epoch {
        self.epoch
    }
}

/// A request in hand.
#[derive(Clone, Debug)]
pub struct Hand {
    /// What its answer must show.
    pub ticket: Ticket,
    /// The job.
    pub job: JobId,
    /// Which attempt of the job it is.
    pub attempt: u16,
    /// The call's name.
    pub name: Arc<str>,
    /// When it was started.
    pub since: Time,
}

/// The requests in hand, by their slots.
#[derive(Debug, Default)]
pub(super) struct Hands {
    slots: Vec<Option<Hand>>,
    free: Vec<u32>,
}

impl Hands {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Hand> {
        self.slots.iter().flatten()
    }

    /// A slot that [`take_up`](Hands::take_up) may use. A capacity is at most [`Page::SLOTS`], so that there is
    /// one whenever a request may be started.
    pub(super) fn free_slot(&self) -> usize {
        let slot = self.free.last().map_or(self.slots.len(), |slot| *slot as usize);
        debug_assert!(slot < Page::SLOTS, "no capacity is over {}", Page::SLOTS);
        slot
    }

    pub(super) fn take_up(&mut self, slot: usize, request: &Received, now: Time) -> Ticket {
        debug_assert_eq!(slot, self.free_slot());
        let ticket = Ticket { slot: slot as u32, ordinal: request.ordinal, epoch: request.epoch };
        let name = Arc::clone(&request.name);
        let hand = Hand { ticket, job: request.job, attempt: request.attempt, name, since: now };
        match self.free.pop() {
            Some(slot) => self.slots[slot as usize] = Some(hand),
            None => self.slots.push(Some(hand)),
        }
        ticket
    }

    /// The request behind the ticket, no longer in hand; `None` when it was not.
    pub(super) fn put_down(&mut self, ticket: Ticket) -> Option<Hand> {
        let hand = self.slots.get_mut(ticket.slot())?.take_if(|hand| hand.ticket == ticket)?;
        self.free.push(ticket.slot);
        Some(hand)
    }

    pub(super) fn holds(&self, ticket: Ticket) -> bool {
        let hand = self.slots.get(ticket.slot()).and_then(Option::as_ref);
        hand.is_some_and(|hand| hand.ticket == ticket)
    }

    pub(super) fn find(&self, cancel: Cancel) -> Option<Ticket> {
        let found = |hand: &&Hand| hand.ticket.ordinal == cancel.ordinal && hand.ticket.epoch == cancel.epoch;
        self.iter().find(found).map(|hand| hand.ticket)
    }
}
