//! Keeping each group at its strength: one function compares the wanted with the actual workers and mends the
//! difference. Nothing is started "because a worker exited": a slot is empty, and its time has come.

use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::Time;

use super::exit::{Blame, blame_of};
use super::group::{Cure, Degraded, Place, Revival};
use super::job::jittered;
use super::ladder::Step;
use super::recycle::Wear;
use super::worker::Worker;
use super::{
    Action, Edition, Event, GroupIndex, KillCause, RestartPolicy, RolloutAbort, Scheduler, SpawnFailure,
    Ticket, TimerKey, WorkerKey,
};

impl<T: Ticket> Scheduler<T> {
    /// Brings the group's workers to the number wanted.
    pub(super) fn reconcile(&mut self, index: GroupIndex) {
        self.advance_roll(index);
        let target = self.target(index);
        self.drain_surplus(index, target);
        self.heal_if_complete(index, target);
        self.note_all_down(index, target);
        let filled = (0..target).filter_map(|slot| self.fill(index, slot)).min();
        let replaced = self.replace(index, target);
        self.note_roll(index, target);
        let due = filled.into_iter().chain(replaced).min();
        let group = &mut self.groups[usize::from(index.0)];
        self.timers.set(&mut group.timer, due.unwrap_or(Time::NEVER), TimerKey::Group(index));
    }

    /// How many workers there should be now.
    pub(super) fn target(&self, index: GroupIndex) -> u32 {
        let group = &self.groups[usize::from(index.0)];
        if self.wants_workers() { group.wanted.saturating_sub(group.resting) } else { 0 }
    }

    fn drain_surplus(&mut self, index: GroupIndex, target: u32) {
        for slot in target as usize..self.groups[usize::from(index.0)].slots.len() {
            self.withdraw(index, slot as u32);
        }
        let group = &mut self.groups[usize::from(index.0)];
        let surplus: Vec<WorkerKey> =
            group.slots.iter().skip(target as usize).filter_map(|place| place.occupant).collect();
        while group.slots.len() > target as usize && group.slots.last().is_some_and(Place::is_empty) {
            group.slots.pop();
        }
        let deadline = self.leaving_deadline();
        for key in surplus {
            self.drain(key, deadline);
        }
    }

    /// Fills a slot if it is empty and due; says when it will be due if it is not.
    fn fill(&mut self, index: GroupIndex, slot: u32) -> Option<Time> {
        let now = self.now;
        let group = &mut self.groups[usize::from(index.0)];
        while group.slots.len() <= slot as usize {
            group.slots.push(Place::new(group.edition, now));
        }
        let place = &group.slots[slot as usize];
        if place.occupant.is_some() || place.awaits_revival().is_some() || self.adopt_successor(index, slot) {
            return None;
        }
        let group = &self.groups[usize::from(index.0)];
        if group.is_out_of_places() {
            self.give_up_places(index);
            return None;
        }
        let due = match &group.degraded {
            None | Some(Degraded { cure: Cure::Revival, .. }) => group.slots[slot as usize].due,
            Some(Degraded { probe: Some(_), .. }) => return None,
            Some(Degraded { probe_at, .. }) => *probe_at,
        };
        if due > now {
            return Some(due);
        }
        self.spawn(index, slot);
        None
    }

    /// No more processes are risked: an empty slot stays empty, and everybody learns why.
    fn give_up_places(&mut self, index: GroupIndex) {
        let group = &self.groups[usize::from(index.0)];
        if group.degraded.is_none() {
            let reason = format!("{} processes could not be killed", group.written_off);
            self.degrade(index, reason.into(), Cure::Places);
        }
    }

    /// A process that had been written off has ended after all: its place is free again.
    pub(super) fn leftover_ended(&mut self, index: GroupIndex) {
        let Some(group) = self.groups.get_mut(usize::from(index.0)) else { return };
        group.written_off = group.written_off.saturating_sub(1);
        group.unsettle();
    }

    fn spawn(&mut self, index: GroupIndex, slot: u32) {
        let edition = self.edition_to_fill(index, slot);
        let worker = self.order(index, slot, edition);
        let group = &mut self.groups[usize::from(index.0)];
        let place = &mut group.slots[slot as usize];
        (place.occupant, place.edition) = (Some(worker), edition);
        group.restarts += u64::from(place.filled > 0);
        place.filled += 1;
        place.revival = Revival::Unneeded;
        if let Some(degraded) = &mut group.degraded {
            degraded.probe = Some(worker);
        }
    }

