//! What the three witnesses wrote down: plain facts with stamps, no verdicts.
//!
//! Every stamp is in nanoseconds of `CLOCK_MONOTONIC`, which all processes of the machine share.

use std::time::Duration;

use ganger::JobId;

/// Everything that was written down in a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// The submitter: what was accepted.
    pub(crate) accepted: Vec<Accepted>,
    /// The submitter: what came back.
    pub(crate) settled: Vec<Settled>,
    /// The handlers: what was really run, in the order of the journal.
    pub(crate) marks: Vec<Mark>,
    /// The reaper: which processes there were, and how they ended.
    pub(crate) processes: Vec<Process>,
}

/// A job that the supervisor took on.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) job: JobId,
    /// Just before it was handed over.
    pub(crate) at: u64,
    /// Whether the queue had room for it at once; otherwise its clocks began later than `at`.
    pub(crate) admission: Admission,
    pub(crate) retries: u16,
    /// The hash of its payload.
    pub(crate) payload: u64,
    pub(crate) asked: Asked,
    pub(crate) clocks: Clocks,
    pub(crate) cancel: Cancel,
    pub(crate) interest: Interest,
    /// At how many deaths its group gives it up.
    pub(crate) poison_deaths: usize,
}

/// How a job came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    AtOnce,
    Later,
}

/// What the handler was told to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Reply,
    Fail,
    /// To kill its own process.
    Die,
}

/// A job's clocks, as they were set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clocks {
    pub(crate) queue: Option<Duration>,
    pub(crate) run: Option<Duration>,
    pub(crate) total: Option<Duration>,
}

/// Whether the submitter has ever asked for it to be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    Never,
    Asked,
}

/// Whether somebody waits for the job's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Awaited,
    /// By a callback: its stamps are from the moment at which it was told.
    CalledBack,
    /// The handle was dropped: the job is done all the same.
    Forgotten,
}

/// A handle that has settled.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) job: JobId,
    /// When the submitter saw it; it happened before.
    pub(crate) at: u64,
    pub(crate) ending: Ending,
}

/// What a handle settled as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Replied(Answer),
    Failed(Answer),
    TimedOut {
        clock: Clock,
        started: Started,
    },
    Cancelled {
        started: Started,
    },
    Lost(Death),
    Poisoned(Vec<Death>),
    /// One that nothing in a run gives cause for.
    Odd(String),
}

/// Which clock ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    Queue,
    Run,
    Total,
}

/// What the supervisor said about a handler having been called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Started {
    No,
    Yes,
}

/// An answer as it was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The hash of the worker's name.
    pub(crate) worker: u64,
    pub(crate) attempt: u16,
    /// The hash of the reply, or of the failure's message.
    pub(crate) hash: u64,
}

/// A report of a worker's death, as the supervisor gave it out. Process id and lifetime tell deaths apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Death {
    pub(crate) pid: u32,
    pub(crate) uptime: Duration,
    pub(crate) killer: Killer,
    /// The jobs that it is charged to.
    pub(crate) running: Vec<JobId>,
}

/// Who ended the worker, according to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Killer {
    Supervisor,
    SomeoneElse,
}

/// One line in the handlers' journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) at: u64,
    pub(crate) pid: u32,
    /// When the process wrote its first line: with its id, its name.
    pub(crate) born: u64,
    pub(crate) thread: u32,
    pub(crate) deed: Deed,
}

/// What a worker process did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It is connected, and about to serve.
    Boot { worker: u64, threads: u16 },
    /// A handler was called.
    Start { job: JobId, attempt: u16, payload: u64 },
    /// Another process had this very job in hand at that moment: the kernel says so.
    Collision { job: JobId, attempt: u16 },
    /// The handler is about to kill its own process, as it was told.
    LastWords { job: JobId, attempt: u16 },
    /// The handler is about to answer with what has this hash.
    End { job: JobId, attempt: u16, hash: u64 },
}

/// A worker process, from outside.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// The last moment at which it was seen alive; zero when it never was.
    pub(crate) alive_at: u64,
    /// When it was sent SIGKILL.
    pub(crate) struck_at: Option<u64>,
    pub(crate) end: Option<End>,
}

/// The supervisor's word that a process has ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// When that was heard; it was said before.
    pub(crate) at: u64,
    pub(crate) manner: Manner,
    pub(crate) death: Death,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It left, as it was asked to.
    Exited,
    Crashed,
    /// It was given up: nobody knows whether it has ended.
    WrittenOff,
}
