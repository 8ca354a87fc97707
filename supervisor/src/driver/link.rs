//! The supervisor's end of one worker's link: what has come in, and what is on its way out.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use ganger_protocol::{
    Body, Failure, FailureKind, Growth, Half, Hatch, Inbox, Kind, Label, Limits, Outbox, Packet, Payload,
    Pool, PoolReader, PoolWriter, RequestHead, Time, read_into, write_from,
};
use serde::Serialize;

use super::config::{OFFENCE_SHOWN, OUTBOX_CALLS, READ_BUDGET, UNREAD_PAUSE};
use super::ear::{Ear, Heard};
use crate::scheduler::{Input, Reply, WorkerKey};
use crate::slot::Descriptors;

/// Something a worker may not say.
#[derive(Debug)]
pub(super) struct Offence {
    pub(super) reason: String,
    /// The beginning of the frame, in hexadecimal.
    pub(super) shown: String,
}

/// What became of what was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// All of it is in the kernel.
    Done,
    /// The rest has to wait until the socket is writable.
    Blocked,
}

/// What there is to be read after some was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing, for now.
    Drained,
    /// More than the budget allowed.
    More,
    /// More than the worker's quota allows before then.
    Resting(Time),
    /// Nothing ever.
    Ended,
}

/// Where hearing stopped.
enum Hearing {
    /// There is no further whole frame, or the budget is spent.
    Done,
    /// The worker's quota is spent until then.
    Resting(Time),
}

/// The supervisor's end of one worker's link.
pub(super) struct Link {
    socket: OwnedFd,
    inbox: Inbox,
    outbox: Outbox,
    ear: Ear,
    hatch: Option<Arc<Hatch>>,
    /// Where in all that was ever to be written the answers to operations on the store end, as far as they are not.
    answers: VecDeque<u64>,
    /// Bytes that were ever written while answers were not.
    written: u64,
    /// The pool, until the worker's Hello has come and it shows whether it takes part.
    offered: Option<Arc<Pool>>,
    /// Whether the peer has closed: then a short read is not the last.
    is_hung_up: bool,
    /// Whether writing failed: the end is near, and will be read.
    is_broken: bool,
    /// Until when nothing is read, because the worker said more than its quota; [`Time::ZERO`]: it did not.
    rests_until: Time,
    /// Whether the system was asked to say when the socket is writable.
    pub(super) waits_for_room: bool,
}

impl Link {
    pub(super) fn new(worker: WorkerKey, socket: OwnedFd, limits: Limits, now: Time) -> Link {
        Link {
            socket,
            inbox: Inbox::new(limits, Growth::AsReceived),
            outbox: Outbox::new(),
            ear: Ear::new(worker, now),
            hatch: None,
            answers: VecDeque::new(),
            written: 0,
            offered: None,
            is_hung_up: false,
            is_broken: false,
            rests_until: Time::ZERO,
            waits_for_room: false,
        }
    }

    /// The same link, with a pool that the worker was offered.
    pub(super) fn offering(self, pool: Option<Pool>) -> Link {
        Link { offered: pool.map(Arc::new), ..self }
    }

    /// The same link, with a hatch beside it.
    pub(super) fn opening(mut self, hatch: Hatch) -> Link {
        let hatch = Arc::new(hatch);
        self.outbox.open(Arc::clone(&hatch));
        self.hatch = Some(hatch);
        self
    }