    /// A new worker for a slot.
    pub(super) fn order(&mut self, index: GroupIndex, slot: u32, edition: Edition) -> WorkerKey {
        let group = &mut self.groups[usize::from(index.0)];
        let name = self.config.groups[usize::from(index.0)].name_of(slot);
        let mut worker = Worker::new(index, slot, edition, Arc::clone(&name), self.now);
        let policy = &self.config.groups[usize::from(index.0)].recycle;
        worker.wear = Wear::draw(policy, self.now, &mut self.random);
        let worker = self.workers.insert(worker);
        group.members.push(worker);
        self.lower_floor(index, None);
        self.act(Action::Spawn { worker, group: index, slot, name, edition });
        self.arm_worker(worker);
        worker
    }

    /// No process could be started.
    pub(super) fn on_spawn_failed(&mut self, key: WorkerKey, error: SpawnFailure) {
        let is_on_trial = self.is_on_trial(key);
        let Some(mut worker) = self.workers.remove(key) else { return };
        self.timers.clear(&mut worker.timer);
        self.act(Action::Bury(key));
        let (reason, is_permanent) = match error {
            SpawnFailure::Permanent(reason) => (reason, true),
            SpawnFailure::Temporary(reason) => (reason, false),
        };
        self.tell(Event::SpawnFailed { worker: Arc::clone(&worker.name), reason: Arc::clone(&reason) });
        let blame = match &worker.killed {
            _ if is_permanent => Blame::Program,
            Some(cause) => blame_of(cause),
            None => Blame::Worker,
        };
        self.free_slot(key, worker.group, worker.slot, blame, &reason);
        if is_permanent {
            self.give_up_program(worker.group, worker.edition, is_on_trial, reason);
        }
    }

    /// A worker's program cannot be run. That of a rollout is taken back; that of a group degrades it.
    fn give_up_program(&mut self, index: GroupIndex, edition: Edition, is_on_trial: bool, reason: Arc<str>) {
        if self.is_of_roll(index, edition) {
            self.abort_roll(index, RolloutAbort::Program(reason));
        } else if !is_on_trial && edition == self.groups[usize::from(index.0)].edition {
            self.degrade(index, reason, Cure::Ready);
        }
    }

    pub(super) fn on_wrong_version(&mut self, key: WorkerKey, version: u16) {
        let is_on_trial = self.is_on_trial(key);
        let Some(worker) = self.workers.get(key) else { return };
        let (group, edition) = (worker.group, worker.edition);
        let cause = KillCause::WrongVersion(version);
        let reason = cause.to_string();
        self.stop(key, cause, Step::Kill);
        self.give_up_program(group, edition, is_on_trial, reason.into());
    }

    /// The slot of a worker that is gone: when may it be filled again?
    pub(super) fn free_slot(
        &mut self,
        key: WorkerKey,
        index: GroupIndex,
        slot: u32,
        blame: Blame,
        end: &str,
    ) {
        let policy = self.config.groups[usize::from(index.0)].restart.clone();
        self.part(key, index, blame);
        let group = &mut self.groups[usize::from(index.0)];
        let Some(place) = group.slots.get_mut(slot as usize) else {
            group.written_off += u32::from(blame == Blame::Unkillable);
            return;
        };
        if place.succession.as_ref().is_some_and(|succession| succession.worker == key) {
            return self.successor_ended(index, slot, blame, end);
        }
        if place.occupant != Some(key) {
            // It had been replaced, or withdrawn.
            group.written_off += u32::from(blame == Blame::Unkillable);
            return;
        }
        place.occupant = None;
        place.due = self.now;
        let is_fault = match blame {
            Blame::Nobody | Blame::Program => false,
            Blame::Worker => true,
            Blame::Unkillable => {
                group.written_off += 1;
                true
            }
            Blame::Job => {
                group.job_deaths += 1;
                group.job_deaths > policy.job_deaths
            }
        };
        if blame != Blame::Nobody {
            place.last_end = Some(end.into());
        }
        if is_fault {
            self.note_fault(index, slot, &policy, end);
        }
    }

