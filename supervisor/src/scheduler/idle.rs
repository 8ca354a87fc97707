//! Idle groups: workers that nobody has use for are sent away, and come back when jobs wait.
//!
//! What counts is the group, not the worker: jobs are spread, so that one job a second keeps ten workers from ever being
//! idle for long. At each look the workers without a request are counted; the fewest that there were over
//! [`idle_timeout`](super::RecyclePolicy::idle_timeout) are those that were never needed, and so many *rest*: the
//! group's strength is what is wanted, less those. A job that finds no free place wakes one at once.

use std::time::Duration;

use ganger_protocol::Time;

use super::shutdown::Life;
use super::worker::State;
use super::{GroupIndex, RecycleCause, Scheduler, Ticket, WorkerKey};

/// How long workers have been idle, and how many at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lull {
    since: Time,
    spare: u32,
}

impl<T: Ticket> Scheduler<T> {
    /// One look at every group.
    pub(super) fn look_for_idle(&mut self) {
        for index in 0..self.groups.len() {
            let index = GroupIndex(index as u16);
            if let Some(timeout) = self.config.groups[usize::from(index.0)].recycle.idle_timeout {
                self.note_idle(index, timeout);
            }
        }
    }

    fn note_idle(&mut self, index: GroupIndex, timeout: Duration) {
        let now = self.now;
        let spare = self.spare(index);
        let group = &mut self.groups[usize::from(index.0)];
        let Some(spare) = spare.filter(|spare| *spare > 0) else {
            group.lull = None;
            return;
        };
        let lull = group.lull.get_or_insert(Lull { since: now, spare });
        lull.spare = lull.spare.min(spare);
        let lull = *lull;
        if now.since(lull.since) >= timeout {
            group.lull = None;
            self.send_to_rest(index, lull.spare, now.since(lull.since));
        }
    }

    /// How many workers have nothing to do and could be missed; `None` when the group is not at its strength.
    fn spare(&self, index: GroupIndex) -> Option<u32> {
        let target = self.target(index);
        let group = &self.groups[usize::from(index.0)];
        if self.life != Life::Running || group.degraded.is_some() || group.backlog() > 0 {
            return None;
        }
        let places = group.slots.get(..target as usize)?;
        let mut idle = 0;
        for place in places {
            let worker = self.workers.get(place.occupant?).filter(|worker| worker.state == State::Ready)?;
            idle += u32::from(worker.hand.is_empty());
        }
        let least = self.config.groups[usize::from(index.0)].recycle.min_workers;
        Some(idle.min(target.saturating_sub(least)))
    }

    fn send_to_rest(&mut self, index: GroupIndex, count: u32, idle: Duration) {
        let target = self.target(index);
        let group = &mut self.groups[usize::from(index.0)];
        group.resting += count;
        group.unsettle();
        let places = &group.slots[(target - count) as usize..target as usize];
        let leaving: Vec<WorkerKey> = places.iter().filter_map(|place| place.occupant).collect();
        for key in leaving {
            let Some(name) = self.workers.get(key).map(|worker| worker.name.clone()) else { continue };
            self.tell_recycled(index, name, RecycleCause::Idle(idle));
        }
    }

    /// Jobs wait although every free place is taken: as many workers as that takes need rest no longer.
    pub(super) fn wake_resting(&mut self, index: GroupIndex) {
        let group = &self.groups[usize::from(index.0)];
        if group.resting == 0 {
            return;
        }
        let serving = self.members_where(index, |worker| worker.is_serving()).count();
        let target = self.target(index);
        let coming = (target as usize).saturating_sub(serving);
        let group = &mut self.groups[usize::from(index.0)];
        let waiting = group.queued();
        let needed = u32::try_from(waiting.saturating_sub(coming)).unwrap_or(u32::MAX);
        if needed > 0 {
            group.resting = group.resting.saturating_sub(needed);
            group.lull = None;
            group.unsettle();
            self.call_back(index, target);
        }
    }
}
