//! Replacement first: how a worker that is still well is replaced without being missed.
//!
//! ```text
//!                 a reason, and room             ready, and well for min_uptime
//!  occupant alone ───────────────▶ with successor ─────────────────────────────▶ the successor is the occupant
//!        ▲                               │                                        and the old one is drained
//!        └───────────────────────────────┘
//!          it died, was never ready, or is no longer wanted
//! ```
//!
//! The successor is started beside the occupant and takes jobs as soon as it is ready, so that the group is never weaker
//! than it would be without. Two things have a reason: a worker that is worn (`recycle.rs`), and a slot whose program is
//! not the one wanted (`rollout.rs`). Nothing is started "because": each look compares what is with what should be.
//!
//! A slot begins no replacement while somebody it had before is still on his way out, so that processes that do not end
//! cannot pile up. What happens to successors is no reason to call a group degraded: the occupants are there.

use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::Time;

use super::exit::Blame;
use super::group::Revival;
use super::restart::restart_delay;
use super::rollout::Course;
use super::shutdown::Life;
use super::worker::{State, Worker};
use super::{Edition, Event, GroupIndex, RecycleCause, Scheduler, Ticket, WorkerKey};

/// A slot's next worker, beside the one that it has.
#[derive(Debug)]
pub(super) struct Succession {
    pub(super) worker: WorkerKey,
    pub(super) why: Why,
    /// How long it must have been ready.
    min_uptime: Duration,
    /// How long the old one has for what it holds.
    grace: Duration,
}

/// Why a slot gets another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The one that it has is worn.
    Recycle,
    /// It is to run another program, or, when a rollout goes back, the former one.
    Rollout,
}

/// How many more successors may be started now.
#[derive(Debug)]
struct Room {
    recycles: u32,
    rollouts: u32,
}

impl Room {
    fn take(&mut self, why: Why) -> bool {
        let room = match why {
            Why::Recycle => &mut self.recycles,
            Why::Rollout => &mut self.rollouts,
        };
        let has_room = *room > 0;
        *room = room.saturating_sub(1);
        has_room
    }
}

impl Worker {
    /// Whether it could take over from somebody who takes jobs.
    fn is_fit(&self, now: Time) -> bool {
        self.state == State::Ready
            && self.is_connected()
            && !self.is_suspected
            && !self.hand.is_tainted(now)
            && self.unhealthy.is_none()
    }

    /// Why it cannot, although it has said ready.
    fn unfitness(&self) -> String {
        match &self.unhealthy {
            Some(reason) => format!("worker {} said ready and is not healthy: {reason}", self.name),
            None => format!("worker {} said ready and takes no jobs", self.name),
        }
    }
}

impl<T: Ticket> Scheduler<T> {
    /// Goes on with all replacements of a group, and begins those for which there is a reason and room. Says when to
    /// look again.
    pub(super) fn replace(&mut self, index: GroupIndex, target: u32) -> Option<Time> {
        if !self.may_replace(index) {
            return None;
        }
        self.withdraw_unwanted(index);
        let gates = (0..target).filter_map(|slot| self.judge_successor(index, slot)).min();
        let begun = self.begin_replacements(index, target);
        gates.into_iter().chain(begun).min()
    }

    /// Whether a look at each slot can be of any use.
    fn may_replace(&self, index: GroupIndex) -> bool {
        let group = &self.groups[usize::from(index.0)];
        group.roll.is_some()
            || self.config.groups[usize::from(index.0)].recycle.wears()
            || group.slots.iter().any(|place| place.succession.is_some())
    }

    /// Successors of a program that is no longer wanted leave, and so do all when everything ends.
    fn withdraw_unwanted(&mut self, index: GroupIndex) {
        let is_running = self.life == Life::Running;
        let wanted = self.wanted_edition(index);
        for slot in 0..self.groups[usize::from(index.0)].slots.len() {
            let place = &self.groups[usize::from(index.0)].slots[slot];
            let Some(succession) = &place.succession else { continue };
            let edition = self.workers.get(succession.worker).map(|worker| worker.edition);
            if !is_running || edition != Some(wanted) || place.awaits_revival().is_some() {
                self.withdraw(index, slot as u32);
            }
        }
    }

