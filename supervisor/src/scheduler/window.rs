//! Sending ahead, and taking back.
//!
//! A worker's *window* is what it holds beyond its capacity: sent, so that it need not wait for the next request, and
//! not startable before a slot is free. It is as deep as the worker answers in about 100 µs. Whatever is not started
//! can be taken back without the worker's help, also from one that is busy or stopped, so that nothing ever waits
//! behind a slow request while another worker idles.

use std::time::Duration;

use ganger_protocol::{Mark, Time};

use super::hand::InHand;
use super::job::decided;
use super::timers::TimerId;
use super::worker::{Isolation, State, Worker};
use super::{GroupIndex, Reply, Scheduler, Ticket, TimerKey, WorkerKey};

/// What a window is worth.
const AHEAD_NANOS: u64 = 100_000;
/// Slower requests are not sent ahead.
const SLOW_NANOS: u64 = 1_000_000;
/// A worker that has answered nothing for this long holds its window back.
const STUCK: Duration = Duration::from_micros(500);
/// How often windows are looked at while somebody idles.
const WATCH_EVERY: Duration = Duration::from_millis(1);

impl Worker {
    /// How many requests it may hold beyond its capacity.
    fn window(&self, prefetch: u32) -> u32 {
        if prefetch == 0 || self.service_nanos == 0 || self.service_nanos > SLOW_NANOS {
            return 0;
        }
        ((AHEAD_NANOS / self.service_nanos) as u32).clamp(1, prefetch)
    }

    fn holds_ahead(&self) -> bool {
        self.hand.len() > self.capacity && self.hand.has_unstarted()
    }

    pub(super) fn note_answer(&mut self, reply: &Reply, ran: Duration, now: Time) {
        let nanos = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX / 8).clamp(1, u64::MAX / 8);
        self.service_nanos =
            if self.service_nanos == 0 { nanos } else { (self.service_nanos * 7 + nanos) / 8 };
        self.last_progress = now;
        self.has_failed = matches!(reply, Reply::Failed(_));
        match reply {
            Reply::Data(_) | Reply::Attached(_) => self.done += 1,
            Reply::Failed(failure) => {
                self.failed += 1;
                self.last_error = Some(failure.to_string().into());
            }
        }
    }
}

impl<T: Ticket> Scheduler<T> {
    /// A job of the group was answered by this worker.
    pub(super) fn note_answered(&mut self, key: WorkerKey, group: GroupIndex) {
        self.groups[usize::from(group.0)].job_deaths = 0;
        self.note_healthy(key);
    }

    /// Fills the windows, worker by worker, once every free slot has its job.
    pub(super) fn send_ahead(&mut self, index: GroupIndex) {
        let prefetch = self.config.groups[usize::from(index.0)].prefetch;
        if prefetch == 0 || !self.groups[usize::from(index.0)].has_queued() {
            return;
        }
        let now = self.now;
        let routable = self.members_where(index, |worker| worker.is_routable(now));
        let workers: Vec<(WorkerKey, u32)> =
            routable.map(|(key, worker)| (key, worker.capacity + worker.window(prefetch))).collect();
        for (key, room) in workers {
            while self.workers.get(key).is_some_and(|worker| worker.hand.len() < room) {
                // Who waits by rank gets the next free slot, wherever it is, and nothing is put before him.
                let Some(lead) = self.front(index).filter(|lead| lead.rank.is_none()) else { return };
                if self.jobs.get(lead.job).is_some_and(|job| job.ticket.options().has_attachments) {
                    return;
                }
                self.take(index, lead);
                self.groups[usize::from(index.0)].sends_ahead = true;
                self.assign(lead.job, key);
            }
        }
    }

    /// While somebody holds requests ahead and somebody else idles, or a job waits that comes before them, looks again
    /// soon.
    pub(super) fn watch_windows(&mut self, index: GroupIndex) {
        let group = &self.groups[usize::from(index.0)];
        if !group.sends_ahead && !group.window_timer.is_set() {
            return;
        }
        let now = self.now;
        let is_idle = |worker: &Worker| worker.has_free_slot() && worker.is_routable(now);
        let holds_ahead = self.members_where(index, Worker::holds_ahead).next().is_some();
        let is_somebody_idle = self.members_where(index, is_idle).next().is_some();
        let wanted = holds_ahead && (is_somebody_idle || self.are_windows_overtaken(index));
        self.groups[usize::from(index.0)].sends_ahead = holds_ahead;
        let group = &mut self.groups[usize::from(index.0)];
        if wanted && !group.window_timer.is_set() {
            self.timers.set(&mut group.window_timer, now + WATCH_EVERY, TimerKey::Window(index));
        } else if !wanted {
            self.timers.clear(&mut group.window_timer);
        }
    }

    fn are_windows_overtaken(&mut self, index: GroupIndex) -> bool {
        let first = self.waiting_rank(index);
        let is_overtaken = |worker: &Worker| worker.holds_ahead() && self.is_overtaken(worker, first);
        first.is_some() && self.members_where(index, is_overtaken).next().is_some()
    }

    /// Takes back the windows of workers that are stuck behind a slow request.
    pub(super) fn windows_due(&mut self, index: GroupIndex) {
        let now = self.now;
        let group = &mut self.groups[usize::from(index.0)];
        group.window_timer = TimerId::UNSET;
        group.is_dirty = true;
        let prefetch = self.config.groups[usize::from(index.0)].prefetch;
        let first = self.waiting_rank(index);
        let is_stuck = |worker: &Worker| {
            let is_slow = worker.hand.len() > worker.capacity + worker.window(prefetch);
            let is_late = is_slow && self.is_overtaken(worker, first);
            worker.holds_ahead() && (now.since(worker.last_progress) >= STUCK || is_late)
        };
        let stuck: Vec<WorkerKey> = self.members_where(index, is_stuck).map(|(key, _)| key).collect();
        for key in stuck {
            self.take_back(key);
        }
    }

    /// The answer to a take-back: what was not started never will be.
    pub(super) fn on_taken_back(&mut self, key: WorkerKey, mark: Mark) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.is_taking_back = false;
        worker.generation = mark.generation;
        let group = worker.group;
        let is_possible = worker.hand.note_started(mark.started).is_some();
        let unstarted = if is_possible { worker.hand.take_unstarted() } else { Vec::new() };
        for request in unstarted {
            self.come_back(group, &request);
        }
        let held = self.workers.get(key).map(|worker| worker.hand.ordinals()).unwrap_or_default();
        for ordinal in held {
            self.settle_started(key, ordinal);
        }
        self.note_hand_shrunk(key);
        if !is_possible {
            self.on_violation(key, "its start mark is impossible");
        }
    }

    fn come_back(&mut self, group: GroupIndex, request: &InHand) {
        let Some(key) = request.job else { return self.depart(group, request.id) };
        let Some(job) = self.jobs.get(key) else { return };
        match request.pending {
            Some(pending) => {
                let outcome = decided(pending, job.started(), None);
                self.finish(key, outcome);
            }
            None => self.requeue(key),
        }
    }

    /// The worker holds less than before: isolation may end, and a drained worker may leave. Whether its culprits are
    /// alone now is judged when all that it said has been read (`due.rs`): the next answer may be the culprit's own.
    pub(super) fn note_hand_shrunk(&mut self, key: WorkerKey) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        if worker.hand.is_empty() {
            if worker.isolation == Isolation::Running {
                worker.isolation = Isolation::None;
            }
            if let State::Draining { idle_since, .. } = &mut worker.state {
                idle_since.get_or_insert(now);
            }
        }
    }
}
