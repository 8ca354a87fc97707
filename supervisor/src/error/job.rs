//! Why an accepted job did not end with a reply.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{CodecError, Failure, FailureKind, JobId};

use crate::scheduler::{Clock, CrashReport, Started};

/// A job that was accepted and did not end with a reply.
///
/// [`started`](JobError::started) says whether a handler was ever called for it: when not, it is safe to give the
/// same job again.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The handler answered with a failure, or could not be called.
    #[error("job {job} ({call}) failed on worker {worker} at attempt {attempt}: {failure}")]
    Failed {
        /// The job.
        job: JobId,
        /// The call's name.
        call: Cow<'static, str>,
        /// What the handler, or the worker in its place, said.
        failure: Failure,
        /// The worker's name.
        worker: Arc<str>,
        /// Which attempt it was, from 1.
        attempt: u16,
    },
    /// One of the job's clocks ran out.
    #[error("job {job} ({call}) timed out: its {clock} of {limit:?} ran out, {}{}", handler(*started), on(worker.as_ref()))]
    TimedOut {
        /// The job.
        job: JobId,
        /// The call's name.
        call: Cow<'static, str>,
        /// Which clock.
        clock: Clock,
        /// What it was set to.
        limit: Duration,
        /// Whether a handler had been called.
        started: Started,
        /// The name of the worker whose handler was at work, if one was.
        worker: Option<Arc<str>>,
    },
    /// Someone cancelled the job.
    #[error("job {job} ({call}) was cancelled, {}{}", handler(*started), on(worker.as_ref()))]
    Cancelled {
        /// The job.
        job: JobId,
        /// The call's name.
        call: Cow<'static, str>,
        /// Whether a handler had been called.
        started: Started,
        /// The name of the worker whose handler was at work, if one was.
        worker: Option<Arc<str>>,
    },
    /// The worker died after the handler had been called: nobody knows how far it came.
    #[error(
        "job {job} ({call}) was lost: {report}{}; how far the handler came is not known, {}",
        for_whose_sake(*because),
        another_attempt(*streams)
    )]
    WorkerLost {
        /// The job.
        job: JobId,
        /// The call's name.
        call: Cow<'static, str>,
        /// How the worker died.
        report: Arc<CrashReport>,
        /// The other job for whose sake the supervisor itself killed the worker, if it did.
        because: Option<JobId>,
        /// How many ends of streams were attached to the job. With any it is not tried again, whatever its retries:
        /// what was read of them cannot be read again.
        streams: usize,
    },
    /// Too many workers died with this job in hand; it is not tried again.
    #[error(
        "job {job} ({call}) is poisoned: {} workers died {}{}",
        reports.len(),
        of_it(*started),
        last_death(reports)
    )]
    Poisoned {
        /// The job.
        job: JobId,
        /// The call's name.
        call: Cow<'static, str>,
        /// The deaths, oldest first.
        reports: Vec<Arc<CrashReport>>,
        /// Whether a handler had been called: not when every worker died before that.
        started: Started,
    },
    /// The supervisor was shut down before the job was done.
    #[error(
        "job {job} ({call}) was dropped because the supervisor shut down, {}{}",
        handler(*started),
        on(worker.as_ref())
    )]
    ShuttingDown {
        /// The job.
        job: JobId,
        /// The call's name.
        call: Cow<'static, str>,
        /// Whether a handler had been called.
        started: Started,
        /// The name of the worker whose handler was at work, if one was.
        worker: Option<Arc<str>>,
    },
    /// The job's group has no worker left and gets none for now.
    #[error("job {job} ({call}) has no workers to run on in group {group}: {reason}; {}", handler(*started))]
    NoWorkers {
        /// The job.
        job: JobId,
        /// The call's name.
        call: Cow<'static, str>,
        /// The group's name.
        group: Arc<str>,
        /// Why the group has none.
        reason: Arc<str>,
        /// Whether a handler had been called, in an earlier attempt.
        started: Started,
    },
    /// The handler answered, but the answer is not the call's reply.
    #[error(
        "job {job}: the answer of worker {worker} to call {call:?} (type {call_type}) is no reply of type {reply_type}: \
         {source}{}",
        codec_hint(source)
    )]
    Codec {
        /// The job.
        job: JobId,
        /// The call's name.
        call: Cow<'static, str>,
        /// The Rust type of the call.
        call_type: &'static str,
        /// The Rust type of the reply that was expected.
        reply_type: &'static str,
        /// The worker's name.
        worker: Arc<str>,
        /// What the decoder said.
        source: Box<CodecError>,
    },
}

