//! A hierarchical timing wheel: scheme 7 of Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (1987).
//!
//! Six levels of 64 slots over ticks of about a millisecond reach two years; what lies further ahead waits in the
//! last slot. Timers are linked through a slab, so that setting and clearing one costs a few nanoseconds. A timer
//! is due at the end of the tick its time lies in: never early, at most two ticks late.

use ganger_protocol::Time;

/// A tick is 2^20 nanoseconds, 1.05 ms.
const TICK_BITS: u32 = 20;
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 6;
const NONE: u32 = u32::MAX;

/// A set timer, or none. Its owner keeps it; [`Timers::set`] and [`Timers::clear`] change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId(u32);

impl TimerId {
    pub(crate) const UNSET: TimerId = TimerId(NONE);

    pub(crate) fn is_set(self) -> bool {
        self != TimerId::UNSET
    }
}

#[derive(Debug)]
pub(crate) struct Timers<K> {
    entries: Vec<Entry<K>>,
    free: u32,
    len: usize,
    /// All ticks before this one have been handled.
    now: u64,
    levels: [Level; LEVELS],
    due: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Entry<K> {
    key: K,
    tick: u64,
    previous: u32,
    next: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Free,
    Slot {
        level: u8,
        slot: u8,
    },
    /// Its place among those that are due.
    Due {
        at: u32,
    },
}

#[derive(Clone, Copy, Debug)]
struct Level {
    occupied: u64,
    heads: [u32; SLOTS],
}

impl<K: Copy> Timers<K> {
    pub(crate) fn new(now: Time) -> Timers<K> {
        let level = Level { occupied: 0, heads: [NONE; SLOTS] };
        let now = now.nanos() >> TICK_BITS;
        Timers { entries: Vec::new(), free: NONE, len: 0, now, levels: [level; LEVELS], due: Vec::new() }
    }

    /// Timers that are set.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Sets the owner's timer to `at`, whatever it was before.
    pub(crate) fn set(&mut self, id: &mut TimerId, at: Time, key: K) {
        self.clear(id);
        if at == Time::NEVER {
            return;
        }
        let tick = (at.nanos() >> TICK_BITS) + 1;
        let entry = Entry { key, tick, previous: NONE, next: NONE, place: Place::Free };
        let index = self.claim(entry);
        self.link(index);
        self.len += 1;
        *id = TimerId(index);
    }

    /// Clears the owner's timer.
    pub(crate) fn clear(&mut self, id: &mut TimerId) {
        let TimerId(index) = std::mem::replace(id, TimerId::UNSET);
        if index != NONE {
            self.unlink(index);
            self.release(index);
        }
    }

    /// When to look again; not later than the first timer is due.
    pub(crate) fn next(&self) -> Option<Time> {
        if !self.due.is_empty() {
            return Some(Time::from_nanos(self.now << TICK_BITS));
        }
        let (tick, _, _) = self.next_slot()?;
        Some(Time::from_nanos(tick.saturating_mul(1 << TICK_BITS)))
    }

    /// Takes one timer that is due at `now`; its owner must forget the id.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<K> {
        let target = now.nanos() >> TICK_BITS;
        while self.due.is_empty() {
            match self.next_slot() {
                Some((tick, level, slot)) if tick <= target => self.open(tick, level, slot),
                Some(_) | None => {
                    self.now = self.now.max(target);
                    return None;
                }
            }
        }
        let index = self.due.pop()?;
        let key = self.entries[index as usize].key;
        self.release(index);
        Some(key)
    }

    /// Moves the wheel to `tick` and everything in the slot to where it belongs then.
    fn open(&mut self, tick: u64, level: usize, slot: usize) {
        self.now = self.now.max(tick);
        let mut index = std::mem::replace(&mut self.levels[level].heads[slot], NONE);
        self.levels[level].occupied &= !(1 << slot);
        while index != NONE {
            let next = self.entries[index as usize].next;
            self.link(index);
            index = next;
        }
    }

    /// The first occupied slot in time: its first tick, its level and its place.
    fn next_slot(&self) -> Option<(u64, usize, usize)> {
        (0..LEVELS).filter_map(|level| self.next_slot_of(level)).min()
    }

    fn next_slot_of(&self, level: usize) -> Option<(u64, usize, usize)> {
        let occupied = self.levels[level].occupied;
        if occupied == 0 {
            return None;
        }
        let shift = level as u32 * LEVEL_BITS;
        let position = (self.now >> shift) % SLOTS as u64;
        let ahead = occupied.rotate_right(position as u32).trailing_zeros();
        let slot = (position + u64::from(ahead)) % SLOTS as u64;
        let tick = ((self.now >> shift) + u64::from(ahead)) << shift;
        Some((tick.max(self.now), level, slot as usize))
    }

    fn link(&mut self, index: u32) {
        let tick = self.entries[index as usize].tick;
        if tick <= self.now {
            self.entries[index as usize].place = Place::Due { at: self.due.len() as u32 };
            self.due.push(index);
            return;
        }
        let (level, slot) = self.slot_for(tick);
        let head = std::mem::replace(&mut self.levels[level].heads[slot], index);
        self.levels[level].occupied |= 1 << slot;
        if head != NONE {
            self.entries[head as usize].previous = index;
        }
        let entry = &mut self.entries[index as usize];
        entry.previous = NONE;
        entry.next = head;
        entry.place = Place::Slot { level: level as u8, slot: slot as u8 };
    }

