//! All jobs that have not ended.
//!
//! Most jobs of a deep queue have only been accepted: of such a job no more is kept than makes it one, 24 bytes, and no
//! timer. It grows when it is first asked for to be changed, which is when a worker or a clock gets it. The storage is
//! that of `slab.rs`, with the generation inside the variants, where it takes no room of its own.

use ganger_protocol::{Epoch, Time};

use super::job::{Job, Phase};
use super::slab::Slab;
use super::timers::TimerId;
use super::{GroupIndex, JobKey, Key, Started, Ticket};

const CHUNK: usize = 1024;
const NONE: u32 = u32::MAX;

/// The kind of the keys of grown jobs.
#[derive(Debug)]
enum GrownKind {}

/// Jobs by their keys, fresh or grown.
#[derive(Debug)]
pub(super) struct Jobs<T> {
    chunks: Vec<Box<[Place<T>]>>,
    grown: Slab<GrownKind, Job<T>>,
    free: u32,
    used: u32,
    len: usize,
}

#[derive(Debug)]
enum Place<T> {
    Free { generation: u32, next: u32 },
    Fresh { generation: u32, group: GroupIndex, enqueued: Time, ticket: T },
    Grown { generation: u32, key: Key<GrownKind> },
}

/// What can be seen of a job, grown or not.
#[derive(Debug)]
pub(super) struct Sight<'a, T> {
    pub(super) ticket: &'a T,
    pub(super) group: GroupIndex,
    pub(super) enqueued: Time,
    pub(super) phase: Phase,
    pub(super) epoch: Epoch,
    pub(super) timer: TimerId,
    pub(super) retries: u16,
    pub(super) seq: u64,
    is_started: bool,
}

impl<T> Sight<'_, T> {
    /// Its next assignment is its first.
    pub(super) fn is_unsent(&self) -> bool {
        self.epoch == Epoch::default()
    }

    pub(super) fn started(&self) -> Started {
        if self.is_started { Started::Yes } else { Started::No }
    }
}

impl<T: Ticket> Sight<'_, T> {
    pub(super) fn has_retries_left(&self) -> bool {
        self.retries < self.ticket.options().retries
    }
}

impl<T> Place<T> {
    fn generation(&self) -> u32 {
        match self {
            Place::Free { generation, .. }
            | Place::Fresh { generation, .. }
            | Place::Grown { generation, .. } => *generation,
        }
    }

    fn is_used(&self) -> bool {
        match self {
            Place::Free { .. } => false,
            Place::Fresh { .. } | Place::Grown { .. } => true,
        }
    }

    /// Moves a fresh job to where there is room for all that may happen to it.
    fn grow(&mut self, grown: &mut Slab<GrownKind, Job<T>>) -> Option<Key<GrownKind>> {
        let generation = self.generation();
        let fresh = std::mem::replace(self, Place::Free { generation, next: NONE });
        let Place::Fresh { group, enqueued, ticket, .. } = fresh else { return None };
        let key = grown.insert(Job::new(group, ticket, enqueued));
        *self = Place::Grown { generation, key };
        Some(key)
    }
}

impl<T> Jobs<T> {
    pub(super) fn new() -> Jobs<T> {
        Jobs { chunks: Vec::new(), grown: Slab::new(), free: NONE, used: 0, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, group: GroupIndex, ticket: T, enqueued: Time) -> JobKey {
        let index = self.claim();
        let place = self.place_mut(index);
        let generation = place.generation();
        *place = Place::Fresh { generation, group, enqueued, ticket };
        self.len += 1;
        Key::new(index, generation)
    }

    pub(super) fn remove(&mut self, key: JobKey) -> Option<Job<T>> {
        self.place(key)?;
        let next = std::mem::replace(&mut self.free, key.place());
        let free = Place::Free { generation: key.generation().wrapping_add(1), next };
        self.len -= 1;
        match std::mem::replace(self.place_mut(key.place()), free) {
            Place::Fresh { group, enqueued, ticket, .. } => Some(Job::new(group, ticket, enqueued)),
            Place::Grown { key, .. } => self.grown.remove(key),
            Place::Free { .. } => None,
        }
    }

    /// Whether the job has not ended.
    pub(super) fn has(&self, key: JobKey) -> bool {
        self.place(key).is_some()
    }

    pub(super) fn get(&self, key: JobKey) -> Option<Sight<'_, T>> {
        self.sight(self.place(key)?)
    }

    /// The job, grown.
    pub(super) fn get_mut(&mut self, key: JobKey) -> Option<&mut Job<T>> {
        let Jobs { chunks, grown, .. } = self;
        let place = chunks.get_mut(key.index() / CHUNK)?.get_mut(key.index() % CHUNK)?;
        if place.generation() != key.generation() {
            return None;
        }
        let inner = match place {
            Place::Free { .. } => return None,
            Place::Fresh { .. } => place.grow(grown)?,
            Place::Grown { key, .. } => *key,
        };
        grown.get_mut(inner)
    }

