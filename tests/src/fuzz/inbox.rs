//! Target `inbox`: two bytes that say how, then a stream of frames.

use fastrand::Rng;
use ganger_protocol::{
    Address, AnswerHead, Answered, Body, CallAnswered, Cancel, Epoch, EventHead, Failure, Frame, FrameError,
    Generation, Growth, HEADER_LEN, Header, Inbox, JobId, Kind, LARGE_PAYLOAD, Limits, MAGIC, MAX_HEAD,
    Ordinal, Outbox, Payload, ProgressHead, Ready, Refusal, RequestHead, STORE_PAYLOAD, SupervisorCall,
    SupervisorCallAnswer, SupervisorHello, ToSupervisor, ToWorker, VERSION, WorkerCall, WorkerCallAnswer,
    WorkerHello, encode,
};

use super::Features;
use crate::rig::{FIXED_BYTES, expect_modest};

/// The bytes in front of the stream.
pub(super) const FRONT: usize = 2;

/// A frame, owned.
type Whole = (Kind, Vec<u8>, Vec<u8>);

pub(super) fn run(bytes: &[u8], features: &mut Features) {
    let &[how, cuts, ref stream @ ..] = bytes else { return };
    let limits = match how >> 1 & 3 {
        0 => Limits::default(),
        1 => Limits { payload: 100, event: 50 },
        _ => Limits { payload: 2 * LARGE_PAYLOAD, event: LARGE_PAYLOAD },
    };
    let (expected, end) = by_the_book(stream, &limits);
    let growth = if how & 1 == 0 { Growth::AsReceived } else { Growth::AtOnce };
    let mut reader =
        Reader { inbox: Inbox::new(limits, growth), growth, limits, received: 0, frames: Vec::new() };
    let found = reader.read(stream, &mut Rng::with_seed(u64::from(cuts)), usize::from(how >> 3));
    assert_eq!(found, end, "the stream's end depends on how it is cut");
    assert!(reader.frames == expected, "the frames depend on how the stream is cut");
    if let Some(error) = &end {
        features.note(("ends", std::mem::discriminant(error)));
    }
    for (kind, head, payload) in &expected {
        features.step((kind, head.len().min(4), payload.len().next_power_of_two()));
        decode(*kind, head, payload, features);
    }
}

/// What the protocol's document says: a second reader, without buffers.
fn by_the_book(mut stream: &[u8], limits: &Limits) -> (Vec<Whole>, Option<FrameError>) {
    let mut frames = Vec::new();
    while let Some(bytes) = stream.first_chunk::<HEADER_LEN>() {
        let header = match Header::parse(*bytes, limits) {
            Ok(header) => header,
            Err(error) => return (frames, Some(error)),
        };
        let most = limits.payload.max(limits.event).max(STORE_PAYLOAD);
        assert!(header.head <= MAX_HEAD && header.payload <= most);
        let Some((frame, rest)) = stream.split_at_checked(header.frame_len()) else { break };
        let (head, payload) = frame[HEADER_LEN..].split_at(header.head);
        frames.push((header.kind, head.to_vec(), payload.to_vec()));
        stream = rest;
    }
    (frames, None)
}

struct Reader {
    inbox: Inbox,
    growth: Growth,
    limits: Limits,
    received: usize,
    frames: Vec<Whole>,
}

impl Reader {
    /// Reads the stream in pieces, as a socket gives them: never more than there is room for.
    fn read(&mut self, mut stream: &[u8], rng: &mut Rng, style: usize) -> Option<FrameError> {
        while !stream.is_empty() {
            let most = [1, 7, 64, 4096, 65_536, usize::MAX][style % 6];
            let wanted = rng.usize(1..=most.min(stream.len()));
            let filled = self.inbox.fill(|buffer| {
                let count = wanted.min(buffer.capacity() - buffer.len());
                buffer.extend_from_slice(&stream[..count]);
                Ok(count)
            });
            let count = filled.expect("this reader always succeeds");
            assert!(count > 0, "no room was offered");
            stream = &stream[count..];
            self.received += count;
            self.expect_modest();
            loop {
                match self.inbox.next_frame() {
                    Ok(None) => break,
                    Ok(Some(Frame { kind, head, payload, .. })) => {
                        let frame = (kind, head.to_vec(), payload.into_vec());
                        self.frames.push(frame);
                    }
                    Err(error) => return Some(error),
                }
            }
            self.expect_modest();
        }
        None
    }

