//! What a worker knows: a state machine without threads, sockets or clocks.
//!
//! Bytes go in, and come out as requests to start and notices to act on; answers and events go in, and come out
//! as bytes. Whoever drives it, `serve()` or a simulator, reads and writes, passes the time, and calls the
//! handlers.
//!
//! ```text
//! readiness   Undecided ──ready──▶ Ready ◀──ready / busy──▶ Busy
//! a request   received ──start──▶ in hand ──answer──▶ gone
//!                 └── taken back, seen by its generation ──▶ gone
//! ending      Serving ──Drain──▶ Draining ──hooks done, not busy, nothing left──▶ Left
//! ```
//!
//! A request is started only while the worker is ready and has fewer than `capacity` requests in hand; its slot
//! in the shared page is taken before the start mark moves and vacated before its answer can be written, so that
//! the supervisor never finds a started request without either.

mod calls;
mod cancels;
mod hands;
mod names;
mod progress;
#[cfg(test)]
mod tests;
mod window;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ganger_protocol::{
    AnswerHead, Answered, Attachments, Body, Cancel, CodecError, EventHead, Failure, FailureKind, Fetched,
    FrameError, Half, Hatch, HatchError, HealthReport, Inbox, Kind, Limits, MAX_ATTACHMENTS, MAX_HEAD,
    MarkMoved, Ordinal, Outbox, Packet, Page, Payload, Piece, Pool, PoolReader, PoolWriter, Ready, Registry,
    Reporter, RequestHead, StoreOp, StoreReplyHead, Taken, Time, ToWorker, encode,
};

use crate::control::EmitError;

pub use calls::{CallAnswer, CallTicket, Called};
use calls::{Calls, call_answer, shortened};
pub use cancels::Cancels;
use hands::Hands;
pub use hands::{Hand, Ticket};
use names::Names;
use progress::Pace;
pub use progress::ProgressError;
pub use window::Received;
use window::Window;

/// With this many unwritten bytes a worker emits no further event.
pub const EMIT_PENDING_LIMIT: usize = 16 << 20;

/// The longest name of an event, in bytes: the head's limit less its own length prefix.
pub const NAME_LIMIT: usize = MAX_HEAD - 8;

/// A request whose handler is to be called now.
#[derive(Debug)]
pub struct Started {
    /// What its answer must show.
    pub ticket: Ticket,
    /// When it was started.
    pub since: Time,
    /// The request.
    pub request: Received,
}

