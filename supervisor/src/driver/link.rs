//! The supervisor's end of one worker's link: what may come in which state, and what is on its way out.
//!
//! ```text
//! Unknown ──Hello──▶ Introduced ──Goodbye──▶ Left
//!    │                   │                     │
//!    └───────────────────┴── anything else ────┴──▶ an offence: nothing more is heard
//! ```

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{
    Answer, Answered, Body, Frame, FrameError, Growth, Inbox, Kind, Limits, Outbox, Page, Ready, Time,
    ToSupervisor, VERSION, WorkerHello, decode, read_into, write_from,
};
use serde::Serialize;

use super::bucket::Bucket;
use super::config::{EVENT_BYTES_PER_SECOND, OFFENCE_SHOWN, READ_BUDGET, UNASKED_PER_SECOND};
use super::output::Reading;
use crate::scheduler::{Input, Reply, WorkerKey};

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
pub(super) enum Heard {
    /// The scheduler's business.
    Input(Input),
    /// An event of the worker's own.
    Emitted { name: Arc<str>, payload: Arc<[u8]> },
}

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

/// The supervisor's end of one worker's link.
pub(super) struct Link {
    worker: WorkerKey,
    socket: OwnedFd,
    inbox: Inbox,
    outbox: Outbox,
    phase: Phase,
    unasked: Bucket,
    event_bytes: Bucket,
    /// Requests sent and not answered; answers beyond them are unasked.
    owed: u64,
    /// Whether the peer has closed: then a short read is not the last.
    is_hung_up: bool,
    /// Whether writing failed: the end is near, and will be read.
    is_broken: bool,
    /// Whether the system was asked to say when the socket is writable.
    pub(super) waits_for_room: bool,
}

impl Link {
    pub(super) fn new(worker: WorkerKey, socket: OwnedFd, limits: Limits, now: Time) -> Link {
        Link {
            worker,
            socket,
            inbox: Inbox::new(limits, Growth::AsReceived),
            outbox: Outbox::new(),
            phase: Phase::Unknown,
            unasked: Bucket::new(UNASKED_PER_SECOND, now),
            event_bytes: Bucket::new(EVENT_BYTES_PER_SECOND, now),
            owed: 0,
            is_hung_up: false,
            is_broken: false,
            waits_for_room: false,
        }
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
        if kind == Kind::Request {
            self.owed += 1;
        }
        self.outbox.frame(kind, head, body);
    }

    /// Writes what was appended, as far as the kernel takes it.
    pub(super) fn flush(&mut self) -> Flushed {
        let socket = &self.socket;
        if self.outbox.flush(|pieces| write_from(socket, pieces)).is_err() {
            // The worker is gone. What it still said is read to the end; what it was to be told is void.
            self.is_broken = true;
            self.outbox = Outbox::new();
        }
        if self.outbox.is_empty() { Flushed::Done } else { Flushed::Blocked }
    }

    /// Reads what is there, up to the budget, and tells each thing that the worker said.
    ///
    /// # Errors
    /// The first offence: the link is of no more use.
    pub(super) fn read(&mut self, now: Time, mut tell: impl FnMut(Heard)) -> Result<Reading, Offence> {
        let mut left = READ_BUDGET;
        while left > 0 {
            let (socket, mut room) = (&self.socket, 0);
            let filled = self.inbox.fill(|buffer| {
                room = buffer.capacity() - buffer.len();
                read_into(socket, buffer)
            });
            match filled {
                Ok(0) => return Ok(Reading::Ended),
                Ok(count) => {
                    self.hear_all(now, &mut tell)?;
                    if count < room && !self.is_hung_up {
                        return Ok(Reading::Drained);
                    }
                    left = left.saturating_sub(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Reading::Drained),
                Err(_) => return Ok(Reading::Ended),
            }
        }
        Ok(Reading::More)
    }

    fn hear_all(&mut self, now: Time, tell: &mut impl FnMut(Heard)) -> Result<(), Offence> {
        let Link { worker, inbox, phase, unasked, event_bytes, owed, .. } = self;
        let mut ear = Ear { worker: *worker, phase, unasked, event_bytes, owed, now };
        loop {
            match inbox.next_frame() {
                Ok(None) => return Ok(()),
                Ok(Some(frame)) => {
                    let (kind, head) = (frame.kind, frame.head);
                    tell(ear.hear(frame).map_err(|reason| offence(reason, kind, head))?);
                }
                Err(error) => {
                    return Err(Offence { reason: error.to_string(), shown: hex(inbox.unread()) });
                }
            }
        }
    }
}

/// The part of a link that judges what is heard, apart from the inbox that the frames borrow from.
struct Ear<'a> {
    worker: WorkerKey,
    phase: &'a mut Phase,
    unasked: &'a mut Bucket,
    event_bytes: &'a mut Bucket,
    owed: &'a mut u64,
    now: Time,
}

