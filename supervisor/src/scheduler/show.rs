//! How things are: the scheduler as a snapshot.

use std::sync::Arc;

use super::group::Group;
use super::shutdown::Life;
use super::worker::Worker;
use super::{DownWorker, GroupSnapshot, Scheduler, Snapshot, Ticket, WorkerKey, WorkerSnapshot};

impl<T: Ticket> Scheduler<T> {
    /// The whole state, for people and for health checks. Costs time in proportion to groups and workers.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            groups: (0..).zip(&self.groups).map(|(index, group)| self.show_group(index, group)).collect(),
            workers: self.workers.iter().map(|(_, worker)| self.show_worker(worker)).collect(),
            is_shutting_down: self.life != Life::Running,
        }
    }

    /// The worker with this name that has its slot, or, if there is none, the one that came last. There may be more: an
    /// earlier one on its way out, and one that is to take over.
    #[must_use]
    pub fn worker(&self, name: &str) -> Option<WorkerKey> {
        let named = self.workers.iter().filter(|(_, worker)| &*worker.name == name);
        named.max_by_key(|(key, worker)| (self.has_slot(*key, worker), worker.born)).map(|(key, _)| key)
    }

    /// Whether its slot is its own: it has not been replaced, and is not to replace another.
    pub(super) fn has_slot(&self, key: WorkerKey, worker: &Worker) -> bool {
        let place = self.groups[usize::from(worker.group.0)].slots.get(worker.slot as usize);
        place.is_some_and(|place| place.occupant == Some(key))
    }

    /// All workers that are not gone.
    pub fn live_workers(&self) -> impl Iterator<Item = WorkerKey> {
        self.workers.iter().map(|(key, _)| key)
    }

    /// Jobs that have not ended.
    #[must_use]
    pub fn job_count(&self) -> usize {
        self.jobs.len()
    }

    /// Timers that are set.
    #[must_use]
    pub fn timer_count(&self) -> usize {
        self.timers.len()
    }

    fn show_group(&self, index: usize, group: &Group) -> GroupSnapshot {
        let members = || group.members.iter().filter_map(|key| self.workers.get(*key));
        GroupSnapshot {
            name: Arc::clone(&group.name),
            wanted: group.wanted,
            ready: members().filter(|worker| worker.is_routable(self.now)).count() as u32,
            queued: group.backlog(),
            waiting: group.backlog() - group.queued(),
            oldest: self.oldest_waiting(group),
            in_flight: members().map(|worker| worker.hand.len() as usize).sum(),
            done: group.done,
            failed: group.ends.total(),
            ends: group.ends,
            kills: group.kills.clone(),
            stale_answers: group.stale_answers,
            restarts: group.restarts,
            resting: group.resting,
            recycled: group.recycled,
            edition: group.edition.0,
            rollout: group.roll.as_ref().and_then(|roll| roll.told.clone()),
            rate: group.rate.per_second(self.now),
            queue_time: group.queue_time.clone(),
            run_time: group.run_time.clone(),
            degraded: group.degraded.as_ref().map(|degraded| Arc::clone(&degraded.reason)),
            down: self.show_down(index, group),
        }
    }

    fn show_down(&self, index: usize, group: &Group) -> Vec<DownWorker> {
        let name = |slot| self.config.groups[index].name_of(slot);
        let down = (0..group.wanted).zip(&group.slots).filter_map(|(slot, place)| {
            Some(DownWorker { name: name(slot), slot, end: Arc::clone(place.awaits_revival()?) })
        });
        down.collect()
    }

    fn oldest_waiting(&self, group: &Group) -> Option<std::time::Duration> {
        let queued = group.queue.peek(|key| self.jobs.has(key));
        let ranked = group.aside.as_ref().and_then(|aside| aside.ranks.peek(|key| self.jobs.has(key)));
        let suspect = group.suspects.first_key_value().map(|(_, key)| *key);
        let enqueued = |key| self.jobs.get(key).map(|job| job.enqueued);
        let oldest = queued.into_iter().chain(ranked).chain(suspect).filter_map(enqueued).min()?;
        Some(self.now.since(oldest))
    }

    fn show_worker(&self, worker: &Worker) -> WorkerSnapshot {
        let group = &self.groups[usize::from(worker.group.0)];
        let place = group.slots.get(worker.slot as usize);
        let last_end = place.and_then(|place| place.last_end.clone());
        WorkerSnapshot {
            name: Arc::clone(&worker.name),
            group: Arc::clone(&group.name),
            slot: worker.slot,
            edition: worker.edition.0,
            pid: worker.pid,
            status: worker.status(),
            unrouted: worker.unrouted(self.now),
            capacity: worker.capacity,
            in_flight: worker.hand.len(),
            rss_bytes: worker.rss_bytes,
            heap_total_bytes: worker.vitals.heap_total_bytes,
            heap_used_bytes: worker.vitals.heap_used_bytes,
            unhealthy: worker.unhealthy.clone(),
            done: worker.done,
            failed: worker.failed,
            restarts: place.map_or(0, |place| place.filled.saturating_sub(1)),
            uptime: self.now.since(worker.born),
            last_error: worker.last_error.clone().or(last_end),
        }
    }
}
