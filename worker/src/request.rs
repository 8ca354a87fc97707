//! Requests in hand: what a handler is given, and how it answers.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use ganger_protocol::{
    Body, Call, CodecError, Failure, FailureKind, JobId, LARGE_PAYLOAD, Time, decode, encode_onto,
};
use serde::Serialize;

use crate::control::Control;
use crate::current;
use crate::link::Link;
use crate::session::{Outcome, Started, Ticket};

/// What is known about a request besides its argument.
///
/// A handler registered with [`Worker::on_call`](crate::Worker::on_call) gets it beside the argument; requests and
/// responders dereference to it.
///
/// ```no_run
/// # use ganger_worker::{Call, Worker};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)] struct Count { to: u64 }
/// # impl Call for Count { const NAME: &'static str = "count"; type Reply = u64; }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut worker = Worker::connect()?;
/// worker.on_call(|count: Count, cx| {
///     let mut counted = 0;
///     while counted < count.to && !cx.cancelled() {
///         counted += 1;
///     }
///     Ok(counted)
/// });
/// worker.serve()?;
/// # Ok(())
/// # }
/// ```
pub struct Context {
    link: Arc<Link>,
    ticket: Ticket,
    name: Arc<str>,
    job: JobId,
    attempt: u16,
    enqueued: Time,
    since: Time,
    run_timeout: Option<Duration>,
    headers: Vec<(String, String)>,
}

impl Context {
    /// The call's name.
    #[must_use]
    pub fn call(&self) -> &str {
        &self.name
    }

    /// The job's id: the same in every attempt.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.job
    }

    /// Which attempt of the job this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u16 {
        self.attempt
    }

    /// How long ago the job was enqueued, by the machine's monotonic clock.
    #[must_use]
    pub fn age(&self) -> Duration {
        Time::now().since(self.enqueued)
    }

    /// When the job was enqueued, by the wall clock as it is now.
    #[must_use]
    pub fn created_at(&self) -> SystemTime {
        let now = SystemTime::now();
        now.checked_sub(self.age()).unwrap_or(now)
    }

    /// How long this attempt has been running.
    #[must_use]
    pub fn running_for(&self) -> Duration {
        Time::now().since(self.since)
    }

    /// When the run timeout ends this attempt, if there is one.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let deadline = self.since + self.run_timeout?;
        let (now, clock) = (Instant::now(), Time::now());
        if deadline >= clock {
            now.checked_add(deadline.since(clock))
        } else {
            now.checked_sub(clock.since(deadline))
        }
    }

    /// The job's headers, in the order in which they were given.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The first header with this key.
    #[must_use]
    pub fn header(&self, key: &str) -> Option<&str> {
        self.headers().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Whether nobody waits for the answer any more. Turns true within 10 ms of the word of the supervisor,
    /// also while every handler thread is busy. To ask costs one memory access.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.link.is_cancelled(self.ticket)
    }

    /// The worker that handles the request.
    #[must_use]
    pub fn worker(&self) -> Control {
        Control::new(Arc::clone(&self.link))
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("call", &self.call())
            .field("id", &self.job)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// The duty to answer one request whose argument and reply are bytes.
///
/// It may be moved to any thread and used at any time. Dropped unanswered, it answers with a
/// [`Failure`] of kind [`Dropped`](FailureKind::Dropped) at once.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut worker = ganger_worker::Worker::connect()?;
/// worker.on_raw("reverse", |request| {
///     let (mut bytes, responder) = request.into_parts();
///     std::thread::spawn(move || {
///         bytes.reverse();
///         responder.respond(bytes);
///     });
/// });
/// worker.serve()?;
/// # Ok(())
/// # }
/// ```
pub struct RawResponder {
    context: Context,
    is_open: bool,
}

impl RawResponder {
    /// Answers with these bytes. More than the payload limit become a failure of kind
    /// [`Codec`](FailureKind::Codec).
    pub fn respond(self, data: impl Into<Vec<u8>>) {
        self.answer(Outcome::Data(Body::Share(Bytes::from(data.into()))));
    }

    /// Answers with a failure.
    pub fn fail(self, failure: impl Into<Failure>) {
        self.answer(Outcome::Failed(&failure.into()));
    }

    /// Answers that it is done, without a reply.
    pub fn ack(self) {
        self.answer(Outcome::Ack);
    }

    fn answer(mut self, outcome: Outcome<'_>) {
        self.is_open = false;
        self.context.link.answer(self.context.ticket, outcome);
    }

    fn answer_with<T: Serialize>(self, reply: &T) {
        let mut buffer = SCRATCH.take();
        buffer.clear();
        match encode_onto(reply, &mut buffer) {
            Err(error) => {
                let failure = codec_failure("reply", self.call(), &error);
                self.fail(failure);
            }
            Ok(()) if buffer.len() >= LARGE_PAYLOAD => return self.respond(buffer),
            Ok(()) => self.answer(Outcome::Data(Body::Copy(&buffer))),
        }
        SCRATCH.set(buffer);
    }
}

thread_local! {
    /// Where small replies are encoded. Taken while in use: a reply's `Serialize` may itself answer a request.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Deref for RawResponder {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

impl Drop for RawResponder {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let ticket = self.context.ticket;
        if !std::thread::panicking() {
            let message = format!("the handler of the call {:?} dropped the request unanswered", self.call());
            let failure = Failure::of_kind(FailureKind::Dropped, message);
            self.context.link.answer(ticket, Outcome::Failed(&failure));
        } else if !current::orphan(ticket) {
            let failure = Failure::of_kind(FailureKind::Panic, "the thread that held the request panicked");
            self.context.link.answer(ticket, Outcome::Failed(&failure));
        }
    }
}

impl fmt::Debug for RawResponder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawResponder").field(&self.context).finish()
    }
}