/// Something the supervisor said that is not a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    /// A broadcast event.
    Event {
        /// Its name.
        name: String,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// No further request will come: run the soft-kill hooks.
    Drain,
    /// SIGKILL comes in a moment: run the hard-kill hooks.
    HardKill,
    /// Somebody calls this worker.
    Call(Called),
    /// An answer to a call of this worker's.
    CallAnswer(CallAnswer),
    /// The store has answered.
    StoreReply(StoreReplyHead),
    /// The store has told a piece of what is followed.
    StoreChange(Piece),
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Outcome<'a> {
    /// With a reply.
    Data(Body<'a>),
    /// With a reply and attachments.
    Attached(Body<'a>, Arc<[Arc<OwnedFd>]>),
    /// Without one.
    Ack,
    /// With a failure.
    Failed(&'a Failure),
}

/// The supervisor did what the protocol does not allow. There is no way to go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Bytes that are no message, or not one for a worker.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Descriptors that do not fit their request.
    #[error(transparent)]
    Hatch(#[from] HatchError),
    /// A request was not the one that the start mark said comes next.
    #[error("request {found:?} came where {expected:?} was due")]
    OutOfOrder {
        /// What the start mark counted.
        expected: Ordinal,
        /// What the request said.
        found: Ordinal,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    Undecided,
    Ready { capacity: u32 },
    Busy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Serving,
    Draining,
    Left,
}

/// What a worker knows.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    inbox: Inbox,
    outbox: Outbox,
    hatch: Option<Arc<Hatch>>,
    window: Window,
    hands: Hands,
    cancels: Arc<Cancels>,
    pace: Pace,
    calls: Calls,
    names: Names,
    readiness: Readiness,
    ending: Ending,
    /// Soft-kill hooks that have not said that they are done.
    hooks: usize,
    /// What was said about metrics.
    reporter: Reporter,
    /// What was said last about the worker's health.
    failure: Option<String>,
}

impl Session {
    /// A session that has said its Hello and nothing else.
    #[cfg(any(test, feature = "internals"))]
    #[must_use]
    pub fn new(limits: Limits) -> Session {
        Session::resuming(limits, Inbox::new(limits, ganger_protocol::Growth::AtOnce))
    }

    /// A session that goes on reading where the Hello ended.
    #[must_use]
    pub fn resuming(limits: Limits, inbox: Inbox) -> Session {
        Session {
            limits,
            inbox: inbox.with_limits(limits),
            outbox: Outbox::new(),
            hatch: None,
            window: Window::default(),
            hands: Hands::default(),
            cancels: Arc::new(Cancels::new()),
            pace: Pace::default(),
            calls: Calls::default(),
            names: Names::default(),
            readiness: Readiness::Undecided,
            ending: Ending::Serving,
            hooks: 0,
            reporter: Reporter::default(),
            failure: None,
        }
    }

    /// Large payloads may go through this pool from now on, either way.
    pub fn share(&mut self, pool: Pool) {
        let pool = Arc::new(pool);
        self.inbox.share(PoolReader::new(Arc::clone(&pool), Half::Requests));
        self.outbox.share(PoolWriter::new(pool, Half::Answers));
    }

    /// Descriptors may come and go through this hatch from now on.
    pub fn open(&mut self, hatch: Hatch) {
        let hatch = Arc::new(hatch);
        self.outbox.open(Arc::clone(&hatch));
        self.hatch = Some(hatch);
    }

    /// Where the bytes from the supervisor go.
    pub fn inbox(&mut self) -> &mut Inbox {
        &mut self.inbox
    }

    /// Where the bytes for the supervisor come from.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Bytes for the supervisor that are not written yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.outbox.pending()
    }

    /// Which requests in hand were cancelled, to be read without the session.
    #[must_use]
    pub fn cancels(&self) -> Arc<Cancels> {
        Arc::clone(&self.cancels)
    }

    /// The requests in hand.
    pub fn hands(&self) -> impl Iterator<Item = &Hand> {
        self.hands.iter()
    }

    /// Decodes what has arrived. Requests are kept until they are started; the rest comes back, in order.
    ///
    /// # Errors
    /// [`Violation`] when the supervisor breaks the protocol; the session is of no use afterwards.
    pub fn take_in(&mut self, now: Time) -> Result<Vec<Notice>, Violation> {
        let mut notices = Vec::new();
        let Session { inbox, hatch, window, hands, cancels, calls, names, ending, .. } = self;
        while let Some(frame) = inbox.next_frame()? {
            let fds = frame.fds;
            match ToWorker::decode(frame)? {
                ToWorker::Request(head, payload) => {
                    let attachments = attachments(hatch.as_deref(), &head, fds)?;
                    window.push(Received { attachments, ..received(head, payload, names, now) });
                }
                ToWorker::Cancel(cancel) => note_cancel(hands, cancels, cancel),
                ToWorker::Event(head, payload) => notices.push(event(head, payload)),
                ToWorker::Drain if *ending == Ending::Serving => {
                    *ending = Ending::Draining;
                    notices.push(Notice::Drain);
                }
                ToWorker::Drain => {}
                ToWorker::HardKill => notices.push(Notice::HardKill),
                ToWorker::Call(head, payload) => {
                    notices.push(Notice::Call(calls.take_up(&head, payload, names, now)));
                }
                ToWorker::CallAnswer(head, payload) => {
                    notices.push(Notice::CallAnswer(call_answer(&head, payload)?));
                }
                ToWorker::StoreReply(head, payload) => notices.push(store_reply(head, payload)?),
                ToWorker::StoreChange(head, payload) => {
                    let piece =
                        Piece::decode(head, payload).map_err(|error| malformed(Kind::StoreChange, &error))?;
                    notices.push(Notice::StoreChange(piece));
                }
                ToWorker::Hello(_) => return Err(not_allowed(Kind::SupervisorHello).into()),
            }
        }
        if let Some(lie) = self.outbox.take_lie() {
            return Err(FrameError::from(lie).into());
        }
        Ok(notices)
    }

    /// Says that requests are welcome: the `capacity` is how many may be in hand at once.
    pub fn ready(&mut self, ready: Ready) {
        if self.ending == Ending::Left {
            return;
        }
        self.readiness = Readiness::Ready { capacity: ready.capacity };
        self.outbox.frame(Kind::Ready, &ready, Body::Copy(&[]));
    }

    /// Says that requests are not welcome for now. None is started until [`ready`](Session::ready).
    pub fn busy(&mut self) {
        if self.ending == Ending::Left {
            return;
        }
        self.readiness = Readiness::Busy;
        self.outbox.frame(Kind::Busy, &(), Body::Copy(&[]));
    }

    /// Whether [`start_next`](Session::start_next) would find a request, unless it is taken back meanwhile.
    #[must_use]
    pub fn can_start(&mut self, page: &Page) -> bool {
        self.has_room() && self.window.has_current(page.mark().generation)
    }

    /// Starts the next request, if there is one and room for it.
    ///
    /// # Errors
    /// [`Violation::OutOfOrder`] when the request's ordinal is not the next; it has been started nevertheless.
    pub fn start_next(&mut self, page: &Page, now: Time) -> Result<Option<Started>, Violation> {
        while self.has_room() {
            let Some(request) = self.window.pop_current(page.mark().generation) else { return Ok(None) };
            if let Some(started) = self.start(request, page, now)? {
                return Ok(Some(started));
            }
        }
        Ok(None)
    }

    /// Answers a request in hand and says how long it took; `None` for a ticket that is not in hand.
    pub fn answer(
        &mut self,
        page: &Page,
        ticket: Ticket,
        outcome: Outcome<'_>,
        now: Time,
    ) -> Option<Duration> {
        let hand = self.hands.put_down(ticket)?;
        page.vacate(ticket.slot());
        let ran = now.since(hand.since);
        match outcome {
            Outcome::Data(body) if body_len(&body) > self.limits.payload => {
                self.fail(ticket, ran, &over_limit(body_len(&body), self.limits.payload));
            }
            Outcome::Data(body) => self.append_answer(ticket, ran, Answered::Data, body),
            Outcome::Attached(body, _) if body_len(&body) > self.limits.payload => {
                self.fail(ticket, ran, &over_limit(body_len(&body), self.limits.payload));
            }
            Outcome::Attached(_, fds) if fds.len() > MAX_ATTACHMENTS => {
                self.fail(ticket, ran, &too_many(fds.len()));
            }
            Outcome::Attached(body, fds) => self.append_attached(ticket, ran, body, fds),
            Outcome::Ack => self.append_answer(ticket, ran, Answered::Ack, Body::Copy(&[])),
            Outcome::Failed(failure) => self.fail(ticket, ran, failure),
        }
        Some(ran)
    }

    /// Sends an event.
    ///
    /// # Errors
    /// [`EmitError`] when it is too large, too much is unwritten already, or the worker has left.
    pub fn emit(&mut self, name: &str, payload: Body<'_>) -> Result<(), EmitError> {
        let (length, limit) = (body_len(&payload), self.limits.event);
        if self.ending == Ending::Left {
            return Err(EmitError::Left);
        }
        if name.len() > NAME_LIMIT {
            return Err(EmitError::NameTooLong { length: name.len(), limit: NAME_LIMIT });
        }
        if length > limit {
            return Err(EmitError::TooLarge { length, limit });
        }
        if self.pending() >= EMIT_PENDING_LIMIT {
            return Err(EmitError::Full { pending_bytes: self.pending(), limit_bytes: EMIT_PENDING_LIMIT });
        }
        self.outbox.frame(Kind::WorkerEvent, &EventHead { name: name.into() }, payload);
        Ok(())
    }

    /// Says what has changed in the metrics, if anything has.
    pub fn metrics(&mut self, registry: &Registry) {
        if self.ending == Ending::Left {
            return;
        }
        for report in self.reporter.reports(registry) {
            self.outbox.frame(Kind::Metrics, &report, Body::Copy(&[]));
        }
    }

    /// Says why the worker is not healthy, or that it is, if that is news.
    pub fn health(&mut self, failure: Option<String>) {
        if self.ending == Ending::Left || self.failure == failure {
            return;
        }
        self.failure = failure;
        let report = HealthReport { failure: self.failure.clone() };
        self.outbox.frame(Kind::HealthReport, &report, Body::Copy(&[]));
    }

    /// Asks the store under a number that is not in use; false when the worker has left.
    pub fn ask_store(&mut self, id: u64, op: &StoreOp<'_>) -> bool {
        if self.ending == Ending::Left {
            return false;
        }
        // The two fields of its head.
        self.outbox.frame(Kind::StoreOp, &(id, op), Body::Share(op.payload()));
        true
    }

    /// Says how many soft-kill hooks must be done before the worker may leave. To be called before any byte is
    /// taken in.
    pub fn expect_hooks(&mut self, hooks: usize) {
        self.hooks = hooks;
    }

    /// Notes that one soft-kill hook is done.
    pub fn hook_done(&mut self) {
        self.hooks = self.hooks.saturating_sub(1);
    }

    /// Whether no further request will come.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        match self.ending {
            Ending::Serving => false,
            Ending::Draining | Ending::Left => true,
        }
    }

    /// Whether it is time to [`leave`](Session::leave): drained, hooks done, not busy, nothing left to do,
    /// no call left to answer.
    #[must_use]
    pub fn goodbye_due(&mut self, page: &Page) -> bool {
        self.ending == Ending::Draining
            && self.hooks == 0
            && self.readiness != Readiness::Busy
            && self.hands.is_empty()
            && self.calls.is_empty()
            && !self.window.has_current(page.mark().generation)
    }

    /// Says goodbye. Nothing can be said afterwards.
    pub fn leave(&mut self) {
        self.ending = Ending::Left;
        self.outbox.frame(Kind::Goodbye, &(), Body::Copy(&[]));
    }

    /// Whether goodbye has been said.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.ending == Ending::Left
    }

    fn has_room(&self) -> bool {
        match self.readiness {
            Readiness::Ready { capacity } => self.hands.len() < capacity as usize,
            Readiness::Undecided | Readiness::Busy => false,
        }
    }

    /// The slot comes first: a supervisor that sees the mark move must find who runs.
    fn start(&mut self, request: Received, page: &Page, now: Time) -> Result<Option<Started>, Violation> {
        let slot = self.hands.free_slot();
        page.occupy(slot, request.ordinal, now);
        match page.start(request.generation) {
            Ok(ordinal) if ordinal == request.ordinal => {
                let ticket = self.hands.take_up(slot, &request, now);
                if request.has_attachments() {
                    self.say_taken(&request);
                }
                Ok(Some(Started { ticket, since: now, request }))
            }
            Ok(expected) => Err(Violation::OutOfOrder { expected, found: request.ordinal }),
            Err(MarkMoved(_)) => {
                page.vacate(slot);
                Ok(None)
            }
        }
    }

    /// Of attachments that did not arrive nothing is said: the supervisor may give them once more.
    fn say_taken(&mut self, request: &Received) {
        if request.attachments.is_ok() {
            let taken = Taken { ordinal: request.ordinal, epoch: request.epoch };
            self.outbox.frame(Kind::Taken, &taken, Body::Copy(&[]));
        }
    }

    fn append_answer(&mut self, ticket: Ticket, ran: Duration, answered: Answered, body: Body<'_>) {
        self.outbox.answer(&answer_head(ticket, ran, answered), body);
    }

    fn append_attached(&mut self, ticket: Ticket, ran: Duration, body: Body<'_>, fds: Arc<[Arc<OwnedFd>]>) {
        if fds.is_empty() {
            return self.append_answer(ticket, ran, Answered::Data, body);
        }
        let head = answer_head(ticket, ran, Answered::Data);
        let packet = Packet { label: head.label(), fds };
        self.outbox.frame_with_packet(Kind::Answer, &head, body, packet);
    }

    fn fail(&mut self, ticket: Ticket, ran: Duration, failure: &Failure) {
        let limit = self.limits.payload;
        let bytes = encode(failure).unwrap_or_default();
        if bytes.len() <= limit {
            self.append_answer(ticket, ran, Answered::Failed, Body::Share(Bytes::from(bytes)));
            return;
        }
        let bytes = encode(&shortened(failure, bytes.len(), limit)).unwrap_or_default();
        self.append_answer(ticket, ran, Answered::Failed, Body::Copy(&bytes));
    }
}

