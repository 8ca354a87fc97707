//! How an input becomes another.

use fastrand::Rng;
use ganger_protocol::HEADER_LEN;

/// No input grows beyond this.
const LONGEST: usize = 128 * 1024;

/// Numbers at which readers of numbers go wrong.
const INTERESTING: [u32; 16] = [
    0,
    1,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x8000 - 8,
    64 << 20,
    (64 << 20) + 1,
    0x7fff_ffff,
    0x8000_0000,
    u32::MAX,
];

/// A new input from `bytes` and, now and then, a piece of `other`.
pub(super) fn bytes(rng: &mut Rng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut new = bytes.to_vec();
    for _ in 0..1 + rng.usize(..4).pow(2) {
        once(rng, &mut new, other);
    }
    new.truncate(LONGEST);
    new
}

fn once(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    if bytes.is_empty() {
        bytes.extend_from_slice(other);
        return bytes.push(rng.u8(..));
    }
    let at = rng.usize(..bytes.len());
    match rng.u8(..12) {
        0 | 1 => bytes[at] ^= 1 << rng.u8(..8),
        2 | 3 => bytes[at] = rng.u8(..),
        4 => bytes[at] = bytes[at].wrapping_add(rng.u8(..9)).wrapping_sub(4),
        5 => bytes.insert(at, rng.u8(..)),
        6 => drop(bytes.drain(at..at + piece(rng, bytes.len() - at))),
        7 => bytes.truncate(at),
        8 => repeat(rng, bytes, at),
        9 => splice(rng, bytes, at, other),
        10 => write_number(rng, bytes, at),
        _ => swap(rng, bytes),
    }
}

/// Short pieces, mostly.
fn piece(rng: &mut Rng, most: usize) -> usize {
    let scale = rng.usize(1..=most.max(1));
    rng.usize(1..=scale).min(most)
}

fn repeat(rng: &mut Rng, bytes: &mut Vec<u8>, at: usize) {
    let copy = bytes[at..at + piece(rng, bytes.len() - at)].to_vec();
    for _ in 0..1 + rng.usize(..3) {
        bytes.splice(at..at, copy.iter().copied());
        if bytes.len() > LONGEST {
            return;
        }
    }
}

fn splice(rng: &mut Rng, bytes: &mut Vec<u8>, at: usize, other: &[u8]) {
    if other.is_empty() {
        return;
    }
    let from = rng.usize(..other.len());
    let copy = &other[from..from + piece(rng, other.len() - from)];
    let end = if rng.bool() { at } else { (at + copy.len()).min(bytes.len()) };
    bytes.splice(at..end, copy.iter().copied());
}

fn write_number(rng: &mut Rng, bytes: &mut [u8], at: usize) {
    let number = INTERESTING[rng.usize(..INTERESTING.len())].to_le_bytes();
    let width = [1, 2, 4][rng.usize(..3)].min(bytes.len() - at);
    bytes[at..at + width].copy_from_slice(&number[..width]);
}

fn swap(rng: &mut Rng, bytes: &mut [u8]) {
    let length = piece(rng, bytes.len() / 2);
    if length == 0 || 2 * length > bytes.len() {
        return;
    }
    let (front, back) = bytes.split_at_mut(bytes.len() / 2);
    let (from, to) = (rng.usize(..=front.len() - length), rng.usize(..=back.len() - length));
    front[from..from + length].swap_with_slice(&mut back[to..to + length]);
}

/// A new stream of frames from `stream`: whole frames change places, come twice or not at all, or lie about their
/// lengths. The first `skip` bytes are left alone.
pub(super) fn frames(rng: &mut Rng, stream: &[u8], skip: usize) -> Vec<u8> {
    let (front, stream) = stream.split_at(skip.min(stream.len()));
    let mut frames = split(stream);
    for _ in 0..1 + rng.usize(..3) {
        if frames.is_empty() {
            break;
        }
        let (one, other) = (rng.usize(..frames.len()), rng.usize(..frames.len()));
        match rng.u8(..6) {
            0 => frames.swap(one, other),
            1 => drop(frames.remove(one)),
            2 => frames.insert(other, frames[one].clone()),
            3 => lie(rng, &mut frames[one]),
            4 => frames[one] = with_head_of(&frames[other], &frames[one]),
            _ => cut(rng, &mut frames[one]),
        }
    }
    let mut new = front.to_vec();
    new.extend(frames.into_iter().flatten());
    new.truncate(LONGEST);
    new
}

/// The frames that the headers announce; what is left at the end is one, too.
fn split(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some(header) = stream.first_chunk::<HEADER_LEN>() {
        let body = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let (frame, rest) = stream.split_at(HEADER_LEN.saturating_add(body).min(stream.len()));
        frames.push(frame.to_vec());
        stream = rest;
    }
    frames.push(stream.to_vec());
    frames
}

fn lie(rng: &mut Rng, frame: &mut [u8]) {
    if frame.len() >= HEADER_LEN {
        let at = [0, 0, 4, 5, 6][rng.usize(..5)];
        write_number(rng, &mut frame[..HEADER_LEN], at);
    }
}

fn with_head_of(header: &[u8], body: &[u8]) -> Vec<u8> {
    [&header[..HEADER_LEN.min(header.len())], &body[HEADER_LEN.min(body.len())..]].concat()
}

fn cut(rng: &mut Rng, frame: &mut Vec<u8>) {
    let length = rng.usize(..=frame.len());
    frame.truncate(length);
}