    fn expect_modest(&self) {
        match self.growth {
            Growth::AsReceived => expect_modest(&self.inbox, self.received),
            // A peer that is trusted is believed one announcement, and no more.
            Growth::AtOnce => {
                let capacity = self.inbox.capacity();
                assert!(
                    capacity <= self.limits.payload.max(STORE_PAYLOAD) + 2 * self.received + FIXED_BYTES,
                    "{capacity} bytes"
                );
            }
        }
    }
}

/// Both ends' decoders: they return, and what they understand they would say again.
pub(super) fn decode(kind: Kind, head: &[u8], payload: &[u8], features: &mut Features) {
    let frame = || Frame { kind, fds: 0, head, payload: Payload::Small(payload) };
    match ToSupervisor::decode(frame()) {
        Err(error) => features.note((kind, "to supervisor", std::mem::discriminant(&error))),
        Ok(message) => {
            let again = said_by_worker(&message);
            let frame = Frame { kind, fds: 0, head: &again, payload: Payload::Small(payload) };
            let twice = ToSupervisor::decode(frame).expect("what was understood is understood again");
            assert_eq!(format!("{message:?}"), format!("{twice:?}"));
        }
    }
    match ToWorker::decode(frame()) {
        Err(error) => features.note((kind, "to worker", std::mem::discriminant(&error))),
        Ok(message) => {
            let again = said_by_supervisor(&message);
            let frame = Frame { kind, fds: 0, head: &again, payload: Payload::Small(payload) };
            let twice = ToWorker::decode(frame).expect("what was understood is understood again");
            assert_eq!(format!("{message:?}"), format!("{twice:?}"));
        }
    }
    let _ = ganger_protocol::decode::<Failure>(payload).inspect_err(|_| features.note((kind, "no failure")));
}

fn said_by_worker(message: &ToSupervisor<'_>) -> Vec<u8> {
    let encoded = match message {
        ToSupervisor::Hello(hello) if hello.version != VERSION => encode(&(hello.magic, hello.version)),
        ToSupervisor::Hello(hello) => encode(hello),
        ToSupervisor::Ready(ready) => encode(ready),
        ToSupervisor::Answer(answer) => encode(&answer.head),
        ToSupervisor::Taken(taken) => encode(taken),
        ToSupervisor::Event(head, _) => encode(head),
        ToSupervisor::Call(head, _) => encode(head),
        ToSupervisor::CallAnswer(head, _) => encode(head),
        ToSupervisor::Metrics(report) => encode(report),
        ToSupervisor::Health(report) => encode(report),
        ToSupervisor::StoreOp(head, _) => encode(head),
        ToSupervisor::Progress(head, _) => encode(head),
        ToSupervisor::Busy | ToSupervisor::Goodbye => Ok(Vec::new()),
    };
    encoded.expect("a message encodes")
}

fn said_by_supervisor(message: &ToWorker<'_>) -> Vec<u8> {
    let encoded = match message {
        ToWorker::Hello(hello) => encode(hello),
        ToWorker::Request(head, _) => encode(head),
        ToWorker::Cancel(cancel) => encode(cancel),
        ToWorker::Event(head, _) => encode(head),
        ToWorker::Call(head, _) => encode(head),
        ToWorker::CallAnswer(head, _) => encode(head),
        ToWorker::StoreReply(head, _) => encode(head),
        ToWorker::StoreChange(head, _) => encode(head),
        ToWorker::Drain | ToWorker::HardKill => Ok(Vec::new()),
    };
    encoded.expect("a message encodes")
}

/// Both directions, well-formed, with payloads on either side of every border.
pub(super) fn seeds(rng: &mut Rng) -> Vec<Vec<u8>> {
    let streams = [worker_stream(), supervisor_stream(), large_stream()];
    let with_front = |stream: &Vec<u8>| [&[rng.u8(..), rng.u8(..)], &stream[..]].concat();
    let mut seeds: Vec<Vec<u8>> = streams.iter().map(with_front).collect();
    seeds.extend(streams.iter().map(|stream| [&[0b10_0000, 7], &stream[..]].concat()));
    seeds
}

