//! The frame: eight bytes of header, a small head, then the payload as it is.
//!
//! ```text
//! offset  size
//!      0     4  body   bytes after the header, little endian
//!      4     1  kind   which message this is
//!      5     1  fds    descriptors that belong to the frame: of a Hello, a request or an answer
//!      6     2  head   how many bytes of the body are the head, little endian
//!      8  head  the message's fields, postcard
//!     ..   ..  the payload: body − head bytes, never touched by serde on the way
//! ```

use crate::{Kind as K, MAX_ATTACHMENTS, Place, PlaceError, STORE_PAYLOAD};

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 8;

/// The largest head, in bytes: names, headers and the numbers of a message.
pub const MAX_HEAD: usize = 32 * 1024;

/// Payloads of this many bytes or more travel by reference on the way out and are read straight into their own
/// buffer on the way in.
pub const LARGE_PAYLOAD: usize = 32 * 1024;

/// Which message a frame carries. The two directions use disjoint numbers, so that an echoed frame is garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Supervisor → worker: who you are; comes with the page, the bell and the hatch.
    SupervisorHello = 0x01,
    /// Supervisor → worker: handle this.
    Request = 0x02,
    /// Supervisor → worker: nobody waits for this request any more.
    Cancel = 0x03,
    /// Supervisor → worker: a broadcast event.
    SupervisorEvent = 0x04,
    /// Supervisor → worker: you will get no further request; leave when you are done.
    Drain = 0x05,
    /// Supervisor → worker: you have a moment, then SIGKILL.
    HardKill = 0x06,
    /// Supervisor → worker: a request whose payload lies in the pool.
    PooledRequest = 0x07,
    /// Supervisor → worker: somebody calls you.
    SupervisorCall = 0x08,
    /// Supervisor → worker: an answer to a call of yours.
    SupervisorCallAnswer = 0x09,
    /// Supervisor → worker: the answer to an operation on the store.
    StoreReply = 0x0a,
    /// Supervisor → worker: a piece of what a watch of the store tells.
    StoreChange = 0x0b,
    /// Worker → supervisor: the answer to the Hello.
    WorkerHello = 0x81,
    /// Worker → supervisor: requests are welcome.
    Ready = 0x82,
    /// Worker → supervisor: no requests for now.
    Busy = 0x83,
    /// Worker → supervisor: the answer to a request.
    Answer = 0x84,
    /// Worker → supervisor: an event.
    WorkerEvent = 0x85,
    /// Worker → supervisor: I leave because you asked me to.
    Goodbye = 0x86,
    /// Worker → supervisor: an answer whose payload lies in the pool.
    PooledAnswer = 0x87,
    /// Worker → supervisor: I call somebody.
    WorkerCall = 0x88,
    /// Worker → supervisor: the answer to a call.
    WorkerCallAnswer = 0x89,
    /// Worker → supervisor: how its metrics have changed.
    Metrics = 0x8d,
    /// Worker → supervisor: what its own health check says, when that has changed.
    HealthReport = 0x8e,
    /// Worker → supervisor: the descriptors of a request are in my hands.
    Taken = 0x8b,
    /// Worker → supervisor: an operation on the store.
    StoreOp = 0x8a,
    /// Worker → supervisor: how far a request is, or a part of its result.
    Progress = 0x8c,
}

impl Kind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            0x01 => K::SupervisorHello,
            0x02 => K::Request,
            0x03 => K::Cancel,
            0x04 => K::SupervisorEvent,
            0x05 => K::Drain,
            0x06 => K::HardKill,
            0x07 => K::PooledRequest,
            0x08 => K::SupervisorCall,
            0x09 => K::SupervisorCallAnswer,
            0x0a => K::StoreReply,
            0x0b => K::StoreChange,
            0x81 => K::WorkerHello,
            0x82 => K::Ready,
            0x83 => K::Busy,
            0x84 => K::Answer,
            0x85 => K::WorkerEvent,
            0x86 => K::Goodbye,
            0x87 => K::PooledAnswer,
            0x88 => K::WorkerCall,
            0x89 => K::WorkerCallAnswer,
            0x8d => K::Metrics,
            0x8e => K::HealthReport,
            0x8b => K::Taken,
            0x8a => K::StoreOp,
            0x8c => K::Progress,
            _ => return None,
        })
    }

    /// Whether frames of this kind may have a payload behind the head.
    #[must_use]
    pub const fn has_payload(self) -> bool {
        matches!(
            self,
            K::Request
                | K::Answer
                | K::SupervisorEvent
                | K::WorkerEvent
                | K::SupervisorCall
                | K::SupervisorCallAnswer
                | K::WorkerCall
                | K::WorkerCallAnswer
                | K::StoreOp
                | K::StoreReply
                | K::StoreChange
                | K::Progress
        )
    }

    /// The most descriptors that a frame of this kind may announce.
    #[must_use]
    pub const fn max_fds(self) -> usize {
        match self {
            K::SupervisorHello => u8::MAX as usize,
            K::Request | K::Answer | K::PooledRequest | K::PooledAnswer => MAX_ATTACHMENTS,
            _ => 0,
        }
    }

    /// What a frame is called whose payload lies in the pool, if such a one may.
    #[must_use]
    pub const fn pooled(self) -> Option<Kind> {
        match self {
            K::Request => Some(K::PooledRequest),
            K::Answer => Some(K::PooledAnswer),
            _ => None,
        }
    }

    /// What a frame is whose payload lay in the pool, if it did.
    #[must_use]
    pub const fn unpooled(self) -> Option<Kind> {
        match self {
            K::PooledRequest => Some(K::Request),
            K::PooledAnswer => Some(K::Answer),
            _ => None,
        }
    }
}

