//! Rolling out: every worker of a group is replaced by one of another program, replacement first.
//!
//! ```text
//!  Waiting ──▶ Rolling ───────────────────────▶ Done
//!     │           │ too many failed, cancelled
//!     │           ▼
//!     └───▶  RollingBack ──▶ Aborted
//! ```
//!
//! While it rolls, a slot that is empty gets the program that has shown there that it works. When it is given up, what
//! was replaced is replaced once more, by the former program and with the same care. It is over when nobody is left who
//! runs the other program, those on their way out included. A request that comes meanwhile waits, and of several that
//! wait only the last one's program is rolled out; it need not wait for a way back.

use std::fmt;
use std::sync::Arc;

use super::group::Place;
use super::shutdown::Life;
use super::{Action, Edition, Event, GroupIndex, RolloutTerms, Scheduler, Ticket};

/// A rollout on its way.
#[derive(Debug)]
pub(super) struct Roll {
    pub(super) edition: Edition,
    pub(super) terms: RolloutTerms,
    pub(super) course: Course,
    /// Workers of the new program that failed.
    failed: u32,
    aborted: Option<RolloutAbort>,
    /// What its owner was told last.
    pub(super) told: Option<RolloutStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    Forward,
    Back,
}

/// How far a rollout has come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RolloutStatus {
    /// The number of the program that is rolled out: 0 was the first, each rollout has the next.
    pub edition: u32,
    /// What is going on.
    pub phase: RolloutPhase,
    /// Workers that run the program wanted: the new one, or the former one on the way back.
    pub done: u32,
    /// Workers that are yet to be replaced.
    pub left: u32,
    /// Workers of the new program that failed.
    pub failed: u32,
    /// Why it was given up, if it was.
    pub aborted: Option<RolloutAbort>,
}

impl RolloutStatus {
    pub(crate) fn waiting(edition: Edition) -> RolloutStatus {
        RolloutStatus {
            edition: edition.0,
            phase: RolloutPhase::Waiting,
            done: 0,
            left: 0,
            failed: 0,
            aborted: None,
        }
    }

    pub(crate) fn aborted(self, why: RolloutAbort) -> RolloutStatus {
        RolloutStatus { phase: RolloutPhase::Aborted, aborted: Some(why), ..self }
    }

    /// Whether it is over, one way or the other.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.phase {
            RolloutPhase::Waiting | RolloutPhase::Rolling | RolloutPhase::RollingBack => false,
            RolloutPhase::Done | RolloutPhase::Aborted => true,
        }
    }
}

/// What a rollout is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RolloutPhase {
    /// Another one is on its way.
    Waiting,
    /// Workers are being replaced.
    Rolling,
    /// It was given up: what it replaced gets the former program again.
    RollingBack,
    /// Every worker runs the new program, and no other worker is left.
    Done,
    /// It was given up, and nothing of it is left.
    Aborted,
}

/// Why a rollout was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RolloutAbort {
    /// More new workers failed than were allowed.
    Failures {
        /// How many.
        failed: u32,
        /// How the last one ended.
        last: Arc<str>,
    },
    /// The new program cannot be run at all.
    Program(Arc<str>),
    /// Too many processes of the group could not be killed: no more are risked.
    Unkillable,
    /// Its owner cancelled it.
    Cancelled,
    /// The supervisor is ending.
    ShuttingDown,
}

impl fmt::Display for RolloutAbort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RolloutAbort::Failures { failed, last } => {
                write!(f, "{failed} new workers failed; the last: {last}")
            }
            RolloutAbort::Program(reason) => write!(f, "the new program cannot be run: {reason}"),
            RolloutAbort::Unkillable => {
                f.write_str("processes of the group could not be killed, and no more are risked")
            }
            RolloutAbort::Cancelled => f.write_str("it was cancelled"),
            RolloutAbort::ShuttingDown => f.write_str("the supervisor is ending"),
        }
    }
}

