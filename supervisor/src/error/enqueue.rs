//! Why a job was not accepted.

use std::fmt;
use std::sync::Arc;

use ganger_protocol::{CodecError, MAX_HEAD};

use super::JobError;
use crate::Job;

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
    /// More is attached than may be.
    #[error(
        "{count} attachments are over the limit of {limit}; give the worker one socket and send the rest over it"
    )]
    TooManyAttachments {
        /// The job.
        job: Box<Job<C>>,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The supervisor is shutting down, or has stopped.
    #[error("the supervisor is shutting down and accepts no more jobs")]
    ShuttingDown {
        /// The job.
        job: Box<Job<C>>,
    },
    /// The group has no worker and gets none for now.
    #[error("group {group} has no workers: {reason}; it is probed and may heal, give the job again later")]
    NoWorkers {
        /// The job.
        job: Box<Job<C>>,
        /// The group's name.
        group: Arc<str>,
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
            | EnqueueError::TooManyAttachments { job, .. }
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
            EnqueueError::TooManyAttachments { .. } => "TooManyAttachments",
            EnqueueError::ShuttingDown { .. } => "ShuttingDown",
            EnqueueError::NoWorkers { .. } => "NoWorkers",
            EnqueueError::UnknownGroup { .. } => "UnknownGroup",
            EnqueueError::Encode { .. } => "Encode",
        };
        write!(f, "{kind}({self})")
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
