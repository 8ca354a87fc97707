//! A job's life: accepted, queued, assigned, and ended once.
//!
//! ```text
//!  enqueue ─▶ Queued ◀──────────── Waiting (back-off before a retry; a delay)
//!               │  ▲ taken back,       ▲
//!        assign │  │ lost unstarted    │ retry
//!               ▼  │                   │
//!            Assigned ─── run_timeout ─┴─▶ Ending (until the old attempt is over)
//!               │
//!               └─▶ ended: `finish`, from any phase
//!
//!  enqueue ─▶ Waiting, Behind (its key's line), Queued by rank: `order.rs`
//! ```

use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{Attachments, Epoch, Failure, Ordinal, RetryHint, Slot, Time};

use super::hand::Pending;
use super::order::Attempt;
use super::timers::TimerId;
use super::{
    Action, AttemptInfo, Clock, CrashReport, GroupIndex, JobKey, JobOptions, Outcome, Reply, Scheduler,
    Started, Ticket, TimerKey, WorkerKey,
};

/// A job that has not ended.
#[derive(Debug)]
pub(super) struct Job<T> {
    pub(super) ticket: T,
    /// Its place by age, from its first assignment on, 0 before: there its place in the queue says it.
    pub(super) seq: u64,
    /// When it was enqueued; or when its delay was over, from which everything counts then.
    pub(super) enqueued: Time,
    pub(super) phase: Phase,
    pub(super) epoch: Epoch,
    pub(super) timer: TimerId,
    pub(super) group: GroupIndex,
    /// Retries spent.
    pub(super) retries: u16,
    /// Worker deaths while it was running.
    pub(super) deaths: u8,
    /// Worker deaths while it was sent and not started.
    pub(super) losses: u8,
    /// A handler has been called for it.
    pub(super) is_started: bool,
    /// It runs alone from now on.
    pub(super) is_suspect: bool,
    pub(super) reports: Reports,
}

/// The worker deaths that a job has seen; most have seen none.
pub(super) type Reports = Option<Box<Vec<Arc<CrashReport>>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// In its group's queue, or among its suspects.
    Queued,
    /// Until its retry is due, or its delay is over.
    Waiting { until: Time },
    /// Behind others of its key.
    Behind,
    /// Sent to a worker.
    Assigned { worker: WorkerKey, ordinal: Ordinal },
    /// Its attempt ran out of time; the retry begins when that attempt is over.
    Ending { worker: WorkerKey, ordinal: Ordinal },
}

impl<T> Job<T> {
    pub(super) fn new(group: GroupIndex, ticket: T, enqueued: Time) -> Job<T> {
        Job {
            ticket,
            seq: 0,
            enqueued,
            phase: Phase::Queued,
            epoch: Epoch::default(),
            timer: TimerId::UNSET,
            group,
            retries: 0,
            deaths: 0,
            losses: 0,
            is_started: false,
            is_suspect: false,
            reports: None,
        }
    }
}

impl<T: Ticket> Job<T> {
    pub(super) fn started(&self) -> Started {
        if self.is_started { Started::Yes } else { Started::No }
    }

    pub(super) fn has_retries_left(&self) -> bool {
        self.retries < self.ticket.options().retries
    }

    /// Its next assignment is its first.
    pub(super) fn is_unsent(&self) -> bool {
        self.epoch == Epoch::default()
    }

    /// When its own clocks run out.
    fn deadline(&self) -> Time {
        let options = self.ticket.options();
        let total = options.timeout.map_or(Time::NEVER, |timeout| self.enqueued + timeout);
        match options.queue_timeout {
            Some(timeout) if !self.is_started => total.min(self.enqueued + timeout),
            Some(_) | None => total,
        }
    }

    fn clock_due(&self, now: Time) -> Option<Clock> {
        let options = self.ticket.options();
        let is_due =
            |timeout: Option<Duration>| timeout.is_some_and(|timeout| self.enqueued + timeout <= now);
        if is_due(options.timeout) {
            Some(Clock::Total)
        } else if !self.is_started && is_due(options.queue_timeout) {
            Some(Clock::Queue)
        } else {
            None
        }
    }
}