    /// The group has one member less.
    pub(super) fn part(&mut self, key: WorkerKey, index: GroupIndex, blame: Blame) {
        let now = self.now;
        let policy = &self.config.groups[usize::from(index.0)].restart;
        let group = &mut self.groups[usize::from(index.0)];
        group.members.retain(|member| *member != key);
        group.unsettle();
        if let Some(degraded) = &mut group.degraded
            && degraded.probe == Some(key)
        {
            degraded.probe = None;
            degraded.probe_at = now + jittered(policy.backoff_max, policy.jitter, &mut self.random);
        } else if let Some(degraded) = &mut group.degraded
            && blame == Blame::Nobody
        {
            // A worker that was well, and that we ended ourselves: its replacement need not wait for a probe's time.
            degraded.probe_at = now;
        }
    }

    /// Whether the slot runs a program that is being rolled out, or taken back: what happens there is the rollout's
    /// business.
    fn is_slot_of_roll(&self, index: GroupIndex, slot: u32) -> bool {
        let group = &self.groups[usize::from(index.0)];
        group.slots.get(slot as usize).is_some_and(|place| place.edition != group.edition)
    }

    /// An unexpected exit: back off, and degrade when there were too many.
    fn note_fault(&mut self, index: GroupIndex, slot: u32, policy: &RestartPolicy, end: &str) {
        let now = self.now;
        let group = &mut self.groups[usize::from(index.0)];
        let place = &mut group.slots[slot as usize];
        place.failures += 1;
        let delay = restart_delay(policy, place.failures, &mut self.random);
        place.due = now + delay;
        if self.is_slot_of_roll(index, slot) {
            return self.note_slot_failure(index, slot, end);
        }
        let group = &mut self.groups[usize::from(index.0)];
        group.exits.push_back(now);
        while group.exits.front().is_some_and(|at| now.since(*at) > policy.window) {
            group.exits.pop_front();
        }
        let (name, is_degraded) = (Arc::clone(&group.name), group.degraded.is_some());
        if let Some(excess) = self.excess(index, policy) {
            self.degrade(index, format!("{excess}; the last: {end}").into(), Cure::Health);
        } else if self.wants_workers() && !is_degraded {
            self.tell(Event::WorkerRestarting { group: name, slot, delay });
        }
    }

    /// Whether there were too many unexpected exits. Slow ones, such as workers that never say ready, do not fill
    /// the window: when nobody serves, as many count that no healthy worker came between.
    fn excess(&self, index: GroupIndex, policy: &RestartPolicy) -> Option<String> {
        let limit = policy.limit?;
        let group = &self.groups[usize::from(index.0)];
        let exits = group.exits.len();
        if exits > limit as usize * group.wanted.max(1) as usize {
            return Some(format!("{exits} unexpected exits within {:?}", policy.window));
        }
        let wanted = group.slots.get(..group.wanted as usize)?;
        let is_hollow =
            !wanted.is_empty() && wanted.iter().all(|place| place.failures > limit) && !self.serves(index);
        is_hollow.then(|| format!("more than {limit} unexpected exits in a row in every slot"))
    }

    pub(super) fn degrade(&mut self, index: GroupIndex, reason: Arc<str>, cure: Cure) {
        let policy = &self.config.groups[usize::from(index.0)].restart;
        let group = &mut self.groups[usize::from(index.0)];
        group.unsettle();
        match &mut group.degraded {
            Some(degraded) => {
                degraded.reason = reason;
                degraded.cure = degraded.cure.max(cure);
            }
            None => {
                let probe_at = self.now + jittered(policy.backoff_max, policy.jitter, &mut self.random);
                let name = Arc::clone(&group.name);
                group.degraded = Some(Degraded { reason: Arc::clone(&reason), cure, probe_at, probe: None });
                self.tell(Event::Degraded { group: name, reason });
            }
        }
    }

    /// The worker says ready: a probe shows by that alone that its program can be run again.
    pub(super) fn note_runnable(&mut self, key: WorkerKey) {
        let Some(index) = self.workers.get(key).map(|worker| worker.group) else { return };
        let is_cure = |degraded: &Degraded| match degraded.cure {
            Cure::Revival => true,
            Cure::Places | Cure::Ready => degraded.probe == Some(key),
            Cure::Health => false,
        };
        if self.groups[usize::from(index.0)].degraded.as_ref().is_some_and(is_cure) {
            self.heal(index);
        }
    }

