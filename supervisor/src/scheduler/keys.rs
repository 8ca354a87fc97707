//! Jobs with a key: a line for each key, of whose jobs only so many are under way at once.
//!
//! The first jobs of a line have a *seat* each: they wait for a worker like others, or are with one. The rest wait behind,
//! in the order in which they came. A seat is kept through retries and take-backs, until its job has ended and no worker
//! is at work on it any more: a job may end before its handler does, and then its seat is held by what lingers there. A line
//! without jobs is forgotten.

use std::collections::BTreeMap;

use ganger_protocol::JobId;

use super::queue::Queue;

/// The lines of a group.
#[derive(Debug)]
pub(super) struct Keys<K> {
    lines: BTreeMap<u64, Line<K>>,
    /// Jobs that have ended, with a handler that may still run, and whose seats they hold.
    lingering: BTreeMap<JobId, u64>,
    behind: usize,
}

#[derive(Debug)]
struct Line<K> {
    seats: u32,
    behind: Queue<K>,
}

/// What became of a job that came to its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Seated,
    Behind,
}

impl<K> Default for Keys<K> {
    fn default() -> Keys<K> {
        Keys { lines: BTreeMap::new(), lingering: BTreeMap::new(), behind: 0 }
    }
}

impl<K: Copy> Keys<K> {
    /// Jobs that wait behind others of their key.
    pub(super) fn behind(&self) -> usize {
        self.behind
    }

    /// A job comes to its line, in which so many may be under way at once.
    pub(super) fn enter(&mut self, line: u64, limit: u32, job: K) -> Entry {
        let line = self.lines.entry(line).or_insert_with(|| Line { seats: 0, behind: Queue::new() });
        if line.seats < limit {
            line.seats += 1;
            return Entry::Seated;
        }
        line.behind.push(job);
        self.behind += 1;
        Entry::Behind
    }

    /// One that waited behind has ended.
    pub(super) fn bury_one(&mut self, line: u64, is_live: impl Fn(K) -> bool) {
        let Some(line) = self.lines.get_mut(&line) else { return };
        line.behind.bury_one(is_live);
        self.behind -= 1;
    }

    /// A seat is free: gives it to the next in line, who is named, if there is one.
    pub(super) fn release(&mut self, line: u64, is_live: impl Fn(K) -> bool) -> Option<K> {
        let standing = self.lines.get_mut(&line)?;
        if let Some(next) = standing.behind.pop(is_live) {
            self.behind -= 1;
            return Some(next);
        }
        standing.seats -= 1;
        if standing.seats == 0 {
            self.lines.remove(&line);
        }
        None
    }

    /// A job has ended, but a worker is still at it: its seat is not free yet.
    pub(super) fn linger(&mut self, job: JobId, line: u64) {
        self.lingering.insert(job, line);
    }

    /// No worker is at it any more: says in which line a seat was kept for it, if one was.
    pub(super) fn depart(&mut self, job: JobId) -> Option<u64> {
        self.lingering.remove(&job)
    }

    /// Lines in use, for whoever looks whether any is left behind.
    pub(super) fn lines(&self) -> usize {
        self.lines.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_moves_up_as_seats_are_released_and_is_forgotten() {
        let mut keys = Keys::default();
        let entries: Vec<Entry> = (0..4).map(|job| keys.enter(7, 2, job)).collect();
        assert_eq!(entries, [Entry::Seated, Entry::Seated, Entry::Behind, Entry::Behind]);
        assert_eq!((keys.enter(8, 1, 9), keys.behind(), keys.lines()), (Entry::Seated, 2, 2));
        assert_eq!(keys.release(7, |_| true), Some(2));
        keys.bury_one(7, |_| false);
        assert_eq!((keys.release(7, |job| job != 3), keys.behind()), (None, 0));
        assert_eq!((keys.release(7, |_| true), keys.lines()), (None, 1));
        assert_eq!((keys.release(8, |_| true), keys.lines()), (None, 0));
    }

    #[test]
    fn what_lingers_is_asked_for_once() {
        let (mut keys, job) = (Keys::<u8>::default(), JobId::from_bytes([3; 16]));
        keys.linger(job, 5);
        assert_eq!((keys.depart(job), keys.depart(job)), (Some(5), None));
    }
}
