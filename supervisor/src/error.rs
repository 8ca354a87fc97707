//! What can go wrong, one enum an operation. Refused values are given back.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{CodecError, Failure, FailureKind, JobId, MAX_HEAD};

use crate::Job;
use crate::scheduler::{Clock, CrashReport, Started};

/// A supervisor that could not be started. No process is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A value given to the builder makes no sense.
    #[error("the configuration is refused: {0}")]
    Config(#[from] ConfigError),
    /// A group's program is not there or may not be executed.
    #[error("the program {} of group {group} cannot be run: {reason}", program.display())]
    Program {
        /// The group.
        group: Arc<str>,
        /// The path, as far as it was resolved.
        program: PathBuf,
        /// What is wrong with it, and where it was looked for.
        reason: String,
    },
    /// The machine refused something the supervisor needs for itself.
    #[error("the supervisor cannot {action}: {source}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A value given to a [`Builder`](crate::Builder) or [`Group`](crate::Group) that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// More groups than can be numbered.
    #[error("{count} groups; the limit is {limit}")]
    TooManyGroups {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Two groups have the same name.
    #[error("two groups are called {name:?}; names must be unique")]
    DuplicateGroup {
        /// The name.
        name: Arc<str>,
    },
    /// A group's name is empty or has characters that would garble logs.
    #[error("{name:?} is no name for a group: use 1 to 64 characters without spaces or control characters")]
    GroupName {
        /// The name.
        name: Arc<str>,
    },
    /// A group without workers.
    #[error("group {group} has 0 workers; it needs at least 1")]
    NoWorkers {
        /// The group.
        group: Arc<str>,
    },
    /// A group with more workers than a machine can have.
    #[error("group {group} has {workers} workers; the limit is {limit}")]
    TooManyWorkers {
        /// The group.
        group: Arc<str>,
        /// How many were asked for.
        workers: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A number outside its range.
    #[error("{knob} is {value}; it must be from {least} to {most}")]
    OutOfRange {
        /// The knob's name in the builder.
        knob: &'static str,
        /// What was asked for.
        value: String,
        /// The least value that is accepted.
        least: String,
        /// The largest value that is accepted.
        most: String,
    },
    /// Two values that contradict each other.
    #[error("{reason}")]
    Contradiction {
        /// Which, and why.
        reason: String,
    },
}

/// A job that was not accepted. It was not and will not be done; [`into_job`](EnqueueError::into_job) gives it
/// back.
///
/// It implements [`Debug`](fmt::Debug) and [`Error`](std::error::Error) whatever the call is.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError<C> {
    /// The queue is full, by jobs or by bytes: accepted jobs count until they settle.
    #[error(
        "the queue is full: {jobs} of {job_limit} jobs, {bytes} of {byte_limit} bytes; wait for answers, or for room \
         with enqueue_timeout"
    )]
    QueueFull {
        /// The job.
        job: Box<Job<C>>,
        /// Jobs that have not settled.
        jobs: usize,
        /// How many there may be.
        job_limit: usize,
        /// Bytes of their payloads.
        bytes: usize,
        /// How many there may be.
        byte_limit: usize,
    },
    /// The payload is larger than payloads may be.
    #[error(
        "a payload of {size} bytes is over the limit of {limit}; raise Builder::payload_limit or send less"
    )]
    TooLarge {
        /// The job.
        job: Box<Job<C>>,
        /// Its encoded size, in bytes.
        size: usize,
        /// The largest that is accepted, in bytes.
        limit: usize,
    },
    /// The name and headers are larger than they may be.
    #[error("name and headers of {size} bytes are over the limit of {limit}; put the data into the payload")]
    HeadersTooLarge {
        /// The job.
        job: Box<Job<C>>,
        /// Their size, in bytes.
        size: usize,
        /// The largest that is accepted, in bytes.
        limit: usize,
    },
    /// The supervisor is shutting down, or has stopped.
    #[error("the supervisor is shutting down and accepts no more jobs")]
    ShuttingDown {
        /// The job.
        job: Box<Job<C>>,
    },
    /// The group has no worker and gets none for now.
    #[error("the group has no workers: {reason}")]
    NoWorkers {
        /// The job.
        job: Box<Job<C>>,
        /// Why it has none.
        reason: Arc<str>,
    },
    /// There is no group of this name.
    #[error("there is no group called {group:?}; there are: {known}")]
    UnknownGroup {
        /// The job.
        job: Box<Job<C>>,
        /// The name.
        group: Arc<str>,
        /// The names that there are.
        known: String,
    },
    /// The value cannot be encoded.
    #[error("the call cannot be sent: {source}")]
    Encode {
        /// The job.
        job: Box<Job<C>>,
        /// Why not.
        source: CodecError,
    },
}

/// The most bytes that a job's name and headers may have together; the rest of a request's head needs room too.
pub(crate) const HEAD_LIMIT: usize = MAX_HEAD - 1024;

impl<C> EnqueueError<C> {
    /// The job, as it was before.
    #[must_use]
    pub fn into_job(self) -> Job<C> {
        match self {
            EnqueueError::QueueFull { job, .. }
            | EnqueueError::TooLarge { job, .. }
            | EnqueueError::HeadersTooLarge { job, .. }
            | EnqueueError::ShuttingDown { job }
            | EnqueueError::NoWorkers { job, .. }
            | EnqueueError::UnknownGroup { job, .. }
            | EnqueueError::Encode { job, .. } => *job,
        }
    }
}

