//! What a worker may say in which state, and what it means.
//!
//! ```text
//! Unknown ──Hello──▶ Introduced ──Goodbye──▶ Left
//!    │                   │                     │
//!    └───────────────────┴── anything else ────┴──▶ an offence: nothing more is heard
//! ```

use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{
    Address, Answer, Answered, CallAnswered, CallReply, Epoch, Frame, FrameError, HealthReport, Kind,
    MAX_CALL_TIMEOUT, MAX_HEALTH_REASON, MetricsReport, Ordinal, Page, Payload, ProgressHead, Ready,
    STORE_WINDOW, StoreOp, StoreOpHead, StoreRefusal, Taken, Time, ToSupervisor, VERSION, WorkerCall,
    WorkerCallAnswer, WorkerHello, decode,
};

use super::bucket::Bucket;
use super::config::{
    CALLS_IN_FLIGHT, CALLS_PER_SECOND, EVENT_BYTES_PER_SECOND, METRIC_BYTES_PER_SECOND, UNASKED_PER_SECOND,
};
use crate::metrics::Judge;
use crate::scheduler::{Input, Reply, WorkerKey};
use crate::store::StoreLimits;

/// What a worker has said so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing: only its Hello is allowed.
    Unknown,
    /// Its Hello: everything is allowed but a second one.
    Introduced,
    /// Its Goodbye: nothing is allowed.
    Left,
}

/// Something a worker said.
#[derive(Debug)]
#[cfg_attr(not(feature = "internals"), allow(unreachable_pub))]
pub enum Heard {
    /// The scheduler's business.
    Input(Input),
    /// It has the attachments of a request, which makes sense together with its page only.
    Taken(Taken),
    /// The scheduler's business, and it says that the worker can be called.
    Readiness(Input),
    /// A call of the worker's own.
    Call {
        /// The worker's number for it.
        call: u64,
        /// Whom it calls.
        to: Address,
        /// The call's name.
        name: Arc<str>,
        /// The argument.
        payload: Vec<u8>,
        /// How long it waits.
        timeout: Duration,
    },
    /// The answer to a call.
    CallAnswer {
        /// The supervisor's number for it.
        number: u64,
        /// The answer.
        reply: CallReply,
    },
    /// An event of the worker's own.
    Emitted {
        /// Its name.
        name: Arc<str>,
        /// Its payload.
        payload: Arc<[u8]>,
    },
    /// How its metrics have changed; the numbers are right.
    Metrics(MetricsReport),
    /// An operation on the store.
    StoreOp(Box<StoreRequest>),
    /// An operation on the store that is not even looked at.
    StoreRefused {
        /// Its number.
        id: u64,
        /// Why.
        refusal: StoreRefusal,
    },
    /// How far a request is.
    Progress(Said),
}

/// What a worker says about a request that it has not answered.
#[derive(Debug)]
#[cfg_attr(not(feature = "internals"), allow(unreachable_pub))]
pub struct Said {
    /// The request.
    pub ordinal: Ordinal,
    /// The assignment it belongs to.
    pub epoch: Epoch,
    /// What it reports.
    pub payload: Vec<u8>,
}

/// An operation on the store.
#[derive(Debug)]
#[cfg_attr(not(feature = "internals"), allow(unreachable_pub))]
pub struct StoreRequest {
    /// Its number, as the worker counts.
    pub id: u64,
    /// What is asked.
    pub op: StoreOp<'static>,
}

/// The judge of what one worker says.
#[derive(Debug)]
#[cfg_attr(not(feature = "internals"), allow(unreachable_pub))]
pub struct Ear {
    worker: WorkerKey,
    phase: Phase,
    unasked: Bucket,
    event_bytes: Bucket,
    metric_bytes: Bucket,
    metrics: Judge,
    /// Requests sent and not answered; answers beyond them are unasked.
    owed: u64,
    /// Requests with attachments that were sent and not taken.
    untaken: u64,
    /// Operations on the store that are not answered yet.
    open_ops: usize,
    ops_per_second: u64,
    ops: Bucket,
    /// As of requests, of calls.
    owed_calls: u64,
    /// Its own calls.
    calls: Bucket,
    /// How many of them have not got their last answer.
    calls_in_flight: u32,
    /// The number of the last of them.
    last_call: Option<u64>,
}

