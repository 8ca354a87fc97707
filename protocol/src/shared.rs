//! The page of memory that a supervisor shares with one worker.
//!
//! It holds the start mark, the worker's vitals, and one slot for each request in hand. The page is a sealed
//! memory file: neither side can shrink it under the other. Everything in it is an atomic word, so that a peer
//! which writes nonsense can mislead only those who believe its numbers, and those concern only itself.
//!
//! ```text
//! offset  size
//!      0     8  start mark: generation (high 32 bits), started ordinal (low 32 bits)
//!      8     8  heartbeat: the worker's monotonic clock at its last beat, nanoseconds
//!     16     8  heap bytes the worker's allocator holds
//!     24     8  heap bytes in use
//!     32     8  the processor the supervisor was on last, plus 1 (0: unknown)
//!     40     8  the processor the worker was on last, plus 1
//!     48    16  reserved, zero
//!     64    16  slot 0: ordinal + 1 of the request in hand (0: none); then its start, nanoseconds
//!     80    ..  slot 1, …
//! ```

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::memory::Memory;
use crate::{Generation, Ordinal, PageError, Time};

const PAGE_LEN: usize = 16 * 1024;
const WORDS: usize = PAGE_LEN / 8;
const MARK: usize = 0;
const BEAT: usize = 1;
const HEAP_TOTAL: usize = 2;
const HEAP_USED: usize = 3;
const SUPERVISOR_IS_ON: usize = 4;
const WORKER_IS_ON: usize = 5;
const FIRST_SLOT: usize = 8;

/// The start mark: how many requests a worker has started, and under which generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mark {
    /// The generation; a take-back moves it on, and requests of an earlier one can no longer be started.
    pub generation: Generation,
    /// The ordinal of the request started last.
    pub started: Ordinal,
}

impl Mark {
    const fn to_word(self) -> u64 {
        (self.generation.0 as u64) << 32 | self.started.0 as u64
    }

    const fn from_word(word: u64) -> Mark {
        Mark { generation: Generation((word >> 32) as u32), started: Ordinal(word as u32) }
    }
}

/// A start that came too late: the request was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the start mark is now at {0:?}")]
pub struct MarkMoved(pub Mark);

/// What a slot says: which request is in hand, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The request.
    pub ordinal: Ordinal,
    /// When its handler was called.
    pub since: Time,
}

/// What a worker says about itself now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Vitals {
    /// The worker's clock at its last heartbeat; zero before the first.
    pub beat: Time,
    /// Bytes its allocator holds; zero when it does not know.
    pub heap_total_bytes: u64,
    /// Bytes of them in use.
    pub heap_used_bytes: u64,
}

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The supervisor's.
    Supervisor,
    /// The worker's.
    Worker,
}

/// The page of memory that a supervisor shares with one worker.
pub struct Page {
    memory: Memory,
}

impl Page {
    /// How many requests a worker can have in hand at most: the page's slots.
    pub const SLOTS: usize = (WORDS - FIRST_SLOT) / 2;

    /// Makes a page and the descriptor through which a worker can map it.
    ///
    /// # Errors
    /// [`PageError::System`] when the process may open no more descriptors or map no more memory.
    pub fn create() -> Result<(Page, OwnedFd), PageError> {
        let (memory, fd) = Memory::create("ganger-page", WORDS)?;
        Ok((Page { memory }, fd))
    }

    /// Maps the page behind a descriptor, after checking that it cannot shrink.
    ///
    /// # Errors
    /// [`PageError::NotAPage`] for another size or missing seals, [`PageError::System`] when mapping fails.
    pub fn map(fd: impl AsFd) -> Result<Page, PageError> {
        let memory = Memory::map(fd)?;
        match 8 * memory.words().len() {
            PAGE_LEN => Ok(Page { memory }),
            size => Err(PageError::NotAPage { reason: format!("it has {size} bytes, not {PAGE_LEN}") }),
        }
    }

