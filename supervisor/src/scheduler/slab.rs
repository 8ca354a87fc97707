//! Storage in fixed chunks with keys that are never valid twice.
//!
//! One vector that doubles would stall the loop for milliseconds at a million jobs; a chunk is allocated in
//! microseconds.

use std::fmt;
use std::marker::PhantomData;

const CHUNK: usize = 1024;
const NONE: u32 = u32::MAX;

/// Names an entry of a slab; a key of an entry that is gone finds nothing, even when its place is used again.
pub struct Key<T> {
    index: u32,
    generation: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    pub(super) fn new(index: u32, generation: u32) -> Key<T> {
        Key { index, generation, kind: PhantomData }
    }

    /// How often the place had been used before.
    pub(super) fn generation(self) -> u32 {
        self.generation
    }

    /// The entry's place: small numbers, used again.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// As [`index`](Key::index), as small as it is.
    #[must_use]
    pub(crate) fn place(self) -> u32 {
        self.index
    }

    /// The key as one number.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The key with this number.
    #[must_use]
    pub fn from_bits(bits: u64) -> Key<T> {
        Key { index: bits as u32, generation: (bits >> 32) as u32, kind: PhantomData }
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Key<T> {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Key<T>) -> bool {
        self.to_bits() == other.to_bits()
    }
}

impl<T> Eq for Key<T> {}

impl<T> PartialOrd for Key<T> {
    fn partial_cmp(&self, other: &Key<T>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Key<T> {
    fn cmp(&self, other: &Key<T>) -> std::cmp::Ordering {
        self.to_bits().cmp(&other.to_bits())
    }
}

impl<T> std::hash::Hash for Key<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.to_bits().hash(state);
    }
}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.index, self.generation)
    }
}

/// Entries of type `V`, named by keys of kind `K`.
#[derive(Debug)]
pub(super) struct Slab<K, V> {
    chunks: Vec<Box<[Entry<V>]>>,
    free: u32,
    used: u32,
    len: usize,
    kind: PhantomData<fn() -> K>,
}

#[derive(Debug)]
struct Entry<V> {
    generation: u32,
    state: State<V>,
}

#[derive(Debug)]
enum State<V> {
    Free { next: u32 },
    Used(V),
}

impl<K, V> Slab<K, V> {
    pub(super) fn new() -> Slab<K, V> {
        Slab { chunks: Vec::new(), free: NONE, used: 0, len: 0, kind: PhantomData }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, value: V) -> Key<K> {
        let index = self.claim();
        let entry = self.entry_mut(index);
        entry.state = State::Used(value);
        let generation = entry.generation;
        self.len += 1;
        Key { index, generation, kind: PhantomData }
    }

    pub(super) fn remove(&mut self, key: Key<K>) -> Option<V> {
        self.get(key)?;
        let next = std::mem::replace(&mut self.free, key.index);
        let entry = self.entry_mut(key.index);
        entry.generation = entry.generation.wrapping_add(1);
        self.len -= 1;
        match std::mem::replace(&mut self.entry_mut(key.index).state, State::Free { next }) {
            State::Used(value) => Some(value),
            State::Free { .. } => None,
        }
    }

    pub(super) fn get(&self, key: Key<K>) -> Option<&V> {
        let entry = self.chunks.get(key.index() / CHUNK)?.get(key.index() % CHUNK)?;
        match &entry.state {
            State::Used(value) if entry.generation == key.generation => Some(value),
            State::Used(_) | State::Free { .. } => None,
        }
    }

    pub(super) fn get_mut(&mut self, key: Key<K>) -> Option<&mut V> {
        let entry = self.chunks.get_mut(key.index() / CHUNK)?.get_mut(key.index() % CHUNK)?;
        match &mut entry.state {
            State::Used(value) if entry.generation == key.generation => Some(value),
            State::Used(_) | State::Free { .. } => None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key<K>, &V)> {
        let entries = self.chunks.iter().flat_map(|chunk| chunk.iter());
        entries.take(self.used as usize).enumerate().filter_map(|(index, entry)| match &entry.state {
            State::Used(value) => {
                let key = Key { index: index as u32, generation: entry.generation, kind: PhantomData };
                Some((key, value))
            }
            State::Free { .. } => None,
        })
    }

    pub(super) fn keys(&self) -> Vec<Key<K>> {
        self.iter().map(|(key, _)| key).collect()
    }

    fn claim(&mut self) -> u32 {
        if self.free != NONE {
            let index = self.free;
            if let State::Free { next } = self.entry_mut(index).state {
                self.free = next;
            }
            return index;
        }
        let index = self.used;
        if index as usize == self.chunks.len() * CHUNK {
            let fresh = || Entry { generation: 0, state: State::Free { next: NONE } };
            self.chunks.push(std::iter::repeat_with(fresh).take(CHUNK).collect());
        }
        self.used = index.checked_add(1).expect("fewer than four thousand million entries");
        index
    }

    fn entry_mut(&mut self, index: u32) -> &mut Entry<V> {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_removed_entry_finds_nothing() {
        let mut slab: Slab<(), u32> = Slab::new();
        let first = slab.insert(1);
        assert_eq!(slab.remove(first), Some(1));
        let second = slab.insert(2);
        assert_eq!(first.index(), second.index());
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&2)));
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn entries_keep_their_values_over_many_chunks() {
        let mut slab: Slab<(), usize> = Slab::new();
        let keys: Vec<_> = (0..3 * CHUNK).map(|value| slab.insert(value)).collect();
        for key in keys.iter().step_by(2) {
            slab.remove(*key);
        }
        assert_eq!(slab.iter().count(), slab.len());
        assert!(slab.iter().all(|(key, value)| key.index() == *value));
    }
}
