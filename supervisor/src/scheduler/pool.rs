//! The workers: what each is doing, and what each event means for it.
//!
//! ```text
//!             Spawned            Ready             Ready
//!  Spawning ───────────▶ Starting ──────▶ Ready ◀────────▶ Busy
//!     │                     │               │      Busy      │
//!     │ SpawnFailed         │ boot timeout  │ drain          │ drain
//!     ▼                     ▼               ▼                ▼
//!   gone ◀─────────────  Stopping ◀───── Draining ───────────┘
//!     ▲   link and process   ▲    deadline   │
//!     │   both ended         └─ any fault ───┤
//!     └──────────────────────────────────────┘ Goodbye, then exit
//! ```
//!
//! A worker in any state is gone once its link and its process have both ended (`exit.rs`). Stopping is the kill
//! ladder (`ladder.rs`): there is no way back from it.

use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{Generation, Ordinal, Slot, Time, Vitals};

use super::hand::Hand;
use super::pick::Candidate;
use super::timers::TimerId;
use super::{
    Action, Event, Exit, GroupConfig, GroupIndex, Input, KillCause, Scheduler, Ticket, TimerKey, Unrouted,
    WorkerKey, WorkerStatus,
};

/// One worker, from the decision to start it until nothing of it is left.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) group: GroupIndex,
    pub(super) slot: u32,
    pub(super) name: Arc<str>,
    pub(super) pid: Option<u32>,
    pub(super) state: State,
    /// When it was decided to start it.
    pub(super) born: Time,
    /// When it first said ready.
    pub(super) ready_since: Option<Time>,
    /// It has answered a job, or has been ready for long enough.
    pub(super) is_healthy: bool,
    pub(super) timer: TimerId,
    pub(super) capacity: u32,
    pub(super) wants_hard_kill: bool,
    pub(super) generation: Generation,
    pub(super) hand: Hand,
    /// A take-back was ordered and is not yet answered.
    pub(super) is_taking_back: bool,
    /// A look at its page was ordered and is not yet answered.
    pub(super) is_reading: bool,
    pub(super) link_ended: Option<Time>,
    pub(super) ended: Option<Ended>,
    pub(super) killed: Option<KillCause>,
    pub(super) said_goodbye: bool,
    /// Missed heartbeats.
    pub(super) is_suspected: bool,
    pub(super) vitals: Vitals,
    /// When the heartbeat was last seen to change.
    pub(super) beat_seen: Time,
    pub(super) isolation: Isolation,
    pub(super) last_used: u64,
    /// The handler's time, averaged over the last answers, in nanoseconds; 0 before the first.
    pub(super) service_nanos: u64,
    /// When it last answered, or got a request while it had none.
    pub(super) last_progress: Time,
    pub(super) rss_bytes: Option<u64>,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) last_error: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A process was ordered.
    Spawning,
    /// There is a process; it has not said ready.
    Starting,
    Ready,
    Busy,
    /// It was told that no further request comes.
    Draining {
        /// From then on it is killed.
        deadline: Time,
        /// Since when it holds nothing and could leave.
        idle_since: Option<Time>,
    },
    Stopping(Rung),
}

/// A rung of the kill ladder, and until when the worker may stay on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rung {
    /// It has no process yet; it will be killed as soon as it has one.
    Unborn,
    Warned {
        until: Time,
    },
    Terminated {
        until: Time,
    },
    Killed {
        until: Time,
    },
}

/// Whether a worker is set apart for a suspect job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
    None,
    /// It gets nothing new until it is empty, and then the suspect job.
    Reserved,
    /// It runs a suspect job, alone.
    Running,
}

/// A process that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) at: Time,
    pub(super) exit: Exit,
    pub(super) started: Ordinal,
    pub(super) running: Vec<Slot>,
}

impl Worker {
    pub(super) fn new(group: GroupIndex, slot: u32, name: Arc<str>, now: Time) -> Worker {
        Worker {
            group,
            slot,
            name,
            pid: None,
            state: State::Spawning,
            born: now,
            ready_since: None,
            is_healthy: false,
            timer: TimerId::UNSET,
            capacity: 0,
            wants_hard_kill: false,
            generation: Generation(0),
            hand: Hand::new(),
            is_taking_back: false,
            is_reading: false,
            link_ended: None,
            ended: None,
            killed: None,
            said_goodbye: false,
            is_suspected: false,
            vitals: Vitals::default(),
            beat_seen: now,
            isolation: Isolation::None,
            last_used: 0,
            service_nanos: 0,
            last_progress: now,
            rss_bytes: None,
            done: 0,
            failed: 0,
            last_error: None,
        }
    }