fn worker_stream() -> Vec<u8> {
    let mut outbox = Outbox::new();
    let library = String::from("a library");
    let hello = WorkerHello { magic: MAGIC, version: VERSION, pid: 77, library };
    outbox.frame(Kind::WorkerHello, &hello, Body::Copy(&[]));
    outbox.frame(Kind::Ready, &Ready { capacity: 3, wants_hard_kill: true }, Body::Copy(&[]));
    outbox.frame(Kind::Answer, &answer(1, Answered::Data), Body::Copy(b"a reply"));
    outbox.frame(Kind::Answer, &answer(2, Answered::Ack), Body::Copy(&[]));
    let failure = encode(&Failure::new("no").with_details(&28i32)).expect("a failure encodes");
    outbox.frame(Kind::Answer, &answer(u32::MAX, Answered::Failed), Body::Copy(&failure));
    outbox.frame(Kind::WorkerEvent, &EventHead { name: "news".into() }, Body::Copy(&[1, 2, 3]));
    let call =
        WorkerCall { call: 1, to: Address::all_of("group"), timeout_nanos: 1 << 33, name: "count".into() };
    outbox.frame(Kind::WorkerCall, &call, Body::Copy(b"an argument"));
    let answer = WorkerCallAnswer { call: 7, answered: CallAnswered::Refused(Refusal::QueueFull) };
    outbox.frame(Kind::WorkerCallAnswer, &answer, Body::Copy(&[]));
    let report = ProgressHead { ordinal: Ordinal(1), epoch: Epoch(1) };
    outbox.frame(Kind::Progress, &report, Body::Copy(b"half"));
    outbox.frame(Kind::Busy, &(), Body::Copy(&[]));
    outbox.frame(Kind::Goodbye, &(), Body::Copy(&[]));
    outbox.take_bytes()
}

fn answer(ordinal: u32, answered: Answered) -> AnswerHead {
    AnswerHead { ordinal: Ordinal(ordinal), epoch: Epoch(1), run_nanos: 1 << 40, answered }
}

fn supervisor_stream() -> Vec<u8> {
    let mut outbox = Outbox::new();
    let hello = SupervisorHello {
        magic: MAGIC,
        version: VERSION,
        supervisor: 1,
        worker: String::from("worker-1"),
        group: String::from("group"),
        slot: 0,
        payload_limit: 64 << 20,
        event_limit: 1 << 20,
        heartbeat_millis: 1000,
        listeners: Vec::new(),
    };
    outbox.frame_with_fds(Kind::SupervisorHello, 3, &hello, Body::Copy(&[]));
    outbox.frame(Kind::Request, &request(1), Body::Copy(b"an argument"));
    outbox.frame_with_fds(Kind::Request, 16, &request(2), Body::Copy(b"with attachments"));
    outbox.frame(Kind::Cancel, &Cancel { ordinal: Ordinal(1), epoch: Epoch(1) }, Body::Copy(&[]));
    outbox.frame(Kind::SupervisorEvent, &EventHead { name: "news".into() }, Body::Copy(&[1, 2, 3]));
    let call =
        SupervisorCall { call: 7, caller: Some("b-0".into()), timeout_nanos: 1 << 33, name: "count".into() };
    outbox.frame(Kind::SupervisorCall, &call, Body::Copy(b"an argument"));
    let answered = CallAnswered::Failed;
    let answer = SupervisorCallAnswer { call: 1, from: Some("b-0".into()), left: 3, answered };
    outbox.frame(
        Kind::SupervisorCallAnswer,
        &answer,
        Body::Copy(&encode(&Failure::new("no")).expect("encodes")),
    );
    outbox.frame(Kind::Drain, &(), Body::Copy(&[]));
    outbox.frame(Kind::HardKill, &(), Body::Copy(&[]));
    outbox.take_bytes()
}

/// The head of a request with everything that it can have.
pub(super) fn request(ordinal: u32) -> RequestHead<'static> {
    RequestHead {
        ordinal: Ordinal(ordinal),
        generation: Generation(0),
        epoch: Epoch(1),
        attempt: 1,
        job: JobId::from_bytes([0xab; 16]),
        age_nanos: 300,
        run_timeout_nanos: Some(1 << 33),
        name: "echo".into(),
        headers: vec![("trace".into(), "00-1f".into())],
    }
}

fn large_stream() -> Vec<u8> {
    let mut outbox = Outbox::new();
    for size in [LARGE_PAYLOAD - 1, LARGE_PAYLOAD, 0, LARGE_PAYLOAD + 9] {
        outbox.frame(Kind::Answer, &answer(size as u32, Answered::Data), Body::Copy(&vec![size as u8; size]));
    }
    outbox.take_bytes()
}
