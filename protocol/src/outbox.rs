//! The writing end of a link: frames in, as few writes as possible out.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::call::Tail;
use crate::frame::HEADER_LEN;
use crate::{
    AnswerHead, Hatch, Header, Kind, LARGE_PAYLOAD, POOLED_PAYLOAD, Packet, Place, PlaceError, PoolWriter,
    Posted, RequestHead,
};

fn postcard_onto(head: &(impl Serialize + ?Sized), open: &mut Vec<u8>) {
    postcard::serialize_with_flavor(head, Tail(open)).expect("the fields of a message always encode");
}

/// A segment is closed when it has grown to this, so that no segment is copied to grow without end.
const SEGMENT: usize = 256 * 1024;

/// The most pieces handed to one vectored write.
const MAX_PIECES: usize = 64;

/// A payload on its way out.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// Copied behind the head.
    Copy(&'a [u8]),
    /// Written by reference from [`LARGE_PAYLOAD`] bytes on, copied below.
    Share(Bytes),
}

impl Body<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Body::Copy(bytes) => bytes,
            Body::Share(bytes) => bytes,
        }
    }
}

/// The writing end of a link: frames are appended, then written together.
#[derive(Debug, Default)]
pub struct Outbox {
    segments: VecDeque<Segment>,
    /// How much of the first segment has been written.
    written: usize,
    /// Bytes not yet written.
    pending: usize,
    /// An empty buffer kept for the next segment.
    spare: Vec<u8>,
    pool: Option<PoolWriter>,
    /// What the other end was caught at.
    lie: Option<PlaceError>,
    hatch: Option<Arc<Hatch>>,
    /// Not yet in the hatch, each with how many bytes are before its frame: only those may be written.
    packets: VecDeque<(usize, Packet)>,
}

#[derive(Debug)]
enum Segment {
    Copied(Vec<u8>),
    Shared(Bytes),
}

impl Segment {
    fn bytes(&self) -> &[u8] {
        match self {
            Segment::Copied(bytes) => bytes,
            Segment::Shared(bytes) => bytes,
        }
    }
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new() -> Outbox {
        Outbox::default()
    }