/// What one end accepts from the other, checked at the header, before anything is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest payload, in bytes.
    pub payload: usize,
    /// The largest payload of an event, in bytes.
    pub event: usize,
}

impl Default for Limits {
    /// 64 MiB a payload, 1 MiB an event.
    fn default() -> Limits {
        Limits { payload: 64 << 20, event: 1 << 20 }
    }
}

impl Limits {
    const fn payload_of(&self, kind: Kind) -> usize {
        match kind {
            K::Request | K::Answer => self.payload,
            K::SupervisorCall | K::SupervisorCallAnswer | K::WorkerCall | K::WorkerCallAnswer => self.payload,
            K::SupervisorEvent | K::WorkerEvent | K::Progress => self.event,
            K::PooledRequest | K::PooledAnswer => Place::LEN,
            K::StoreOp | K::StoreReply | K::StoreChange => STORE_PAYLOAD,
            K::SupervisorHello
            | K::Cancel
            | K::Drain
            | K::HardKill
            | K::WorkerHello
            | K::Ready
            | K::Busy
            | K::Goodbye
            | K::Metrics
            | K::HealthReport
            | K::Taken => 0,
        }
    }
}

/// Bytes that are not what the protocol says. There is no way to go on reading after one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The kind byte is none of the protocol's.
    #[error("unknown frame kind {kind:#04x}")]
    UnknownKind {
        /// The byte.
        kind: u8,
    },
    /// A message that only the other direction has, or that this state does not allow.
    #[error("{kind:?} is not allowed {place}")]
    NotAllowed {
        /// The message's kind.
        kind: Kind,
        /// Where it was not allowed.
        place: &'static str,
    },
    /// The head is longer than the body, or than the limit.
    #[error("a head of {head} bytes in a body of {body}; the limit is {MAX_HEAD} and the body")]
    Head {
        /// The head's announced length.
        head: usize,
        /// The body's announced length.
        body: usize,
    },
    /// The payload is over the limit.
    #[error("{kind:?} with a payload of {length} bytes, over the limit of {limit}")]
    TooLarge {
        /// The message's kind.
        kind: Kind,
        /// The announced length.
        length: usize,
        /// What would have been accepted.
        limit: usize,
    },
    /// The head does not decode as the message's fields.
    #[error("the head of {kind:?} does not decode: {reason}")]
    Malformed {
        /// The message's kind.
        kind: Kind,
        /// What the decoder said.
        reason: String,
    },
    /// A Hello of another version of the protocol.
    #[error("the other end speaks version {theirs} of the protocol, this library version {}", crate::VERSION)]
    Version {
        /// The version that the Hello names.
        theirs: u16,
    },
    /// The frame announces descriptors where none may come, or more than may.
    #[error("{kind:?} with {count} descriptors; it may have {}", kind.max_fds())]
    Descriptors {
        /// The message's kind.
        kind: Kind,
        /// How many were announced.
        count: u8,
    },
    /// A lie about the pool.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

/// A frame's header, checked against the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which message follows.
    pub kind: Kind,
    /// How many descriptors came with it.
    pub fds: u8,
    /// Bytes of the head.
    pub head: usize,
    /// Bytes of the payload.
    pub payload: usize,
}

impl Header {
    /// Bytes of the whole frame, this header included.
    #[must_use]
    pub const fn frame_len(&self) -> usize {
        HEADER_LEN + self.head + self.payload
    }