#[cfg_attr(not(feature = "internals"), allow(unreachable_pub))]
impl Ear {
    /// The judge of a worker that has said nothing yet.
    #[must_use]
    pub fn new(worker: WorkerKey, now: Time) -> Ear {
        Ear {
            worker,
            phase: Phase::Unknown,
            unasked: Bucket::new(UNASKED_PER_SECOND, now),
            event_bytes: Bucket::new(EVENT_BYTES_PER_SECOND, now),
            metric_bytes: Bucket::new(METRIC_BYTES_PER_SECOND, now),
            metrics: Judge::default(),
            owed: 0,
            untaken: 0,
            open_ops: 0,
            ops_per_second: StoreLimits::default().ops_per_second,
            ops: Bucket::new(StoreLimits::default().ops_per_second, now),
            owed_calls: 0,
            calls: Bucket::new(CALLS_PER_SECOND, now),
            calls_in_flight: 0,
            last_call: None,
        }
    }

    /// The same judge; of operations on the store it lets so many through a second.
    #[must_use]
    pub fn allowing(self, ops_per_second: u64, now: Time) -> Ear {
        Ear { ops_per_second, ops: Bucket::new(ops_per_second, now), ..self }
    }

    /// A request was sent: one answer more may come.
    pub fn expect_answer(&mut self) {
        self.owed += 1;
    }

    /// A request with attachments was sent: it may be said once more that they are taken.
    pub fn expect_taken(&mut self) {
        self.untaken += 1;
    }

    /// Operations were answered, and the answers are on their way: as many more may be asked.
    pub fn answered_ops(&mut self, count: usize) {
        self.open_ops = self.open_ops.saturating_sub(count);
    }

    /// The worker was called: one answer more may come.
    pub fn expect_call_answer(&mut self) {
        self.owed_calls += 1;
    }

    /// A call of the worker's own has got its last answer.
    pub fn call_is_over(&mut self) {
        self.calls_in_flight = self.calls_in_flight.saturating_sub(1);
    }

    /// What a frame says.
    ///
    /// # Errors
    /// Why the worker may not say it.
    pub fn hear(&mut self, frame: Frame<'_>, now: Time) -> Result<Heard, String> {
        let (kind, head_bytes) = (frame.kind, frame.head.len());
        let message = ToSupervisor::decode(frame).map_err(|error: FrameError| error.to_string())?;
        match (self.phase, message) {
            (Phase::Unknown, ToSupervisor::Hello(hello)) => Ok(Heard::Input(self.hello(&hello))),
            (Phase::Unknown, _) => Err(format!("{kind:?} before its Hello")),
            (Phase::Introduced, ToSupervisor::Hello(_)) => Err(String::from("a second Hello")),
            (Phase::Introduced, ToSupervisor::Ready(ready)) => self.ready(ready, now),
            (Phase::Introduced, ToSupervisor::Busy) => {
                self.unasked(kind, now)?;
                Ok(Heard::Readiness(Input::Busy(self.worker)))
            }
            (Phase::Introduced, ToSupervisor::Answer(answer)) => self.answer(answer, now),
            (Phase::Introduced, ToSupervisor::Event(head, payload)) => {
                self.unasked(kind, now)?;
                self.event_bytes(payload.len() + head.name.len(), now)?;
                Ok(Heard::Emitted { name: head.name.into(), payload: payload.into_vec().into() })
            }
            (Phase::Introduced, ToSupervisor::Metrics(report)) => self.metrics(report, head_bytes, now),
            (Phase::Introduced, ToSupervisor::Health(report)) => self.health(report, now),
            (Phase::Introduced, ToSupervisor::Taken(taken)) => {
                let untaken = self.untaken.checked_sub(1);
                self.untaken = untaken.ok_or("it took attachments that it was not given")?;
                Ok(Heard::Taken(taken))
            }
            (Phase::Introduced, ToSupervisor::StoreOp(head, payload)) => self.store_op(head, payload, now),
            (Phase::Introduced, ToSupervisor::Progress(head, payload)) => {
                self.unasked(kind, now)?;
                self.event_bytes(payload.len(), now)?;
                let ProgressHead { ordinal, epoch } = head;
                Ok(Heard::Progress(Said { ordinal, epoch, payload: payload.into_vec() }))
            }
            (Phase::Introduced, ToSupervisor::Goodbye) => {
                self.phase = Phase::Left;
                Ok(Heard::Input(Input::Goodbye(self.worker)))
            }
            (Phase::Introduced, ToSupervisor::Call(head, payload)) => self.call(head, payload, now),
            (Phase::Introduced, ToSupervisor::CallAnswer(head, payload)) => {
                self.call_answer(head, payload, now)
            }
            (Phase::Left, _) => Err(format!("{kind:?} after its Goodbye")),
        }
    }