impl Ear<'_> {
    fn hear(&mut self, frame: Frame<'_>) -> Result<Heard, String> {
        let kind = frame.kind;
        let message = ToSupervisor::decode(frame).map_err(|error: FrameError| error.to_string())?;
        match (*self.phase, message) {
            (Phase::Unknown, ToSupervisor::Hello(hello)) => Ok(Heard::Input(self.hello(&hello))),
            (Phase::Unknown, _) => Err(format!("{kind:?} before its Hello")),
            (Phase::Introduced, ToSupervisor::Hello(_)) => Err(String::from("a second Hello")),
            (Phase::Introduced, ToSupervisor::Ready(ready)) => self.ready(ready),
            (Phase::Introduced, ToSupervisor::Busy) => {
                self.unasked(kind)?;
                Ok(Heard::Input(Input::Busy(self.worker)))
            }
            (Phase::Introduced, ToSupervisor::Answer(answer)) => self.answer(answer),
            (Phase::Introduced, ToSupervisor::Event(head, payload)) => {
                self.unasked(kind)?;
                let bytes = payload.len() + head.name.len();
                self.event_bytes
                    .take(bytes as u64, self.now)
                    .map_err(|_| format!("events of more than {EVENT_BYTES_PER_SECOND} bytes a second"))?;
                Ok(Heard::Emitted { name: head.name.into(), payload: payload.into_vec().into() })
            }
            (Phase::Introduced, ToSupervisor::Goodbye) => {
                *self.phase = Phase::Left;
                Ok(Heard::Input(Input::Goodbye(self.worker)))
            }
            (Phase::Left, _) => Err(format!("{kind:?} after its Goodbye")),
        }
    }

    fn hello(&mut self, hello: &WorkerHello) -> Input {
        *self.phase = Phase::Introduced;
        match hello.version {
            VERSION => Input::Hello(self.worker),
            version => Input::WrongVersion { worker: self.worker, version },
        }
    }

    fn ready(&mut self, ready: Ready) -> Result<Heard, String> {
        self.unasked(Kind::Ready)?;
        let Ready { capacity, wants_hard_kill } = ready;
        if !(1..=Page::SLOTS as u32).contains(&capacity) {
            return Err(format!("a capacity of {capacity}, not from 1 to {}", Page::SLOTS));
        }
        Ok(Heard::Input(Input::Ready { worker: self.worker, capacity, wants_hard_kill }))
    }

    fn answer(&mut self, answer: Answer<'_>) -> Result<Heard, String> {
        match self.owed.checked_sub(1) {
            Some(owed) => *self.owed = owed,
            None => self.unasked(Kind::Answer)?,
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

    fn unasked(&mut self, kind: Kind) -> Result<(), String> {
        let flood = |_| format!("a flood: more than {UNASKED_PER_SECOND} messages a second ({kind:?})");
        self.unasked.take(1, self.now).map_err(flood)
    }
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
