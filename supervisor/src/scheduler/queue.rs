//! The jobs of a group that wait for a worker, oldest first.
//!
//! New jobs go to the end of a list of fixed chunks. A job that comes back, from a dead worker or a retry's
//! back-off, keeps its place by age: it waits in a small ordered set. Whatever comes back was at the front of the list
//! once, and so is older than all that is still in it: the set comes first. Jobs that ended while they waited are
//! skipped when they are met, and swept when they are many.

use std::collections::{BTreeMap, VecDeque};

const CHUNK: usize = 1024;

/// Keys, oldest first.
#[derive(Debug)]
pub(super) struct Queue<K> {
    fresh: VecDeque<Vec<K>>,
    /// How much of the first chunk is used up.
    head: usize,
    returned: BTreeMap<u64, K>,
    /// Keys in it, dead ones included.
    len: usize,
    dead: usize,
}

impl<K: Copy> Queue<K> {
    pub(super) fn new() -> Queue<K> {
        Queue { fresh: VecDeque::new(), head: 0, returned: BTreeMap::new(), len: 0, dead: 0 }
    }

    /// Live keys.
    pub(super) fn len(&self) -> usize {
        self.len - self.dead
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the youngest key.
    pub(super) fn push(&mut self, key: K) {
        match self.fresh.back_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(key),
            Some(_) | None => {
                let mut chunk = Vec::with_capacity(if self.fresh.is_empty() { 16 } else { CHUNK });
                chunk.push(key);
                self.fresh.push_back(chunk);
            }
        }
        self.len += 1;
    }

    /// Puts back a key that had been taken, to the place that its sequence number gives it among all such.
    pub(super) fn put_back(&mut self, seq: u64, key: K) {
        if self.returned.insert(seq, key).is_none() {
            self.len += 1;
        }
    }

    /// Notes that one of the keys is dead: its job ended while it waited. Sweeps when half of them are.
    pub(super) fn bury_one(&mut self, is_live: impl Fn(K) -> bool) {
        self.dead += 1;
        if self.dead > CHUNK && self.dead * 2 > self.len {
            self.sweep(is_live);
        }
    }

    /// The oldest live key, left in its place.
    pub(super) fn front(&mut self, is_live: impl Fn(K) -> bool) -> Option<K> {
        loop {
            let key = self.first()?;
            if is_live(key) {
                return Some(key);
            }
            self.remove_first();
            self.dead = self.dead.saturating_sub(1);
        }
    }

    /// The oldest live key, without tidying up on the way.
    pub(super) fn peek(&self, is_live: impl Fn(K) -> bool) -> Option<K> {
        let fresh = self.fresh.iter().flatten().skip(self.head);
        self.returned.values().chain(fresh).copied().find(|key| is_live(*key))
    }

    /// Takes the oldest live key.
    pub(super) fn pop(&mut self, is_live: impl Fn(K) -> bool) -> Option<K> {
        let key = self.front(is_live)?;
        self.remove_first();
        Some(key)
    }

    fn first(&self) -> Option<K> {
        let returned = self.returned.first_key_value().map(|(_, key)| *key);
        returned.or_else(|| self.fresh.front().map(|chunk| chunk[self.head]))
    }

    fn remove_first(&mut self) {
        if self.returned.pop_first().is_none() {
            self.advance();
        }
        self.len -= 1;
    }

    fn advance(&mut self) {
        self.head += 1;
        if self.fresh.front().is_some_and(|chunk| chunk.len() == self.head) {
            self.fresh.pop_front();
            self.head = 0;
        }
    }

    fn sweep(&mut self, is_live: impl Fn(K) -> bool) {
        let old = std::mem::take(&mut self.fresh);
        let skip = std::mem::take(&mut self.head);
        self.returned.retain(|_, key| is_live(*key));
        self.len = self.returned.len();
        self.dead = 0;
        for key in old.into_iter().flatten().skip(skip) {
            if is_live(key) {
                self.push(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut Queue<u64>, is_live: impl Fn(u64) -> bool) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop(&is_live)).collect()
    }

    #[test]
    fn keys_that_come_back_keep_their_place() {
        let mut queue = Queue::new();
        for seq in 0..10 {
            queue.push(seq);
        }
        let first: Vec<u64> = (0..4).filter_map(|_| queue.pop(|_| true)).collect();
        assert_eq!(first, [0, 1, 2, 3]);
        queue.put_back(2, 2);
        queue.put_back(0, 0);
        queue.push(10);
        assert_eq!(queue.len(), 9);
        assert_eq!(drain(&mut queue, |_| true), [0, 2, 4, 5, 6, 7, 8, 9, 10]);
        assert!(queue.is_empty());
    }

    #[test]
    fn dead_keys_are_skipped_and_swept() {
        let mut queue = Queue::new();
        for seq in 0..10_000 {
            queue.push(seq);
        }
        for died in (0..10_000).filter(|key: &u64| !key.is_multiple_of(5)) {
            queue.bury_one(|key: u64| key > died || key.is_multiple_of(5));
        }
        let live = |key: u64| key.is_multiple_of(5);
        assert_eq!(queue.len(), 2_000);
        assert!(queue.fresh.len() <= 4, "swept down to {} chunks", queue.fresh.len());
        assert_eq!(drain(&mut queue, live).len(), 2_000);
    }
}