    /// The slot's successor finishes what it holds and leaves.
    pub(super) fn withdraw(&mut self, index: GroupIndex, slot: u32) {
        let place = &mut self.groups[usize::from(index.0)].slots[slot as usize];
        let Some(succession) = place.succession.take() else { return };
        place.predecessor = Some(succession.worker);
        let deadline = self.leaving_deadline().min(self.now + succession.grace);
        self.drain(succession.worker, deadline);
    }

    /// Has the successor shown that it works? Says when that is to be asked again.
    fn judge_successor(&mut self, index: GroupIndex, slot: u32) -> Option<Time> {
        let now = self.now;
        let place = &self.groups[usize::from(index.0)].slots[slot as usize];
        let succession = place.succession.as_ref()?;
        let worker = self.workers.get(succession.worker)?;
        let ready = worker.ready_since?;
        let proven_at = ready + succession.min_uptime;
        if proven_at > now {
            return Some(proven_at);
        }
        if worker.is_fit(now) {
            self.succeed(index, slot);
            return None;
        }
        let latest = proven_at + self.config.groups[usize::from(index.0)].boot_timeout;
        if latest > now {
            return Some(latest);
        }
        let (why, end) = (succession.why, worker.unfitness());
        self.withdraw(index, slot);
        self.trial_failed(index, slot, why, Blame::Worker, &end);
        None
    }

    /// The successor takes the slot, and the old one leaves.
    fn succeed(&mut self, index: GroupIndex, slot: u32) {
        let now = self.now;
        let group = &mut self.groups[usize::from(index.0)];
        let place = &mut group.slots[slot as usize];
        let Some(succession) = place.succession.take() else { return };
        let old = place.occupant.replace(succession.worker);
        place.edition = self.workers.get(succession.worker).map_or(place.edition, |worker| worker.edition);
        (place.predecessor, place.due) = (old, now);
        (place.failures, place.trials_failed, place.revival) = (0, 0, Revival::Unneeded);
        place.filled += 1;
        group.restarts += 1;
        group.unsettle();
        let Some(old) = old else { return };
        if self.workers.get(old).is_some_and(|worker| worker.is_healthy) {
            self.note_healthy(succession.worker);
        }
        if succession.why == Why::Recycle {
            self.note_recycled(old);
        }
        self.drain(old, self.leaving_deadline().min(now + succession.grace));
    }

    /// The slot is empty: a successor that runs what would be started there anyway is what it needs.
    pub(super) fn adopt_successor(&mut self, index: GroupIndex, slot: u32) -> bool {
        let wanted = self.edition_to_fill(index, slot);
        let group = &mut self.groups[usize::from(index.0)];
        let place = &mut group.slots[slot as usize];
        let Some(worker) = place.succession.as_ref().map(|succession| succession.worker) else {
            return false;
        };
        if self.workers.get(worker).map(|worker| worker.edition) != Some(wanted) {
            return false;
        }
        (place.succession, place.occupant, place.edition) = (None, Some(worker), wanted);
        place.revival = Revival::Unneeded;
        place.filled += 1;
        group.restarts += 1;
        true
    }

    fn begin_replacements(&mut self, index: GroupIndex, target: u32) -> Option<Time> {
        let group = &self.groups[usize::from(index.0)];
        if self.life != Life::Running || group.is_out_of_places() {
            return None;
        }
        let mut room = self.room(index);
        let mut due: Option<Time> = None;
        for slot in 0..target {
            let Some(why) = self.reason(index, slot) else { continue };
            let at = self.groups[usize::from(index.0)].slots[slot as usize].trial_due;
            if at > self.now {
                due = Some(due.map_or(at, |other| other.min(at)));
            } else if room.take(why) {
                self.begin(index, slot, why);
            }
        }
        due
    }

    fn room(&self, index: GroupIndex) -> Room {
        let group = &self.groups[usize::from(index.0)];
        let under_way = |why: Why| {
            let successions = group.slots.iter().filter_map(|place| place.succession.as_ref());
            successions.filter(|succession| succession.why == why).count() as u32
        };
        let at_once = self.config.groups[usize::from(index.0)].recycle.at_once;
        let batch = group.roll.as_ref().map_or(0, |roll| roll.terms.batch);
        Room {
            recycles: at_once.saturating_sub(under_way(Why::Recycle)),
            rollouts: batch.saturating_sub(under_way(Why::Rollout)),
        }
    }