    /// The lowest level on which `tick` lies less than one turn ahead.
    fn slot_for(&self, tick: u64) -> (usize, usize) {
        for level in 0..LEVELS {
            let shift = level as u32 * LEVEL_BITS;
            if (tick >> shift) - (self.now >> shift) < SLOTS as u64 {
                return (level, (tick >> shift) as usize % SLOTS);
            }
        }
        let shift = (LEVELS as u32 - 1) * LEVEL_BITS;
        (LEVELS - 1, ((self.now >> shift) as usize + SLOTS - 1) % SLOTS)
    }

    fn unlink(&mut self, index: u32) {
        let Entry { previous, next, place, .. } = self.entries[index as usize];
        match place {
            Place::Due { at } => self.unlink_due(at as usize),
            Place::Free => debug_assert!(false, "a timer was cleared twice"),
            Place::Slot { level, slot } => {
                let level = &mut self.levels[usize::from(level)];
                if previous == NONE {
                    level.heads[usize::from(slot)] = next;
                    if next == NONE {
                        level.occupied &= !(1 << slot);
                    }
                } else {
                    self.entries[previous as usize].next = next;
                }
                if next != NONE {
                    self.entries[next as usize].previous = previous;
                }
            }
        }
    }

    fn unlink_due(&mut self, at: usize) {
        self.due.swap_remove(at);
        if let Some(moved) = self.due.get(at) {
            self.entries[*moved as usize].place = Place::Due { at: at as u32 };
        }
    }

    fn claim(&mut self, entry: Entry<K>) -> u32 {
        if self.free == NONE {
            self.entries.push(entry);
            return u32::try_from(self.entries.len() - 1).expect("fewer than four thousand million timers");
        }
        let index = self.free;
        self.free = self.entries[index as usize].next;
        self.entries[index as usize] = entry;
        index
    }

    fn release(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.place = Place::Free;
        entry.next = std::mem::replace(&mut self.free, index);
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn drain(timers: &mut Timers<u64>, ids: &mut [TimerId], now: Time) -> Vec<u64> {
        std::iter::from_fn(|| timers.pop_due(now))
            .inspect(|key| ids[*key as usize] = TimerId::UNSET)
            .collect()
    }

    #[test]
    fn no_timer_is_early_none_is_forgotten_and_none_is_later_than_two_ticks() {
        let mut random = fastrand::Rng::with_seed(7);
        let start = Time::from_nanos(123_456_789_012);
        let mut timers = Timers::new(start);
        let mut at = Vec::new();
        let mut ids = vec![TimerId::UNSET; 3_000];
        for key in 0..3_000 {
            let magnitude = random.u32(10..44);
            at.push(start + Duration::from_nanos(random.u64(0..1 << magnitude)));
            timers.set(&mut ids[key as usize], at[key as usize], key);
        }
        for key in (0..3_000).step_by(3) {
            timers.clear(&mut ids[key]);
        }
        let mut seen = 0;
        while let Some(next) = timers.next() {
            for key in drain(&mut timers, &mut ids, next) {
                let due = at[key as usize];
                assert!(next >= due && next.since(due) <= Duration::from_nanos(2 << TICK_BITS));
                assert_ne!(key % 3, 0, "a cleared timer fired");
                seen += 1;
            }
        }
        assert_eq!((seen, timers.len()), (2_000, 0));
    }

    /// Timers that are due can still be cleared, each at the same cost, however many there are.
    #[test]
    fn a_timer_that_is_due_can_be_cleared() {
        let mut timers = Timers::new(Time::ZERO);
        let mut ids = vec![TimerId::UNSET; 100_000];
        for key in 0..100_000 {
            timers.set(&mut ids[key as usize], Time::ZERO + Duration::from_millis(5), key);
        }
        let soon = Time::ZERO + Duration::from_secs(1);
        let first = timers.pop_due(soon).expect("all are due") as usize;
        ids[first] = TimerId::UNSET;
        for key in (0..100_000).filter(|key| key % 1000 != 0) {
            timers.clear(&mut ids[key]);
        }
        let rest = drain(&mut timers, &mut ids, soon);
        assert!(rest.iter().all(|key| key % 1000 == 0));
        assert_eq!((rest.len() + usize::from(first.is_multiple_of(1000)), timers.len()), (100, 0));
    }

    #[test]
    fn a_jump_of_the_clock_makes_everything_due_at_once() {
        let mut timers = Timers::new(Time::ZERO);
        let mut ids = vec![TimerId::UNSET; 100];
        for key in 0..100 {
            timers.set(&mut ids[key as usize], Time::ZERO + Duration::from_secs(key * 60), key);
        }
        let day = Time::ZERO + Duration::from_secs(86_400);
        assert_eq!(drain(&mut timers, &mut ids, day).len(), 100);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_timer_beyond_the_wheel_waits_its_full_time() {
        let mut timers = Timers::new(Time::ZERO);
        let mut id = TimerId::UNSET;
        let years = Time::ZERO + Duration::from_secs(10 * 365 * 86_400);
        timers.set(&mut id, years, 0);
        let mut now = Time::ZERO;
        while let Some(next) = timers.next() {
            now = next;
            if timers.pop_due(now).is_some() {
                break;
            }
        }
        assert!(now >= years);
    }
}
