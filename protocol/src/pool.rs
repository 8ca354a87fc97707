//! The pool: memory that a supervisor shares with one worker, through which large payloads travel.
//!
//! ```text
//! offset    size
//!      0       8  requests that the worker has copied out, counted by the worker
//!      8       8  1 when the worker takes part; written before its Hello
//!     64       8  answers that the supervisor has copied out, counted by the supervisor
//!    128    half  payloads of requests: written by the supervisor
//! 128+half  half  payloads of answers: written by the worker
//! ```
//!
//! Each half is a ring. Its writer puts payloads behind one another, or at the front again; its reader copies each
//! one out as soon as it has read the frame that names its place, in the order of the frames, and then counts it. So
//! the writer alone knows what is free, nothing is given back but by counting, and what becomes of a request
//! afterwards, be it cancelled, taken back or answered, has no part in it.
//!
//! Nothing here is believed: places are held against the ring, counts against what is outstanding, and bytes are
//! copied before anybody looks at them.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::memory::{Memory, copy_in, copy_out};
use crate::{PageError, Place, PlaceError};

/// Payloads of this many bytes or more go through the pool, where there is one and room in it.
pub const POOLED_PAYLOAD: usize = 64 * 1024;

/// Places begin at multiples of this: a cache line.
const ALIGN: usize = 64;

const FRONT_WORDS: usize = 16;
const TAKES_PART: usize = 1;

/// Which half of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Written by the supervisor.
    Requests,
    /// Written by the worker.
    Answers,
}

/// Memory that a supervisor shares with one worker for large payloads.
pub struct Pool {
    memory: Memory,
}

impl Pool {
    /// Makes a pool with room for `bytes` of requests and as many of answers, and the descriptor through which a
    /// worker can map it.
    ///
    /// # Errors
    /// [`PageError::System`] when the process may open no more descriptors or map no more memory.
    pub fn create(bytes: usize) -> Result<(Pool, OwnedFd), PageError> {
        let (memory, fd) = Memory::create("ganger-pool", Pool::words_for(bytes))?;
        Ok((Pool { memory }, fd))
    }

    /// Maps the pool behind a descriptor, after checking that it cannot shrink.
    ///
    /// # Errors
    /// [`PageError::NotAPage`] for another size or missing seals, [`PageError::System`] when mapping fails.
    pub fn map(fd: impl AsFd) -> Result<Pool, PageError> {
        let memory = Memory::map(fd)?;
        let bytes = 8 * memory.words().len();
        let halves = bytes.saturating_sub(8 * FRONT_WORDS);
        if halves < 2 * POOLED_PAYLOAD || !halves.is_multiple_of(2 * ALIGN) {
            return Err(PageError::NotAPage { reason: format!("a pool has not {bytes} bytes") });
        }
        Ok(Pool { memory })
    }

    /// A pool in this process's own memory, for tests and simulations.
    #[must_use]
    pub fn in_memory(bytes: usize) -> Pool {
        Pool { memory: Memory::in_process(Pool::words_for(bytes)) }
    }

    fn words_for(bytes: usize) -> usize {
        FRONT_WORDS + 2 * (bytes.max(1).next_multiple_of(ALIGN) / 8)
    }

    /// Bytes of a half.
    #[must_use]
    pub fn half_len(&self) -> usize {
        (self.memory.words().len() - FRONT_WORDS) / 2 * 8
    }

    /// Worker: takes part. A worker that does not want the pool leaves it alone.
    pub fn take_part(&self) {
        self.memory.words()[TAKES_PART].store(1, Release);
    }

    /// Whether the worker takes part.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.memory.words()[TAKES_PART].load(Acquire) == 1
    }

    /// Notes how many payloads of a half have been copied out of it: its reader's business.
    pub fn set_count(&self, half: Half, taken: u64) {
        self.count(half).store(taken, Release);
    }

    fn half(&self, half: Half) -> &[AtomicU64] {
        let (requests, answers) = self.memory.words()[FRONT_WORDS..].split_at(self.half_len() / 8);
        match half {
            Half::Requests => requests,
            Half::Answers => answers,
        }
    }

    fn count(&self, half: Half) -> &AtomicU64 {
        let place = match half {
            Half::Requests => 0,
            Half::Answers => 8,
        };
        &self.memory.words()[place]
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("half_len", &self.half_len()).finish_non_exhaustive()
    }
}

