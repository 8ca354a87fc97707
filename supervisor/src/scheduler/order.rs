//! A job's turn, where it is not simply its place in the queue: delays, classes and keys.
//!
//! ```text
//! accepted ──▶ Waiting ──due──▶ joins its line ──▶ Behind ──a seat is free──▶ Queued, by its rank
//!    └──────── without a delay ──────▲  └─── a seat is free, or no key ─────────▲
//! ```
//!
//! A job of the normal class without a key goes to the plain queue. All others wait beside it, by rank (`ranks.rs`), once
//! they have a seat in the line of their key (`keys.rs`). They are given to free slots only and never sent ahead: nobody
//! can say which worker will be free first, and theirs is the next slot wherever it is.

use std::time::Duration;

use ganger_protocol::{JobId, Time};

use super::clock::InsideClock;
use super::job::{Job, Phase};
use super::keys::{Entry, Keys};
use super::ranks::{Rank, Ranks};
use super::worker::Worker;
use super::{GroupIndex, JobKey, Order, Priority, Scheduler, Ticket};

/// A group's jobs beside the plain queue.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub(super) ranks: Ranks<JobKey>,
    pub(super) keys: Keys<JobKey>,
}

/// The job whose turn it is, and its rank, if it is not from the plain queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lead {
    pub(super) job: JobKey,
    pub(super) rank: Option<Rank>,
}

impl Order {
    /// When its job begins to wait for a worker, inside.
    fn due(&self, enqueued: Time, clock: &InsideClock) -> Time {
        let not_before = self.not_before.map_or(Time::ZERO, |raw| clock.inside(raw));
        (enqueued + self.delay.unwrap_or(Duration::ZERO)).max(not_before)
    }

    /// Whether the plain queue is the place for its job.
    fn is_plain(&self) -> bool {
        self.priority == Priority::Normal && self.key.is_none()
    }
}

impl Priority {
    /// How many classes are above it.
    fn steps(self) -> u32 {
        match self {
            Priority::High => 0,
            Priority::Normal => 1,
            Priority::Low => 2,
        }
    }

    fn rank(self, since: Time, ageing: Duration) -> Time {
        since + ageing * self.steps()
    }
}

impl<T: Ticket> Job<T> {
    /// Whether it waits by rank, and not in the plain queue.
    pub(super) fn is_ranked(&self) -> bool {
        self.ticket.options().order.as_ref().is_some_and(|order| !order.is_plain())
    }

    fn line(&self) -> Option<u64> {
        self.ticket.options().order.as_ref().and_then(|order| order.key)
    }
}

impl<T: Ticket> Scheduler<T> {
    /// Accepts a job that asked for a turn of its own. Until a delay is over its clocks stand still.
    pub(super) fn accept_in_order(&mut self, group: GroupIndex, ticket: T, enqueued: Time) -> JobKey {
        let order = ticket.options().order.as_ref();
        let due = order.map_or(enqueued, |order| order.due(enqueued, &self.clock));
        let key = self.jobs.insert(group, ticket, due.max(enqueued));
        self.groups[usize::from(group.0)].is_dirty = true;
        if due > enqueued && due > self.now {
            self.delay(key, due);
        } else {
            self.join(key);
        }
        key
    }

