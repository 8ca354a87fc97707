//! Where a job's owner and the loop meet: the request on the way in, the outcome on the way out.
//!
//! ```text
//! Waiting ──settle──▶ Settled ──take──▶ Taken
//!    │                                    ▲
//!    └── settle, with a waiter that takes ┘
//! ```
//!
//! There are two parties: whoever has the job's handle, and whoever settles it. What one leaves for the other is in one
//! cell, and both exchange its content in a single step: a waiter for an outcome, or an outcome for a waiter. Whoever
//! gets the other's part out of the cell finishes the meeting.
//!
//! Everything is in one allocation, payload included: of ten million queued jobs each byte here is ten megabytes.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;

use bytes::Bytes;
use crossbeam_utils::atomic::AtomicCell;
use ganger_protocol::{JobId, Time};
use triomphe::ThinArc;

use crate::completions::Arrivals;
use crate::scheduler::{GroupIndex, JobOptions, Outcome, Ticket};

mod held;
mod spec;
#[cfg(test)]
mod tests;

pub(crate) use held::{Baggage, Descriptors, Held};
pub(crate) use spec::{Spec, Terms};

/// A payload of more bytes is kept as it came: moving it costs less than a copy, and an allocation of its own nothing.
const INLINE_BYTES: usize = 1024;

/// No place in the scheduler.
const NOWHERE: u32 = u32::MAX;

/// Where a job is, as far as its owner can see without asking the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Queued,
    Sent,
    Settled,
}

/// Between `Sent` and `Settled`: the outcome is on its way into the cell.
const SETTLING: u8 = 2;
const SETTLED: u8 = 3;

impl Stage {
    fn from_byte(byte: u8) -> Stage {
        match byte {
            0 => Stage::Queued,
            SETTLED => Stage::Settled,
            _ => Stage::Sent,
        }
    }

