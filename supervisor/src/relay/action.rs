//! What the relay wants done.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ganger_protocol::{Answers, CallReply, Time};

use crate::scheduler::WorkerKey;

/// One thing to do. They are done in order.
#[derive(Debug)]
pub enum Action<T> {
    /// Append a call to the worker's outbox, and ring its bell.
    Ask {
        /// The worker.
        worker: WorkerKey,
        /// The call's number, which the answer must show.
        number: u64,
        /// The worker that calls; `None`: the primary process.
        caller: Option<Arc<str>>,
        /// The call's name.
        name: Arc<str>,
        /// The argument.
        payload: Bytes,
        /// How long the caller waits.
        timeout: Duration,
    },
    /// Have a call handled in this process; answered by `Answer`.
    Serve {
        /// The call's number.
        number: u64,
        /// The worker that calls; `None`: the primary process.
        caller: Option<Arc<str>>,
        /// The call's name.
        name: Arc<str>,
        /// The argument.
        payload: Bytes,
        /// Until when the caller waits.
        deadline: Time,
    },
    /// Append an answer to the outbox of a worker that has called, and ring its bell.
    Tell {
        /// The worker.
        worker: WorkerKey,
        /// Its own number of the call.
        call: u64,
        /// Who answers; `None`: the primary process, or nobody.
        from: Option<Arc<str>>,
        /// How many answers are still to come.
        left: u32,
        /// The answer.
        reply: CallReply,
    },
    /// Hand what came of a call to its caller in this process.
    Settle {
        /// The caller's ticket.
        ticket: T,
        /// What came of it, from everybody who was called.
        answers: Answers,
    },
}
