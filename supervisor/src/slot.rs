//! Where a job's owner and the loop meet: the request on the way in, the outcome on the way out.
//!
//! ```text
//! Waiting ──settle──▶ Settled ──take──▶ Taken
//!    │                                    ▲
//!    └── settle, with a waiter that takes ┘
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;
use std::time::Instant;

use bytes::Bytes;
use ganger_protocol::{JobId, Time};
use parking_lot::Mutex;

use crate::completions::Arrivals;
use crate::scheduler::{GroupIndex, JobKey, JobOptions, Outcome, Ticket};

mod spec;
#[cfg(test)]
mod tests;

pub(crate) use spec::{Spec, Terms};

/// The bits of no [`JobKey`].
const NO_KEY: u64 = u64::MAX;

/// The most bytes before a string in a frame's head: its length, which is under 2²¹.
const LENGTH_LEN: usize = 3;

/// Where a job is, as far as its owner can see without asking the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    Queued,
    Sent,
    Settled,
}

impl Stage {
    fn from_byte(byte: u8) -> Stage {
        match byte {
            0 => Stage::Queued,
            1 => Stage::Sent,
            _ => Stage::Settled,
        }
    }
}

/// Who is to be woken when the job settles. The loop wakes threads and tasks last in its turn, and has callbacks
/// run by the courier.
pub(crate) enum Wake {
    Thread(Thread),
    Task(Waker),
    Callback(Box<dyn FnOnce() + Send>),
}

/// What takes an outcome away when it comes.
pub(crate) type Callback = Box<dyn FnOnce(Outcome) + Send>;

enum Waiter {
    Thread(Thread),
    Task(Waker),
    Callback(Callback),
    Arrivals(Arc<Arrivals>),
}

enum State {
    Waiting(Option<Waiter>),
    Settled(Box<Outcome>),
    Taken,
}

/// A job: the request, and the place its outcome is left in.
pub(crate) struct JobSlot {
    id: JobId,
    spec: Spec,
    payload: Box<[u8]>,
    enqueued: Time,
    key: AtomicU64,
    group: GroupIndex,
    stage: AtomicU8,
    state: Mutex<State>,
}

impl JobSlot {
    pub(crate) fn new(id: JobId, spec: Spec, group: GroupIndex, payload: Vec<u8>, enqueued: Time) -> JobSlot {
        JobSlot {
            id,
            spec,
            payload: payload.into_boxed_slice(),
            enqueued,
            key: AtomicU64::new(NO_KEY),
            group,
            stage: AtomicU8::new(Stage::Queued as u8),
            state: Mutex::new(State::Waiting(None)),
        }
    }

    pub(crate) fn id(&self) -> JobId {
        self.id
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.spec
    }

    pub(crate) fn name(&self) -> &str {
        self.spec.name()
    }

    pub(crate) fn headers(&self) -> &[(String, String)] {
        self.spec.headers()
    }

    pub(crate) fn options(&self) -> &JobOptions {
        self.spec.options()
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload by reference: the slot lives as long as the bytes.
    pub(crate) fn shared_payload(self: &Arc<JobSlot>) -> Bytes {
        Bytes::from_owner(SharedPayload(Arc::clone(self)))
    }

    pub(crate) fn enqueued(&self) -> Time {
        self.enqueued
    }

    pub(crate) fn group(&self) -> GroupIndex {
        self.group
    }

    /// The payload, out of a slot that nobody else has.
    pub(crate) fn into_payload(self) -> Vec<u8> {
        self.payload.into_vec()
    }

    /// The bytes the job counts for in its queue's limit.
    pub(crate) fn charge(&self) -> usize {
        self.payload.len()
    }

    /// The most bytes that name and headers take in a frame.
    pub(crate) fn head_len(&self) -> usize {
        let headers = self.headers().iter().flat_map(|(key, value)| [key.as_str(), value]);
        headers.chain([self.name()]).map(|text| text.len() + LENGTH_LEN).sum()
    }

    /// The scheduler's name for the job, once it has one.
    pub(crate) fn key(&self) -> Option<JobKey> {
        let bits = self.key.load(Relaxed);
        (bits != NO_KEY).then(|| JobKey::from_bits(bits))
    }

    pub(crate) fn set_key(&self, key: JobKey) {
        self.key.store(key.to_bits(), Relaxed);
    }

    pub(crate) fn stage(&self) -> Stage {
        Stage::from_byte(self.stage.load(Relaxed))
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
    }

    /// Leaves the outcome, the first one only, and says who waits for it.
    pub(crate) fn settle(self: &Arc<JobSlot>, outcome: Outcome) -> Option<Wake> {
        let mut state = self.state.lock();
        let State::Waiting(waiter) = &mut *state else { return None };
        let waiter = waiter.take();
        self.set_stage(Stage::Settled);
        match waiter {
            None => {
                *state = State::Settled(Box::new(outcome));
                None
            }
            Some(Waiter::Thread(thread)) => {
                *state = State::Settled(Box::new(outcome));
                Some(Wake::Thread(thread))
            }
            Some(Waiter::Task(waker)) => {
                *state = State::Settled(Box::new(outcome));
                Some(Wake::Task(waker))
            }
            Some(Waiter::Callback(callback)) => {
                *state = State::Taken;
                Some(Wake::Callback(Box::new(move || callback(outcome))))
            }
            Some(Waiter::Arrivals(arrivals)) => {
                *state = State::Taken;
                drop(state);
                arrivals.push(Arc::clone(self), outcome).map(Wake::Thread)
            }
        }
    }

    /// The outcome, if it has come and was not taken before.
    pub(crate) fn take(&self) -> Option<Outcome> {
        take_settled(&mut self.state.lock())
    }

    /// Blocks until the outcome comes, or until `deadline`; without a deadline it does come.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<Outcome> {
        loop {
            if let Some(outcome) = self.take_or_wait(Waiter::Thread(std::thread::current())) {
                return Some(outcome);
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => std::thread::park(),
                Some(left) if left.is_zero() => return self.take_or_leave(),
                Some(left) => std::thread::park_timeout(left),
            }
        }
    }