    /// The same link; of operations on the store so many are let through a second.
    pub(super) fn allowing(self, ops_per_second: u64, now: Time) -> Link {
        Link { ear: self.ear.allowing(ops_per_second, now), ..self }
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The system says that the peer has closed.
    pub(super) fn hang_up(&mut self) {
        self.is_hung_up = true;
    }

    /// Bytes that wait to be written.
    pub(super) fn pending(&self) -> usize {
        self.outbox.pending()
    }

    /// Appends a frame.
    pub(super) fn send(&mut self, kind: Kind, head: &(impl Serialize + ?Sized), body: Body<'_>) {
        if self.is_broken {
            return;
        }
        if kind == Kind::SupervisorCall {
            self.ear.expect_call_answer();
        }
        self.outbox.frame(kind, head, body);
    }

    /// Appends a request.
    pub(super) fn send_request(&mut self, head: &RequestHead<'_>, body: Body<'_>) {
        if self.is_broken {
            return;
        }
        self.ear.expect_answer();
        self.outbox.request(head, body);
    }

    /// Appends a request with attachments.
    pub(super) fn send_with(&mut self, head: &RequestHead<'_>, body: Body<'_>, fds: Descriptors) {
        if self.is_broken {
            return;
        }
        self.ear.expect_answer();
        self.ear.expect_taken();
        let packet = Packet { label: head.label(), fds };
        self.outbox.frame_with_packet(Kind::Request, head, body, packet);
    }

    /// Whether what is to be written waits for room in the hatch, of which the system does not tell.
    pub(super) fn is_held_back(&self) -> bool {
        self.outbox.is_held_back()
    }

    /// The frame that was appended last answers an operation on the store. It counts as open until it is written.
    pub(super) fn answered_op(&mut self) {
        self.answers.push_back(self.written + self.outbox.pending() as u64);
    }

    fn note_written(&mut self, bytes: usize) {
        self.written += bytes as u64;
        let out = self.answers.iter().take_while(|end| **end <= self.written).count();
        self.answers.drain(..out);
        self.ear.answered_ops(out);
    }

    /// The last answer to a call of the worker's was appended.
    pub(super) fn call_is_over(&mut self) {
        self.ear.call_is_over();
    }

    /// Writes what was appended, as far as the kernel takes it.
    pub(super) fn flush(&mut self) -> Flushed {
        let (socket, before) = (&self.socket, self.outbox.pending());
        if self.outbox.flush(|pieces| write_from(socket, pieces)).is_err() {
            // The worker is gone. What it still said is read to the end; what it was to be told is void.
            self.is_broken = true;
            self.outbox = Outbox::new();
        }
        if !self.answers.is_empty() {
            self.note_written(before - self.outbox.pending());
        }
        if self.outbox.is_empty() { Flushed::Done } else { Flushed::Blocked }
    }

    /// Reads what is there, up to the budget and the worker's quota, and tells each thing that the worker said.
    ///
    /// While it rests nothing is read; to whoever was told [`Reading::Resting`] it is to be read again then.
    ///
    /// # Errors
    /// The first offence: the link is of no more use.
    pub(super) fn read(&mut self, now: Time, mut tell: impl FnMut(Heard)) -> Result<Reading, Offence> {
        if now < self.rests_until {
            return Ok(Reading::Drained);
        }
        let mut left = READ_BUDGET;
        if let Hearing::Resting(until) = self.hear_all(now, &mut left, &mut tell)? {
            return Ok(self.rest(until));
        }
        while left > 0 {
            let (socket, mut room) = (&self.socket, 0);
            let filled = self.inbox.fill(|buffer| {
                room = buffer.capacity() - buffer.len();
                read_into(socket, buffer)
            });
            match filled {
                Ok(0) => return Ok(Reading::Ended),
                Ok(count) => {
                    left = left.saturating_sub(count);
                    if let Hearing::Resting(until) = self.hear_all(now, &mut left, &mut tell)? {
                        return Ok(self.rest(until));
                    }
                    if count < room && left > 0 && !self.is_hung_up {
                        return Ok(Reading::Drained);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Reading::Drained),
                Err(_) => return Ok(Reading::Ended),
            }
        }
        Ok(Reading::More)
    }

    fn rest(&mut self, until: Time) -> Reading {
        self.rests_until = until;
        Reading::Resting(until)
    }

    /// Hears what is there, within the budget: a few bytes may stand for a large payload in the pool, which is copied.
    fn hear_all(
        &mut self,
        now: Time,
        left: &mut usize,
        tell: &mut impl FnMut(Heard),
    ) -> Result<Hearing, Offence> {
        let Link { inbox, outbox, ear, hatch, offered, .. } = self;
        if let Some(lie) = outbox.take_lie() {
            return Err(Offence {
                reason: lie.to_string(),
                shown: String::from("nothing: it lied in the pool"),
            });
        }
        while *left > 0 {
            match inbox.next_frame() {
                Ok(None) => return Ok(Hearing::Done),
                Ok(Some(frame)) => {
                    let (kind, head, fds) = (frame.kind, frame.head, frame.fds);
                    if let Payload::Large(payload) = &frame.payload {
                        *left = left.saturating_sub(payload.len());
                    }
                    let heard = ear.hear(frame, now).and_then(|heard| match fds {
                        0 => Ok(heard),
                        fds => with_attachments(heard, hatch.as_deref(), fds),
                    });
                    tell(heard.map_err(|reason| offence(reason, kind, head))?);
                    if let Some(pool) = offered.take().filter(|pool| pool.is_shared()) {
                        inbox.share(PoolReader::new(Arc::clone(&pool), Half::Answers));
                        outbox.share(PoolWriter::new(pool, Half::Requests));
                    }
                    if let Some(until) = ear.rest() {
                        return Ok(Hearing::Resting(until));
                    }
                    if kind == Kind::WorkerCall && outbox.pending() > OUTBOX_CALLS {
                        return Ok(Hearing::Resting(now + UNREAD_PAUSE));
                    }
                }
                Err(error) => {
                    return Err(Offence { reason: error.to_string(), shown: hex(inbox.unread()) });
                }
            }
        }
        Ok(Hearing::Done)
    }
}

/// An answer with what belongs to it. Attachments that this process has no room for are not the worker's fault: the job
/// fails, and says so.
fn with_attachments(heard: Heard, hatch: Option<&Hatch>, announced: u8) -> Result<Heard, String> {
    let Heard::Input(Input::Answer { worker, ordinal, epoch, ran, reply: Reply::Data(data) }) = heard else {
        return Err(String::from("attachments of an answer that is no reply"));
    };
    let hatch = hatch.ok_or("attachments without a hatch")?;
    let label = Label { ordinal, epoch };
    let reply = match hatch.fetch(label, announced).map_err(|error| error.to_string())? {
        Ok(attachments) => Reply::Attached(Box::new((data, attachments))),
        Err(cut) => Reply::Failed(Failure::of_kind(FailureKind::Attachments, cut.to_string())),
    };
    Ok(Heard::Input(Input::Answer { worker, ordinal, epoch, ran, reply }))
}

fn offence(reason: String, kind: Kind, head: &[u8]) -> Offence {
    Offence { reason, shown: format!("{kind:?} {}", hex(head)) }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(OFFENCE_SHOWN) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use ganger_protocol::{
        AnswerHead, Answered, Epoch, EventHead, Generation, HealthReport, JobId, MAGIC, MetricsReport,
        Ordinal, Page, Ready, VERSION, WorkerHello,
    };

    use super::*;
    use crate::driver::config::UNASKED_PER_SECOND;
    use crate::scheduler::Input;

    const WORKER: u64 = 3;

    struct Peer {
        link: Link,
        theirs: UnixStream,
        now: Time,
    }

    impl Peer {
        fn new() -> Peer {
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            let worker = WorkerKey::from_bits(WORKER);
            Peer {
                link: Link::new(worker, ours.into(), Limits::default(), Time::ZERO),
                theirs,
                now: Time::ZERO,
            }
        }

        /// Says these frames, and returns what was heard, or the offence.
        fn say(&mut self, frames: &[(Kind, Vec<u8>)]) -> Result<Vec<Heard>, String> {
            let mut outbox = Outbox::new();
            for (kind, head) in frames {
                outbox.frame(*kind, &Encoded(head), Body::Copy(&[]));
            }
            self.theirs.write_all(&outbox.take_bytes()).expect("it fits");
            self.hear()
        }

        /// Hears all that was said, however often it has to rest.
        fn hear(&mut self) -> Result<Vec<Heard>, String> {
            let mut heard = Vec::new();
            loop {
                match self.link.read(self.now, |one| heard.push(one)).map_err(|offence| offence.reason)? {
                    Reading::Resting(until) => self.now = until,
                    Reading::Drained | Reading::More | Reading::Ended => return Ok(heard),
                }
            }
        }
    }

    /// Bytes that are encoded already.
    struct Encoded<'a>(&'a [u8]);

    impl Serialize for Encoded<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeTuple;
            let mut tuple = serializer.serialize_tuple(self.0.len())?;
            self.0.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
            tuple.end()
        }
    }

    fn frame(kind: Kind, head: &impl Serialize) -> (Kind, Vec<u8>) {
        (kind, ganger_protocol::encode(head).expect("it encodes"))
    }

    fn hello() -> (Kind, Vec<u8>) {
        frame(
            Kind::WorkerHello,
            &WorkerHello { magic: MAGIC, version: VERSION, pid: 1, library: String::from("test") },
        )
    }

    fn ready(capacity: u32) -> (Kind, Vec<u8>) {
        frame(Kind::Ready, &Ready { capacity, wants_hard_kill: false })
    }

    fn request() -> RequestHead<'static> {
        RequestHead {
            ordinal: Ordinal(1),
            generation: Generation(0),
            epoch: Epoch(1),
            attempt: 1,
            job: JobId::from_bytes([1; 16]),
            age_nanos: 0,
            run_timeout_nanos: None,
            name: "echo".into(),
            headers: Vec::new(),
        }
    }

    fn answer() -> (Kind, Vec<u8>) {
        let head = AnswerHead { ordinal: Ordinal(1), epoch: Epoch(1), run_nanos: 5, answered: Answered::Ack };
        frame(Kind::Answer, &head)
    }

    fn everything() -> [(Kind, Vec<u8>); 8] {
        let event = frame(Kind::WorkerEvent, &EventHead { name: "news".into() });
        let (busy, goodbye) = (frame(Kind::Busy, &()), frame(Kind::Goodbye, &()));
        let metrics = frame(Kind::Metrics, &MetricsReport::default());
        let health = frame(Kind::HealthReport, &HealthReport { failure: None });
        [hello(), ready(1), busy, answer(), event, metrics, health, goodbye]
    }

    /// P13: what is not allowed in a state is an offence, whatever it is.
    #[test]
    fn each_state_allows_what_the_table_says_and_nothing_else() {
        let introduction = [vec![], vec![hello()], vec![hello(), frame(Kind::Goodbye, &())]];
        let allowed = [
            [true, false, false, false, false, false, false, false],
            [false, true, true, true, true, true, true, true],
            [false, false, false, false, false, false, false, false],
        ];
        for (before, allowed) in introduction.iter().zip(allowed) {
            for (message, allowed) in everything().into_iter().zip(allowed) {
                let mut peer = Peer::new();
                peer.say(before).expect("the introduction is allowed");
                let kind = message.0;
                assert_eq!(peer.say(&[message]).is_ok(), allowed, "{kind:?} after {} frames", before.len());
            }
        }
    }

    #[test]
    fn a_worker_of_another_version_is_no_offender() {
        let mut peer = Peer::new();
        let head = WorkerHello { magic: MAGIC, version: 99, pid: 1, library: String::new() };
        let heard = peer.say(&[frame(Kind::WorkerHello, &head)]).expect("allowed");
        assert!(matches!(heard[..], [Heard::Input(Input::WrongVersion { version: 99, .. })]), "{heard:?}");
    }

    #[test]
    fn a_capacity_out_of_bounds_is_an_offence() {
        for capacity in [0, Page::SLOTS as u32 + 1, u32::MAX] {
            let mut peer = Peer::new();
            let reason = peer.say(&[hello(), ready(capacity)]).expect_err("an offence");
            assert!(reason.contains(&format!("a capacity of {capacity}")), "{reason}");
        }
    }

    /// P13: a worker that floods is slowed, then stopped; answers that it owes are no flood.
    #[test]
    fn answers_are_counted_against_requests_and_the_rest_against_the_clock() {
        let mut peer = Peer::new();
        peer.say(&[hello()]).expect("allowed");
        for _ in 0..1000 {
            peer.link.send_request(&request(), Body::Copy(&[]));
        }
        let answers = vec![answer(); 1000];
        peer.say(&answers).expect("they were asked for");
        assert_eq!(peer.now, Time::ZERO);
        let mut said = 0;
        let reason = loop {
            match peer.say(&answers) {
                Ok(_) => said += answers.len() as u64,
                Err(reason) => break reason,
            }
        };
        assert_eq!(said, 2 * UNASKED_PER_SECOND);
        assert!(reason.starts_with("a flood"), "{reason}");
        assert!(peer.now >= Time::ZERO + Duration::from_millis(1900), "{:?}", peer.now);
    }

    /// A worker that says more than its quota is not read while it rests, and loses nothing.
    #[test]
    fn one_that_says_too_much_at_once_is_heard_later() {
        let mut peer = Peer::new();
        peer.say(&[hello()]).expect("allowed");
        let mut outbox = Outbox::new();
        for _ in 0..2000 {
            let (kind, head) = answer();
            outbox.frame(kind, &Encoded(&head), Body::Copy(&[]));
        }
        peer.theirs.write_all(&outbox.take_bytes()).expect("it fits");
        let mut count = 0;
        let first = peer.link.read(Time::ZERO, |_| count += 1).expect("no offence");
        let Reading::Resting(until) = first else { panic!("{first:?}") };
        assert_eq!(count, UNASKED_PER_SECOND / 10 + 1);
        assert_eq!(peer.link.read(Time::ZERO, |_| count += 1).expect("no offence"), Reading::Drained);
        peer.now = until;
        assert_eq!(count + peer.hear().expect("no offence").len() as u64, 2000);
    }

    /// A worker dies inside its reply: what was whole is heard, and then the end.
    #[test]
    fn a_frame_cut_by_the_end_is_not_heard() {
        let mut peer = Peer::new();
        peer.say(&[hello()]).expect("allowed");
        let mut outbox = Outbox::new();
        let (kind, head) = answer();
        outbox.frame(kind, &Encoded(&head), Body::Copy(&[]));
        outbox.frame(kind, &Encoded(&head), Body::Copy(&[]));
        let bytes = outbox.take_bytes();
        peer.theirs.write_all(&bytes[..bytes.len() - 1]).expect("it fits");
        peer.theirs.shutdown(std::net::Shutdown::Both).expect("closed");
        peer.link.hang_up();
        let mut heard = 0;
        let reading = peer.link.read(Time::ZERO, |_| heard += 1).expect("no offence");
        assert_eq!((reading, heard), (Reading::Ended, 1));
    }

    #[test]
    fn garbage_is_shown_in_hexadecimal() {
        let mut peer = Peer::new();
        peer.theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it fits");
        let offence = peer.link.read(Time::ZERO, |_| {}).expect_err("an offence");
        assert!(offence.shown.starts_with("474554202f"), "{}", offence.shown);
    }
}