/// A request whose argument and reply are bytes.
///
/// Dropped unanswered, it answers with a [`Failure`] of kind [`Dropped`](FailureKind::Dropped) at once.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut worker = ganger_worker::Worker::connect()?;
/// worker.on_raw("echo", |request| {
///     let (bytes, responder) = request.into_parts();
///     responder.respond(bytes);
/// });
/// worker.serve()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RawRequest {
    data: Vec<u8>,
    responder: RawResponder,
}

impl RawRequest {
    pub(crate) fn new(link: Arc<Link>, started: Started) -> RawRequest {
        let Started { ticket, since, request } = started;
        let context = Context {
            link,
            ticket,
            name: request.name,
            job: request.job,
            attempt: request.attempt,
            enqueued: request.enqueued,
            since,
            run_timeout: request.run_timeout,
            headers: request.headers,
        };
        RawRequest { data: request.payload, responder: RawResponder { context, is_open: true } }
    }

    /// The argument.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The argument, and the duty to answer.
    #[must_use]
    pub fn into_parts(self) -> (Vec<u8>, RawResponder) {
        (self.data, self.responder)
    }

    /// As [`RawResponder::respond`].
    pub fn respond(self, data: impl Into<Vec<u8>>) {
        self.responder.respond(data);
    }

    /// As [`RawResponder::fail`].
    pub fn fail(self, failure: impl Into<Failure>) {
        self.responder.fail(failure);
    }

    /// As [`RawResponder::ack`].
    pub fn ack(self) {
        self.responder.ack();
    }

    /// The same request with its argument decoded; one that does not decode is answered here.
    pub(crate) fn decode<C: Call>(self) -> Option<Request<C>> {
        match decode::<C>(&self.data) {
            Ok(data) => {
                Some(Request { data, responder: Responder { raw: self.responder, call: PhantomData } })
            }
            Err(error) => {
                let failure = codec_failure("argument", self.call(), &error);
                self.fail(failure);
                None
            }
        }
    }
}

impl Deref for RawRequest {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.responder.context
    }
}

/// The duty to answer one request of the call `C`.
///
/// It may be moved to any thread and used at any time. Dropped unanswered, it answers with a
/// [`Failure`] of kind [`Dropped`](FailureKind::Dropped) at once. See [`Request`] for an example.
pub struct Responder<C> {
    raw: RawResponder,
    call: PhantomData<fn(C)>,
}

impl<C: Call> Responder<C> {
    /// Answers with a reply. One that cannot be encoded, or is larger than the payload limit, becomes a
    /// failure of kind [`Codec`](FailureKind::Codec).
    pub fn respond(self, reply: &C::Reply) {
        self.raw.answer_with(reply);
    }

    /// Answers with a failure.
    pub fn fail(self, failure: impl Into<Failure>) {
        self.raw.fail(failure);
    }

    /// Answers that it is done, without a reply.
    pub fn ack(self) {
        self.raw.ack();
    }
}

impl<C> Deref for Responder<C> {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.raw.context
    }
}

impl<C> fmt::Debug for Responder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Responder").field(&self.raw.context).finish()
    }
}

/// A request of the call `C`: the argument, what is known about it, and the duty to answer.
///
/// To answer consumes it. It may be moved to another thread and answered at any time; until then it counts
/// against the worker's capacity. Dropped unanswered, it answers with a [`Failure`] of kind
/// [`Dropped`](FailureKind::Dropped) at once.
///
/// ```no_run
/// use ganger_worker::{Call, Request, Worker};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Greet {
///     name: String,
/// }
///
/// impl Call for Greet {
///     const NAME: &'static str = "greet";
///     type Reply = String;
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut worker = Worker::connect()?;
/// worker.on_request(|request: Request<Greet>| {
///     std::thread::spawn(move || {
///         let reply = format!("Hello, {}!", request.data().name);
///         request.respond(&reply);
///     });
/// });
/// worker.control().ready_with(16);
/// worker.serve()?;
/// # Ok(())
/// # }
/// ```
pub struct Request<C> {
    data: C,
    responder: Responder<C>,
}

impl<C: Call> Request<C> {
    /// The argument.
    pub fn data(&self) -> &C {
        &self.data
    }

    /// The argument, and the duty to answer.
    #[must_use]
    pub fn into_parts(self) -> (C, Responder<C>) {
        (self.data, self.responder)
    }

    /// As [`Responder::respond`].
    pub fn respond(self, reply: &C::Reply) {
        self.responder.respond(reply);
    }

    /// As [`Responder::fail`].
    pub fn fail(self, failure: impl Into<Failure>) {
        self.responder.fail(failure);
    }

    /// As [`Responder::ack`].
    pub fn ack(self) {
        self.responder.ack();
    }
}

impl<C> Deref for Request<C> {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.responder
    }
}

impl<C: fmt::Debug> fmt::Debug for Request<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("data", &self.data)
            .field("context", &self.responder.raw.context)
            .finish()
    }
}

fn codec_failure(what: &str, call: &str, error: &CodecError) -> Failure {
    Failure::of_kind(FailureKind::Codec, format!("the {what} of the call {call:?}: {error}"))
}