/// The writing end of one half.
#[derive(Debug)]
pub struct PoolWriter {
    pool: Arc<Pool>,
    half: Half,
    /// Where payloads begin and end that the reader has not counted yet, oldest first.
    outstanding: VecDeque<(usize, usize)>,
    /// What the reader's count was last.
    counted: u64,
}

impl PoolWriter {
    /// The writing end of a half; there may be only one.
    #[must_use]
    pub fn new(pool: Arc<Pool>, half: Half) -> PoolWriter {
        PoolWriter { pool, half, outstanding: VecDeque::new(), counted: 0 }
    }

    /// Copies a payload into the pool; `None` when there is no room for it now.
    ///
    /// # Errors
    /// [`PlaceError::Count`] when the reader has counted what it was not given.
    pub fn put(&mut self, payload: &[u8]) -> Result<Option<Place>, PlaceError> {
        self.take_back_counted()?;
        let size = payload.len().next_multiple_of(ALIGN);
        let Some(begin) = self.free_place(size) else { return Ok(None) };
        copy_in(&self.pool.half(self.half)[begin / 8..(begin + size) / 8], payload);
        self.outstanding.push_back((begin, begin + size));
        Ok(Some(Place { offset: begin as u32, length: payload.len() as u32 }))
    }

    fn take_back_counted(&mut self) -> Result<(), PlaceError> {
        let count = self.pool.count(self.half).load(Acquire);
        let more = count.wrapping_sub(self.counted);
        let outstanding = self.outstanding.len();
        if more > outstanding as u64 {
            return Err(PlaceError::Count { more, outstanding });
        }
        self.counted = count;
        self.outstanding.drain(..more as usize);
        Ok(())
    }

    /// Behind the youngest payload, or at the front, so that it ends before the oldest begins.
    fn free_place(&self, size: usize) -> Option<usize> {
        let length = self.pool.half_len();
        let (Some((tail, _)), Some((last, head))) = (self.outstanding.front(), self.outstanding.back())
        else {
            return (size <= length).then_some(0);
        };
        let is_wrapped = last < tail;
        match is_wrapped {
            true => (head + size <= *tail).then_some(*head),
            false if head + size <= length => Some(*head),
            false => (size <= *tail).then_some(0),
        }
    }
}

/// The reading end of one half.
#[derive(Debug)]
pub struct PoolReader {
    pool: Arc<Pool>,
    half: Half,
    /// Where the next payload begins, unless it begins at the front.
    next: usize,
    taken: u64,
}

impl PoolReader {
    /// The reading end of a half; there may be only one.
    #[must_use]
    pub fn new(pool: Arc<Pool>, half: Half) -> PoolReader {
        PoolReader { pool, half, next: 0, taken: 0 }
    }