impl<T: Ticket> Scheduler<T> {
    /// Rolls another program out to a group, now or after the rollout that is on its way; says under which number. That
    /// of a request that still waits is given again: its terms and its program are replaced.
    ///
    /// # Panics
    /// When there is no such group.
    pub fn roll_out(
        &mut self,
        now: ganger_protocol::Time,
        index: GroupIndex,
        terms: RolloutTerms,
    ) -> Edition {
        self.advance(now);
        let group = &mut self.groups[usize::from(index.0)];
        let edition = group.next_roll.as_ref().map_or(group.last_edition.next(), |next| next.0);
        group.last_edition = edition;
        group.next_roll = Some((edition, terms));
        group.unsettle();
        edition
    }

    /// The owner of a rollout wants it no longer.
    pub(super) fn cancel_roll(&mut self, index: GroupIndex, edition: Edition) {
        let Some(group) = self.groups.get_mut(usize::from(index.0)) else { return };
        if group.next_roll.take_if(|next| next.0 == edition).is_some() {
            let status = RolloutStatus::waiting(edition).aborted(RolloutAbort::Cancelled);
            return self.act(Action::Rollout { group: index, status });
        }
        if group.roll.as_ref().is_some_and(|roll| roll.edition == edition) {
            self.abort_roll(index, RolloutAbort::Cancelled);
        }
    }

    /// Before a look at the slots: is it time for another rollout, or for none at all?
    pub(super) fn advance_roll(&mut self, index: GroupIndex) {
        if self.life != Life::Running {
            return self.end_rolls(index);
        }
        let group = &mut self.groups[usize::from(index.0)];
        let may_begin = group.roll.as_ref().is_none_or(|roll| roll.course == Course::Back);
        let Some((edition, terms)) = group.next_roll.take_if(|_| may_begin) else { return };
        self.finish_roll(index);
        let group = &mut self.groups[usize::from(index.0)];
        group.roll = Some(Box::new(Roll {
            edition,
            terms,
            course: Course::Forward,
            failed: 0,
            aborted: None,
            told: None,
        }));
        let name = Arc::clone(&group.name);
        self.forget_trials(index);
        self.tell(Event::RolloutStarted { group: name, edition: edition.0 });
    }

    fn end_rolls(&mut self, index: GroupIndex) {
        let group = &mut self.groups[usize::from(index.0)];
        if let Some(roll) = &mut group.roll {
            roll.aborted.get_or_insert(RolloutAbort::ShuttingDown);
            roll.course = Course::Back;
        }
        let next = group.next_roll.take();
        self.finish_roll(index);
        if let Some((edition, _)) = next {
            let status = RolloutStatus::waiting(edition).aborted(RolloutAbort::ShuttingDown);
            self.act(Action::Rollout { group: index, status });
        }
    }

    /// After a look at the slots: tells how far it has come, and whether that is the end.
    pub(super) fn note_roll(&mut self, index: GroupIndex, target: u32) {
        if self.groups[usize::from(index.0)].roll.is_none() {
            return;
        }
        if self.groups[usize::from(index.0)].is_out_of_places() {
            self.abort_roll(index, RolloutAbort::Unkillable);
            return self.finish_roll(index);
        }
        if self.is_rolled(index, target) {
            return self.finish_roll(index);
        }
        let wanted = self.wanted_edition(index);
        let group = &mut self.groups[usize::from(index.0)];
        let places = group.slots.iter().take(target as usize);
        let course = group.roll.as_ref().map_or(Course::Back, |roll| roll.course);
        let is_done = |place: &&Place| place.runs(wanted, course);
        let done = places.filter(is_done).count() as u32;
        let Some(roll) = &mut group.roll else { return };
        let status = roll.status(done, target - done);
        if roll.told.as_ref() != Some(&status) {
            roll.told = Some(status.clone());
            self.act(Action::Rollout { group: index, status });
        }
    }