    /// The worker has shown that it works: its slot's delays begin anew, and a probe heals its group.
    pub(super) fn note_healthy(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        if std::mem::replace(&mut worker.is_healthy, true) {
            return;
        }
        let (index, slot) = (worker.group, worker.slot);
        let group = &mut self.groups[usize::from(index.0)];
        group.unsettle();
        if let Some(place) = group.slots.get_mut(slot as usize).filter(|place| place.occupant == Some(key)) {
            place.failures = 0;
        }
        if group.degraded.as_ref().is_some_and(|degraded| degraded.probe == Some(key)) {
            self.heal(index);
        }
    }

    fn heal(&mut self, index: GroupIndex) {
        let group = &mut self.groups[usize::from(index.0)];
        group.degraded = None;
        group.exits.clear();
        group.slots.iter_mut().for_each(|place| place.due = self.now);
        group.unsettle();
        let name = Arc::clone(&group.name);
        self.tell(Event::Healed { group: name });
    }

    /// Heals a group for which no probe would ever come: because it has its places back, or because it was made
    /// smaller, or waits for commands to revive, and all that it has otherwise are workers that are well.
    fn heal_if_complete(&mut self, index: GroupIndex, target: u32) {
        let group = &self.groups[usize::from(index.0)];
        let has_places = |degraded: &Degraded| degraded.cure == Cure::Places && !group.is_out_of_places();
        if group.degraded.as_ref().is_some_and(has_places) {
            return self.heal(index);
        }
        let is_well = |worker: &Worker| worker.is_serving() && worker.is_healthy;
        let is_filled =
            |place: &Place| place.occupant.and_then(|key| self.workers.get(key)).is_some_and(is_well);
        let places = group.slots.get(..target as usize).unwrap_or_default();
        let is_settled = |place: &Place| place.awaits_revival().is_some() || is_filled(place);
        if group.degraded.is_some() && places.iter().any(is_filled) && places.iter().all(is_settled) {
            self.heal(index);
        }
    }

    /// Whether the group is degraded and has nobody left who serves.
    pub(super) fn is_hopeless(&self, index: GroupIndex) -> bool {
        self.groups[usize::from(index.0)].degraded.is_some() && !self.serves(index)
    }

    fn serves(&self, index: GroupIndex) -> bool {
        self.members_where(index, Worker::is_serving).next().is_some()
    }

    /// Tells callers whether jobs for the group are of any use.
    pub(super) fn note_admission(&mut self, index: GroupIndex) {
        let refuse = match (&self.groups[usize::from(index.0)].degraded, self.is_hopeless(index)) {
            (Some(degraded), true) => Some(Arc::clone(&degraded.reason)),
            (Some(_) | None, _) => None,
        };
        let group = &mut self.groups[usize::from(index.0)];
        if group.refused.is_some() != refuse.is_some() {
            group.refused.clone_from(&refuse);
            self.act(Action::Admission { group: index, refuse });
        }
    }
}

/// None for the first in a row, then doubling, capped, with jitter.
pub(super) fn restart_delay(policy: &RestartPolicy, failures: u32, random: &mut fastrand::Rng) -> Duration {
    let Some(doublings) = failures.checked_sub(2) else { return Duration::ZERO };
    let delay = policy.backoff.saturating_mul(1 << doublings.min(30));
    jittered(delay.min(policy.backoff_max), policy.jitter, random)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// W5: 0, then 100 ms × 2^k up to 30 s, ± 20 %.
    #[test]
    fn delays_double_up_to_the_cap() {
        let policy = RestartPolicy::default();
        let mut random = fastrand::Rng::with_seed(3);
        let mut delay = |failures| restart_delay(&policy, failures, &mut random).as_secs_f64();
        assert!(delay(1).abs() < f64::EPSILON);
        for (failures, ideal) in [(2, 0.1), (3, 0.2), (6, 1.6), (40, 30.0)] {
            assert!((ideal * 0.8..=ideal * 1.2).contains(&delay(failures)), "{failures}");
        }
    }
}
