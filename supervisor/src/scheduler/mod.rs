//! The mind: a pure state machine that decides what happens to every job and every worker.
//!
//! It has no socket, process, thread, clock or source of randomness of its own: the same inputs give the same
//! actions. Whoever drives it tells it one thing that happened at a time, or that time has passed, then takes the
//! actions until there are none, then waits until [`poll_timeout`](Scheduler::poll_timeout).
//!
//! ```text
//! enqueue(now, …), handle_input(now, Input)   one thing that happened
//! handle_timeout(now)                         what is due
//! poll_action() -> Option<Action>             what to do, in order; drain before waiting
//! poll_timeout() -> Option<Time>              when to come back
//! snapshot(), explain()                       how things are
//! ```
//!
//! Jobs are given to workers inside the first `poll_action` after a batch of inputs, once for all of them.

mod abandon;
mod action;
mod check;
mod clock;
mod config;
mod dispatch;
mod due;
mod edition;
mod exit;
mod group;
mod hand;
mod idle;
mod input;
mod job;
mod jobs;
mod keys;
mod ladder;
mod order;
mod outcome;
mod pick;
mod pool;
mod progress;
mod queue;
mod ranks;
mod recycle;
mod replace;
mod restart;
mod revive;
mod rollout;
mod show;
mod shutdown;
mod silence;
mod slab;
mod snapshot;
mod stats;
#[cfg(test)]
mod tests;
mod timers;
mod unhealthy;
mod warm;
mod window;
mod worker;

use std::collections::VecDeque;

use ganger_protocol::{JobId, Time};

pub use action::Action;
pub use config::{
    Config, CustomPick, GroupConfig, GroupIndex, JobOptions, MAX_PREFETCH, OnTimeout, OnUnhealthy, Order,
    Pick, PoisonPolicy, Priority, RecyclePolicy, RestartPolicy, RetryOn, Revive, RolloutTerms,
};
pub use dispatch::{Explanation, Standing};
pub use edition::Edition;
pub use input::{Backlog, Input, Reply, SpawnFailure, Ticket};
pub use outcome::{
    AttemptInfo, Clock, CrashReport, Exit, ExitStatus, KillCause, Outcome, Started, WorkerLost,
};
pub use pick::Candidate;
pub use recycle::{RecycleCause, Recycled};
pub use revive::Standstill;
pub use rollout::{RolloutAbort, RolloutPhase, RolloutStatus};
pub use slab::Key;
pub use snapshot::{DownWorker, GroupSnapshot, JobEnds, Snapshot, Unrouted, WorkerSnapshot, WorkerStatus};
pub use stats::Latency;

pub use crate::event::Event;

use clock::InsideClock;
use dispatch::Scratch;
use group::Group;
use jobs::Jobs;
use shutdown::Life;
use slab::Slab;
pub(crate) use timers::{TimerId, Timers};
use worker::Worker;

/// The kind of [`JobKey`].
#[derive(Debug)]
pub enum JobKind {}
/// The kind of [`WorkerKey`].
#[derive(Debug)]
pub enum WorkerKind {}
/// Names a job while it has not ended.
pub type JobKey = Key<JobKind>;
/// Names a worker until nothing of it is left.
pub type WorkerKey = Key<WorkerKind>;

/// The state of everything.
#[derive(Debug)]
pub struct Scheduler<T> {
    config: Config,
    /// Now, on the inside clock.
    now: Time,
    clock: InsideClock,
    random: fastrand::Rng,
    life: Life,
    is_online: bool,
    /// The number given last in the order of turns.
    next_seq: u64,
    groups: Vec<Group>,
    jobs: Jobs<T>,
    workers: Slab<WorkerKind, Worker>,
    timers: Timers<TimerKey>,
    sampling_timer: TimerId,
    shutdown_timer: TimerId,
    actions: VecDeque<Action<T>>,
    scratch: Scratch,
}

/// Whose timer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimerKey {
    Job(JobKey),
    Worker(WorkerKey),
    Group(GroupIndex),
    Window(GroupIndex),
    Sampling,
    Shutdown,
}

impl<T: Ticket> Scheduler<T> {
    /// A scheduler that will ask for its first workers at the first [`poll_action`](Scheduler::poll_action).
    ///
    /// `seed` decides jitter and random picks.
    #[must_use]
    pub fn new(config: Config, seed: u64, now: Time) -> Scheduler<T> {
        let groups =
            config.groups.iter().map(|group| Group::new(group.name.clone(), group.workers, now)).collect();
        Scheduler {
            config,
            now,
            clock: InsideClock::new(now),
            random: fastrand::Rng::with_seed(seed),
            life: Life::Running,
            is_online: false,
            next_seq: 0,
            groups,
            jobs: Jobs::new(),
            workers: Slab::new(),
            timers: Timers::new(now),
            sampling_timer: TimerId::UNSET,
            shutdown_timer: TimerId::UNSET,
            actions: VecDeque::new(),
            scratch: Scratch::default(),
        }
    }

    /// Takes over an accepted job; `enqueued` is when its owner enqueued it.
    ///
    /// # Panics
    /// When there is no such group.
    pub fn enqueue(&mut self, now: Time, group: GroupIndex, ticket: T, enqueued: Time) -> JobKey {
        self.advance(now);
        // It may be later than `now`, which is when the turn began: the job's clocks count from there all the same.
        let enqueued = self.clock.inside(enqueued);
        self.accept(group, ticket, enqueued)
    }

