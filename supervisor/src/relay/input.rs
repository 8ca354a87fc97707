//! What can happen: the relay's only source of knowledge.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ganger_protocol::{Address, CallReply};

use crate::scheduler::{GroupIndex, WorkerKey};

/// One thing that happened.
#[derive(Debug)]
pub enum Input<T> {
    /// A process is being started for a worker.
    Born {
        /// The worker.
        worker: WorkerKey,
        /// Its name.
        name: Arc<str>,
        /// Its group.
        group: GroupIndex,
    },
    /// A worker has said that it is ready, or busy: it can be called.
    Up(WorkerKey),
    /// A worker was told to leave: it takes no further calls.
    Leaving(WorkerKey),
    /// A worker will not be heard of any more. May be told twice.
    Gone(WorkerKey),
    /// Somebody calls.
    Call(Request<T>),
    /// Somebody who was called answers.
    Answer {
        /// Who.
        by: Target,
        /// The number of the call that is answered.
        number: u64,
        /// The answer.
        reply: CallReply,
    },
    /// The supervisor is at its end: every call ends.
    Close,
}

/// A call as it comes in.
#[derive(Debug)]
pub struct Request<T> {
    /// Who calls.
    pub from: Origin<T>,
    /// Whom.
    pub to: Address,
    /// The call's name.
    pub name: Arc<str>,
    /// The argument.
    pub payload: Bytes,
    /// How long the caller waits.
    pub timeout: Duration,
}

/// Who calls.
#[derive(Debug)]
pub enum Origin<T> {
    /// Somebody in this process, to be reached by the ticket.
    Primary(T),
    /// A worker.
    Worker {
        /// Which.
        worker: WorkerKey,
        /// Its own number of the call, none of those in flight.
        call: u64,
    },
}

/// Who is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// This process.
    Primary,
    /// A worker.
    Worker(WorkerKey),
}