    fn delay(&mut self, key: JobKey, until: Time) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        job.phase = Phase::Waiting { until };
        self.groups[usize::from(job.group.0)].waiting += 1;
        self.arm_job(key, until);
    }

    /// A job of this kind is to be queued, for the first time or again.
    pub(super) fn join(&mut self, key: JobKey) {
        let Some(job) = self.jobs.get(key) else { return };
        let line = job.ticket.options().order.as_ref().and_then(|order| order.key);
        // One that was sent before has its seat.
        let Some(line) = line.filter(|_| job.is_unsent()) else { return self.line_up(key) };
        let (index, limit) = (job.group, self.config.groups[usize::from(job.group.0)].key_limit);
        match self.aside(index).keys.enter(line, limit, key) {
            Entry::Seated => self.line_up(key),
            Entry::Behind => {
                if let Some(job) = self.jobs.get_mut(key) {
                    job.phase = Phase::Behind;
                }
            }
        }
    }

    /// Puts a job that may be sent to its place.
    fn line_up(&mut self, key: JobKey) {
        let Some(job) = self.jobs.get(key) else { return };
        let Some(order) = job.ticket.options().order.as_ref() else { return };
        let (index, seq) = (job.group, job.seq);
        let is_unsent = job.is_unsent();
        if order.is_plain() {
            let queue = &mut self.groups[usize::from(index.0)].queue;
            return if is_unsent { queue.push(key) } else { queue.put_back(seq, key) };
        }
        let at = order.priority.rank(job.enqueued, self.config.groups[usize::from(index.0)].ageing);
        // One that comes back keeps the number that it was given first.
        let seq = if seq == 0 { self.number() } else { seq };
        self.aside(index).ranks.insert(Rank { at, seq }, key);
    }

    fn aside(&mut self, index: GroupIndex) -> &mut Aside {
        self.groups[usize::from(index.0)].aside.get_or_insert_default()
    }

    /// The next number in the order of turns, from 1.
    pub(super) fn number(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    /// The job whose turn it is: the first of the plain queue, unless one that waits by rank comes before it.
    pub(super) fn front(&mut self, index: GroupIndex) -> Option<Lead> {
        let jobs = &self.jobs;
        let group = &mut self.groups[usize::from(index.0)];
        let plain = group.queue.front(|key| jobs.has(key));
        let ranked = group.aside.as_mut().and_then(|aside| aside.ranks.first(|key| jobs.has(key)));
        let Some((rank, job)) = ranked else { return plain.map(|job| Lead { job, rank: None }) };
        let ageing = self.config.groups[usize::from(index.0)].ageing;
        let since = plain.and_then(|plain| jobs.get(plain)).map(|job| job.enqueued);
        match plain.zip(since) {
            Some((plain, since)) if Priority::Normal.rank(since, ageing) <= rank.at => {
                Some(Lead { job: plain, rank: None })
            }
            Some(_) | None => Some(Lead { job, rank: Some(rank) }),
        }
    }

    /// Takes the job whose turn it is out of where it waits.
    pub(super) fn take(&mut self, index: GroupIndex, lead: Lead) {
        let group = &mut self.groups[usize::from(index.0)];
        let Some(rank) = lead.rank else {
            let jobs = &self.jobs;
            group.queue.pop(|key| jobs.has(key));
            return;
        };
        if let Some(aside) = &mut group.aside {
            aside.ranks.remove(rank);
        }
        if let Some(job) = self.jobs.get_mut(lead.job) {
            job.seq = rank.seq;
        }
    }

    /// Whether a job waits by rank that comes before the last of what the worker holds, which was sent ahead.
    pub(super) fn is_overtaken(&self, worker: &Worker, first: Option<Rank>) -> bool {
        let last = worker.hand.iter().next_back().and_then(|(_, request)| self.jobs.get(request.job?));
        let ageing = self.config.groups[usize::from(worker.group.0)].ageing;
        first.zip(last).is_some_and(|(first, last)| first.at < Priority::Normal.rank(last.enqueued, ageing))
    }

    /// The first rank of those who wait by rank, whether or not a plain job comes before all of them: that one may be
    /// sent ahead, they may not.
    pub(super) fn waiting_rank(&mut self, index: GroupIndex) -> Option<Rank> {
        let jobs = &self.jobs;
        // Most groups have none.
        let aside = self.groups[usize::from(index.0)].aside.as_mut()?;
        aside.ranks.first(|key| jobs.has(key)).map(|(rank, _)| rank)
    }

    /// A job of this kind has ended, in this phase; `attempt` says whether a worker is still at it.
    pub(super) fn leave_line(&mut self, job: &Job<T>, attempt: Attempt) {
        let Some(line) = job.line() else { return };
        let jobs = &self.jobs;
        let Some(aside) = &mut self.groups[usize::from(job.group.0)].aside else { return };
        match job.phase {
            Phase::Behind => aside.keys.bury_one(line, |key| jobs.has(key)),
            // Not yet due: it has never come to its line.
            Phase::Waiting { .. } if job.is_unsent() => {}
            Phase::Queued | Phase::Waiting { .. } | Phase::Assigned { .. } | Phase::Ending { .. } => {
                match attempt {
                    Attempt::Open => aside.keys.linger(job.ticket.id(), line),
                    Attempt::Over => self.release(job.group, line),
                }
            }
        }
    }

    /// No worker is at work any more on a job that had ended before.
    pub(super) fn depart(&mut self, worker: GroupIndex, job: JobId) {
        let Some(aside) = &mut self.groups[usize::from(worker.0)].aside else { return };
        if let Some(line) = aside.keys.depart(job) {
            self.release(worker, line);
        }
    }

    fn release(&mut self, index: GroupIndex, line: u64) {
        let jobs = &self.jobs;
        let group = &mut self.groups[usize::from(index.0)];
        group.is_dirty = true;
        let Some(aside) = &mut group.aside else { return };
        let Some(next) = aside.keys.release(line, |key| jobs.has(key)) else { return };
        if let Some(job) = self.jobs.get_mut(next) {
            job.phase = Phase::Queued;
        }
        self.line_up(next);
    }
}

/// Whether a worker is still at work on a job that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Open,
    Over,
}
