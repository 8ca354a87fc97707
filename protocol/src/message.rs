//! The messages of each direction. Neither end can decode, or name, a message it may not receive.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

mod heads;
mod progress;
mod relay;

pub use progress::ProgressHead;
pub use relay::{CallAnswered, SupervisorCall, SupervisorCallAnswer, WorkerCall, WorkerCallAnswer};

use crate::{
    Epoch, Frame, FrameError, Generation, JobId, Kind, Label, MetricsReport, Ordinal, Payload,
    StoreChangeHead, StoreOpHead, StoreReplyHead,
};

/// The first four bytes of either Hello.
pub const MAGIC: [u8; 4] = *b"gang";

/// The version of the protocol. Two ends with different versions do not work together.
pub const VERSION: u16 = 1;

/// The most listeners that a Hello brings.
pub const MAX_LISTENERS: usize = 64;

/// What a supervisor tells a new worker; its frame comes with the page, the bell and the hatch, then the pool, if
/// there is one, then the listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorHello {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// [`VERSION`] of the supervisor.
    pub version: u16,
    /// The supervisor's process id; the worker's parent unless the supervisor is already dead.
    pub supervisor: u32,
    /// The worker's name, unique in its supervisor.
    pub worker: String,
    /// The group's name.
    pub group: String,
    /// The worker's place in its group, from 0; a replacement inherits it.
    pub slot: u32,
    /// The largest payload of a request or answer, in bytes.
    pub payload_limit: u32,
    /// The largest payload of an event, in bytes.
    pub event_limit: u32,
    /// How often the worker beats into the page, in milliseconds.
    pub heartbeat_millis: u32,
    /// The names of the listeners that came with the frame, in their order.
    pub listeners: Vec<String>,
}

/// What a worker answers to the Hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerHello {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// [`VERSION`] of the worker.
    pub version: u16,
    /// The worker's process id, as it sees it; for people, never trusted.
    pub pid: u32,
    /// Name and version of the worker's library, for people.
    pub library: String,
}

/// The fields of a Hello that every version has, in front.
#[derive(Debug, Deserialize)]
struct HelloPrefix {
    magic: [u8; 4],
    version: u16,
}

/// The fields of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHead<'a> {
    /// The request's place in the order of starts.
    pub ordinal: Ordinal,
    /// The generation of the start mark that it may be started under.
    pub generation: Generation,
    /// Which assignment of the job this is.
    pub epoch: Epoch,
    /// Which attempt of the job this is, as its owner counts: 1 + the retries spent.
    pub attempt: u16,
    /// The job.
    pub job: JobId,
    /// How long ago the job was enqueued, in nanoseconds.
    pub age_nanos: u64,
    /// How long the handler may run, in nanoseconds, if there is a limit.
    pub run_timeout_nanos: Option<u64>,
    /// The call's name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// The job's headers, as its owner gave them.
    #[serde(borrow)]
    pub headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Nobody waits for this request any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The request.
    pub ordinal: Ordinal,
    /// The assignment it belongs to.
    pub epoch: Epoch,
}

/// A worker's readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// How many requests it takes at once: started and not yet answered. From 1 to [`crate::Page::SLOTS`].
    pub capacity: u32,
    /// Whether it wants a moment's warning before a hard kill.
    pub wants_hard_kill: bool,
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answered {
    /// The payload is the reply.
    Data,
    /// Done; there is no reply.
    Ack,
    /// The payload is a [`Failure`](crate::Failure).
    Failed,
}

/// The fields of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerHead {
    /// The request it answers.
    pub ordinal: Ordinal,
    /// The assignment it belongs to.
    pub epoch: Epoch,
    /// From the handler's start to the answer, in nanoseconds, as the worker measured it.
    pub run_nanos: u64,
    /// How it was answered.
    pub answered: Answered,
}

/// An answer: its fields and the reply or failure behind them.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The fields.
    pub head: AnswerHead,
    /// The reply, or the encoded failure.
    pub payload: Payload<'a>,
}

