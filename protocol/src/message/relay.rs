//! The heads of calls between processes, which the supervisor relays.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{Address, Refusal};

/// A worker calls somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCall<'a> {
    /// The worker's own number for it, greater than that of its call before.
    pub call: u64,
    /// Whom it calls.
    pub to: Address,
    /// How long it waits for the answer, in nanoseconds.
    pub timeout_nanos: u64,
    /// The call's name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
}

/// A worker is called. It answers once, late or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorCall<'a> {
    /// The supervisor's number for it, which the answer must show.
    pub call: u64,
    /// The name of the worker that calls; `None`: the primary process.
    #[serde(borrow)]
    pub caller: Option<Cow<'a, str>>,
    /// How long the caller still waits, in nanoseconds.
    pub timeout_nanos: u64,
    /// The call's name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallAnswered {
    /// The payload is the reply.
    Data,
    /// The payload is a [`Failure`](crate::Failure).
    Failed,
    /// No handler has answered.
    Refused(Refusal),
}

/// A worker's answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCallAnswer {
    /// The supervisor's number of the call.
    pub call: u64,
    /// What came of it.
    pub answered: CallAnswered,
}

/// An answer to a worker's call: one for each process that was called, at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorCallAnswer<'a> {
    /// The worker's number of the call.
    pub call: u64,
    /// The name of the worker that answers or is spoken for; `None`: the primary process, or nobody.
    #[serde(borrow)]
    pub from: Option<Cow<'a, str>>,
    /// How many answers are still to come.
    pub left: u32,
    /// What came of the call there.
    pub answered: CallAnswered,
}