    fn hello(&mut self, hello: &WorkerHello) -> Input {
        self.phase = Phase::Introduced;
        match hello.version {
            VERSION => Input::Hello(self.worker),
            version => Input::WrongVersion { worker: self.worker, version },
        }
    }

    fn ready(&mut self, ready: Ready, now: Time) -> Result<Heard, String> {
        self.unasked(Kind::Ready, now)?;
        let Ready { capacity, wants_hard_kill } = ready;
        if !(1..=Page::SLOTS as u32).contains(&capacity) {
            return Err(format!("a capacity of {capacity}, not from 1 to {}", Page::SLOTS));
        }
        Ok(Heard::Readiness(Input::Ready { worker: self.worker, capacity, wants_hard_kill }))
    }

    fn answer(&mut self, answer: Answer<'_>, now: Time) -> Result<Heard, String> {
        match self.owed.checked_sub(1) {
            Some(owed) => self.owed = owed,
            None => self.unasked(Kind::Answer, now)?,
        }
        let Answer { head, payload } = answer;
        let reply = match head.answered {
            Answered::Data => Reply::Data(payload.into_vec()),
            Answered::Ack if payload.is_empty() => Reply::Data(Vec::new()),
            Answered::Ack => return Err(format!("{} bytes behind an acknowledgement", payload.len())),
            Answered::Failed => {
                let failure = decode(&payload.into_vec()).map_err(|error| format!("a failure: {error}"))?;
                Reply::Failed(failure)
            }
        };
        let ran = Duration::from_nanos(head.run_nanos);
        let (ordinal, epoch) = (head.ordinal, head.epoch);
        Ok(Heard::Input(Input::Answer { worker: self.worker, ordinal, epoch, ran, reply }))
    }

    /// Calls beyond the quota are slowed down and no flood: how many there can be is bounded by those in flight.
    fn call(&mut self, head: WorkerCall<'_>, payload: Payload<'_>, now: Time) -> Result<Heard, String> {
        let WorkerCall { call, to, timeout_nanos, name } = head;
        if self.last_call.is_some_and(|last| call <= last) {
            return Err(format!("a call numbered {call}, which is not above the one before"));
        }
        if self.calls_in_flight >= CALLS_IN_FLIGHT {
            return Err(format!("more than {CALLS_IN_FLIGHT} calls in flight"));
        }
        let _ = self.calls.take(1, now);
        self.last_call = Some(call);
        self.calls_in_flight += 1;
        let timeout = Duration::from_nanos(timeout_nanos).min(MAX_CALL_TIMEOUT);
        Ok(Heard::Call { call, to, name: name.into(), payload: payload.into_vec(), timeout })
    }