    /// Whether all slots run the program wanted, and nobody is left who runs another.
    fn is_rolled(&self, index: GroupIndex, target: u32) -> bool {
        let wanted = self.wanted_edition(index);
        let group = &self.groups[usize::from(index.0)];
        let places = group.slots.iter().take(target as usize);
        let course = group.roll.as_ref().map_or(Course::Back, |roll| roll.course);
        let are_all_rolled = places.into_iter().all(|place| place.runs(wanted, course));
        are_all_rolled && self.members_where(index, |worker| worker.edition != wanted).next().is_none()
    }

    /// The end of a rollout that is through, or back.
    fn finish_roll(&mut self, index: GroupIndex) {
        let group = &mut self.groups[usize::from(index.0)];
        let Some(roll) = group.roll.take() else { return };
        group.unsettle();
        let done = group.wanted - group.resting;
        let status = match roll.course {
            Course::Forward => {
                group.edition = roll.edition;
                let (name, edition) = (Arc::clone(&group.name), roll.edition.0);
                self.tell(Event::RolloutDone { group: name, edition });
                RolloutStatus { phase: RolloutPhase::Done, ..roll.status(done, 0) }
            }
            Course::Back => RolloutStatus { phase: RolloutPhase::Aborted, ..roll.status(done, 0) },
        };
        self.act(Action::Rollout { group: index, status });
    }

    /// It is given up: what it replaced goes back to the former program.
    pub(super) fn abort_roll(&mut self, index: GroupIndex, why: RolloutAbort) {
        let group = &mut self.groups[usize::from(index.0)];
        let Some(roll) = group.roll.as_mut().filter(|roll| roll.course == Course::Forward) else { return };
        roll.course = Course::Back;
        roll.aborted = Some(why.clone());
        let (name, edition) = (Arc::clone(&group.name), roll.edition.0);
        group.unsettle();
        self.forget_trials(index);
        self.tell(Event::RolloutAborted { group: name, edition, why });
    }

    /// What successors of another program did says nothing about those to come.
    fn forget_trials(&mut self, index: GroupIndex) {
        for place in &mut self.groups[usize::from(index.0)].slots {
            (place.trials_failed, place.trial_due) = (0, self.now);
        }
    }

    /// Whether a worker of this edition is one that is being rolled out.
    pub(super) fn is_of_roll(&self, index: GroupIndex, edition: Edition) -> bool {
        let roll = self.groups[usize::from(index.0)].roll.as_ref();
        roll.is_some_and(|roll| roll.course == Course::Forward && roll.edition == edition)
    }

    /// A worker failed in a slot whose program is not the group's: one that has been given up says nothing about the next.
    pub(super) fn note_slot_failure(&mut self, index: GroupIndex, slot: u32, end: &str) {
        let place = &self.groups[usize::from(index.0)].slots[slot as usize];
        if self.is_of_roll(index, place.edition) {
            self.note_roll_failure(index, end);
        }
    }

    /// A worker of the new program failed.
    pub(super) fn note_roll_failure(&mut self, index: GroupIndex, end: &str) {
        let group = &mut self.groups[usize::from(index.0)];
        let Some(roll) = group.roll.as_mut().filter(|roll| roll.course == Course::Forward) else { return };
        roll.failed += 1;
        group.is_dirty = true;
        if roll.failed > roll.terms.max_failures {
            let why = RolloutAbort::Failures { failed: roll.failed, last: end.into() };
            self.abort_roll(index, why);
        }
    }
}

impl Place {
    /// Whether the slot needs nobody any more, or will be filled with what is wanted without a rollout's help.
    pub(super) fn runs(&self, wanted: Edition, course: Course) -> bool {
        let is_to_be_filled = course == Course::Back && self.occupant.is_none();
        self.edition == wanted || is_to_be_filled || self.awaits_revival().is_some()
    }
}

impl Roll {
    pub(super) fn status(&self, done: u32, left: u32) -> RolloutStatus {
        let phase = match self.course {
            Course::Forward => RolloutPhase::Rolling,
            Course::Back => RolloutPhase::RollingBack,
        };
        let (edition, failed, aborted) = (self.edition.0, self.failed, self.aborted.clone());
        RolloutStatus { edition, phase, done, left, failed, aborted }
    }
}
