//! What a run can be found guilty of.

use std::fmt;

use ganger::JobId;

use super::ledger::{Clock, Ending};

/// A promise that was broken, with the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    /// A job whose outcome was waited for, in vain.
    NeverSettled {
        job: JobId,
    },
    SettledTwice {
        job: JobId,
    },
    /// An outcome for a job that was not accepted, or that nobody waited for.
    SettledUnasked {
        job: JobId,
    },
    /// A handler was called for a job that was not accepted.
    RanUnasked {
        job: JobId,
    },
    TooManyRuns {
        job: JobId,
        runs: usize,
        allowed: usize,
    },
    /// Two runs have the same number, or one a number beyond what was allowed.
    WrongAttempt {
        job: JobId,
        attempt: u16,
    },
    /// A run began before the one before was over.
    Overlap {
        job: JobId,
        attempt: u16,
    },
    /// A run began after the handle had settled.
    RanAfterSettled {
        job: JobId,
        attempt: u16,
    },
    /// "Not started", and yet there was a run.
    StartedAfterAll {
        job: JobId,
    },
    /// "Started", and yet there was no run, nor a death that may have hidden one.
    NeverStarted {
        job: JobId,
    },
    WrongPayload {
        job: JobId,
        attempt: u16,
    },
    /// An answer was delivered that no handler of this job gave in this attempt on this worker.
    WrongAnswer {
        job: JobId,
    },
    /// An ending that nothing gave cause for.
    UnaskedEnding {
        job: JobId,
        ending: Box<Ending>,
    },
    TimedOutEarly {
        job: JobId,
        clock: Clock,
        early_nanos: u64,
    },
    /// A retry was spent on a death before the start.
    RetryWasted {
        job: JobId,
        attempt: u16,
    },
    /// The job was lost although it had a retry left.
    RetryWithheld {
        job: JobId,
    },
    /// A death was charged to a job that was not running there.
    Bystander {
        job: JobId,
        pid: u32,
    },
    /// A job was running at a death, and the report does not say so.
    RunningUnnamed {
        job: JobId,
        pid: u32,
    },
    /// The supervisor gave up a job for deaths that it had caused itself.
    PoisonedByUs {
        job: JobId,
    },
    PoisonedEarly {
        job: JobId,
    },
    /// A job that was suspect died together with another one.
    SuspectNotAlone {
        job: JobId,
        pid: u32,
    },
    /// An outcome speaks of a death of which nothing else is known.
    UnknownDeath {
        job: JobId,
        pid: u32,
    },
    /// A process was killed, and the supervisor has not said so to the end.
    DeathUnnoticed {
        pid: u32,
    },
    /// A process ended by itself, and nobody had asked it to.
    DeathUnexplained {
        pid: u32,
    },
    /// A process went on working after the supervisor had said that it had ended.
    AliveAfterDeath {
        pid: u32,
    },
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
