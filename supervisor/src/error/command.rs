//! Why a running supervisor did not do what it was asked.

use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::CodecError;

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
    /// The worker to be revived has not ended.
    #[error("worker {worker} is starting or serves already: there is nothing to revive")]
    NotDown {
        /// The worker.
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
    #[error("an event of {size} bytes is over the limit of {limit}; raise Builder::event_limit or send less")]
    TooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The largest that is accepted, in bytes.
        limit: usize,
    },
    /// The value cannot be encoded.
    #[error("the event cannot be sent: {0}")]
    Encode(#[from] CodecError),
    /// A health check that was not begun.
    #[error("health check {check:?} was not begun: {reason}")]
    Check {
        /// Its name.
        check: Arc<str>,
        /// Why not.
        reason: String,
    },
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