fn answer_head(ticket: Ticket, ran: Duration, answered: Answered) -> AnswerHead {
    let run_nanos = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX);
    AnswerHead { ordinal: ticket.ordinal(), epoch: ticket.epoch(), run_nanos, answered }
}

/// What belongs to a request, out of the hatch.
fn attachments(hatch: Option<&Hatch>, head: &RequestHead<'_>, announced: u8) -> Result<Fetched, HatchError> {
    match (hatch, announced) {
        (_, 0) => Ok(Ok(Attachments::NONE)),
        (Some(hatch), announced) => hatch.fetch(head.label(), announced),
        (None, announced) => Err(HatchError::Missing { announced }),
    }
}

fn too_many(count: usize) -> Failure {
    let message = format!("{count} attachments for one answer; there may be {MAX_ATTACHMENTS}");
    Failure::of_kind(FailureKind::Attachments, message)
}

fn received(head: RequestHead<'_>, payload: Payload<'_>, names: &mut Names, now: Time) -> Received {
    Received {
        ordinal: head.ordinal,
        generation: head.generation,
        epoch: head.epoch,
        attempt: head.attempt,
        job: head.job,
        enqueued: now - Duration::from_nanos(head.age_nanos),
        run_timeout: head.run_timeout_nanos.map(Duration::from_nanos),
        name: names.intern(&head.name),
        headers: head
            .headers
            .into_iter()
            .map(|(key, value)| (key.into_owned(), value.into_owned()))
            .collect(),
        payload: payload.into_vec(),
        attachments: Ok(Attachments::NONE),
    }
}

