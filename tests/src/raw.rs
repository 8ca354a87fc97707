//! What the test worker `raw_worker` does: it speaks the wire itself, and does wrong at an exact byte or mark.

use std::path::PathBuf;

use ganger_protocol::{Body, Kind, Outbox, VERSION};
use serde::{Deserialize, Serialize};

/// One thing that a raw worker does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Step {
    /// Takes part in the pool that the Hello came with; to be done before the Hello is answered.
    JoinPool,
    /// Claims to have copied so many requests out of the pool.
    CountPooled(u64),
    /// Answers the Hello, as a library of this version.
    Hello(u16),
    /// Says ready.
    Ready(u32),
    /// Says busy.
    Busy,
    /// Says goodbye.
    Goodbye,
    /// Comes to a gate and waits to be let in.
    Gate(PathBuf),
    /// Comes to a gate and stays in touch until it ends.
    Present(PathBuf),
    /// Reads just so many bytes of what was sent.
    ReadBytes(usize),
    /// Reads to the end of the next request and takes it in hand.
    Take,
    /// Reads to the end of the next frame of this kind; requests that come before are taken in hand.
    Await(Awaited),
    /// Starts the request taken last: the mark, and the slot.
    Start,
    /// Claims in the page to have started so many requests more than it has.
    Claim(u32),
    /// Answers.
    Answer(Reply),
    /// Writes these bytes.
    Write(Vec<u8>),
    /// Writes these bytes together with so many descriptors, and waits until nobody has any of them open.
    Gift {
        /// The bytes.
        bytes: Vec<u8>,
        /// How many descriptors.
        fds: usize,
    },
    /// Fetches the attachments of the request taken last, and keeps them open.
    Fetch,
    /// Writes a text to each attachment that was fetched.
    Sign(String),
    /// Says that it has the attachments of the request taken last.
    Taken,
    /// Answers the oldest request as if with so many attachments, and puts a packet into the hatch with so many, if
    /// any, for this answer or for one that never was.
    AnswerWith {
        /// So many are announced.
        announced: u8,
        /// So many are sent.
        posted: usize,
        /// For which answer.
        to: To,
    },
    /// Sends so many events with payloads of so many bytes and reads nothing meanwhile.
    Events {
        /// How many.
        count: u64,
        /// How many bytes each.
        bytes: usize,
    },
    /// Writes these bytes so often.
    Repeat {
        /// How often.
        count: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Prints so many bytes without a newline to standard error.
    Print(usize),
    /// Sends itself a signal.
    Signal(i32),
    /// Exits.
    Exit(i32),
    /// Closes its end of the link and lives on.
    CloseLink,
    /// Starts a process that inherits the link, comes to the gate and stays: in the worker's process group, or in a
    /// session of its own.
    Heir {
        /// The gate.
        gate: PathBuf,
        /// In a session of its own.
        as_daemon: bool,
    },
    /// Takes, starts and answers requests for ever; the answer is the payload.
    Serve,
    /// Does nothing any more.
    Hang,
}

/// A kind of frame that a raw worker waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Awaited {
    /// Nobody waits for a request any more.
    Cancel,
    /// It is to leave.
    Drain,
    /// It will be killed.
    HardKill,
    /// It is called.
    Call,
    /// A call of its own is answered.
    CallAnswer,
}

impl Awaited {
    /// The frame's kind.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Awaited::Cancel => Kind::Cancel,
            Awaited::Drain => Kind::Drain,
            Awaited::HardKill => Kind::HardKill,
            Awaited::Call => Kind::SupervisorCall,
            Awaited::CallAnswer => Kind::SupervisorCallAnswer,
        }
    }
}

/// An answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reply {
    /// To what.
    pub to: To,
    /// The payload; that of the request if there is none.
    pub payload: Option<Vec<u8>>,
    /// Only the first bytes of its frame are written.
    pub bytes: Option<usize>,
    /// What becomes of the slot.
    pub slot: SlotAfter,
}

impl Reply {
    /// The request's payload.
    #[must_use]
    pub fn echo() -> Reply {
        Reply::default()
    }

    /// These bytes.
    #[must_use]
    pub fn with(payload: impl Into<Vec<u8>>) -> Reply {
        Reply { payload: Some(payload.into()), ..Reply::default() }
    }

    /// To something else.
    #[must_use]
    pub fn to(self, to: To) -> Reply {
        Reply { to, ..self }
    }

    /// Only the first `bytes` of its frame.
    #[must_use]
    pub fn cut(self, bytes: usize) -> Reply {
        Reply { bytes: Some(bytes), ..self }
    }

    /// Its slot stays occupied, as if the handler still ran.
    #[must_use]
    pub fn while_running(self) -> Reply {
        Reply { slot: SlotAfter::Occupied, ..self }
    }
}

/// What is answered.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub enum To {
    /// The request taken in hand first; it is in hand no longer.
    #[default]
    Oldest,
    /// The request taken in hand last; it is in hand no longer.
    Newest,
    /// The oldest, which stays in hand, so that it can be answered again.
    OldestAgain,
    /// An ordinal that was never sent.
    Nobody,
    /// The oldest, under another epoch; it stays in hand.
    OtherEpoch,
}

/// What becomes of an answered request's slot in the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotAfter {
    /// It is free, as it should be.
    #[default]
    Free,
    /// It still shows the request.
    Occupied,
}

/// The lives of a raw worker, one process after the other; the last repeats.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Script {
    /// Where the processes count themselves.
    pub directory: PathBuf,
    /// What each does, after it has read its Hello.
    pub lives: Vec<Vec<Step>>,
}

impl Script {
    /// As the argument of the process.
    #[must_use]
    pub fn to_arg(&self) -> String {
        crate::arg::pack(self)
    }
}

/// The beginning of every well-behaved life: the Hello, and ready for this many.
#[must_use]
pub fn up(capacity: u32) -> Vec<Step> {
    vec![Step::Hello(VERSION), Step::Ready(capacity)]
}

/// A life that begins well and goes on with `rest`.
#[must_use]
pub fn life(rest: impl IntoIterator<Item = Step>) -> Vec<Step> {
    up(1).into_iter().chain(rest).collect()
}

/// A life of service.
#[must_use]
pub fn service() -> Vec<Step> {
    life([Step::Serve])
}

/// The bytes of a frame, as a worker writes it.
#[must_use]
pub fn frame<T: Serialize>(kind: Kind, head: &T, payload: &[u8]) -> Vec<u8> {
    let mut outbox = Outbox::new();
    outbox.frame(kind, head, Body::Copy(payload));
    outbox.take_bytes()
}