    fn call_answer(
        &mut self,
        head: WorkerCallAnswer,
        payload: Payload<'_>,
        now: Time,
    ) -> Result<Heard, String> {
        match self.owed_calls.checked_sub(1) {
            Some(owed) => self.owed_calls = owed,
            None => self.unasked(Kind::WorkerCallAnswer, now)?,
        }
        let reply = match head.answered {
            CallAnswered::Data => CallReply::Data(payload.into_vec()),
            CallAnswered::Failed => {
                CallReply::Failed(decode(&payload.into_vec()).map_err(|error| format!("a failure: {error}"))?)
            }
            CallAnswered::Refused(refusal) if payload.is_empty() => CallReply::Refused(refusal),
            CallAnswered::Refused(_) => return Err(format!("{} bytes behind a refusal", payload.len())),
        };
        Ok(Heard::CallAnswer { number: head.call, reply })
    }

    fn event_bytes(&mut self, bytes: usize, now: Time) -> Result<(), String> {
        let flood = |_| {
            format!("events and reports of more than {EVENT_BYTES_PER_SECOND} bytes a second, for seconds")
        };
        self.event_bytes.take(bytes as u64, now).map_err(flood)
    }

    /// Until when nothing more is to be read, if the worker has said more than its quota.
    #[must_use]
    pub fn rest(&self) -> Option<Time> {
        let quotas = [&self.unasked, &self.event_bytes, &self.metric_bytes, &self.calls];
        quotas.into_iter().filter_map(Bucket::rest).max()
    }

    fn metrics(&mut self, report: MetricsReport, bytes: usize, now: Time) -> Result<Heard, String> {
        self.unasked(Kind::Metrics, now)?;
        let flood = |_| format!("metrics of more than {METRIC_BYTES_PER_SECOND} bytes a second");
        self.metric_bytes.take(bytes as u64, now).map_err(flood)?;
        self.metrics.judge(&report)?;
        Ok(Heard::Metrics(report))
    }

    fn health(&mut self, report: HealthReport, now: Time) -> Result<Heard, String> {
        self.unasked(Kind::HealthReport, now)?;
        let HealthReport { failure } = report;
        let length = failure.as_ref().map_or(0, String::len);
        if length > MAX_HEALTH_REASON {
            return Err(format!("a reason of {length} bytes, over the limit of {MAX_HEALTH_REASON}"));
        }
        Ok(Heard::Input(Input::Health { worker: self.worker, failure: failure.map(Arc::from) }))
    }

    /// Whoever keeps to the window cannot flood; whoever is in it and too fast is refused, and lives.
    fn store_op(&mut self, head: StoreOpHead<'_>, payload: Payload<'_>, now: Time) -> Result<Heard, String> {
        let StoreOpHead { id, op } = head;
        let op = op.with_payload(payload).map_err(|stray| stray.to_string())?.into_owned();
        if matches!(op, StoreOp::Next { .. }) {
            return Ok(Heard::StoreOp(Box::new(StoreRequest { id, op })));
        }
        self.open_ops += 1;
        if self.open_ops > STORE_WINDOW {
            return Err(format!("more than {STORE_WINDOW} operations on the store that are not answered"));
        }
        if self.is_too_often(now) {
            let refusal = StoreRefusal::TooOften { per_second: self.ops_per_second };
            return Ok(Heard::StoreRefused { id, refusal });
        }
        Ok(Heard::StoreOp(Box::new(StoreRequest { id, op })))
    }

    /// What is refused costs nothing.
    fn is_too_often(&mut self, now: Time) -> bool {
        self.ops.take(0, now).is_err() || self.ops.rest().is_some() || self.ops.take(1, now).is_err()
    }

    fn unasked(&mut self, kind: Kind, now: Time) -> Result<(), String> {
        let flood =
            |_| format!("a flood: more than {UNASKED_PER_SECOND} messages a second ({kind:?}), for seconds");
        self.unasked.take(1, now).map_err(flood)
    }
}
