//! What the driver is told once, at the start, and its own limits.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::Limits;

use super::Subscriber;
use crate::calls::Registry;
use crate::scheduler::Backlog;
use crate::shared::QueueLimits;
use crate::store::StoreLimits;
use crate::{Resource, Rlimit};

/// Bytes read from one worker in one turn; a worker with more to say is read again in the next.
pub(super) const READ_BUDGET: usize = 256 * 1024;

/// How much later than it might a worker is read that has said more than its quota, if nothing else begins a turn: the
/// loop does not wake up for every few of its messages.
pub(super) const REST_SLACK: Duration = Duration::from_millis(5);

/// How much the system is asked to keep of what either end of a link has written and the other has not read. It
/// allows at most `net.core.wmem_max`. A writer of a large payload waits for the reader each time that it is full.
pub(super) const SEND_BUFFER: usize = 512 * 1024;

/// Bytes that may wait for a worker before broadcast events are dropped instead of appended. Requests are bounded
/// by the worker's window.
pub(super) const OUTBOX_EVENTS: usize = 16 << 20;

/// Bytes read from one output pipe in one turn.
pub(super) const OUTPUT_BUDGET: usize = 64 * 1024;

/// Bytes read from one output pipe when its process has ended: more than a pipe holds by default.
pub(super) const LAST_WORDS: usize = 1 << 20;

/// A line of output longer than this is cut into pieces.
pub(super) const LINE_LEN: usize = 8 * 1024;

/// Lines of standard error kept for the crash report.
pub(super) const TAIL_LINES: usize = 64;

/// Log records and output lines that may wait for the logger; what comes while it is full is dropped and counted.
pub(super) const LOG_BACKLOG: usize = 4096;

/// Bytes of an offending frame shown in the log.
pub(super) const OFFENCE_SHOWN: usize = 64;

/// Messages a worker may send a second that no request asked for: events, readiness, answers beyond the requests
/// it was sent. A worker that was idle may send a tenth of that at once; one that sends more is read no faster than
/// that, and is killed when this has lasted for two seconds.
pub(super) const UNASKED_PER_SECOND: u64 = 10_000;

/// Bytes of events a worker may send a second, in the same way.
pub(super) const EVENT_BYTES_PER_SECOND: u64 = 64 << 20;

/// Bytes of metrics a worker may send a second, some of which at once.
pub(super) const METRIC_BYTES_PER_SECOND: u64 = 8 << 20;

/// System events taken from one poll; more wait for the next turn.
pub(super) const EVENTS_PER_POLL: usize = 1024;

/// Commands taken from the inbox in one turn, so that callers in a hurry do not starve the workers.
pub(super) const COMMANDS_PER_TURN: usize = 16 * 1024;

/// How long a process that was killed without anybody waiting for it has to end before it is left to the system.
pub(super) const REAP_GRACE: Duration = Duration::from_millis(100);

/// Calls a worker may make a second, and a tenth of that at once; one that makes more is read no faster than that.
pub(super) const CALLS_PER_SECOND: u64 = 50_000;

/// A worker may have so many calls in flight.
pub(super) const CALLS_IN_FLIGHT: u32 = 256;

/// Bytes that may wait for a worker before its calls are read no further.
pub(super) const OUTBOX_CALLS: usize = 64 << 20;

/// Bytes that may wait for a worker before it is told that its calls were too many, instead of their answers.
pub(super) const OUTBOX_ANSWERS: usize = 512 << 20;

/// How long a worker's calls are left unread when it does not read their answers.
pub(super) const UNREAD_PAUSE: Duration = Duration::from_millis(1);