    fn to_byte(self) -> u8 {
        match self {
            Stage::Queued => 0,
            Stage::Sent => 1,
            Stage::Settled => SETTLED,
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

/// What one party has left for the other.
enum Note {
    Thread(Thread),
    Task(Waker),
    Callback(Callback),
    Arrivals(Arc<Arrivals>),
    Outcome(Outcome),
}

impl Note {
    fn outcome(self) -> Option<Outcome> {
        match self {
            Note::Outcome(outcome) => Some(outcome),
            Note::Thread(_) | Note::Task(_) | Note::Callback(_) | Note::Arrivals(_) => None,
        }
    }
}

/// A job: the request, and the place its outcome is left in. Clones are the same job.
#[derive(Clone)]
pub(crate) struct JobSlot(ThinArc<Head, u8>);

struct Head {
    id: JobId,
    spec: Spec,
    enqueued: Time,
    cell: AtomicCell<Option<Box<Note>>>,
    /// Where the scheduler keeps the job.
    place: AtomicU32,
    group: GroupIndex,
    stage: AtomicU8,
    /// Somebody was appointed to take the outcome: it is not the handle's any more. Written by the handle's owner only.
    is_appointed: AtomicBool,
}

impl JobSlot {
    pub(crate) fn new(id: JobId, spec: Spec, group: GroupIndex, payload: Vec<u8>, enqueued: Time) -> JobSlot {
        if payload.len() > INLINE_BYTES {
            JobSlot::with(id, spec.with_payload(payload), group, &[], enqueued)
        } else {
            JobSlot::with(id, spec, group, &payload, enqueued)
        }
    }

    fn with(id: JobId, spec: Spec, group: GroupIndex, payload: &[u8], enqueued: Time) -> JobSlot {
        let head = Head {
            id,
            spec,
            enqueued,
            cell: AtomicCell::new(None),
            place: AtomicU32::new(NOWHERE),
            group,
            stage: AtomicU8::new(Stage::Queued.to_byte()),
            is_appointed: AtomicBool::new(false),
        };
        JobSlot(ThinArc::from_header_and_slice(head, payload))
    }

    fn head(&self) -> &Head {
        &self.0.header.header
    }

    pub(crate) fn id(&self) -> JobId {
        self.head().id
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.head().spec
    }

    pub(crate) fn name(&self) -> &str {
        self.spec().name()
    }

    pub(crate) fn headers(&self) -> &[(String, String)] {
        self.spec().headers()
    }

    pub(crate) fn options(&self) -> &JobOptions {
        self.spec().options()
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.spec().payload().unwrap_or(&self.0.slice)
    }

    /// The payload by reference: the slot lives as long as the bytes.
    pub(crate) fn shared_payload(&self) -> Bytes {
        Bytes::from_owner(SharedPayload(self.clone()))
    }

    /// What is attached to it, until that is released.
    pub(crate) fn attachments(&self) -> Option<Descriptors> {
        self.spec().attachments()?.fds()
    }

    /// How many ends of streams were attached to it.
    pub(crate) fn streams(&self) -> usize {
        self.spec().attachments().map_or(0, Held::streams)
    }

    /// No worker will have to be given its attachments again.
    pub(crate) fn release_attachments(&self) {
        if let Some(held) = self.spec().attachments() {
            held.release();
        }
    }

    pub(crate) fn enqueued(&self) -> Time {
        self.head().enqueued
    }

    pub(crate) fn group(&self) -> GroupIndex {
        self.head().group
    }

    /// The bytes the job counts for in its queue's limit.
    pub(crate) fn charge(&self) -> usize {
        self.payload().len()
    }

    /// Where the scheduler keeps the job, once it does.
    pub(crate) fn place(&self) -> Option<u32> {
        Some(self.head().place.load(Relaxed)).filter(|place| *place != NOWHERE)
    }

    pub(crate) fn set_place(&self, place: u32) {
        self.head().place.store(place, Relaxed);
    }

    pub(crate) fn stage(&self) -> Stage {
        Stage::from_byte(self.head().stage.load(Acquire))
    }

    /// For the loop, until it settles the job.
    pub(crate) fn set_stage(&self, stage: Stage) {
        self.head().stage.store(stage.to_byte(), Release);
    }

    /// Leaves the outcome, the first one only, and says who waits for it.
    pub(crate) fn settle(&self, outcome: Outcome) -> Option<Wake> {
        let Head { cell, stage, is_appointed, .. } = self.head();
        if stage.fetch_max(SETTLING, AcqRel) >= SETTLING {
            return None;
        }
        self.release_attachments();
        // Spares the box; whoever is appointed a moment later is found by the exchange.
        let appointed = is_appointed.load(Acquire).then(|| cell.take()).flatten();
        let wake = match appointed.map(|note| *note) {
            Some(waiter @ (Note::Callback(_) | Note::Arrivals(_))) => self.deliver(waiter, outcome),
            // A task that waited before the appointment is told nothing: its handle is gone.
            Some(Note::Thread(_) | Note::Task(_) | Note::Outcome(_)) | None => self.exchange(outcome),
        };
        stage.store(SETTLED, Release);
        wake
    }

    fn exchange(&self, outcome: Outcome) -> Option<Wake> {
        let cell = &self.head().cell;
        match *cell.swap(Some(Box::new(Note::Outcome(outcome))))? {
            Note::Thread(thread) => Some(Wake::Thread(thread)),
            Note::Task(waker) => Some(Wake::Task(waker)),
            appointed @ (Note::Callback(_) | Note::Arrivals(_)) => {
                let outcome = cell.take().and_then(|note| note.outcome())?;
                self.deliver(appointed, outcome)
            }
            Note::Outcome(_) => unreachable!("a slot settles once"),
        }
    }

    /// Gives the outcome to whoever was appointed to take it.
    fn deliver(&self, waiter: Note, outcome: Outcome) -> Option<Wake> {
        match waiter {
            Note::Callback(callback) => Some(Wake::Callback(Box::new(move || callback(outcome)))),
            Note::Arrivals(arrivals) => arrivals.push(self.clone(), outcome).map(Wake::Thread),
            Note::Thread(_) | Note::Task(_) | Note::Outcome(_) => {
                unreachable!("only those two are appointed")
            }
        }
    }

    /// The outcome, if it has come and was not taken before.
    pub(crate) fn take(&self) -> Option<Outcome> {
        match self.stage() {
            Stage::Queued | Stage::Sent => None,
            Stage::Settled => self.withdraw(),
        }
    }

    /// Blocks until the outcome comes, or until `deadline`; without a deadline it does come.
    pub(crate) fn wait(&self, deadline: Option<Time>) -> Option<Outcome> {
        if self.stage() == Stage::Settled {
            let outcome = self.withdraw();
            return Some(outcome.expect("a job's handle was waited for after it was ready"));
        }
        if deadline.is_some_and(|deadline| deadline <= Time::now()) {
            return None;
        }
        if let Some((_, outcome)) = self.leave(Note::Thread(std::thread::current())) {
            return Some(outcome);
        }
        loop {
            match deadline.map(|deadline| deadline.since(Time::now())) {
                None => std::thread::park(),
                Some(left) if left.is_zero() => return self.withdraw(),
                Some(left) => std::thread::park_timeout(left),
            }
            if let Some(outcome) = self.take() {
                return Some(outcome);
            }
        }
    }

    /// The outcome, or a promise to wake the task.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<Outcome> {
        let is_settled = self.stage() == Stage::Settled;
        let waiter = match self.head().cell.take().map(|note| *note) {
            Some(Note::Outcome(outcome)) => return Poll::Ready(outcome),
            Some(Note::Task(waker)) if waker.will_wake(context.waker()) => waker,
            Some(_) | None if is_settled => panic!("a job's handle was polled after it was ready"),
            Some(_) | None => context.waker().clone(),
        };
        match self.leave(Note::Task(waiter)) {
            Some((_, outcome)) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }

    /// Has `callback` called with the outcome by the courier; gives both back if the outcome is already here.
    pub(crate) fn call_back(&self, callback: Callback) -> Option<(Callback, Outcome)> {
        self.head().is_appointed.store(true, Release);
        match self.leave(Note::Callback(callback))? {
            (Note::Callback(callback), outcome) => Some((callback, outcome)),
            (_, _) => unreachable!("what was left is what is given back"),
        }
    }

    /// Has the outcome, now or later, put among `arrivals`.
    pub(crate) fn forward(&self, arrivals: &Arc<Arrivals>) {
        self.head().is_appointed.store(true, Release);
        if let Some((_, outcome)) = self.leave(Note::Arrivals(Arc::clone(arrivals)))
            && let Some(thread) = arrivals.push(self.clone(), outcome)
        {
            thread.unpark();
        }
    }

    /// Nobody waits here any more, unless someone was appointed to take the outcome.
    pub(crate) fn stop_waiting(&self) {
        if self.stage() != Stage::Settled && !self.head().is_appointed.load(Relaxed) {
            self.head().cell.take();
        }
    }

    /// Leaves a waiter; gives it back with the outcome, if that is here.
    fn leave(&self, waiter: Note) -> Option<(Note, Outcome)> {
        let cell = &self.head().cell;
        let outcome = cell.swap(Some(Box::new(waiter)))?.outcome()?;
        // The other party has been here: nobody but us reaches into the cell any more.
        cell.take().map(|waiter| (*waiter, outcome))
    }

    /// The outcome, if it is there; else nobody waits here any more.
    fn withdraw(&self) -> Option<Outcome> {
        self.head().cell.take()?.outcome()
    }
}

impl Ticket for JobSlot {
    fn id(&self) -> JobId {
        self.head().id
    }

    fn options(&self) -> &JobOptions {
        self.spec().options()
    }
}

impl std::fmt::Debug for JobSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobSlot")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("payload_bytes", &self.payload().len())
            .field("stage", &self.stage())
            .finish_non_exhaustive()
    }
}

struct SharedPayload(JobSlot);

impl AsRef<[u8]> for SharedPayload {
    fn as_ref(&self) -> &[u8] {
        self.0.payload()
    }
}