impl JobError {
    /// The job.
    #[must_use]
    pub fn job(&self) -> JobId {
        match self {
            JobError::Failed { job, .. }
            | JobError::TimedOut { job, .. }
            | JobError::Cancelled { job, .. }
            | JobError::WorkerLost { job, .. }
            | JobError::Poisoned { job, .. }
            | JobError::ShuttingDown { job, .. }
            | JobError::NoWorkers { job, .. }
            | JobError::Codec { job, .. } => *job,
        }
    }

    /// The call's name.
    #[must_use]
    pub fn call(&self) -> &str {
        match self {
            JobError::Failed { call, .. }
            | JobError::TimedOut { call, .. }
            | JobError::Cancelled { call, .. }
            | JobError::WorkerLost { call, .. }
            | JobError::Poisoned { call, .. }
            | JobError::ShuttingDown { call, .. }
            | JobError::NoWorkers { call, .. }
            | JobError::Codec { call, .. } => call,
        }
    }

    /// Whether a handler was called for the job, at least once, or is just being called.
    ///
    /// [`Started::No`] is certain. A [`Failed`](JobError::Failed) job counts as started, also when its argument did not
    /// decode: the failure's kind does not tell that from a reply that could not be encoded. Only a first attempt that
    /// met a worker without a handler for the call does not.
    #[must_use]
    pub fn started(&self) -> Started {
        match self {
            JobError::TimedOut { started, .. }
            | JobError::Cancelled { started, .. }
            | JobError::Poisoned { started, .. }
            | JobError::ShuttingDown { started, .. }
            | JobError::NoWorkers { started, .. } => *started,
            JobError::Failed { failure, attempt: 1, .. } if failure.kind == FailureKind::UnknownCall => {
                Started::No
            }
            JobError::Failed { .. } | JobError::WorkerLost { .. } | JobError::Codec { .. } => Started::Yes,
        }
    }

    /// What the handler said, when it said anything.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            JobError::Failed { failure, .. } => Some(failure),
            JobError::TimedOut { .. }
            | JobError::Cancelled { .. }
            | JobError::WorkerLost { .. }
            | JobError::Poisoned { .. }
            | JobError::ShuttingDown { .. }
            | JobError::NoWorkers { .. }
            | JobError::Codec { .. } => None,
        }
    }
}

fn handler(started: Started) -> &'static str {
    match started {
        Started::No => "no handler was called",
        Started::Yes => "after its handler had been called",
    }
}

fn on(worker: Option<&Arc<str>>) -> String {
    worker.map_or_else(String::new, |worker| format!(" on worker {worker}"))
}

fn of_it(started: Started) -> &'static str {
    match started {
        Started::No => "before they could start it",
        Started::Yes => "of it",
    }
}

fn for_whose_sake(because: Option<JobId>) -> String {
    because.map_or_else(String::new, |other| format!(" (for the sake of job {other}, not of this one)"))
}

fn another_attempt(streams: usize) -> &'static str {
    match streams {
        0 => "retries(n) would allow another attempt",
        _ => "and what it has read of its stream cannot be read again, so that there was no other attempt",
    }
}

fn last_death(reports: &[Arc<CrashReport>]) -> String {
    reports.last().map_or_else(String::new, |report| format!("; the last: {report}"))
}

fn codec_hint(error: &CodecError) -> &'static str {
    match error {
        CodecError::Decode { length: 0, .. } => {
            "; the handler acknowledged without data, which only a call whose Reply is () allows"
        }
        _ => "; both ends must be built from the same definition of the call",
    }
}