/// What the driver is told once, at the start.
pub(crate) struct DriverConfig {
    /// The groups' programs, in the order of the scheduler's groups.
    pub(crate) groups: Vec<GroupProgram>,
    /// The largest payloads, in both directions.
    pub(crate) payloads: Limits,
    /// How much may be unsettled at a time.
    pub(crate) queue: QueueLimits,
    /// How much the shared store takes.
    pub(crate) store: StoreLimits,
    /// Who answers calls to this process.
    pub(crate) handlers: Registry,
    /// How many threads do so.
    pub(crate) call_threads: usize,
    /// Who is told what happens, from the first event on.
    pub(crate) subscribers: Vec<Subscriber>,
    /// What SIGINT and SIGTERM do; `None` leaves them alone.
    pub(crate) on_signals: Option<OnSignals>,
    /// A file with a line `oom_kill N` to read instead of the system's own, for tests.
    pub(crate) oom_events: Option<PathBuf>,
}

impl DriverConfig {
    /// These groups, everything else by default.
    pub(crate) fn new(groups: Vec<GroupProgram>) -> DriverConfig {
        DriverConfig {
            groups,
            payloads: Limits::default(),
            queue: QueueLimits::default(),
            store: StoreLimits::default(),
            handlers: Registry::default(),
            call_threads: 4,
            subscribers: Vec::new(),
            on_signals: None,
            oom_events: None,
        }
    }
}

/// How a group's processes are started.
#[derive(Clone, Debug)]
pub(crate) struct GroupProgram {
    /// The program, as an absolute path: a bare name would be looked up in the worker's own PATH, slowly.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<OsString>,
    /// Its environment.
    pub(crate) env: Environment,
    /// Its working directory; `None`: the supervisor's.
    pub(crate) cwd: Option<PathBuf>,
    /// What each of its processes gets, whatever its program.
    pub(crate) terms: Terms,
}

/// What each process of a group gets, whatever its program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    /// Bytes of memory that it shares for requests, and as many for answers; 0: none.
    pub(crate) pool_bytes: usize,
    /// Variables whose values depend on its slot.
    pub(crate) slot_env: Vec<(OsString, SlotValues)>,
    /// Sockets that listen, by name; each process gets its own copy of each.
    pub(crate) listeners: Vec<(Arc<str>, Arc<OwnedFd>)>,
    /// `None`: the supervisor's.
    pub(crate) niceness: Option<i32>,
    /// What it may use, in the order in which it is set.
    pub(crate) rlimits: BTreeMap<Resource, Rlimit>,
}

/// A variable's values, by slot.
#[derive(Clone)]
pub(crate) enum SlotValues {
    /// One after the other, and again from the first.
    Cycle(Arc<[OsString]>),
    /// As a function says.
    Function(Arc<dyn Fn(u32) -> OsString + Send + Sync>),
}

impl SlotValues {
    pub(crate) fn of(&self, slot: u32) -> OsString {
        match self {
            SlotValues::Cycle(values) => values[slot as usize % values.len()].clone(),
            SlotValues::Function(function) => function(slot),
        }
    }
}

impl fmt::Debug for SlotValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SlotValues::Cycle(values) => f.debug_list().entries(values.iter()).finish(),
            SlotValues::Function(_) => f.write_str("a function"),
        }
    }
}

impl GroupProgram {
    /// A program without arguments, everything else by default.
    pub(crate) fn new(program: impl Into<PathBuf>) -> GroupProgram {
        GroupProgram {
            program: program.into(),
            args: Vec::new(),
            env: Environment::default(),
            cwd: None,
            terms: Terms::default(),
        }
    }
}

/// A process's environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// What it starts from.
    pub(crate) base: EnvironmentBase,
    /// Variables set on top of that.
    pub(crate) set: Vec<(OsString, OsString)>,
    /// Variables removed from that.
    pub(crate) remove: Vec<OsString>,
}

/// What a process's environment starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EnvironmentBase {
    /// The supervisor's own.
    #[default]
    Inherit,
    /// Nothing.
    Empty,
}

/// What the first SIGINT or SIGTERM begins; the second is a hard kill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnSignals {
    /// How long the soft kill may take.
    pub(crate) deadline: Duration,
    /// What becomes of jobs not in flight.
    pub(crate) backlog: Backlog,
}