    /// Whether new requests may be sent to it at all.
    pub(super) fn is_routable(&self, now: Time) -> bool {
        self.state == State::Ready
            && self.unrouted(now).is_none()
            && !self.is_taking_back
            && self.is_connected()
    }

    /// Why it gets no new requests although it may be ready.
    pub(super) fn unrouted(&self, now: Time) -> Option<Unrouted> {
        if self.is_suspected {
            Some(Unrouted::Suspected)
        } else if self.hand.is_tainted(now) {
            Some(Unrouted::Tainted)
        } else if self.isolation == Isolation::None {
            None
        } else {
            Some(Unrouted::Isolated)
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.link_ended.is_none() && self.ended.is_none()
    }

    pub(super) fn has_free_slot(&self) -> bool {
        self.hand.len() < self.capacity
    }

    pub(super) fn is_stopping(&self) -> bool {
        matches!(self.state, State::Stopping(_))
    }

    /// Whether its group can still count on it: it has said ready and is not on its way out.
    pub(super) fn is_serving(&self) -> bool {
        matches!(self.state, State::Ready | State::Busy) && self.is_connected()
    }

    pub(super) fn status(&self) -> WorkerStatus {
        match self.state {
            _ if self.ended.is_some() => WorkerStatus::Exited,
            State::Spawning | State::Starting => WorkerStatus::Starting,
            State::Ready => WorkerStatus::Ready,
            State::Busy => WorkerStatus::Busy,
            State::Draining { .. } => WorkerStatus::Draining,
            State::Stopping(_) => WorkerStatus::Stopping,
        }
    }

    pub(super) fn candidate(&self) -> Candidate {
        Candidate {
            slot: self.slot,
            rss_bytes: self.rss_bytes,
            in_flight: self.hand.len(),
            capacity: self.capacity,
            last_used: self.last_used,
        }
    }

    /// Until when it may live without its link; for ever with it. A worker that said goodbye closes it as it was
    /// asked to, and may tidy up for as long as it has to leave.
    fn hung_up_until(&self, config: &GroupConfig) -> Time {
        match self.link_ended {
            Some(at) if !self.said_goodbye => at + config.close_grace,
            Some(_) | None => Time::NEVER,
        }
    }

    /// When something about this worker is due, whatever it is.
    fn due(&self, config: &GroupConfig) -> Time {
        // A process that has ended is only waited for by its link: no signal and no grace matters any more.
        if let Some(ended) = &self.ended {
            return ended.at + config.orphan_grace;
        }
        let state = match self.state {
            State::Spawning | State::Ready | State::Busy | State::Stopping(Rung::Unborn) => Time::NEVER,
            State::Starting => self.born + config.boot_timeout,
            State::Draining { deadline, idle_since } => {
                idle_since.map_or(deadline, |since| deadline.min(since + config.leave_grace))
            }
            State::Stopping(Rung::Warned { until } | Rung::Terminated { until } | Rung::Killed { until }) => {
                until
            }
        };
        let half_gone = if self.is_stopping() { Time::NEVER } else { self.hung_up_until(config) };
        let culprits = if self.is_stopping() { Time::NEVER } else { self.hand.next_culprit_step() };
        state.min(half_gone).min(culprits)
    }
}

impl<T: Ticket> Scheduler<T> {
    /// One thing that happened to a worker, held against what the worker is doing.
    pub(super) fn worker_input(&mut self, key: WorkerKey, input: Input) {
        let Some(worker) = self.workers.get(key) else { return };
        self.groups[usize::from(worker.group.0)].is_dirty = true;
        match input {
            Input::Spawned { pid, .. } => self.on_spawned(key, pid),
            Input::SpawnFailed { error, .. } => self.on_spawn_failed(key, error),
            Input::Hello(_) => {}
            Input::WrongVersion { version, .. } => self.on_wrong_version(key, version),
            Input::Ready { capacity, wants_hard_kill, .. } => self.on_ready(key, capacity, wants_hard_kill),
            Input::Busy(_) => self.on_busy(key),
            Input::Answer { ordinal, epoch, ran, reply, .. } => {
                self.on_answer(key, ordinal, epoch, ran, reply);
            }
            Input::Goodbye(_) => self.on_goodbye(key),
            Input::Violation { reason, .. } => self.on_violation(key, &reason),
            Input::LinkEnded(_) => self.on_link_ended(key),
            Input::ProcessEnded { exit, started, running, .. } => {
                self.on_process_ended(key, Ended { at: self.now, exit, started, running });
            }
            Input::Page { started, running, .. } => self.on_page(key, started, &running),
            Input::TakenBack { mark, .. } => self.on_taken_back(key, mark),
            Input::Sample { rss_bytes, vitals, .. } => self.on_sample(key, rss_bytes, vitals),
            Input::Cancel(_)
            | Input::Resize { .. }
            | Input::ShutdownWorker { .. }
            | Input::SoftKill { .. }
            | Input::HardKill => debug_assert!(false, "not an input of a worker"),
        }
        self.arm_worker(key);
    }