/// The descriptors of a request are in the worker's hands: it has started the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The request.
    pub ordinal: Ordinal,
    /// The assignment it belongs to.
    pub epoch: Epoch,
}

impl RequestHead<'_> {
    /// What the packet in the hatch says, if there is one.
    #[must_use]
    pub fn label(&self) -> Label {
        Label { ordinal: self.ordinal, epoch: self.epoch }
    }
}

impl AnswerHead {
    /// What the packet in the hatch says, if there is one.
    #[must_use]
    pub fn label(&self) -> Label {
        Label { ordinal: self.ordinal, epoch: self.epoch }
    }
}

/// The fields of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventHead<'a> {
    /// The event's name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
}

/// The longest reason of a [`HealthReport`], in bytes.
pub const MAX_HEALTH_REASON: usize = 1024;

/// What a worker's own health check says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// Why the worker is not healthy; `None` when it is, again.
    pub failure: Option<String>,
}

/// Everything a worker can be told.
#[derive(Debug)]
pub enum ToWorker<'a> {
    /// Who you are.
    Hello(SupervisorHello),
    /// Handle this.
    Request(RequestHead<'a>, Payload<'a>),
    /// Nobody waits for this request any more.
    Cancel(Cancel),
    /// A broadcast event.
    Event(EventHead<'a>, Payload<'a>),
    /// No further request will come; leave when done.
    Drain,
    /// A moment, then SIGKILL.
    HardKill,
    /// Somebody calls you.
    Call(SupervisorCall<'a>, Payload<'a>),
    /// An answer to a call of yours.
    CallAnswer(SupervisorCallAnswer<'a>, Payload<'a>),
    /// The answer to an operation on the store.
    StoreReply(StoreReplyHead, Payload<'a>),
    /// A piece of what a watch of the store tells.
    StoreChange(StoreChangeHead, Payload<'a>),
}

/// Everything a worker can say.
#[derive(Debug)]
pub enum ToSupervisor<'a> {
    /// The answer to the Hello.
    Hello(WorkerHello),
    /// Requests are welcome.
    Ready(Ready),
    /// No requests for now.
    Busy,
    /// The answer to a request.
    Answer(Answer<'a>),
    /// An event.
    Event(EventHead<'a>, Payload<'a>),
    /// I leave because you asked me to.
    Goodbye,
    /// How far a request is.
    Progress(ProgressHead, Payload<'a>),
    /// I call somebody.
    Call(WorkerCall<'a>, Payload<'a>),
    /// The answer to a call.
    CallAnswer(WorkerCallAnswer, Payload<'a>),
    /// How my metrics have changed.
    Metrics(MetricsReport),
    /// What my own health check says now.
    Health(HealthReport),
    /// The descriptors of a request are in my hands.
    Taken(Taken),
    /// An operation on the store.
    StoreOp(StoreOpHead<'a>, Payload<'a>),
}

impl<'a> ToWorker<'a> {
    /// Reads a frame that came from a supervisor.
    ///
    /// # Errors
    /// [`FrameError::NotAllowed`] for a worker's message, [`FrameError::Version`] for a Hello with another
    /// [`VERSION`], [`FrameError::Malformed`] for any other head that does not decode.
    pub fn decode(frame: Frame<'a>) -> Result<ToWorker<'a>, FrameError> {
        let Frame { kind, head, payload, .. } = frame;
        Ok(match kind {
            Kind::SupervisorHello => ToWorker::Hello(hello(kind, head)?),
            Kind::Request => ToWorker::Request(request(kind, head)?, payload),
            Kind::Cancel => ToWorker::Cancel(fields(kind, head)?),
            Kind::SupervisorEvent => ToWorker::Event(fields(kind, head)?, payload),
            Kind::Drain => nothing(kind, head, ToWorker::Drain)?,
            Kind::HardKill => nothing(kind, head, ToWorker::HardKill)?,
            Kind::SupervisorCall => ToWorker::Call(fields(kind, head)?, payload),
            Kind::SupervisorCallAnswer => ToWorker::CallAnswer(fields(kind, head)?, payload),
            Kind::StoreReply => ToWorker::StoreReply(fields(kind, head)?, payload),
            Kind::StoreChange => ToWorker::StoreChange(fields(kind, head)?, payload),
            Kind::PooledRequest => return Err(FrameError::NotAllowed { kind, place: "without a pool" }),
            Kind::WorkerHello
            | Kind::Ready
            | Kind::Busy
            | Kind::Answer
            | Kind::WorkerEvent
            | Kind::Goodbye
            | Kind::PooledAnswer
            | Kind::WorkerCall
            | Kind::WorkerCallAnswer
            | Kind::Metrics
            | Kind::HealthReport
            | Kind::Taken
            | Kind::StoreOp
            | Kind::Progress => {
                return Err(FrameError::NotAllowed { kind, place: "from a supervisor" });
            }
        })
    }
}

impl<'a> ToSupervisor<'a> {
    /// Reads a frame that came from a worker.
    ///
    /// # Errors
    /// [`FrameError::NotAllowed`] for a supervisor's message, [`FrameError::Malformed`] for a head that does not
    /// decode. A Hello with another version decodes as far as the version; compare [`WorkerHello::version`].
    pub fn decode(frame: Frame<'a>) -> Result<ToSupervisor<'a>, FrameError> {
        let Frame { kind, head, payload, .. } = frame;
        Ok(match kind {
            Kind::WorkerHello => ToSupervisor::Hello(worker_hello(head)?),
            Kind::Ready => ToSupervisor::Ready(fields(kind, head)?),
            Kind::Busy => nothing(kind, head, ToSupervisor::Busy)?,
            Kind::Answer => ToSupervisor::Answer(Answer { head: answer(kind, head)?, payload }),
            Kind::WorkerEvent => ToSupervisor::Event(fields(kind, head)?, payload),
            Kind::Goodbye => nothing(kind, head, ToSupervisor::Goodbye)?,
            Kind::WorkerCall => ToSupervisor::Call(fields(kind, head)?, payload),
            Kind::WorkerCallAnswer => ToSupervisor::CallAnswer(fields(kind, head)?, payload),
            Kind::Metrics => ToSupervisor::Metrics(fields(kind, head)?),
            Kind::HealthReport => ToSupervisor::Health(fields(kind, head)?),
            Kind::Taken => ToSupervisor::Taken(fields(kind, head)?),
            Kind::StoreOp => ToSupervisor::StoreOp(fields(kind, head)?, payload),
            Kind::Progress => ToSupervisor::Progress(fields(kind, head)?, payload),
            Kind::PooledAnswer => return Err(FrameError::NotAllowed { kind, place: "without a pool" }),
            Kind::SupervisorHello
            | Kind::Request
            | Kind::Cancel
            | Kind::SupervisorEvent
            | Kind::Drain
            | Kind::HardKill
            | Kind::PooledRequest
            | Kind::SupervisorCall
            | Kind::SupervisorCallAnswer
            | Kind::StoreReply
            | Kind::StoreChange => {
                return Err(FrameError::NotAllowed { kind, place: "from a worker" });
            }
        })
    }
}

fn fields<'a, T: Deserialize<'a>>(kind: Kind, head: &'a [u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(head) {
        Ok((fields, [])) => Ok(fields),
        Ok((_, rest)) => Err(malformed(kind, format!("{} bytes left over", rest.len()))),
        Err(error) => Err(malformed(kind, error.to_string())),
    }
}

fn request(kind: Kind, head: &[u8]) -> Result<RequestHead<'_>, FrameError> {
    heads::request(head).map_or_else(|| fields(kind, head), Ok)
}

fn answer(kind: Kind, head: &[u8]) -> Result<AnswerHead, FrameError> {
    heads::answer(head).map_or_else(|| fields(kind, head), Ok)
}

fn nothing<T>(kind: Kind, head: &[u8], message: T) -> Result<T, FrameError> {
    fields::<()>(kind, head).map(|()| message)
}

fn malformed(kind: Kind, reason: String) -> FrameError {
    FrameError::Malformed { kind, reason }
}

/// The version is judged before the rest, so that a Hello of another version is told from garbage.
fn hello(kind: Kind, head: &[u8]) -> Result<SupervisorHello, FrameError> {
    let (prefix, _) = prefix(kind, head)?;
    if prefix.version != VERSION {
        return Err(FrameError::Version { theirs: prefix.version });
    }
    fields(kind, head)
}

fn worker_hello(head: &[u8]) -> Result<WorkerHello, FrameError> {
    let (prefix, _) = prefix(Kind::WorkerHello, head)?;
    if prefix.version == VERSION {
        return fields(Kind::WorkerHello, head);
    }
    Ok(WorkerHello { magic: prefix.magic, version: prefix.version, pid: 0, library: String::from("unknown") })
}

fn prefix(kind: Kind, head: &[u8]) -> Result<(HelloPrefix, &[u8]), FrameError> {
    let (prefix, rest) =
        postcard::take_from_bytes::<HelloPrefix>(head).map_err(|error| malformed(kind, error.to_string()))?;
    if prefix.magic == MAGIC {
        Ok((prefix, rest))
    } else {
        Err(malformed(kind, format!("it begins with {:?}, not {MAGIC:?}", prefix.magic)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, head: &[u8]) -> Frame<'_> {
        Frame { kind, fds: 0, head, payload: Payload::Small(&[]) }
    }

    #[test]
    fn a_message_of_the_other_direction_is_refused() {
        assert!(matches!(
            ToSupervisor::decode(frame(Kind::Drain, &[])),
            Err(FrameError::NotAllowed { kind: Kind::Drain, .. })
        ));
        assert!(matches!(
            ToWorker::decode(frame(Kind::Busy, &[])),
            Err(FrameError::NotAllowed { kind: Kind::Busy, .. })
        ));
    }

    #[test]
    fn a_worker_of_another_version_is_told_from_garbage() {
        let head = postcard::to_stdvec(&(MAGIC, 9u16, "fields of the future")).expect("encodes");
        match ToSupervisor::decode(frame(Kind::WorkerHello, &head)) {
            Ok(ToSupervisor::Hello(hello)) => assert_eq!(hello.version, 9),
            other => panic!("{other:?}"),
        }
        let head = postcard::to_stdvec(&(*b"GET ", 9u16)).expect("encodes");
        assert!(ToSupervisor::decode(frame(Kind::WorkerHello, &head)).is_err());
    }

    #[test]
    fn bytes_left_over_in_a_head_are_garbage() {
        assert!(ToSupervisor::decode(frame(Kind::Goodbye, &[0])).is_err());
    }

    /// The examples of `docs/protocol.md`, byte for byte.
    #[test]
    fn protocol_document_matches() {
        let request = RequestHead {
            ordinal: Ordinal(1),
            generation: Generation(0),
            epoch: Epoch(1),
            attempt: 1,
            job: JobId::from_bytes([0xab; 16]),
            age_nanos: 300,
            run_timeout_nanos: None,
            name: "echo".into(),
            headers: Vec::new(),
        };
        let answer =
            AnswerHead { ordinal: Ordinal(1), epoch: Epoch(1), run_nanos: 1000, answered: Answered::Data };
        let mut outbox = crate::Outbox::new();
        outbox.frame(Kind::Request, &request, crate::Body::Copy(b"hi"));
        assert_eq!(documented(0), outbox.take_bytes());
        outbox.frame(Kind::Answer, &answer, crate::Body::Copy(b"hi"));
        assert_eq!(documented(1), outbox.take_bytes());
    }

    fn documented(example: usize) -> Vec<u8> {
        let document = include_str!("../../docs/protocol.md");
        let block = document.split("```text").nth(1 + example).expect("an example");
        let block = block.split("```").next().expect("its end");
        block.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("a hex byte")).collect()
    }
}