    /// The outcome, or a promise to wake the task.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<Outcome> {
        let mut state = self.state.lock();
        match &*state {
            State::Waiting(Some(Waiter::Task(waker))) if waker.will_wake(context.waker()) => Poll::Pending,
            State::Waiting(_) => {
                *state = State::Waiting(Some(Waiter::Task(context.waker().clone())));
                Poll::Pending
            }
            State::Settled(_) => Poll::Ready(take_settled(&mut state).expect("it is settled")),
            State::Taken => panic!("a job's handle was polled after it was ready"),
        }
    }

    /// Has `callback` called with the outcome by the courier; gives both back if the outcome is already here.
    pub(crate) fn call_back(&self, callback: Callback) -> Option<(Callback, Outcome)> {
        let mut state = self.state.lock();
        match take_settled(&mut state) {
            Some(outcome) => Some((callback, outcome)),
            None => {
                *state = State::Waiting(Some(Waiter::Callback(callback)));
                None
            }
        }
    }

    /// Has the outcome, now or later, put among `arrivals`.
    pub(crate) fn forward(self: &Arc<JobSlot>, arrivals: &Arc<Arrivals>) {
        let mut state = self.state.lock();
        match take_settled(&mut state) {
            None => *state = State::Waiting(Some(Waiter::Arrivals(Arc::clone(arrivals)))),
            Some(outcome) => {
                drop(state);
                if let Some(thread) = arrivals.push(Arc::clone(self), outcome) {
                    thread.unpark();
                }
            }
        }
    }

    /// Nobody waits here any more, unless someone was appointed to take the outcome.
    pub(crate) fn stop_waiting(&self) {
        let mut state = self.state.lock();
        if let State::Waiting(waiter) = &mut *state {
            waiter.take_if(|waiter| matches!(waiter, Waiter::Thread(_) | Waiter::Task(_)));
        }
    }

    fn take_or_wait(&self, waiter: Waiter) -> Option<Outcome> {
        let mut state = self.state.lock();
        let outcome = take_settled(&mut state);
        if outcome.is_none() {
            *state = State::Waiting(Some(waiter));
        }
        outcome
    }

    fn take_or_leave(&self) -> Option<Outcome> {
        let outcome = self.take();
        if outcome.is_none() {
            self.stop_waiting();
        }
        outcome
    }
}

fn take_settled(state: &mut State) -> Option<Outcome> {
    match state {
        State::Waiting(_) | State::Taken => None,
        State::Settled(_) => match std::mem::replace(state, State::Taken) {
            State::Settled(outcome) => Some(*outcome),
            State::Waiting(_) | State::Taken => unreachable!("it was settled a line ago"),
        },
    }
}

impl Ticket for Arc<JobSlot> {
    fn id(&self) -> JobId {
        self.id
    }

    fn options(&self) -> &JobOptions {
        self.spec.options()
    }
}

impl std::fmt::Debug for JobSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobSlot")
            .field("id", &self.id)
            .field("name", &self.name())
            .field("payload_bytes", &self.payload.len())
            .field("stage", &self.stage())
            .finish_non_exhaustive()
    }
}

struct SharedPayload(Arc<JobSlot>);

impl AsRef<[u8]> for SharedPayload {
    fn as_ref(&self) -> &[u8] {
        self.0.payload()
    }
}