    /// Takes note of one thing that happened.
    pub fn handle_input(&mut self, now: Time, input: Input) {
        self.advance(now);
        match input {
            Input::Cancel(key) => self.cancel(key),
            Input::Resize { group, workers } => self.resize(group, workers),
            Input::Revive { group, slot } => self.revive(group, slot),
            Input::CancelRollout { group, edition } => self.cancel_roll(group, edition),
            Input::ShutdownWorker { worker, grace } => self.drain(worker, self.now + grace),
            Input::SoftKill { deadline, backlog } => self.soft_kill(deadline, backlog),
            Input::HardKill => self.hard_kill(),
            Input::LeftoverEnded(group) => self.leftover_ended(group),
            Input::Spawned { worker, .. }
            | Input::SpawnFailed { worker, .. }
            | Input::Hello(worker)
            | Input::WrongVersion { worker, .. }
            | Input::Ready { worker, .. }
            | Input::Busy(worker)
            | Input::Answer { worker, .. }
            | Input::Taken { worker, .. }
            | Input::Goodbye(worker)
            | Input::Violation { worker, .. }
            | Input::LinkEnded(worker)
            | Input::ProcessEnded { worker, .. }
            | Input::Page { worker, .. }
            | Input::TakenBack { worker, .. }
            | Input::Health { worker, .. }
            | Input::Sample { worker, .. } => self.worker_input(worker, input),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.advance(now);
        while let Some(key) = self.timers.pop_due(self.now) {
            match key {
                TimerKey::Job(key) => self.job_due(key),
                TimerKey::Worker(key) => self.worker_due(key),
                TimerKey::Group(index) => {
                    let group = &mut self.groups[usize::from(index.0)];
                    group.timer = TimerId::UNSET;
                    group.unsettle();
                }
                TimerKey::Window(index) => self.windows_due(index),
                TimerKey::Sampling => self.sample_all(),
                TimerKey::Shutdown => {
                    self.shutdown_timer = TimerId::UNSET;
                    self.patience_is_over();
                }
            }
        }
    }

    /// The next thing to do. Do it, tell what came of it, and ask again until there is nothing.
    pub fn poll_action(&mut self) -> Option<Action<T>> {
        while self.actions.is_empty() && self.pass() {}
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Scheduler::handle_timeout) is next of use.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.next().map(|inside| self.clock.outside(inside))
    }

    /// What the owner of a job gave along; `None` when the job has ended.
    #[must_use]
    pub fn ticket(&self, key: JobKey) -> Option<&T> {
        self.jobs.get(key).map(|job| job.ticket)
    }

    /// The job at a place of the scheduler's, if it still is the one of that id: places are used again.
    #[must_use]
    pub(crate) fn job_at(&self, place: u32, id: JobId) -> Option<JobKey> {
        self.jobs.key_at(place).filter(|key| self.ticket(*key).is_some_and(|ticket| ticket.id() == id))
    }

    /// Brings groups in which something happened up to date; false when there is none.
    fn pass(&mut self) -> bool {
        let mut was_dirty = false;
        for index in 0..self.groups.len() {
            if std::mem::take(&mut self.groups[index].is_dirty) {
                was_dirty = true;
                let index = GroupIndex(index as u16);
                if std::mem::take(&mut self.groups[usize::from(index.0)].is_unsettled) {
                    self.reconcile(index);
                }
                self.dispatch(index);
            }
        }
        let has_advanced = self.advance_life();
        was_dirty || has_advanced
    }

    fn act(&mut self, action: Action<T>) {
        self.actions.push_back(action);
    }

    fn tell(&mut self, event: Event) {
        self.act(Action::Tell(event));
    }

    fn resize(&mut self, index: GroupIndex, workers: u32) {
        let Some(group) = self.groups.get_mut(usize::from(index.0)) else { return };
        let before = std::mem::replace(&mut group.wanted, workers);
        (group.resting, group.lull) = (0, None);
        group.unsettle();
        self.call_back(index, before);
        self.note_online();
    }

    /// All first workers have said ready: that is told once.
    fn note_online(&mut self) {
        let is_ready = |key: Option<WorkerKey>| {
            key.and_then(|key| self.workers.get(key)).is_some_and(|worker| worker.ready_since.is_some())
        };
        let is_online = |group: &Group| {
            let target = group.wanted.saturating_sub(group.resting) as usize;
            group.slots.len() >= target
                && group.slots.iter().take(target).all(|place| is_ready(place.occupant))
        };
        if !self.is_online && self.groups.iter().all(is_online) {
            self.is_online = true;
            self.tell(Event::Online);
        }
    }

    fn arm_sampling(&mut self) {
        if !self.sampling_timer.is_set() {
            let at = self.now + self.config.sample_every;
            self.timers.set(&mut self.sampling_timer, at, TimerKey::Sampling);
        }
    }

    fn sample_all(&mut self) {
        self.sampling_timer = TimerId::UNSET;
        self.look_for_idle();
        (0..self.groups.len()).for_each(|index| self.measure_floor(GroupIndex(index as u16)));
        for key in self.workers.keys() {
            let is_alive = |worker: &Worker| worker.pid.is_some() && worker.ended.is_none();
            if self.workers.get(key).is_some_and(is_alive) {
                self.act(Action::Sample(key));
                self.arm_sampling();
            }
        }
    }

    /// Moves the clock on; a gap in which the supervisor itself stood still counts for nobody.
    fn advance(&mut self, now: Time) {
        let due = self.timers.next();
        self.now = self.clock.advance(now, due);
    }
}
