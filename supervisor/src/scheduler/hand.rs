//! The requests that one worker holds: sent, and not known to be answered.

use std::collections::VecDeque;

use ganger_protocol::{Epoch, JobId, Ordinal, Time};

use super::{Clock, JobKey, KillCause};

/// A request that was sent and is not answered.
#[derive(Clone, Debug)]
pub(super) struct InHand {
    /// The job, until its handle settles; the attempt goes on without it.
    pub(super) job: Option<JobKey>,
    pub(super) id: JobId,
    pub(super) epoch: Epoch,
    pub(super) sent: Time,
    /// When its handler was called, as far as the page has been read.
    pub(super) since: Option<Time>,
    /// Decided, but for the question whether it was started: waits for the take-back.
    pub(super) pending: Option<Pending>,
    /// Why the worker must get rid of it.
    pub(super) culprit: Option<Culprit>,
}

impl InHand {
    /// What was decided first counts, but for a queue's clock, which may turn out not to matter.
    pub(super) fn decide(&mut self, pending: Pending) {
        if matches!(self.pending, None | Some(Pending::Expired(Clock::Queue))) {
            self.pending = Some(pending);
        }
    }
}

/// What was decided about a request before it was known whether it had been started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    Expired(Clock),
    Cancelled,
    ShuttingDown,
}

/// A request that outstays its welcome.
#[derive(Clone, Debug)]
pub(super) struct Culprit {
    pub(super) cause: KillCause,
    /// The worker was told to give it up.
    pub(super) is_told: bool,
    /// From then on the worker gets nothing new.
    pub(super) taints_at: Time,
    /// The worker's unstarted requests have been taken back since.
    pub(super) has_tainted: bool,
    /// From then on the worker is killed, if it holds nothing but culprits; never for those that are left alone.
    pub(super) ends_at: Time,
    /// From then on the worker is killed whatever else it holds.
    pub(super) cuts_at: Time,
}

impl Culprit {
    /// It is blamed once more: whatever comes first counts.
    fn join(&mut self, other: Culprit) {
        if other.ends_at < self.ends_at {
            self.cause = other.cause;
        }
        self.is_told |= other.is_told;
        self.taints_at = self.taints_at.min(other.taints_at);
        self.ends_at = self.ends_at.min(other.ends_at);
        self.cuts_at = self.cuts_at.min(other.cuts_at);
    }

    /// When there is something to do about it next; `alone`: the worker holds nothing but culprits.
    fn next_step(&self, alone: bool) -> Time {
        if !self.has_tainted {
            self.taints_at
        } else if alone {
            self.ends_at
        } else {
            self.cuts_at
        }
    }
}

/// A worker's requests, by their ordinals.
///
/// Ordinals lie on a circle, and are compared by how far they are behind the next one. Only what is in hand is
/// kept, however long ago it was sent.
#[derive(Debug)]
pub(super) struct Hand {
    /// Oldest first.
    entries: VecDeque<(Ordinal, InHand)>,
    /// The ordinal that the next request gets.
    next: Ordinal,
    /// How many of them are culprits.
    culprits: u32,
    /// The start mark's ordinal, as it was read last.
    started: Ordinal,
}

impl Hand {
    pub(super) fn new() -> Hand {
        Hand { entries: VecDeque::new(), next: Ordinal(1), culprits: 0, started: Ordinal(0) }
    }

