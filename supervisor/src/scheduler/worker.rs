//! One worker: what it is doing, and what is known of it.
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

use ganger_protocol::{Generation, Ordinal, Slot, Time, Vitals};

use super::hand::Hand;
use super::pick::Candidate;
use super::recycle::Wear;
use super::timers::TimerId;
use super::{Edition, Exit, GroupIndex, KillCause, Unrouted, WorkerStatus};

/// One worker, from the decision to start it until nothing of it is left.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) group: GroupIndex,
    pub(super) slot: u32,
    pub(super) edition: Edition,
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
    /// Whether its last answer was a failure.
    pub(super) has_failed: bool,
    /// The handler's time, averaged over the last answers, in nanoseconds; 0 before the first.
    pub(super) service_nanos: u64,
    /// When it last answered, or got a request while it had none.
    pub(super) last_progress: Time,
    pub(super) rss_bytes: Option<u64>,
    pub(super) done: u64,
    pub(super) failed: u64,
    /// What its own health check says, if it fails.
    pub(super) unhealthy: Option<Arc<str>>,
    /// It gets nothing new because of that.
    pub(super) is_set_aside: bool,
    pub(super) last_error: Option<Arc<str>>,
    /// Its limits, if its group has any.
    pub(super) wear: Option<Box<Wear>>,
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
    Unborn {
        until: Time,
    },
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
    pub(super) fn new(group: GroupIndex, slot: u32, edition: Edition, name: Arc<str>, now: Time) -> Worker {
        Worker {
            group,
            slot,
            edition,
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
            has_failed: false,
            service_nanos: 0,
            last_progress: now,
            rss_bytes: None,
            done: 0,
            failed: 0,
            unhealthy: None,
            is_set_aside: false,
            last_error: None,
            wear: None,
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
        } else if self.is_set_aside {
            Some(Unrouted::Unhealthy)
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
            has_failed: self.has_failed,
        }
    }
}