impl<C> fmt::Debug for EnqueueError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            EnqueueError::QueueFull { .. } => "QueueFull",
            EnqueueError::TooLarge { .. } => "TooLarge",
            EnqueueError::HeadersTooLarge { .. } => "HeadersTooLarge",
            EnqueueError::ShuttingDown { .. } => "ShuttingDown",
            EnqueueError::NoWorkers { .. } => "NoWorkers",
            EnqueueError::UnknownGroup { .. } => "UnknownGroup",
            EnqueueError::Encode { .. } => "Encode",
        };
        write!(f, "{kind}({self})")
    }
}

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
    #[error("job {job} ({call}) timed out: its {clock} of {limit:?} ran out, {}", handler(*started))]
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
    },
    /// Someone cancelled the job.
    #[error("job {job} ({call}) was cancelled, {}", handler(*started))]
    Cancelled {
        /// The job.
        job: JobId,
        /// The call's name.
        call: Cow<'static, str>,
        /// Whether a handler had been called.
        started: Started,
    },
    /// The worker died after the handler had been called: nobody knows how far it came.
    #[error(
        "job {job} ({call}) was lost: {report}{}; how far the handler came is not known, retries(n) would allow \
         another attempt",
        for_whose_sake(*because)
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
    },
    /// Too many workers died with this job running; it is not tried again.
    #[error("job {job} ({call}) is poisoned: {} workers died of it{}", reports.len(), last_death(reports))]
    Poisoned {
        /// The job.
        job: JobId,
        /// The call's name.
        call: Cow<'static, str>,
        /// The deaths, oldest first.
        reports: Vec<Arc<CrashReport>>,
    },
    /// The supervisor was shut down before the job was done.
    #[error("job {job} ({call}) was dropped because the supervisor shut down, {}", handler(*started))]
    ShuttingDown {
        /// The job.
        job: JobId,
        /// The call's name.
        call: Cow<'static, str>,
        /// Whether a handler had been called.
        started: Started,
    },
    /// The job's group has no worker left and gets none for now.
    #[error("job {job} ({call}) has no workers to run on: {reason}; {}", handler(*started))]
    NoWorkers {
        /// The job.
        job: JobId,
        /// The call's name.
        call: Cow<'static, str>,
        /// Why the group has none.
        reason: Arc<str>,
        /// Whether a handler had been called, in an earlier attempt.
        started: Started,
    },
    /// The handler answered, but the answer is not the call's reply.
    #[error(
        "job {job}: the answer of worker {worker} to call {call:?} (type {call_type}) is not a {reply_type}: \
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

    /// Whether a handler was called for the job, at least once.
    #[must_use]
    pub fn started(&self) -> Started {
        match self {
            JobError::TimedOut { started, .. }
            | JobError::Cancelled { started, .. }
            | JobError::ShuttingDown { started, .. }
            | JobError::NoWorkers { started, .. } => *started,
            JobError::Failed { failure, .. } if failure.kind == FailureKind::UnknownCall => Started::No,
            JobError::Failed { .. }
            | JobError::WorkerLost { .. }
            | JobError::Poisoned { .. }
            | JobError::Codec { .. } => Started::Yes,
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

fn for_whose_sake(because: Option<JobId>) -> String {
    because.map_or_else(String::new, |other| format!(" (for the sake of job {other}, not of this one)"))
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

/// What a [`map`](crate::Supervisor::map) could not do with one of its items.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum MapError<C> {
    /// It was not accepted.
    #[error(transparent)]
    Refused(EnqueueError<C>),
    /// It was accepted and did not end with a reply.
    #[error(transparent)]
    Job(JobError),
}

impl<C> fmt::Debug for MapError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MapError::Refused(error) => f.debug_tuple("Refused").field(error).finish(),
            MapError::Job(error) => f.debug_tuple("Job").field(error).finish(),
        }
    }
}

/// A command to a running supervisor that could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// There is no group of this name.
    #[error("there is no group called {group:?}; there are: {known}")]
    UnknownGroup {
        /// The name.
        group: Arc<str>,
        /// The names that there are.
        known: String,
    },
    /// There is no worker of this name; it may have been replaced, or never have existed.
    #[error("there is no worker called {worker:?}; health() lists those there are")]
    UnknownWorker {
        /// The name.
        worker: Arc<str>,
    },
    /// A number of workers that a group cannot have.
    #[error("a group cannot have {workers} workers; it must be from 1 to {limit}")]
    Workers {
        /// How many were asked for.
        workers: usize,
        /// How many there may be.
        limit: usize,
    },
    /// An event that is larger than events may be.
    #[error("an event of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The largest that is accepted, in bytes.
        limit: usize,
    },
    /// The value cannot be encoded.
    #[error("the event cannot be sent: {0}")]
    Encode(#[from] CodecError),
    /// The supervisor has stopped.
    #[error("the supervisor has stopped")]
    Stopped,
}

/// The workers were not all ready in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OnlineError {
    /// The time is up; the supervisor goes on trying.
    #[error(
        "not all workers were ready within {waited:?}; the supervisor goes on: see health() for what is missing"
    )]
    TimedOut {
        /// How long was waited.
        waited: Duration,
    },
    /// A group's workers do not come up; the supervisor goes on probing, which may heal it.
    #[error("group {group} is degraded: {reason}; the supervisor probes on")]
    Degraded {
        /// The group.
        group: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// The supervisor stopped first.
    #[error("the supervisor stopped before its workers were ready")]
    Stopped,
}

#[cfg(test)]
mod tests;
