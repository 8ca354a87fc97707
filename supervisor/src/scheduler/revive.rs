//! Groups whose workers are not replaced: a place whose worker has ended stays empty until a command.

use super::exit::Blame;
use super::group::{Cure, Revival};
use super::worker::State;
use super::{GroupIndex, Revive, Scheduler, Ticket, WorkerKey};

/// A worker's place, as a command to revive it finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standstill {
    /// It is empty, or its worker is on its way out: it can be revived.
    Down,
    /// Its worker is starting, or serves.
    Up,
    /// The supervisor is ending and starts nobody.
    Ending,
}

impl<T: Ticket> Scheduler<T> {
    /// The place of the worker of this name, among those that are wanted.
    #[must_use]
    pub fn place(&self, worker: &str) -> Option<(GroupIndex, u32)> {
        let groups = self.config.groups.iter().zip(&self.groups).zip(0u16..);
        let mut places = groups.filter_map(|((config, group), index)| {
            let slot = config.slot_of(worker).filter(|slot| *slot < group.wanted)?;
            Some((GroupIndex(index), slot))
        });
        places.next()
    }

    /// Whether there is something to revive at a place.
    #[must_use]
    pub fn standstill(&self, index: GroupIndex, slot: u32) -> Standstill {
        if !self.wants_workers() {
            return Standstill::Ending;
        }
        let place = self.groups.get(usize::from(index.0)).and_then(|group| group.slots.get(slot as usize));
        let worker = place.and_then(|place| place.occupant).and_then(|key| self.workers.get(key));
        match worker {
            Some(worker) if worker.is_connected() => match worker.state {
                State::Spawning | State::Starting | State::Ready | State::Busy => Standstill::Up,
                State::Draining { .. } | State::Stopping(_) => Standstill::Down,
            },
            Some(_) | None => Standstill::Down,
        }
    }

    /// The place's worker shall be there again: at once, or as soon as the last one is gone.
    pub(super) fn revive(&mut self, index: GroupIndex, slot: u32) {
        let now = self.now;
        let Some(group) = self.groups.get_mut(usize::from(index.0)) else { return };
        let Some(place) = group.slots.get_mut(slot as usize) else { return };
        place.revival = match place.occupant {
            Some(_) => Revival::Called,
            None => Revival::Unneeded,
        };
        place.due = now;
        if let Some(degraded) = &mut group.degraded {
            degraded.probe_at = now;
        }
        group.unsettle();
    }

    /// A group that grows wants its new places filled, also those whose workers are on their way out.
    pub(super) fn call_back(&mut self, index: GroupIndex, from: u32) {
        let slots = match self.config.groups[usize::from(index.0)].revive {
            Revive::Always => from,
            Revive::ByCommand => self.groups[usize::from(index.0)].slots.len() as u32,
        };
        for slot in from..slots {
            if self.standstill(index, slot) == Standstill::Down {
                self.revive(index, slot);
            }
        }
    }

    /// Whether the slot stays empty when its worker has ended.
    pub(super) fn rests(&self, index: GroupIndex, slot: u32) -> bool {
        let group = &self.groups[usize::from(index.0)];
        let is_called =
            group.slots.get(slot as usize).is_some_and(|place| matches!(place.revival, Revival::Called));
        match self.config.groups[usize::from(index.0)].revive {
            Revive::Always => false,
            Revive::ByCommand => slot < self.target(index) && !is_called,
        }
    }

    /// The slot of a worker that has ended, in a group that does not replace its workers.
    pub(super) fn lay_down(&mut self, key: WorkerKey, index: GroupIndex, slot: u32, blame: Blame, end: &str) {
        self.part(key, index, blame);
        let group = &mut self.groups[usize::from(index.0)];
        let place = group.slots.get_mut(slot as usize).filter(|place| place.occupant == Some(key));
        let Some(place) = place else { return };
        place.occupant = None;
        place.revival = Revival::Awaited(end.into());
        match blame {
            Blame::Unkillable => group.written_off += 1,
            Blame::Job | Blame::Worker | Blame::Program | Blame::Nobody => {}
        }
        if blame != Blame::Nobody {
            place.last_end = Some(end.into());
        }
    }

    /// Nobody is left, and nobody comes by itself: its jobs wait for nothing.
    pub(super) fn note_all_down(&mut self, index: GroupIndex, target: u32) {
        let group = &self.groups[usize::from(index.0)];
        let places = group.slots.get(..target as usize).unwrap_or_default();
        let Some(last) = places.last().and_then(|place| place.awaits_revival()) else { return };
        if group.degraded.is_none() && places.iter().all(|place| place.awaits_revival().is_some()) {
            let reason = format!("its workers have ended and are revived by command only; the last: {last}");
            self.degrade(index, reason.into(), Cure::Revival);
        }
    }
}