    pub(super) fn len(&self) -> u32 {
        self.entries.len() as u32
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The ordinal that the next request gets.
    pub(super) fn next_ordinal(&self) -> Ordinal {
        self.next
    }

    pub(super) fn push(&mut self, request: InHand) -> Ordinal {
        let ordinal = self.next;
        self.entries.push_back((ordinal, request));
        self.next = ordinal.next();
        ordinal
    }

    pub(super) fn get(&self, ordinal: Ordinal) -> Option<&InHand> {
        let position = self.position(ordinal)?;
        self.entries.get(position).map(|(_, request)| request)
    }

    pub(super) fn get_mut(&mut self, ordinal: Ordinal) -> Option<&mut InHand> {
        let position = self.position(ordinal)?;
        self.entries.get_mut(position).map(|(_, request)| request)
    }

    fn position(&self, ordinal: Ordinal) -> Option<usize> {
        // Most answers are for the oldest request.
        if self.entries.front().is_some_and(|(first, _)| *first == ordinal) {
            return Some(0);
        }
        let behind = ordinal.distance_to(self.next);
        self.entries.binary_search_by(|(one, _)| behind.cmp(&one.distance_to(self.next))).ok()
    }

    /// Takes out a request that was answered, which shows that it had been started.
    pub(super) fn answered(&mut self, ordinal: Ordinal) -> Option<InHand> {
        let position = self.position(ordinal)?;
        let (_, request) = self.entries.remove(position)?;
        self.culprits -= u32::from(request.culprit.is_some());
        if !self.is_started(ordinal) {
            self.started = ordinal;
        }
        Some(request)
    }

    /// Notes what the start mark said. `None` when it is impossible: behind what it said before, or ahead of what
    /// was sent.
    pub(super) fn note_started(&mut self, started: Ordinal) -> Option<()> {
        let behind = started.distance_to(self.next);
        let possible = (1..=self.started.distance_to(self.next)).contains(&behind);
        possible.then(|| self.started = started)
    }

    /// Removes every request that the start mark had not reached.
    pub(super) fn take_unstarted(&mut self) -> Vec<InHand> {
        let keep = self.entries.partition_point(|(ordinal, _)| self.is_started(*ordinal));
        let unstarted: Vec<InHand> = self.entries.split_off(keep).into_iter().map(|(_, one)| one).collect();
        self.culprits -= unstarted.iter().filter(|one| one.culprit.is_some()).count() as u32;
        self.next = self.started.next();
        unstarted
    }

    pub(super) fn is_started(&self, ordinal: Ordinal) -> bool {
        ordinal.distance_to(self.next) >= self.started.distance_to(self.next)
    }

    /// Whether it may hold requests that are not started.
    pub(super) fn has_unstarted(&self) -> bool {
        self.started.next() != self.next
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Ordinal, &InHand)> {
        self.entries.iter().map(|(ordinal, request)| (*ordinal, request))
    }

    pub(super) fn ordinals(&self) -> Vec<Ordinal> {
        self.iter().map(|(ordinal, _)| ordinal).collect()
    }

    pub(super) fn blame(&mut self, ordinal: Ordinal, culprit: Culprit) {
        let Some(request) = self.get_mut(ordinal) else { return };
        match &mut request.culprit {
            Some(standing) => standing.join(culprit),
            None => {
                request.culprit = Some(culprit);
                self.culprits += 1;
            }
        }
    }

    /// Whether the worker was told to give the request up.
    pub(super) fn is_told(&self, ordinal: Ordinal) -> bool {
        self.get(ordinal).and_then(|request| request.culprit.as_ref()).is_some_and(|culprit| culprit.is_told)
    }

    pub(super) fn has_culprits(&self) -> bool {
        self.culprits > 0
    }

    /// Whether a culprit keeps the worker from getting anything new.
    pub(super) fn is_tainted(&self, now: Time) -> bool {
        self.has_culprits() && self.culprits().any(|culprit| culprit.taints_at <= now)
    }

    /// When there is something to do about a culprit next.
    pub(super) fn next_culprit_step(&self) -> Time {
        if !self.has_culprits() {
            return Time::NEVER;
        }
        let alone = self.culprits == self.len();
        self.culprits().map(|culprit| culprit.next_step(alone)).min().unwrap_or(Time::NEVER)
    }

    /// Notes that the worker's unstarted requests were taken back for the culprits' sake; false when they had been.
    pub(super) fn taint(&mut self, now: Time) -> bool {
        let mut is_news = false;
        for culprit in self.entries.iter_mut().filter_map(|(_, request)| request.culprit.as_mut()) {
            is_news |= !culprit.has_tainted && culprit.taints_at <= now;
            culprit.has_tainted |= culprit.taints_at <= now;
        }
        is_news
    }

    /// The culprit for whose sake the worker must be killed now.
    pub(super) fn must_end(&self, now: Time) -> Option<&Culprit> {
        let alone = self.culprits == self.len();
        self.culprits().find(|culprit| culprit.has_tainted && culprit.next_step(alone) <= now)
    }

    /// Everything it holds, oldest first.
    pub(super) fn into_requests(self) -> impl Iterator<Item = (Ordinal, InHand)> {
        self.entries.into_iter()
    }

    fn culprits(&self) -> impl Iterator<Item = &Culprit> {
        self.iter().filter_map(|(_, request)| request.culprit.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(epoch: u32) -> InHand {
        InHand {
            job: None,
            id: JobId::from_bytes([0; 16]),
            epoch: Epoch(epoch),
            sent: Time::ZERO,
            since: None,
            pending: None,
            culprit: None,
        }
    }

    fn hand_of(count: u32) -> Hand {
        let mut hand = Hand::new();
        for epoch in 1..=count {
            let _ = hand.push(request(epoch));
        }
        hand
    }

    #[test]
    fn a_take_back_leaves_what_was_started_and_reuses_the_ordinals() {
        let mut hand = hand_of(5);
        hand.note_started(Ordinal(2)).expect("possible");
        assert_eq!(hand.take_unstarted().len(), 3);
        assert_eq!((hand.len(), hand.next_ordinal()), (2, Ordinal(3)));
        assert_eq!(hand.push(request(9)), Ordinal(3));
        assert_eq!(hand.get(Ordinal(3)).map(|one| one.epoch), Some(Epoch(9)));
    }

    #[test]
    fn answers_in_any_order_leave_the_rest_reachable() {
        let mut hand = hand_of(4);
        hand.note_started(Ordinal(4)).expect("possible");
        assert!(hand.answered(Ordinal(2)).is_some());
        assert!(hand.answered(Ordinal(1)).is_some());
        assert!(hand.answered(Ordinal(1)).is_none());
        assert_eq!(hand.ordinals(), [Ordinal(3), Ordinal(4)]);
        assert!(hand.answered(Ordinal(4)).is_some());
        assert!(hand.answered(Ordinal(3)).is_some());
        assert!(hand.is_empty());
        assert!(hand.take_unstarted().is_empty());
        assert_eq!(hand.next_ordinal(), Ordinal(5));
    }

    #[test]
    fn an_answer_before_the_mark_was_read_does_not_confuse_the_take_back() {
        let mut hand = hand_of(3);
        assert!(hand.answered(Ordinal(1)).is_some());
        hand.note_started(Ordinal(1)).expect("possible");
        assert_eq!(hand.take_unstarted().len(), 2);
        assert_eq!(hand.next_ordinal(), Ordinal(2));
        assert_eq!(hand.push(request(4)), Ordinal(2));
    }

    #[test]
    fn a_mark_that_cannot_be_is_refused() {
        let mut hand = hand_of(3);
        assert!(hand.note_started(Ordinal(4)).is_none());
        assert!(hand.answered(Ordinal(2)).is_some());
        assert!(hand.note_started(Ordinal(1)).is_none(), "an answered request had been started");
        hand.note_started(Ordinal(2)).expect("possible");
    }

    /// A long request beside many short ones: the scheduler remembered every short one until the long one ended,
    /// and after 2^31 of them it took the long one for not started.
    #[test]
    fn a_long_request_is_neither_a_pile_nor_forgotten() {
        let mut hand = hand_of(2);
        hand.note_started(Ordinal(1)).expect("possible");
        for ordinal in 2..1000 {
            assert!(hand.answered(Ordinal(ordinal)).is_some());
            let _ = hand.push(request(1));
        }
        assert_eq!(hand.entries.len(), 2);
        hand.next = Ordinal(0x9000_0001);
        hand.started = Ordinal(0x9000_0000);
        assert!(hand.is_started(Ordinal(1)));
        assert_eq!(hand.push(request(7)), Ordinal(0x9000_0001));
        assert_eq!(hand.get(Ordinal(1)).map(|one| one.epoch), Some(Epoch(1)));
    }
}