impl<T: Ticket> Scheduler<T> {
    /// Accepts a job; whether there is room for it was the caller's question.
    pub(super) fn accept(&mut self, group: GroupIndex, ticket: T, enqueued: Time) -> JobKey {
        let options = ticket.options();
        let has_clocks = options.timeout.is_some() || options.queue_timeout.is_some();
        let key = if options.order.is_some() {
            self.accept_in_order(group, ticket, enqueued)
        } else {
            self.accept_plain(group, ticket, enqueued)
        };
        if self.refuses_latecomers() {
            self.finish(key, decided(Pending::ShuttingDown, Started::No, None));
        } else if has_clocks {
            self.rearm_job(key);
        }
        key
    }

    fn accept_plain(&mut self, group: GroupIndex, ticket: T, enqueued: Time) -> JobKey {
        let key = self.jobs.insert(group, ticket, enqueued);
        let group = &mut self.groups[usize::from(group.0)];
        group.queue.push(key);
        group.is_dirty = true;
        key
    }

    /// Sets the job's timer to the first of its clocks, or to the end of its wait if that is earlier.
    fn rearm_job(&mut self, key: JobKey) {
        let Some(job) = self.jobs.get(key) else { return };
        let until = match job.phase {
            Phase::Waiting { until } => until,
            Phase::Queued | Phase::Behind | Phase::Assigned { .. } | Phase::Ending { .. } => Time::NEVER,
        };
        self.arm_job(key, until);
    }