    /// The key of the job that is at this place now.
    pub(super) fn key_at(&self, index: u32) -> Option<JobKey> {
        let place = self.chunks.get(index as usize / CHUNK)?.get(index as usize % CHUNK)?;
        place.is_used().then(|| Key::new(index, place.generation()))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (JobKey, Sight<'_, T>)> {
        let places = self.chunks.iter().flat_map(|chunk| chunk.iter()).take(self.used as usize);
        places.enumerate().filter_map(|(index, place)| {
            Some((Key::new(index as u32, place.generation()), self.sight(place)?))
        })
    }

    pub(super) fn keys(&self) -> Vec<JobKey> {
        self.iter().map(|(key, _)| key).collect()
    }

    fn sight<'a>(&'a self, place: &'a Place<T>) -> Option<Sight<'a, T>> {
        match place {
            Place::Free { .. } => None,
            Place::Fresh { group, enqueued, ticket, .. } => Some(Sight {
                ticket,
                group: *group,
                enqueued: *enqueued,
                phase: Phase::Queued,
                epoch: Epoch::default(),
                timer: TimerId::UNSET,
                retries: 0,
                seq: 0,
                is_started: false,
            }),
            Place::Grown { key, .. } => self.grown.get(*key).map(Job::sight),
        }
    }

    fn place(&self, key: JobKey) -> Option<&Place<T>> {
        let place = self.chunks.get(key.index() / CHUNK)?.get(key.index() % CHUNK)?;
        (place.is_used() && place.generation() == key.generation()).then_some(place)
    }

    fn place_mut(&mut self, index: u32) -> &mut Place<T> {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    fn claim(&mut self) -> u32 {
        if self.free != NONE {
            let index = self.free;
            if let Place::Free { next, .. } = self.place_mut(index) {
                self.free = *next;
            }
            return index;
        }
        let index = self.used;
        if index as usize == self.chunks.len() * CHUNK {
            let fresh = || Place::Free { generation: 0, next: NONE };
            self.chunks.push(std::iter::repeat_with(fresh).take(CHUNK).collect());
        }
        self.used = index.checked_add(1).expect("fewer than four thousand million jobs");
        index
    }
}

impl<T> Job<T> {
    fn sight(&self) -> Sight<'_, T> {
        Sight {
            ticket: &self.ticket,
            group: self.group,
            enqueued: self.enqueued,
            phase: self.phase,
            epoch: self.epoch,
            timer: self.timer,
            retries: self.retries,
            seq: self.seq,
            is_started: self.is_started,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs_of(count: u64) -> (Jobs<Box<u64>>, Vec<JobKey>) {
        let mut jobs = Jobs::new();
        let keys = (0..count).map(|tag| jobs.insert(GroupIndex(1), Box::new(tag), Time::ZERO)).collect();
        (jobs, keys)
    }

    #[test]
    fn a_job_is_the_same_before_and_after_it_grew() {
        let (mut jobs, keys) = jobs_of(3 * CHUNK as u64);
        for key in keys.iter().step_by(3) {
            jobs.get_mut(*key).expect("it has not ended").retries = 7;
        }
        for (tag, key) in keys.iter().enumerate() {
            let job = jobs.get(*key).expect("it has not ended");
            assert_eq!((**job.ticket, job.group), (tag as u64, GroupIndex(1)));
            assert_eq!(job.retries, if tag % 3 == 0 { 7 } else { 0 });
        }
        assert_eq!((jobs.iter().count(), jobs.grown.len()), (jobs.len(), CHUNK));
    }

    #[test]
    fn a_key_of_a_removed_job_finds_nothing() {
        let (mut jobs, keys) = jobs_of(2);
        let _ = jobs.get_mut(keys[1]);
        for key in &keys {
            assert!(jobs.remove(*key).is_some());
            assert!(jobs.remove(*key).is_none() && jobs.get(*key).is_none() && jobs.get_mut(*key).is_none());
        }
        assert_eq!((jobs.len(), jobs.grown.len(), jobs.key_at(0)), (0, 0, None));
        let again = jobs.insert(GroupIndex(0), Box::new(9), Time::ZERO);
        assert_eq!(again.index(), keys[1].index());
        assert!(jobs.get(keys[1]).is_none());
        assert_eq!(jobs.key_at(again.place()), Some(again));
    }

    /// What a queued job costs the scheduler, beside its key in the queue.
    #[test]
    fn a_fresh_job_is_small() {
        assert!(size_of::<Place<Box<u64>>>() <= 24, "{}", size_of::<Place<Box<u64>>>());
    }
}