    /// A page in this process's own memory, for tests and simulations.
    #[must_use]
    pub fn in_memory() -> Page {
        Page { memory: Memory::in_process(WORDS) }
    }

    fn words(&self) -> &[AtomicU64] {
        self.memory.words()
    }

    /// The start mark.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark::from_word(self.words()[MARK].load(Acquire))
    }

    /// Worker: starts the request that follows the last, if `generation` still holds; returns its ordinal.
    ///
    /// # Errors
    /// [`MarkMoved`] when the supervisor has taken the request back: forget it.
    pub fn start(&self, generation: Generation) -> Result<Ordinal, MarkMoved> {
        let mark = self.mark();
        if mark.generation != generation {
            return Err(MarkMoved(mark));
        }
        let next = Mark { generation, started: mark.started.next() };
        // Only the supervisor competes, and it only moves the generation on: one failure is final.
        match self.words()[MARK].compare_exchange(mark.to_word(), next.to_word(), AcqRel, Acquire) {
            Ok(_) => Ok(next.started),
            Err(word) => Err(MarkMoved(Mark::from_word(word))),
        }
    }

    /// Supervisor: takes back every request that is not started. Those up to the returned mark's ordinal have
    /// been started; no other request of an earlier generation ever will be.
    #[must_use]
    pub fn take_back(&self) -> Mark {
        let mut word = self.words()[MARK].load(Acquire);
        loop {
            let mark = Mark::from_word(word);
            let next = Mark { generation: mark.generation.next(), started: mark.started };
            match self.words()[MARK].compare_exchange_weak(word, next.to_word(), AcqRel, Acquire) {
                Ok(_) => return next,
                Err(now) => word = now,
            }
        }
    }

    /// Worker: notes in `slot` that it is about to start the request with this ordinal.
    ///
    /// # Panics
    /// When `slot` is not below [`Page::SLOTS`].
    pub fn occupy(&self, slot: usize, ordinal: Ordinal, since: Time) {
        let [who, when] = self.slot_words(slot);
        when.store(since.nanos(), Relaxed);
        who.store(u64::from(ordinal.0) + 1, Release);
    }

    /// Worker: notes that the slot's request has been answered.
    ///
    /// # Panics
    /// When `slot` is not below [`Page::SLOTS`].
    pub fn vacate(&self, slot: usize) {
        self.slot_words(slot)[0].store(0, Release);
    }

    /// The requests in hand, by their slots. A request found here may not be started yet: hold it against the
    /// mark.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..Page::SLOTS).filter_map(|slot| {
            let [who, when] = self.slot_words(slot);
            let ordinal = who.load(Acquire).checked_sub(1)?;
            Some(Slot { ordinal: Ordinal(ordinal as u32), since: Time::from_nanos(when.load(Relaxed)) })
        })
    }

    fn slot_words(&self, slot: usize) -> [&AtomicU64; 2] {
        assert!(slot < Page::SLOTS, "slot {slot} of {}", Page::SLOTS);
        let first = FIRST_SLOT + 2 * slot;
        [&self.words()[first], &self.words()[first + 1]]
    }

    /// Says on which processor this `end` is: only a hint about how the other is to wait, see [`Spin`](crate::Spin).
    pub fn set_processor(&self, end: End, processor: u32) {
        let word = self.processor_word(end);
        let value = u64::from(processor) + 1;
        // The word is seldom new, and its line of the cache is much read.
        if word.load(Relaxed) != value {
            word.store(value, Relaxed);
        }
    }

    /// On which processor that `end` was last, if it said.
    #[must_use]
    pub fn processor(&self, end: End) -> Option<u32> {
        let word = self.processor_word(end).load(Relaxed);
        word.checked_sub(1).and_then(|processor| u32::try_from(processor).ok())
    }

    fn processor_word(&self, end: End) -> &AtomicU64 {
        match end {
            End::Supervisor => &self.words()[SUPERVISOR_IS_ON],
            End::Worker => &self.words()[WORKER_IS_ON],
        }
    }

    /// Worker: beats, and says what its allocator holds.
    pub fn set_vitals(&self, vitals: Vitals) {
        self.words()[HEAP_TOTAL].store(vitals.heap_total_bytes, Relaxed);
        self.words()[HEAP_USED].store(vitals.heap_used_bytes, Relaxed);
        self.words()[BEAT].store(vitals.beat.nanos(), Release);
    }

    /// What the worker said last about itself.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        Vitals {
            beat: Time::from_nanos(self.words()[BEAT].load(Acquire)),
            heap_total_bytes: self.words()[HEAP_TOTAL].load(Relaxed),
            heap_used_bytes: self.words()[HEAP_USED].load(Relaxed),
        }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("mark", &self.mark()).field("vitals", &self.vitals()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn both_mappings_show_the_same_words() {
        let (page, fd) = Page::create().expect("a page");
        let other = Page::map(&fd).expect("mapped again");
        let ordinal = other.start(Generation(0)).expect("started");
        other.occupy(3, ordinal, Time::from_nanos(17));
        assert_eq!(page.mark(), Mark { generation: Generation(0), started: Ordinal(1) });
        let slots: Vec<Slot> = page.slots().collect();
        assert_eq!(slots, [Slot { ordinal: Ordinal(1), since: Time::from_nanos(17) }]);
        other.vacate(3);
        assert_eq!(page.slots().count(), 0);
    }

    #[test]
    fn each_end_says_where_it_is() {
        let page = Page::in_memory();
        assert_eq!(page.processor(End::Worker), None);
        page.set_processor(End::Worker, 0);
        page.set_processor(End::Supervisor, 5);
        assert_eq!((page.processor(End::Worker), page.processor(End::Supervisor)), (Some(0), Some(5)));
        page.words()[WORKER_IS_ON].store(u64::MAX, Relaxed);
        assert_eq!(page.processor(End::Worker), None, "nonsense is no processor");
    }

    #[test]
    fn a_file_that_can_shrink_is_not_a_page() {
        let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("impostor", flags).expect("a file");
        rustix::fs::ftruncate(&fd, PAGE_LEN as u64).expect("sized");
        assert!(matches!(Page::map(&fd), Err(PageError::NotAPage { .. })));
        let (null, _) = std::os::unix::net::UnixStream::pair().expect("a pair");
        assert!(matches!(Page::map(&null), Err(PageError::NotAPage { .. })));
    }

    #[test]
    fn a_request_taken_back_cannot_be_started() {
        let page = Page::in_memory();
        page.start(Generation(0)).expect("the first");
        let mark = page.take_back();
        assert_eq!(mark, Mark { generation: Generation(1), started: Ordinal(1) });
        assert_eq!(page.start(Generation(0)), Err(MarkMoved(mark)));
        assert_eq!(page.start(Generation(1)), Ok(Ordinal(2)));
    }

    /// Starts race against take-backs: each ordinal is started at most once, and a take-back's count is exact.
    #[test]
    fn starts_and_take_backs_agree_under_a_race() {
        let page = Page::in_memory();
        let done = AtomicBool::new(false);
        let rounds = if cfg!(miri) { 50 } else { 20_000 };
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Acquire) {
                    let generation = page.mark().generation;
                    if let Ok(ordinal) = page.start(generation) {
                        assert_eq!(ordinal.0, last + 1);
                        last = ordinal.0;
                    }
                }
                assert_eq!(page.mark().started.0, last);
            });
            let mut before = Mark::default();
            for _ in 0..rounds {
                let mark = page.take_back();
                assert_eq!(mark.generation, before.generation.next());
                assert!(before.started.is_started(mark.started));
                before = mark;
            }
            done.store(true, Release);
        });
    }
}
