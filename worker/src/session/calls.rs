//! Calls from and to other processes, which the supervisor relays.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ganger_protocol::{
    Address, Body, CallAnswered, CallReply, CodecError, Failure, FailureKind, FrameError, Kind, Part,
    Payload, Refusal, SupervisorCall, SupervisorCallAnswer, Time, WorkerCall, WorkerCallAnswer, decode,
    encode,
};

use super::{EMIT_PENDING_LIMIT, Ending, Outcome, Session, Violation, body_len, over_limit};
use crate::session::names::Names;

/// What names a call that this worker is to answer; only this module makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallTicket(u64);

impl CallTicket {
    /// The supervisor's number for the call.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// A call as it was received.
#[derive(Debug, PartialEq, Eq)]
pub struct Called {
    /// What its answer must show.
    pub ticket: CallTicket,
    /// The call's name.
    pub name: Arc<str>,
    /// The worker that calls; `None`: the primary process.
    pub caller: Option<Arc<str>>,
    /// When it came.
    pub received: Time,
    /// How long the caller still waits.
    pub timeout: Duration,
    /// The argument.
    pub payload: Vec<u8>,
}

/// An answer to a call of this worker's own.
#[derive(Debug, PartialEq, Eq)]
pub struct CallAnswer {
    /// The worker's number for the call.
    pub call: u64,
    /// Who answers what.
    pub part: Part,
    /// How many answers are still to come.
    pub left: u32,
}

/// The calls that this worker has to answer.
#[derive(Debug, Default)]
pub(super) struct Calls(BTreeSet<u64>);

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take_up(
        &mut self,
        head: &SupervisorCall<'_>,
        payload: Payload<'_>,
        names: &mut Names,
        now: Time,
    ) -> Called {
        self.0.insert(head.call);
        Called {
            ticket: CallTicket(head.call),
            name: names.intern(&head.name),
            caller: head.caller.as_deref().map(Arc::from),
            received: now,
            timeout: Duration::from_nanos(head.timeout_nanos),
            payload: payload.into_vec(),
        }
    }
}

/// An answer to a call of ours as it was received.
pub(super) fn call_answer(
    head: &SupervisorCallAnswer<'_>,
    payload: Payload<'_>,
) -> Result<CallAnswer, Violation> {
    let reply = match head.answered {
        CallAnswered::Data => CallReply::Data(payload.into_vec()),
        CallAnswered::Failed => {
            CallReply::Failed(decode(&payload.into_vec()).map_err(|error| malformed(&error))?)
        }
        CallAnswered::Refused(refusal) => CallReply::Refused(refusal),
    };
    let part = Part { from: head.from.as_deref().map(Arc::from), reply };
    Ok(CallAnswer { call: head.call, part, left: head.left })
}

fn malformed(error: &CodecError) -> FrameError {
    FrameError::Malformed { kind: Kind::SupervisorCallAnswer, reason: error.to_string() }
}

impl Session {
    /// Calls somebody, under a number that is greater than any before.
    ///
    /// # Errors
    /// [`Refusal`] when the worker has left, or too much is unwritten.
    pub fn call(
        &mut self,
        call: u64,
        to: Address,
        name: &str,
        timeout: Duration,
        payload: Bytes,
    ) -> Result<(), Refusal> {
        if self.ending == Ending::Left {
            return Err(Refusal::ShuttingDown);
        }
        if self.pending() >= EMIT_PENDING_LIMIT {
            return Err(Refusal::TooMany);
        }
        let timeout_nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let head = WorkerCall { call, to, timeout_nanos, name: name.into() };
        self.outbox.frame(Kind::WorkerCall, &head, Body::Share(payload));
        Ok(())
    }

    /// Answers a call; nothing happens when it was answered before.
    pub fn answer_call(&mut self, ticket: CallTicket, outcome: Outcome<'_>) {
        match outcome {
            Outcome::Data(body) if body_len(&body) > self.limits.payload => {
                let failure = over_limit(body_len(&body), self.limits.payload);
                self.fail_call(ticket, &failure);
            }
            Outcome::Data(body) => self.append_call_answer(ticket, CallAnswered::Data, body),
            // Calls between processes carry bytes only: descriptors would have to be handed on by the supervisor.
            Outcome::Attached(body, fds) if fds.is_empty() => self.answer_call(ticket, Outcome::Data(body)),
            Outcome::Attached(..) => {
                let message = "attachments go with jobs and their answers, not with calls between processes";
                self.fail_call(ticket, &Failure::of_kind(FailureKind::Attachments, message));
            }
            Outcome::Ack => self.append_call_answer(ticket, CallAnswered::Data, Body::Copy(&[])),
            Outcome::Failed(failure) => self.fail_call(ticket, failure),
        }
    }

    /// Answers a call that no handler will answer.
    pub fn refuse_call(&mut self, ticket: CallTicket, refusal: Refusal) {
        self.append_call_answer(ticket, CallAnswered::Refused(refusal), Body::Copy(&[]));
    }

    fn fail_call(&mut self, ticket: CallTicket, failure: &Failure) {
        let limit = self.limits.payload;
        let bytes = encode(failure).unwrap_or_default();
        if bytes.len() <= limit {
            return self.append_call_answer(ticket, CallAnswered::Failed, Body::Share(Bytes::from(bytes)));
        }
        let bytes = encode(&shortened(failure, bytes.len(), limit)).unwrap_or_default();
        self.append_call_answer(ticket, CallAnswered::Failed, Body::Copy(&bytes));
    }

    fn append_call_answer(&mut self, ticket: CallTicket, answered: CallAnswered, body: Body<'_>) {
        if !self.calls.0.remove(&ticket.0) || self.ending == Ending::Left {
            return;
        }
        let head = WorkerCallAnswer { call: ticket.0, answered };
        self.outbox.frame(Kind::WorkerCallAnswer, &head, body);
    }
}

/// The kind and the retry word are what programs act on: they are kept, whatever the message was.
pub(super) fn shortened(failure: &Failure, length: usize, limit: usize) -> Failure {
    let message = format!("a failure of {length} bytes, over the payload limit of {limit}");
    Failure::of_kind(failure.kind, message).with_retry(failure.retry)
}