    fn on_spawned(&mut self, key: WorkerKey, pid: u32) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.pid = Some(pid);
        worker.beat_seen = now;
        let (name, state) = (Arc::clone(&worker.name), worker.state);
        if state == State::Spawning {
            worker.state = State::Starting;
        }
        self.tell(Event::WorkerSpawned { worker: name, pid });
        match state {
            State::Spawning => self.arm_sampling(),
            State::Stopping(_) => self.kill(key),
            State::Starting | State::Ready | State::Busy | State::Draining { .. } => {
                debug_assert!(false, "spawned twice");
            }
        }
    }

    fn on_ready(&mut self, key: WorkerKey, capacity: u32, wants_hard_kill: bool) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        let is_lowered = capacity < worker.capacity;
        worker.capacity = capacity.max(1);
        worker.wants_hard_kill = wants_hard_kill;
        match worker.state {
            State::Starting | State::Busy | State::Ready => {
                let is_news = worker.state != State::Ready;
                worker.state = State::Ready;
                worker.ready_since.get_or_insert(now);
                worker.beat_seen = now;
                let (name, group) = (Arc::clone(&worker.name), worker.group);
                if is_news {
                    self.tell(Event::WorkerReady { worker: name, capacity });
                }
                self.note_online();
                self.note_admission(group);
                if is_lowered {
                    self.take_back(key);
                }
                if is_news {
                    self.act(Action::Sample(key));
                }
            }
            State::Draining { .. } | State::Stopping(_) | State::Spawning => {}
        }
    }

    fn on_busy(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        match worker.state {
            State::Starting | State::Ready => {
                let was_starting = worker.state == State::Starting;
                // A worker that is busy before it was ever ready is still starting: the boot timeout holds.
                if !was_starting {
                    worker.state = State::Busy;
                }
                let name = Arc::clone(&worker.name);
                self.tell(Event::WorkerBusy { worker: name });
                self.take_back(key);
            }
            State::Spawning | State::Busy | State::Draining { .. } | State::Stopping(_) => {}
        }
    }

    fn on_goodbye(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.said_goodbye = true;
        match worker.state {
            State::Draining { .. } if worker.hand.is_empty() => {}
            State::Draining { .. } => self.on_violation(key, "it said goodbye with requests in hand"),
            State::Starting | State::Ready | State::Busy => {
                self.on_violation(key, "it said goodbye without being asked to leave");
            }
            State::Spawning | State::Stopping(_) => {}
        }
    }

    pub(super) fn on_violation(&mut self, key: WorkerKey, reason: &str) {
        self.stop(key, KillCause::Violation(reason.into()), Step::Kill);
    }

    /// The link is at its end: usually the process is too, and says so in a moment.
    fn on_link_ended(&mut self, key: WorkerKey) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.link_ended.get_or_insert(now);
        self.judge_if_gone(key);
    }

    fn on_process_ended(&mut self, key: WorkerKey, ended: Ended) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.ended.get_or_insert(ended);
        self.judge_if_gone(key);
    }

    fn judge_if_gone(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get(key) else { return };
        if worker.link_ended.is_some() && worker.ended.is_some() {
            self.judge(key);
        }
    }

    /// Tells a worker that no further request comes. It leaves when it is done, or at the deadline by the ladder.
    pub(super) fn drain(&mut self, key: WorkerKey, deadline: Time) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key).filter(|worker| worker.ended.is_none()) else { return };
        match worker.state {
            State::Spawning => self.stop(key, KillCause::Overstayed, Step::Kill),
            State::Starting | State::Ready | State::Busy => {
                let idle_since = worker.hand.is_empty().then_some(now);
                worker.state = State::Draining { deadline, idle_since };
                self.take_back(key);
                self.act(Action::Drain(key));
            }
            State::Draining { deadline: ref mut old, .. } => *old = (*old).min(deadline),
            State::Stopping(_) => {}
        }
        self.arm_worker(key);
    }

    /// What is due for a worker.
    pub(super) fn worker_due(&mut self, key: WorkerKey) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.timer = TimerId::UNSET;
        let group = worker.group;
        let config = &self.config.groups[usize::from(group.0)];
        if worker.due(config) <= now {
            self.groups[usize::from(group.0)].is_dirty = true;
            self.worker_step(key, now);
        }
        self.arm_worker(key);
    }

    fn worker_step(&mut self, key: WorkerKey, now: Time) {
        let Some(worker) = self.workers.get(key) else { return };
        let config = &self.config.groups[usize::from(worker.group.0)];
        if worker.ended.is_some() {
            return self.judge(key);
        }
        if worker.hung_up_until(config) <= now && !worker.is_stopping() {
            return self.stop(key, KillCause::LinkClosed, Step::Kill);
        }
        match worker.state {
            State::Starting if worker.born + config.boot_timeout <= now => {
                self.stop(key, KillCause::NotReady, Step::Kill);
            }
            State::Draining { deadline, idle_since }
                if deadline <= now || idle_since.is_some_and(|since| since + config.leave_grace <= now) =>
            {
                self.stop(key, KillCause::Overstayed, Step::Terminate);
            }
            State::Stopping(rung) => self.climb(key, rung),
            State::Spawning | State::Starting | State::Ready | State::Busy | State::Draining { .. } => {
                self.judge_culprits(key);
            }
        }
    }

    pub(super) fn arm_worker(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        let due = worker.due(&self.config.groups[usize::from(worker.group.0)]);
        let mut timer = worker.timer;
        self.timers.set(&mut timer, due, TimerKey::Worker(key));
        worker.timer = timer;
    }

    /// Takes back what the worker has not started; the answer comes before anything else happens.
    pub(super) fn take_back(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        if worker.hand.is_empty() || worker.is_taking_back {
            return;
        }
        worker.is_taking_back = true;
        self.act(Action::TakeBack(key));
    }

    /// What a look at the worker showed: memory, and whether it still beats.
    fn on_sample(&mut self, key: WorkerKey, rss_bytes: Option<u64>, vitals: Vitals) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        if rss_bytes.is_some() {
            worker.rss_bytes = rss_bytes;
        }
        if vitals.beat != worker.vitals.beat {
            worker.beat_seen = now;
        }
        worker.vitals = vitals;
        let config = &self.config.groups[usize::from(worker.group.0)];
        let silent = now.since(worker.beat_seen);
        let healthy = worker.ready_since.is_some_and(|at| now.since(at) >= config.restart.healthy_after);
        let (suspect_after, missing_after) = (config.suspect_after, config.missing_after);
        if worker.is_serving() && healthy && silent < suspect_after {
            self.note_healthy(key);
        }
        self.note_silence(key, silent, suspect_after, missing_after);
    }

    fn note_silence(
        &mut self,
        key: WorkerKey,
        silent: Duration,
        suspect_after: Duration,
        missing_after: Duration,
    ) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        let judged = match worker.state {
            State::Ready | State::Busy | State::Draining { .. } => worker.is_connected(),
            State::Spawning | State::Starting | State::Stopping(_) => false,
        };
        if !judged {
            return;
        }
        let name = Arc::clone(&worker.name);
        if silent >= missing_after {
            return self.stop(key, KillCause::Silent, Step::Terminate);
        }
        let is_suspect = silent >= suspect_after;
        if is_suspect == worker.is_suspected {
            return;
        }
        worker.is_suspected = is_suspect;
        if is_suspect {
            self.tell(Event::WorkerSuspected { worker: name });
            self.take_back(key);
        } else {
            self.tell(Event::WorkerCleared { worker: name });
        }
    }
}

/// Where on the kill ladder a worker begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A warning by frame, for those that asked for it.
    Warn,
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}