    /// Sets the job's timer to the first of its clocks, or to `other` if that is earlier.
    pub(super) fn arm_job(&mut self, key: JobKey, other: Time) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        let due = job.deadline().min(other);
        if due != Time::NEVER || job.timer.is_set() {
            self.timers.set(&mut job.timer, due, TimerKey::Job(key));
        }
    }

    /// The job's timer went off: which clock was it?
    pub(super) fn job_due(&mut self, key: JobKey) {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(key) else { return };
        job.timer = TimerId::UNSET;
        if let Some(clock) = job.clock_due(now) {
            return self.expire(key, clock);
        }
        match job.phase {
            Phase::Waiting { until } if until <= now => self.requeue(key),
            Phase::Waiting { until } => self.arm_job(key, until),
            Phase::Assigned { worker, .. } => {
                // Whatever the page says, and also when it cannot be believed.
                self.arm_job(key, Time::NEVER);
                self.read_page(worker);
            }
            Phase::Queued | Phase::Behind | Phase::Ending { .. } => self.arm_job(key, Time::NEVER),
        }
    }

    /// `timeout` or `queue_timeout` ran out. For a job that was sent, the take-back says whether it was started.
    fn expire(&mut self, key: JobKey, clock: Clock) {
        self.decide(key, Pending::Expired(clock));
    }

    /// The owner cancels.
    pub(super) fn cancel(&mut self, key: JobKey) {
        self.decide(key, Pending::Cancelled);
    }

    /// Ends a job for a reason of its owner's or the supervisor's, as soon as it is known whether it was started.
    pub(super) fn decide(&mut self, key: JobKey, pending: Pending) {
        let Some(job) = self.jobs.get(key) else { return };
        match job.phase {
            Phase::Queued | Phase::Waiting { .. } | Phase::Behind => {
                let outcome = decided(pending, job.started(), None);
                self.finish(key, outcome);
            }
            Phase::Ending { worker, ordinal } => self.decide_overtime(key, pending, worker, ordinal),
            Phase::Assigned { worker, ordinal } => {
                let request = self.workers.get_mut(worker).and_then(|worker| worker.hand.get_mut(ordinal));
                if let Some(request) = request {
                    request.decide(pending);
                }
                self.take_back(worker);
            }
        }
    }

    /// Its attempt had run out of time: it settles without a question. The request stays a culprit; one that its owner
    /// cancels is told now, if it was not, and ended, if it was to be left alone.
    fn decide_overtime(&mut self, key: JobKey, pending: Pending, worker: WorkerKey, ordinal: Ordinal) {
        let name = self.name_of(worker);
        self.finish(key, decided(pending, Started::Yes, name));
        match pending {
            Pending::Cancelled => self.blame_cancel(worker, ordinal),
            Pending::Expired(_) | Pending::ShuttingDown => {}
        }
    }

    fn name_of(&self, worker: WorkerKey) -> Option<Arc<str>> {
        self.workers.get(worker).map(|worker| Arc::clone(&worker.name))
    }

    /// A decision about a request that turned out to be started.
    pub(super) fn settle_started(&mut self, worker: WorkerKey, ordinal: Ordinal) {
        let request = self.workers.get_mut(worker).and_then(|worker| worker.hand.get_mut(ordinal));
        let Some(request) = request else { return };
        let (Some(pending), Some(key)) = (request.pending.take(), request.job) else { return };
        let Some(job) = self.jobs.get_mut(key) else { return };
        job.is_started = true;
        let options = job.ticket.options();
        let policy = options.on_timeout;
        let name = self.name_of(worker);
        match pending {
            // It began in time after all: that clock no longer counts, but the others do.
            Pending::Expired(Clock::Queue) => {
                self.arm_job(key, Time::NEVER);
                self.read_page(worker);
            }
            Pending::Expired(Clock::Total | Clock::Run) => {
                self.finish(key, decided(pending, Started::Yes, name));
                self.blame_timeout(worker, ordinal, policy);
            }
            Pending::Cancelled => {
                self.finish(key, decided(pending, Started::Yes, name));
                self.blame_cancel(worker, ordinal);
            }
            Pending::ShuttingDown => self.finish(key, decided(pending, Started::Yes, name)),
        }
    }

    /// One look judges all requests of the worker, so that one is enough.
    fn read_page(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        if !std::mem::replace(&mut worker.is_reading, true) {
            self.act(Action::ReadPage(key));
        }
    }

    /// What the page said about the worker's requests: judges those with a run clock.
    pub(super) fn on_page(&mut self, key: WorkerKey, started: Ordinal, running: &[Slot]) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.is_reading = false;
        if worker.hand.note_started(started).is_none() {
            return self.on_violation(key, "its start mark is impossible");
        }
        for ordinal in worker.hand.ordinals() {
            let since = running.iter().find(|slot| slot.ordinal == ordinal).map(|slot| slot.since);
            self.judge_run(key, ordinal, since);
        }
    }

    fn judge_run(&mut self, worker: WorkerKey, ordinal: Ordinal, since: Option<Time>) {
        let now = self.now;
        let since = since.map(|raw| self.clock.inside(raw));
        let Some(holder) = self.workers.get_mut(worker) else { return };
        let is_started = holder.hand.is_started(ordinal);
        let Some(request) = holder.hand.get_mut(ordinal) else { return };
        let Some(key) = request.job else { return };
        if is_started {
            // A slot that is already empty belongs to an answer on its way: its clock begins now, at the latest.
            let since = since.unwrap_or(now).clamp(request.sent, now);
            request.since.get_or_insert(since);
        }
        let since = request.since;
        let Some(job) = self.jobs.get_mut(key) else { return };
        job.is_started |= is_started;
        let (Some(limit), Phase::Assigned { .. }) = (job.ticket.options().run_timeout, job.phase) else {
            return self.arm_job(key, Time::NEVER);
        };
        match since.map(|since| since + limit) {
            Some(due) if due <= now => self.run_timed_out(worker, ordinal, key),
            Some(due) => self.arm_job(key, due),
            None => self.arm_job(key, now + limit),
        }
    }

    /// One attempt ran out of time: it is over for the job, though not for the worker.
    fn run_timed_out(&mut self, worker: WorkerKey, ordinal: Ordinal, key: JobKey) {
        let Some(job) = self.jobs.get(key) else { return };
        let options = job.ticket.options();
        let policy = options.on_timeout;
        let wants_retry = options.retry_on.run_timeout;
        if wants_retry && job.has_retries_left() && self.may_retry() {
            if let Some(job) = self.jobs.get_mut(key) {
                job.phase = Phase::Ending { worker, ordinal };
            }
            self.arm_job(key, Time::NEVER);
        } else {
            let name = self.name_of(worker);
            self.finish(key, decided(Pending::Expired(Clock::Run), Started::Yes, name));
        }
        self.blame_timeout(worker, ordinal, policy);
    }

    /// A worker has a request's attachments. That it has started it is not its word but the page's, which it cannot take
    /// back: what was released is never sent again.
    pub(super) fn on_taken(&mut self, key: WorkerKey, ordinal: Ordinal, epoch: Epoch, started: Ordinal) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        let Some(request) = worker.hand.get(ordinal).filter(|request| request.epoch == epoch) else { return };
        let job = request.job;
        if worker.hand.note_started(started).is_none() || !worker.hand.is_started(ordinal) {
            return self.on_violation(key, "it took the attachments of a request that it had not started");
        }
        let Some((key, job)) = job.and_then(|key| Some((key, self.jobs.get_mut(key)?))) else { return };
        job.is_started = true;
        if !job.has_retries_left() {
            self.act(Action::Release(key));
        }
    }

    /// A worker answered.
    pub(super) fn on_answer(
        &mut self,
        key: WorkerKey,
        ordinal: Ordinal,
        epoch: Epoch,
        ran: Duration,
        reply: Reply,
    ) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        let group = worker.group;
        if worker.hand.get(ordinal).is_none_or(|request| request.epoch != epoch) {
            self.groups[usize::from(group.0)].stale_answers += 1;
            return;
        }
        let Some(request) = worker.hand.answered(ordinal) else { return };
        worker.note_answer(&reply, ran, now);
        let info = (Arc::clone(&worker.name), request.sent, ran);
        self.note_answered(key, group);
        match request.job {
            Some(job) if request.pending.is_some_and(|pending| pending != Pending::Expired(Clock::Queue)) => {
                let pending = request.pending.unwrap_or(Pending::Cancelled);
                self.finish(job, decided(pending, Started::Yes, Some(info.0)));
            }
            Some(job) => self.deliver(job, reply, info),
            None => {
                self.groups[usize::from(group.0)].stale_answers += 1;
                self.depart(group, request.id);
            }
        }
        self.note_hand_shrunk(key);
    }

    fn deliver(&mut self, key: JobKey, reply: Reply, (worker, sent, ran): (Arc<str>, Time, Duration)) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        job.is_started = true;
        if let Phase::Ending { .. } = job.phase {
            // Too late: the attempt was given up, and its being over is what the retry waited for.
            self.groups[usize::from(job.group.0)].stale_answers += 1;
            return self.retry(key);
        }
        let attempt = AttemptInfo {
            worker,
            attempt: job.retries.saturating_add(1),
            queued: sent.since(job.enqueued),
            ran,
        };
        match reply {
            Reply::Data(data) => {
                self.finish(key, Outcome::Replied { data, attachments: Attachments::NONE, attempt });
            }
            Reply::Attached(both) => {
                let (data, attachments) = *both;
                self.finish(key, Outcome::Replied { data, attachments, attempt });
            }
            Reply::Failed(failure) if self.is_worth_a_retry(key, &failure) => self.retry(key),
            Reply::Failed(failure) => self.finish(key, Outcome::Failed { failure, attempt }),
        }
    }

    fn is_worth_a_retry(&self, key: JobKey, failure: &Failure) -> bool {
        let Some(job) = self.jobs.get(key) else { return false };
        let wanted = match failure.retry {
            RetryHint::AsConfigured => job.ticket.options().retry_on.failure,
            RetryHint::Again => true,
            RetryHint::Never => false,
        };
        wanted && job.has_retries_left() && self.may_retry()
    }

    /// Spends a retry: the job is queued again, now or after its back-off.
    pub(super) fn retry(&mut self, key: JobKey) {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(key) else { return };
        if !job.has_retries_left() {
            debug_assert!(false, "a retry nobody granted");
            return;
        }
        job.retries += 1;
        let delay = retry_delay(job.ticket.options(), job.retries, &mut self.random);
        if delay.is_zero() {
            return self.requeue(key);
        }
        let until = now + delay;
        job.phase = Phase::Waiting { until };
        self.groups[usize::from(job.group.0)].waiting += 1;
        self.act(Action::Requeued(key));
        self.arm_job(key, until);
    }

    /// Puts a job back to its place by age.
    pub(super) fn requeue(&mut self, key: JobKey) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        let group = &mut self.groups[usize::from(job.group.0)];
        match std::mem::replace(&mut job.phase, Phase::Queued) {
            Phase::Queued | Phase::Behind => debug_assert!(false, "queued twice"),
            Phase::Waiting { .. } => group.waiting -= 1,
            Phase::Assigned { .. } | Phase::Ending { .. } => self.actions.push_back(Action::Requeued(key)),
        }
        group.is_dirty = true;
        let started = job.started();
        if job.is_suspect {
            group.suspects.insert(job.seq, key);
        } else if job.ticket.options().order.is_none() {
            group.queue.put_back(job.seq, key);
        } else {
            self.join(key);
        }
        if self.settles_backlog() {
            self.finish(key, decided(Pending::ShuttingDown, started, None));
        } else {
            self.arm_job(key, Time::NEVER);
        }
    }

    /// The one way in which a job ends.
    pub(super) fn finish(&mut self, key: JobKey, outcome: Outcome) {
        let Some(mut job) = self.jobs.remove(key) else { return };
        self.timers.clear(&mut job.timer);
        let group = &mut self.groups[usize::from(job.group.0)];
        group.note_outcome(&outcome, self.now);
        group.is_dirty = true;
        let (mut attempt, jobs) = (Attempt::Over, &self.jobs);
        match (job.phase, &mut group.aside) {
            (Phase::Queued, _) if job.is_suspect => drop(group.suspects.remove(&job.seq)),
            (Phase::Queued, Some(aside)) if job.is_ranked() => aside.ranks.bury_one(|key| jobs.has(key)),
            (Phase::Queued, _) => group.queue.bury_one(|key| jobs.has(key)),
            (Phase::Behind, _) => {}
            (Phase::Waiting { .. }, _) => group.waiting -= 1,
            (Phase::Assigned { worker, ordinal } | Phase::Ending { worker, ordinal }, _) => {
                if let Some(worker) = self.workers.get_mut(worker)
                    && let Some(request) = worker.hand.get_mut(ordinal)
                    && request.job == Some(key)
                {
                    request.job = None;
                    attempt = Attempt::Open;
                }
            }
        }
        if group.aside.is_some() {
            self.leave_line(&job, attempt);
        }
        self.act(Action::Complete { ticket: job.ticket, outcome });
    }
}

/// How a job ends that was decided about; `worker` has called, or may have called, its handler.
pub(super) fn decided(pending: Pending, started: Started, worker: Option<Arc<str>>) -> Outcome {
    match pending {
        Pending::Expired(clock) => Outcome::TimedOut { clock, started, worker },
        Pending::Cancelled => Outcome::Cancelled { started, worker },
        Pending::ShuttingDown => Outcome::ShuttingDown { started, worker },
    }
}

/// The delay before the `nth` retry: doubling, capped, with jitter of 20 % either way.
fn retry_delay(options: &JobOptions, nth: u16, random: &mut fastrand::Rng) -> Duration {
    let Some(base) = options.retry_backoff else { return Duration::ZERO };
    let doubled = base.saturating_mul(1 << (nth - 1).min(30));
    jittered(doubled.min(options.retry_backoff_max), 0.2, random)
}

/// `delay`, longer or shorter by up to `share` of it.
pub(super) fn jittered(delay: Duration, share: f64, random: &mut fastrand::Rng) -> Duration {
    let factor = (1.0 + share * (2.0 * random.f64() - 1.0)).max(0.0);
    Duration::try_from_secs_f64(delay.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}