    /// Copies a payload out of the pool and gives its place back.
    ///
    /// # Errors
    /// [`PlaceError`] for a place outside the half, or not where the next one may be.
    pub fn take(&mut self, place: Place) -> Result<Vec<u8>, PlaceError> {
        let (begin, length, half) = (place.offset as usize, place.length as usize, self.pool.half_len());
        let end = begin.saturating_add(length).checked_next_multiple_of(ALIGN);
        let Some(end) = end.filter(|end| *end <= half) else {
            return Err(PlaceError::Outside { place, half });
        };
        if length == 0 || begin != self.next && begin != 0 {
            return Err(PlaceError::OutOfOrder { place, next: self.next });
        }
        let payload = copy_out(&self.pool.half(self.half)[begin / 8..end / 8], length);
        self.next = end;
        self.taken += 1;
        self.pool.set_count(self.half, self.taken);
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(bytes: usize) -> (Arc<Pool>, PoolWriter, PoolReader) {
        let pool = Arc::new(Pool::in_memory(bytes));
        let writer = PoolWriter::new(Arc::clone(&pool), Half::Requests);
        let reader = PoolReader::new(Arc::clone(&pool), Half::Requests);
        (pool, writer, reader)
    }

    fn payload(length: usize, seed: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 7 + seed) as u8).collect()
    }

    #[test]
    fn payloads_of_all_lengths_come_out_as_they_went_in() {
        let (_, mut writer, mut reader) = ends(4096);
        for length in (1..200).chain([1023, 1024, 1025, 4095, 4096]) {
            let sent = payload(length, length);
            let place = writer.put(&sent).expect("an honest reader").expect("room");
            assert_eq!(reader.take(place), Ok(sent));
        }
    }

    /// Whatever the reader lags behind, no payload is written over before it was counted.
    #[test]
    fn the_ring_goes_round_and_nothing_is_written_over() {
        let (_, mut writer, mut reader) = ends(4096);
        let mut waiting = VecDeque::new();
        let (mut fitted, mut refused) = (0, 0);
        let rounds = if cfg!(miri) { 200 } else { 20_000 };
        for round in 0..rounds {
            let sent = payload(1 + round * 131 % 1500, round);
            match writer.put(&sent).expect("an honest reader") {
                Some(place) => waiting.push_back((place, sent)),
                None => refused += 1,
            }
            while waiting.len() > round * 31 % 5 {
                let (place, sent) = waiting.pop_front().expect("not empty");
                assert_eq!(reader.take(place), Ok(sent));
                fitted += 1;
            }
        }
        assert!(fitted > rounds / 3 && refused > 0, "{fitted} fitted, {refused} did not");
    }

    #[test]
    fn what_does_not_fit_is_refused_and_fits_again_when_there_is_room() {
        let (_, mut writer, mut reader) = ends(1024);
        assert_eq!(writer.put(&[1; 1025]), Ok(None));
        let place = writer.put(&[1; 1000]).expect("an honest reader").expect("room");
        assert_eq!(writer.put(&[2; 64]), Ok(None));
        reader.take(place).expect("it is there");
        assert_eq!(writer.put(&[2; 64]), Ok(Some(Place { offset: 0, length: 64 })));
    }

    #[test]
    fn a_place_outside_the_half_is_refused() {
        let (_, _, mut reader) = ends(1024);
        for (offset, length) in [(0, 1025), (64, 1024), (1024, 1), (u32::MAX, u32::MAX), (0, u32::MAX)] {
            let place = Place { offset, length };
            assert_eq!(reader.take(place), Err(PlaceError::Outside { place, half: 1024 }));
        }
    }

    /// Two payloads cannot overlap: each begins where the one before it ended, or at the front.
    #[test]
    fn a_place_that_is_not_the_next_is_refused() {
        let (_, mut writer, mut reader) = ends(1024);
        let place = writer.put(&[1; 100]).expect("an honest reader").expect("room");
        reader.take(place).expect("it is there");
        for offset in [64, 100, 192, 3] {
            let place = Place { offset, length: 10 };
            assert_eq!(reader.take(place), Err(PlaceError::OutOfOrder { place, next: 128 }));
        }
        let nothing = Place { offset: 128, length: 0 };
        assert!(matches!(reader.take(nothing), Err(PlaceError::OutOfOrder { .. })));
    }

    /// A reader that counts a payload twice would have the writer write over one that is not read yet.
    #[test]
    fn a_place_given_back_twice_is_an_error() {
        let (pool, mut writer, _) = ends(1024);
        writer.put(&[1; 100]).expect("an honest reader").expect("room");
        for count in [2, u64::MAX] {
            pool.set_count(Half::Requests, count);
            assert!(matches!(writer.put(&[1; 100]), Err(PlaceError::Count { outstanding: 1, .. })));
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a memory file")]
    fn both_mappings_show_the_same_bytes() {
        let (pool, fd) = Pool::create(1 << 20).expect("a pool");
        let other = Pool::map(&fd).expect("mapped again");
        assert!(!pool.is_shared());
        other.take_part();
        assert!(pool.is_shared());
        assert_eq!(other.half_len(), 1 << 20);
        let mut writer = PoolWriter::new(Arc::new(pool), Half::Answers);
        let mut reader = PoolReader::new(Arc::new(other), Half::Answers);
        let sent = payload(1 << 20, 3);
        let place = writer.put(&sent).expect("an honest reader").expect("room");
        assert_eq!(reader.take(place), Ok(sent));
        let (_page, fd) = crate::Page::create().expect("a page");
        assert!(matches!(Pool::map(&fd), Err(PageError::NotAPage { .. })));
    }
}