    /// The header as it travels.
    ///
    /// # Panics
    /// When the head is over [`MAX_HEAD`] or the body over 4 GiB: the caller has checked both.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        assert!(self.head <= MAX_HEAD, "a head of {} bytes (limit {MAX_HEAD})", self.head);
        let body = u32::try_from(self.head + self.payload).expect("a body is under 4 GiB");
        let [b0, b1, b2, b3] = body.to_le_bytes();
        let [h0, h1] = (self.head as u16).to_le_bytes();
        [b0, b1, b2, b3, self.kind as u8, self.fds, h0, h1]
    }

    /// Reads a header and holds it against `limits`.
    ///
    /// # Errors
    /// [`FrameError`] for an unknown kind, lengths that contradict each other or exceed a limit, or descriptors
    /// where there can be none.
    pub fn parse(bytes: [u8; HEADER_LEN], limits: &Limits) -> Result<Header, FrameError> {
        let [b0, b1, b2, b3, kind, fds, h0, h1] = bytes;
        let kind = Kind::from_byte(kind).ok_or(FrameError::UnknownKind { kind })?;
        let body = u32::from_le_bytes([b0, b1, b2, b3]) as usize;
        let head = usize::from(u16::from_le_bytes([h0, h1]));
        if head > body || head > MAX_HEAD {
            return Err(FrameError::Head { head, body });
        }
        if fds > 0 && usize::from(fds) > kind.max_fds() {
            return Err(FrameError::Descriptors { kind, count: fds });
        }
        let payload = body - head;
        let limit = limits.payload_of(kind);
        if payload > limit {
            return Err(FrameError::TooLarge { kind, length: payload, limit });
        }
        Ok(Header { kind, fds, head, payload })
    }
}

/// A whole frame that was read.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Which message it is.
    pub kind: Kind,
    /// How many descriptors it says belong to it.
    pub fds: u8,
    /// The message's fields, still encoded.
    pub head: &'a [u8],
    /// The bytes behind them.
    pub payload: Payload<'a>,
}

/// A payload that was read: small ones lie in the inbox's buffer, large ones in a buffer of their own.
#[derive(Debug)]
pub enum Payload<'a> {
    /// In the inbox's buffer, until the next call.
    Small(&'a [u8]),
    /// In a buffer of its own.
    Large(Vec<u8>),
}

impl Payload<'_> {
    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Payload::Small(bytes) => bytes.len(),
            Payload::Large(bytes) => bytes.len(),
        }
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload as a buffer of its own: a copy for a small one, the buffer itself for a large one.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        match self {
            Payload::Small(bytes) => bytes.to_vec(),
            Payload::Large(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header { kind: Kind::Answer, fds: 0, head: 3, payload: 9 };

    #[test]
    fn a_header_survives_the_way_there_and_back() {
        assert_eq!(Header::parse(HEADER.to_bytes(), &Limits::default()), Ok(HEADER));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_at_the_header() {
        let mut bytes = HEADER.to_bytes();
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = Header::parse(bytes, &Limits::default()).expect_err("4 GiB");
        assert!(matches!(error, FrameError::TooLarge { kind: Kind::Answer, limit, .. } if limit == 64 << 20));
    }

    #[test]
    fn a_head_longer_than_its_body_is_refused() {
        let bytes = [2, 0, 0, 0, Kind::Answer as u8, 0, 3, 0];
        assert_eq!(Header::parse(bytes, &Limits::default()), Err(FrameError::Head { head: 3, body: 2 }));
    }

    #[test]
    fn messages_without_payload_have_none() {
        let bytes = [1, 0, 0, 0, Kind::Busy as u8, 0, 0, 0];
        assert!(matches!(
            Header::parse(bytes, &Limits::default()),
            Err(FrameError::TooLarge { limit: 0, .. })
        ));
    }

    #[test]
    fn descriptors_are_announced_where_they_may_be_and_no_more() {
        let announcing = |kind, fds| Header { kind, fds, head: 0, payload: 0 }.to_bytes();
        let parse = |kind, fds| Header::parse(announcing(kind, fds), &Limits::default());
        let most = MAX_ATTACHMENTS as u8;
        assert!(parse(Kind::Request, most).is_ok() && parse(Kind::Answer, most).is_ok());
        for (kind, count) in
            [(Kind::Request, most + 1), (Kind::Answer, 255), (Kind::Cancel, 1), (Kind::Taken, 1)]
        {
            assert_eq!(parse(kind, count), Err(FrameError::Descriptors { kind, count }));
        }
    }

    #[test]
    fn every_kind_is_found_by_its_number() {
        for byte in 0..=u8::MAX {
            if let Some(kind) = Kind::from_byte(byte) {
                assert_eq!(kind as u8, byte);
            }
        }
    }
}
