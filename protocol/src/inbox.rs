//! The reading end of a link: bytes in, whole frames out.

use std::io;

use crate::frame::HEADER_LEN;
use crate::{Frame, FrameError, Header, Kind, LARGE_PAYLOAD, Limits, Payload, Place, PoolReader};

/// The least room offered to one read.
const READ_ROOM: usize = 64 * 1024;

/// How a large payload's buffer grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// The announced length at once: for a peer that is trusted.
    AtOnce,
    /// At most twice what has arrived of it, or as much as the largest payload that has arrived before: for a peer
    /// that may announce what it never sends.
    AsReceived,
}

/// The reading end of a link.
///
/// Bytes go in through [`fill`](Inbox::fill) or [`push`](Inbox::push), in any pieces; whole frames come out of
/// [`next_frame`](Inbox::next_frame). Small frames lie in one buffer; a payload of [`LARGE_PAYLOAD`] or more is
/// read straight into the buffer that is handed on.
#[derive(Debug)]
pub struct Inbox {
    limits: Limits,
    growth: Growth,
    buffer: Vec<u8>,
    /// Where the unread bytes of `buffer` begin.
    start: usize,
    large: Option<Large>,
    /// The head of the large frame handed out last, so that the frame can borrow it.
    head: Vec<u8>,
    /// The largest payload that has arrived whole: what the peer was seen to send, it may announce.
    proven: usize,
    /// Where payloads lie that do not come through the link.
    pool: Option<PoolReader>,
}

/// A frame whose payload is being collected outside the buffer.
#[derive(Debug)]
struct Large {
    kind: Kind,
    fds: u8,
    length: usize,
    payload: Vec<u8>,
}

impl Inbox {
    /// An empty inbox.
    #[must_use]
    pub fn new(limits: Limits, growth: Growth) -> Inbox {
        Inbox {
            limits,
            growth,
            buffer: Vec::new(),
            start: 0,
            large: None,
            head: Vec::new(),
            proven: 0,
            pool: None,
        }
    }