    /// Why the slot's worker should be replaced, if it should and nobody is at it.
    fn reason(&self, index: GroupIndex, slot: u32) -> Option<Why> {
        let group = &self.groups[usize::from(index.0)];
        let place = &group.slots[slot as usize];
        let is_leaving = place.predecessor.is_some_and(|key| self.workers.get(key).is_some());
        if place.succession.is_some() || is_leaving || place.awaits_revival().is_some() {
            return None;
        }
        if let Some(roll) = &group.roll
            && !place.runs(self.wanted_edition(index), roll.course)
        {
            return Some(Why::Rollout);
        }
        let worker = self.workers.get(place.occupant?)?;
        (worker.is_serving() && worker.is_worn()).then_some(Why::Recycle)
    }

    fn begin(&mut self, index: GroupIndex, slot: u32, why: Why) {
        let worker = self.order(index, slot, self.wanted_edition(index));
        let recycle = &self.config.groups[usize::from(index.0)].recycle;
        let group = &mut self.groups[usize::from(index.0)];
        let (min_uptime, grace) = match (why, &group.roll) {
            (Why::Rollout, Some(roll)) => (roll.terms.min_uptime, roll.terms.grace),
            (Why::Recycle, _) | (Why::Rollout, None) => (recycle.min_uptime, recycle.grace),
        };
        group.slots[slot as usize].succession = Some(Succession { worker, why, min_uptime, grace });
    }

    /// The program that the group's workers should run.
    pub(super) fn wanted_edition(&self, index: GroupIndex) -> Edition {
        let group = &self.groups[usize::from(index.0)];
        match &group.roll {
            Some(roll) if roll.course == Course::Forward => roll.edition,
            Some(_) | None => group.edition,
        }
    }

    /// The program for a slot that is empty: until a rollout is through, the one that has shown there that it works.
    pub(super) fn edition_to_fill(&self, index: GroupIndex, slot: u32) -> Edition {
        let group = &self.groups[usize::from(index.0)];
        let edition = group.slots[slot as usize].edition;
        if self.is_of_roll(index, edition) { edition } else { group.edition }
    }

    /// A successor is gone before it took over.
    pub(super) fn successor_ended(&mut self, index: GroupIndex, slot: u32, blame: Blame, end: &str) {
        let group = &mut self.groups[usize::from(index.0)];
        if blame == Blame::Unkillable {
            group.written_off += 1;
        }
        let Some(succession) = group.slots[slot as usize].succession.take() else { return };
        self.trial_failed(index, slot, succession.why, blame, end);
    }

    /// The next is started after a delay that grows, unless nobody was to blame.
    fn trial_failed(&mut self, index: GroupIndex, slot: u32, why: Why, blame: Blame, end: &str) {
        let policy = &self.config.groups[usize::from(index.0)].restart;
        let group = &mut self.groups[usize::from(index.0)];
        let place = &mut group.slots[slot as usize];
        let delay = match blame {
            Blame::Nobody | Blame::Job => Duration::ZERO,
            Blame::Program => policy.backoff_max,
            Blame::Worker | Blame::Unkillable => {
                place.trials_failed += 1;
                restart_delay(policy, place.trials_failed, &mut self.random)
            }
        };
        place.trial_due = self.now + delay;
        if matches!(blame, Blame::Nobody | Blame::Job) {
            return;
        }
        place.last_end = Some(end.into());
        group.unsettle();
        if why == Why::Rollout {
            self.note_roll_failure(index, end);
        }
    }

    /// Whether what happens to this worker is the rollout's business, and not a reason to call the group degraded.
    pub(super) fn is_on_trial(&self, key: WorkerKey) -> bool {
        let Some(worker) = self.workers.get(key) else { return false };
        !self.has_slot(key, worker) || self.is_of_roll(worker.group, worker.edition)
    }

    fn note_recycled(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get(key) else { return };
        let Some(cause) = worker.wear.as_ref().and_then(|wear| wear.worn) else { return };
        let (name, index) = (Arc::clone(&worker.name), worker.group);
        self.tell_recycled(index, name, cause);
    }

    pub(super) fn tell_recycled(&mut self, index: GroupIndex, worker: Arc<str>, cause: RecycleCause) {
        self.groups[usize::from(index.0)].recycled.count(cause);
        self.tell(Event::WorkerRecycled { worker, cause });
    }
}