    /// Bytes not yet written.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Whether everything has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending == 0
    }

    /// Large payloads of requests and answers go through this pool from now on, as far as there is room.
    pub fn share(&mut self, pool: PoolWriter) {
        self.pool = Some(pool);
    }

    /// What the other end was caught at when room was looked for in the pool, once. The pool is not used any more.
    pub fn take_lie(&mut self) -> Option<PlaceError> {
        self.lie.take()
    }

    /// Descriptors go through this hatch from now on.
    pub fn open(&mut self, hatch: Arc<Hatch>) {
        self.hatch = Some(hatch);
    }

    /// Whether the rest waits for room in the hatch, and not in the link.
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        self.packets.front().is_some_and(|(before, _)| *before == 0)
    }

    /// Appends a frame with attachments: their packet is in the hatch before its first byte is written.
    ///
    /// # Panics
    /// As [`frame`](Outbox::frame).
    pub fn frame_with_packet(
        &mut self,
        kind: Kind,
        head: &(impl Serialize + ?Sized),
        body: Body<'_>,
        packet: Packet,
    ) {
        let fds = packet.fds.len() as u8;
        self.packets.push_back((self.pending, packet));
        match self.pooled(kind, body.bytes()) {
            Some((kind, place)) => self.frame_with_fds(kind, fds, head, Body::Copy(&place.to_bytes())),
            None => self.frame_with_fds(kind, fds, head, body),
        }
    }

    /// Appends a frame without descriptors.
    ///
    /// # Panics
    /// When the head is over [`MAX_HEAD`](crate::MAX_HEAD): callers check the names and headers they put in.
    pub fn frame(&mut self, kind: Kind, head: &(impl Serialize + ?Sized), body: Body<'_>) {
        match self.pooled(kind, body.bytes()) {
            Some((kind, place)) => self.frame_with_fds(kind, 0, head, Body::Copy(&place.to_bytes())),
            None => self.frame_with_fds(kind, 0, head, body),
        }
    }

    /// Appends a request, as [`frame`](Outbox::frame) would.
    ///
    /// # Panics
    /// As [`frame`](Outbox::frame).
    pub fn request(&mut self, head: &RequestHead<'_>, body: Body<'_>) {
        let (kind, place) = self.placed(Kind::Request, body.bytes());
        let body = place.as_ref().map_or(body, |place| Body::Copy(place));
        self.append(kind, 0, body, |open| {
            if !head.write(open) {
                postcard_onto(head, open);
            }
        });
    }

    /// Appends an answer, as [`frame`](Outbox::frame) would.
    pub fn answer(&mut self, head: &AnswerHead, body: Body<'_>) {
        let (kind, place) = self.placed(Kind::Answer, body.bytes());
        let body = place.as_ref().map_or(body, |place| Body::Copy(place));
        self.append(kind, 0, body, |open| head.write(open));
    }

    /// The kind to send, and the payload to send instead when that has been put into the pool.
    fn placed(&mut self, kind: Kind, payload: &[u8]) -> (Kind, Option<[u8; Place::LEN]>) {
        match self.pooled(kind, payload) {
            Some((kind, place)) => (kind, Some(place.to_bytes())),
            None => (kind, None),
        }
    }

    /// The frame to send instead, when the payload has been put into the pool.
    fn pooled(&mut self, kind: Kind, payload: &[u8]) -> Option<(Kind, Place)> {
        if payload.len() < POOLED_PAYLOAD {
            return None;
        }
        let kind = kind.pooled()?;
        match self.pool.as_mut()?.put(payload) {
            Ok(place) => place.map(|place| (kind, place)),
            Err(lie) => {
                self.pool = None;
                self.lie = Some(lie);
                None
            }
        }
    }

    /// Appends a frame that says `fds` descriptors come with it.
    ///
    /// # Panics
    /// As [`frame`](Outbox::frame).
    pub fn frame_with_fds(&mut self, kind: Kind, fds: u8, head: &(impl Serialize + ?Sized), body: Body<'_>) {
        self.append(kind, fds, body, |open| postcard_onto(head, open));
    }

    fn append(&mut self, kind: Kind, fds: u8, body: Body<'_>, write_head: impl FnOnce(&mut Vec<u8>)) {
        let payload = body.bytes().len();
        let open = self.open_segment();
        let begin = open.len();
        open.extend_from_slice(&[0; HEADER_LEN]);
        write_head(open);
        let head = open.len() - begin - HEADER_LEN;
        let header = Header { kind, fds, head, payload };
        open[begin..begin + HEADER_LEN].copy_from_slice(&header.to_bytes());
        match body {
            Body::Copy(bytes) => open.extend_from_slice(bytes),
            Body::Share(bytes) if bytes.len() < LARGE_PAYLOAD => open.extend_from_slice(&bytes),
            Body::Share(bytes) => self.segments.push_back(Segment::Shared(bytes)),
        }
        self.pending += header.frame_len();
    }

    /// Hands the bytes to `write`, piece by piece, until there are none left or it would block.
    ///
    /// # Errors
    /// Those of `write`, except [`io::ErrorKind::WouldBlock`], which ends the writing and is no error.
    pub fn flush(&mut self, mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<()> {
        if !self.packets.is_empty() {
            self.post()?;
        }
        while self.writable() > 0 {
            match write(&self.pieces()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Puts packets into the hatch, as far as there is room.
    fn post(&mut self) -> io::Result<()> {
        let Some(hatch) = &self.hatch else { return Err(io::ErrorKind::Unsupported.into()) };
        while let Some((_, packet)) = self.packets.front() {
            match hatch.post(packet)? {
                Posted::Yes => drop(self.packets.pop_front()),
                Posted::NoRoom => break,
            }
        }
        Ok(())
    }

    /// How many bytes may be written now.
    fn writable(&self) -> usize {
        self.packets.front().map_or(self.pending, |(before, _)| *before)
    }

    /// Everything that is not yet written, as one buffer: for links in memory.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.pending);
        for piece in &self.pieces_from_all() {
            all.extend_from_slice(piece);
        }
        self.packets.clear();
        self.advance(self.pending);
        all
    }

    fn open_segment(&mut self) -> &mut Vec<u8> {
        let open = matches!(self.segments.back(), Some(Segment::Copied(bytes)) if bytes.len() < SEGMENT);
        if !open {
            self.segments.push_back(Segment::Copied(std::mem::take(&mut self.spare)));
        }
        match self.segments.back_mut() {
            Some(Segment::Copied(bytes)) => bytes,
            Some(Segment::Shared(_)) | None => unreachable!("an open segment was just ensured"),
        }
    }

    fn pieces(&self) -> Vec<IoSlice<'_>> {
        let first = self.segments.front().map(|segment| &segment.bytes()[self.written..]);
        let rest = self.segments.iter().skip(1).map(Segment::bytes);
        let mut left = self.writable();
        let allowed = first.into_iter().chain(rest).take(MAX_PIECES).map_while(|piece| {
            let piece = &piece[..piece.len().min(left)];
            left -= piece.len();
            (!piece.is_empty()).then(|| IoSlice::new(piece))
        });
        allowed.collect()
    }

    fn pieces_from_all(&self) -> Vec<&[u8]> {
        let first = self.segments.front().map(|segment| &segment.bytes()[self.written..]);
        first.into_iter().chain(self.segments.iter().skip(1).map(Segment::bytes)).collect()
    }

    fn advance(&mut self, mut count: usize) {
        self.pending -= count;
        for (before, _) in &mut self.packets {
            *before -= count;
        }
        while let Some(first) = self.segments.front() {
            let left = first.bytes().len() - self.written;
            if count < left {
                self.written += count;
                return;
            }
            count -= left;
            self.written = 0;
            if let Some(Segment::Copied(mut bytes)) = self.segments.pop_front() {
                bytes.clear();
                if bytes.capacity() <= SEGMENT {
                    self.spare = bytes;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::{Epoch, Label, Ordinal};

    #[test]
    fn partial_writes_lose_and_repeat_nothing() {
        let mut outbox = Outbox::new();
        let large = Bytes::from(vec![7; LARGE_PAYLOAD * 2]);
        for index in 0..50u32 {
            outbox.frame(Kind::Request, &index, Body::Copy(&[index as u8; 100]));
            outbox.frame(Kind::Request, &index, Body::Share(large.clone()));
        }
        let pending = outbox.pending();
        let mut seen = Vec::new();
        let mut turn = 0;
        outbox
            .flush(|pieces| {
                turn += 1;
                let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
                let take = all.len().min(1 + turn * 997);
                seen.extend_from_slice(&all[..take]);
                Ok(take)
            })
            .expect("the writer takes everything");
        assert_eq!(seen.len(), pending);
        assert!(outbox.is_empty());
        let mut inbox = crate::Inbox::new(crate::Limits::default(), crate::Growth::AtOnce);
        inbox.push(&seen);
        let mut count = 0;
        while inbox.next_frame().expect("valid").is_some() {
            count += 1;
        }
        assert_eq!(count, 100);
    }

    /// J14: nothing of a frame is written before its descriptors are in the hatch, and what is before it is.
    #[test]
    fn a_frame_waits_for_its_packet_and_what_is_before_it_does_not() {
        let (left, right) = Hatch::pair().expect("a pair");
        let (left, right) = (Arc::new(Hatch::new(left)), Hatch::new(right));
        let label = |ordinal| Label { ordinal: Ordinal(ordinal), epoch: Epoch(1) };
        let fd = OwnedFd::from(std::fs::File::open("/dev/null").expect("opened"));
        let fds: Arc<[Arc<OwnedFd>]> = Arc::new([Arc::new(fd)]);
        let packet = |ordinal| Packet { label: label(ordinal), fds: Arc::clone(&fds) };
        let mut filled = 0;
        while left.post(&packet(filled)).expect("somebody is there") == Posted::Yes {
            filled += 1;
        }
        let mut outbox = Outbox::new();
        outbox.open(left);
        outbox.frame(Kind::Drain, &(), Body::Copy(&[]));
        outbox.frame_with_packet(Kind::Request, &1u32, Body::Copy(b"hi"), packet(filled));
        outbox.frame(Kind::Drain, &(), Body::Copy(&[]));
        let pending = outbox.pending();
        let mut seen = Vec::new();
        let mut write = |pieces: &[IoSlice<'_>]| {
            seen.extend_from_slice(&pieces[0][..pieces[0].len().min(5)]);
            Ok(pieces[0].len().min(5))
        };
        outbox.flush(&mut write).expect("no error");
        assert_eq!((outbox.pending(), outbox.is_held_back()), (pending - HEADER_LEN, true));
        for ordinal in 0..filled {
            assert!(right.fetch(label(ordinal), 1).expect("the frame's").is_ok());
        }
        outbox.flush(&mut write).expect("no error");
        assert!(outbox.is_empty() && right.fetch(label(filled), 1).expect("the frame's").is_ok());
        assert_eq!(seen.len(), pending);
    }

    #[test]
    fn would_block_keeps_the_rest_for_later() {
        let mut outbox = Outbox::new();
        outbox.frame(Kind::Drain, &(), Body::Copy(&[]));
        outbox.flush(|_| Err(io::ErrorKind::WouldBlock.into())).expect("not an error");
        assert_eq!(outbox.pending(), HEADER_LEN);
    }
}
