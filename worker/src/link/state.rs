//! What the worker's threads share under one lock: the session, and who does what.

use std::sync::Arc;
use std::task::Waker;

use ganger_protocol::{Spin, Time};
use parking_lot::MutexGuard;

use crate::account::Checking;
use crate::callee::Callee;
use crate::calls::Asked;
use crate::courier::Courier;
use crate::pending::Pending;
use crate::serve::ServeError;
use crate::session::{Notice, Session};
use crate::store::StoreDesk;
use crate::testing::Faults;

/// A hook that runs in the moment before a hard kill.
pub(crate) type HardKillHook = Box<dyn FnOnce() + Send>;

/// What the lock holds.
pub(crate) struct State {
    pub(crate) session: Session,
    pub(crate) phase: Phase,
    pub(crate) reader: Reader,
    /// The reader's, while it does not wait.
    pub(crate) spin: Spin,
    pub(crate) crew: Crew,
    pub(crate) alert: Alert,
    /// When the oldest answer that is not written was given.
    pub(crate) unwritten_since: Time,
    /// Whether the sentry looks after unwritten bytes in short steps.
    pub(crate) watched: bool,
    /// Whether the socket had no room for all that was to be written last.
    pub(crate) is_stuck: bool,
    pub(crate) hard_kill: HardKill,
    pub(crate) default_capacity: u32,
    pub(crate) missed_events: u64,
    /// Calls of this worker's own.
    pub(crate) calls: Pending<Asked>,
    /// What this worker has to do with the shared store.
    pub(crate) store: StoreDesk,
    /// Tasks to be woken without the lock.
    pub(crate) wakers: Vec<Waker>,
    /// What came before `serve()` and waits for it.
    pub(crate) early: Vec<Notice>,
    /// Whether there are metrics or a health check.
    pub(crate) has_account: bool,
    pub(crate) checking: Checking,
    /// What goes wrong on purpose; `None` but in tests.
    pub(crate) faults: Option<Box<Faults>>,
    /// Whether the reader was nudged and has not yet woken.
    pub(super) nudged: bool,
}

/// How far this worker is.
pub(crate) enum Phase {
    /// Connected, handlers are being registered.
    Preparing(Opening),
    /// In `serve()`.
    Serving(Arc<Courier>, Arc<Callee>),
    /// Done; with the reason, until `serve()` has taken it.
    Over(Option<ServeError>),
}

/// What `serve()` says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Ready, for the default number of requests or this many.
    Ready(Option<u32>),
    /// Nothing: `busy()` was called.
    Busy,
}

/// The handler thread that waits for the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// There is none: all run handlers, or one is just being called.
    Absent,
    /// It waits for bytes.
    Reading,
    /// It waits for bytes, and for room to write.
    ReadingAndWriting,
}

/// Whether the sentry is to read when no handler thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alert {
    /// Handler threads have read since the last heartbeat.
    No,
    /// None has since the last heartbeat: at the next one the sentry reads for them.
    Perhaps,
    /// Something urgent was announced. The sentry reads until a handler thread has taken over.
    Yes,
    /// As before, and it waits for bytes now.
    Reading,
}

/// The handler threads that are not the reader.
#[derive(Debug, Default)]
pub(crate) struct Crew {
    pub(super) running: usize,
    pub(super) waiting: usize,
    /// Those of the waiting that were called and have not yet woken.
    pub(super) called: usize,
}

/// The hard-kill hooks and whether it is time to run them.
#[derive(Default)]
pub(crate) struct HardKill {
    pub(crate) hooks: Vec<HardKillHook>,
    pub(crate) announced: bool,
}

pub(crate) type Locked<'a> = MutexGuard<'a, State>;

impl State {
    pub(super) fn new(session: Session) -> State {
        State {
            session,
            phase: Phase::Preparing(Opening::Ready(None)),
            reader: Reader::Absent,
            spin: Spin::new(),
            crew: Crew::default(),
            alert: Alert::No,
            unwritten_since: Time::ZERO,
            watched: false,
            is_stuck: false,
            hard_kill: HardKill::default(),
            default_capacity: 1,
            missed_events: 0,
            calls: Pending::default(),
            store: StoreDesk::default(),
            wakers: Vec::new(),
            early: Vec::new(),
            has_account: false,
            checking: Checking::No,
            faults: None,
            nudged: false,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over(_))
    }

    /// Whether what comes is to be read: in `serve()`, and before it while somebody waits for an answer.
    pub(crate) fn listens(&self) -> bool {
        match self.phase {
            Phase::Preparing(_) => !self.calls.is_empty() || self.store.listens(),
            Phase::Serving(..) => true,
            Phase::Over(_) => false,
        }
    }
}