fn store_reply(head: StoreReplyHead, payload: Payload<'_>) -> Result<Notice, Violation> {
    let StoreReplyHead { id, reply } = head;
    let reply = reply.with_payload(payload).map_err(|error| malformed(Kind::StoreReply, &error))?;
    Ok(Notice::StoreReply(StoreReplyHead { id, reply }))
}

fn malformed(kind: Kind, error: &CodecError) -> Violation {
    FrameError::Malformed { kind, reason: error.to_string() }.into()
}

fn event(head: EventHead<'_>, payload: Payload<'_>) -> Notice {
    Notice::Event { name: head.name.into_owned(), payload: payload.into_vec() }
}

/// A request that is not in hand needs no word: the supervisor takes it back by the mark, or it is answered.
fn note_cancel(hands: &Hands, cancels: &Cancels, cancel: Cancel) {
    if let Some(ticket) = hands.find(cancel) {
        cancels.note(ticket);
    }
}

fn not_allowed(kind: Kind) -> FrameError {
    FrameError::NotAllowed { kind, place: "after the handshake" }
}

fn over_limit(length: usize, limit: usize) -> Failure {
    let message = format!(
        "the reply has {length} bytes, over the limit of {limit}; raise Builder::payload_limit or send less"
    );
    Failure::of_kind(FailureKind::Codec, message)
}

fn body_len(body: &Body<'_>) -> usize {
    match body {
        Body::Copy(bytes) => bytes.len(),
        Body::Share(bytes) => bytes.len(),
    }
}