    /// The same inbox, going on under other limits: those that a Hello brought.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Inbox {
        Inbox { limits, ..self }
    }

    /// Payloads may lie in this pool from now on. A frame that says so before is not allowed.
    pub fn share(&mut self, pool: PoolReader) {
        self.pool = Some(pool);
    }

    /// Lets `read` append bytes to a buffer with room to spare, and says how many it appended.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn fill(&mut self, read: impl FnOnce(&mut Vec<u8>) -> io::Result<usize>) -> io::Result<usize> {
        read(self.room())
    }

    /// Appends bytes that are already at hand.
    pub fn push(&mut self, bytes: &[u8]) {
        self.room().extend_from_slice(bytes);
    }

    /// Whether the inbox holds a part of a frame.
    #[must_use]
    pub fn is_mid_frame(&self) -> bool {
        self.large.is_some() || self.start < self.buffer.len()
    }

    /// Bytes of memory the inbox holds on to.
    #[must_use]
    pub fn capacity(&self) -> usize {
        let large = self.large.as_ref().map_or(0, |large| large.payload.capacity());
        self.buffer.capacity() + self.head.capacity() + large
    }

    /// The next whole frame, if it has arrived.
    ///
    /// # Errors
    /// [`FrameError`] when the bytes break the protocol; the inbox is of no use afterwards.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        if self.large.is_none() {
            let Some(header) = self.header()? else { return Ok(None) };
            // Without a pool it is a frame like any other, which nobody may send.
            if let (Some(kind), true) = (header.kind.unpooled(), self.pool.is_some()) {
                return self.pooled_frame(kind, header);
            }
            if header.payload < LARGE_PAYLOAD {
                return Ok(self.small_frame(header));
            }
            if !self.begin_large(header) {
                return Ok(None);
            }
        }
        Ok(self.large_frame())
    }

    /// The bytes behind the frame handed out last: for a look at those that broke the protocol.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn header(&self) -> Result<Option<Header>, FrameError> {
        self.unread().first_chunk::<HEADER_LEN>().map(|bytes| Header::parse(*bytes, &self.limits)).transpose()
    }

    fn small_frame(&mut self, header: Header) -> Option<Frame<'_>> {
        if self.unread().len() < header.frame_len() {
            return None;
        }
        let begin = self.start + HEADER_LEN;
        self.start += header.frame_len();
        let (head, payload) = self.buffer[begin..self.start].split_at(header.head);
        Some(Frame { kind: header.kind, fds: header.fds, head, payload: Payload::Small(payload) })
    }

    /// A frame with a place in the pool becomes the frame that it stands for.
    fn pooled_frame(&mut self, kind: Kind, header: Header) -> Result<Option<Frame<'_>>, FrameError> {
        let Some(pool) = &mut self.pool else {
            return Err(FrameError::NotAllowed { kind: header.kind, place: "without a pool" });
        };
        if self.buffer.len() - self.start < header.frame_len() {
            return Ok(None);
        }
        let begin = self.start + HEADER_LEN;
        self.start += header.frame_len();
        let (head, place) = self.buffer[begin..self.start].split_at(header.head);
        let place = Place::from_bytes(place).ok_or_else(|| FrameError::Malformed {
            kind: header.kind,
            reason: format!("a place in the pool has {} bytes, not {}", Place::LEN, place.len()),
        })?;
        let (length, limit) = (place.length as usize, self.limits.payload);
        if length > limit {
            return Err(FrameError::TooLarge { kind, length, limit });
        }
        let payload = Payload::Large(pool.take(place)?);
        Ok(Some(Frame { kind, fds: header.fds, head, payload }))
    }

    /// Moves what has come of a large frame out of the buffer; false while its head is not yet whole.
    fn begin_large(&mut self, header: Header) -> bool {
        let begin = self.start + HEADER_LEN;
        if self.buffer.len() < begin + header.head {
            return false;
        }
        self.head.clear();
        self.head.extend_from_slice(&self.buffer[begin..begin + header.head]);
        let begin = begin + header.head;
        let end = self.buffer.len().min(begin + header.payload);
        let first = match self.growth {
            Growth::AtOnce => header.payload,
            Growth::AsReceived => header.payload.min(self.proven.max(2 * (end - begin).max(LARGE_PAYLOAD))),
        };
        let mut payload = Vec::with_capacity(first);
        payload.extend_from_slice(&self.buffer[begin..end]);
        self.start = end;
        self.large = Some(Large { kind: header.kind, fds: header.fds, length: header.payload, payload });
        true
    }

    fn large_frame(&mut self) -> Option<Frame<'_>> {
        let mut large = self.large.take_if(|large| large.payload.len() >= large.length)?;
        self.proven = self.proven.max(large.length);
        if large.payload.len() > large.length {
            // The read went on into the next frame: hand the rest back. The buffer is empty meanwhile.
            self.compact();
            self.buffer.extend_from_slice(&large.payload[large.length..]);
            large.payload.truncate(large.length);
        }
        let Large { kind, fds, payload, .. } = large;
        Some(Frame { kind, fds, head: &self.head, payload: Payload::Large(payload) })
    }

    fn room(&mut self) -> &mut Vec<u8> {
        self.compact();
        let Inbox { large, buffer, growth, .. } = self;
        match large {
            Some(Large { length, payload, .. }) if payload.len() < *length => {
                let missing = *length - payload.len();
                let more = match growth {
                    Growth::AtOnce => missing,
                    Growth::AsReceived => missing.min(payload.len().max(LARGE_PAYLOAD)),
                };
                payload.reserve_exact(more);
                payload
            }
            _ => {
                buffer.reserve(READ_ROOM);
                buffer
            }
        }
    }

    fn compact(&mut self) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > 0 && self.buffer.capacity() - self.buffer.len() < READ_ROOM {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Outbox};

    fn frames(sizes: &[usize]) -> Vec<u8> {
        let mut outbox = Outbox::new();
        for (index, size) in sizes.iter().enumerate() {
            let payload: Vec<u8> = (0..*size).map(|at| (at + index) as u8).collect();
            outbox.frame(Kind::WorkerEvent, &(index as u32), Body::Copy(&payload));
        }
        outbox.take_bytes()
    }

    fn drain(inbox: &mut Inbox) -> Vec<usize> {
        let mut sizes = Vec::new();
        while let Some(frame) = inbox.next_frame().expect("valid frames") {
            let payload = frame.payload.into_vec();
            assert!(payload.iter().enumerate().all(|(at, byte)| *byte == (at + first(&payload)) as u8));
            sizes.push(payload.len());
        }
        sizes
    }

    fn first(payload: &[u8]) -> usize {
        payload.first().copied().map_or(0, usize::from)
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_are_cut() {
        let sizes = [0, 1, 100, LARGE_PAYLOAD - 1, LARGE_PAYLOAD, 200_000, 3];
        let bytes = frames(&sizes);
        for growth in [Growth::AtOnce, Growth::AsReceived] {
            for cut in [1, 7, 4096, 65_537, bytes.len()] {
                let mut inbox = Inbox::new(Limits::default(), growth);
                let mut seen = Vec::new();
                for piece in bytes.chunks(cut) {
                    inbox.push(piece);
                    seen.extend(drain(&mut inbox));
                }
                assert_eq!(seen, sizes, "pieces of {cut}");
                assert!(!inbox.is_mid_frame());
            }
        }
    }

    #[test]
    fn memory_stays_within_twice_what_a_distrusted_peer_sent() {
        let header = Header { kind: Kind::Answer, fds: 0, head: 0, payload: 64 << 20 };
        let mut inbox = Inbox::new(Limits::default(), Growth::AsReceived);
        inbox.push(&header.to_bytes());
        let mut sent = 0;
        while sent < 4 << 20 {
            assert!(inbox.next_frame().expect("valid so far").is_none());
            inbox.push(&[0; 1000]);
            sent += 1000;
            let fixed = 2 * READ_ROOM + 2 * LARGE_PAYLOAD;
            assert!(inbox.capacity() <= 2 * sent + fixed, "{} for {sent}", inbox.capacity());
        }
    }

    /// A buffer that grows by doubling copies what it holds, and its first reads are small: a peer that has sent as
    /// much before is read as fast as one that is trusted.
    #[test]
    fn what_a_peer_has_sent_before_it_may_announce() {
        let mut inbox = Inbox::new(Limits::default(), Growth::AsReceived);
        let frame = frames(&[1 << 20]);
        inbox.push(&frame[..100]);
        assert!(inbox.next_frame().expect("valid so far").is_none());
        assert!(inbox.capacity() < 1 << 18, "{}", inbox.capacity());
        inbox.push(&frame[100..]);
        assert_eq!(drain(&mut inbox), [1 << 20]);
        inbox.push(&frame[..100]);
        assert!(inbox.next_frame().expect("valid so far").is_none());
        assert!(inbox.capacity() >= 1 << 20, "{}", inbox.capacity());
    }
}
