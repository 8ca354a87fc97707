//! Requests in hand: what a handler is given, and how it answers.

mod context;
mod progress;

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use ganger_protocol::{
    Attachment, Body, Call, CodecError, Failure, FailureKind, LARGE_PAYLOAD, decode, encode, encode_onto,
};
use serde::Serialize;

use crate::current;
use crate::link::Link;
use crate::session::{Called, Outcome, Started};

pub use context::Context;

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
        let data = data.into();
        if data.len() < LARGE_PAYLOAD {
            // It is copied anyway: to share it would cost an allocation.
            self.answer(Outcome::Data(Body::Copy(&data)));
        } else {
            self.answer(Outcome::Data(Body::Share(Bytes::from(data))));
        }
    }

    /// As [`respond`](RawResponder::respond), with up to 16 attachments, which are closed here when they are on their
    /// way. More become a failure of kind [`Attachments`](FailureKind::Attachments).
    pub fn respond_with<I>(self, data: impl Into<Vec<u8>>, attachments: I)
    where
        I: IntoIterator<Item: Into<Attachment>>,
    {
        let shared = |one: Attachment| Arc::new(one.into_fd());
        let fds: Arc<[Arc<OwnedFd>]> = attachments.into_iter().map(|one| shared(one.into())).collect();
        self.answer(Outcome::Attached(Body::Share(Bytes::from(data.into())), fds));
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
        self.context.link.fulfil(self.context.duty, outcome);
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
        let duty = self.context.duty;
        if !std::thread::panicking() {
            let message = format!("the handler of the call {:?} dropped the request unanswered", self.call());
            let failure = Failure::of_kind(FailureKind::Dropped, message);
            self.context.link.fulfil(duty, Outcome::Failed(&failure));
        } else if !current::orphan(duty) {
            let failure = Failure::of_kind(FailureKind::Panic, "the thread that held the request panicked");
            self.context.link.fulfil(duty, Outcome::Failed(&failure));
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
        let (context, data) = Context::of(link, started);
        RawRequest { data, responder: RawResponder { context, is_open: true } }
    }

    pub(crate) fn called(link: Arc<Link>, call: Called) -> RawRequest {
        let (context, data) = Context::of_call(link, call);
        RawRequest { data, responder: RawResponder { context, is_open: true } }
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

    /// As [`RawResponder::respond_with`].
    pub fn respond_with<I>(self, data: impl Into<Vec<u8>>, attachments: I)
    where
        I: IntoIterator<Item: Into<Attachment>>,
    {
        self.responder.respond_with(data, attachments);
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

    /// As [`respond`](Responder::respond), with up to 16 attachments: files, sockets, ends of
    /// [streams](crate::stream()). They are closed here when they are on their way. More become a failure of kind
    /// [`Attachments`](FailureKind::Attachments).
    pub fn respond_with<I>(self, reply: &C::Reply, attachments: I)
    where
        I: IntoIterator<Item: Into<Attachment>>,
    {
        match encode(reply) {
            Ok(data) => self.raw.respond_with(data, attachments),
            Err(error) => {
                let failure = codec_failure("reply", self.call(), &error);
                self.fail(failure);
            }
        }
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

    /// As [`Responder::respond_with`].
    pub fn respond_with<I>(self, reply: &C::Reply, attachments: I)
    where
        I: IntoIterator<Item: Into<Attachment>>,
    {
        self.responder.respond_with(reply, attachments);
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
