//! The reference model of replacement: rollouts, recycles and rest. It is written from the promises: whoever leaves
//! although he is well is missed by nobody, and everything that was begun comes to its end.

use std::time::Duration;

use ganger::internals::{Event, RecycleCause, RolloutAbort, RolloutPhase, RolloutStatus, RolloutTerms};

use ganger_protocol::Time;

use super::check::Check;
use super::groups::GroupModel;
use super::process::Process;
use super::world::World;

/// A rollout that the supervisor says is on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RollModel {
    pub(crate) edition: u32,
    pub(crate) is_forward: bool,
    terms: RolloutTerms,
}

impl GroupModel {
    /// The program that its workers should run.
    fn wanted_edition(&self) -> u32 {
        self.roll.filter(|roll| roll.is_forward).map_or(self.edition, |roll| roll.edition)
    }

    fn terms_of(&self, edition: u32) -> RolloutTerms {
        let asked = self.asked.iter().find(|(other, _)| *other == edition);
        asked.map(|(_, terms)| *terms).unwrap_or_default()
    }

    /// How many workers there may be beyond those wanted.
    pub(crate) fn surge(&self) -> u32 {
        let recycles = if self.recycle.above_bytes.is_some()
            || self.recycle.max_jobs.is_some()
            || self.recycle.max_age.is_some()
        {
            self.recycle.at_once
        } else {
            0
        };
        recycles + self.roll.map_or(0, |roll| roll.terms.batch)
    }

    /// The fewest workers that it may have when nobody is missing.
    pub(crate) fn least(&self) -> u32 {
        self.recycle.idle_timeout.map_or(self.wanted, |_| self.recycle.min_workers.min(self.wanted))
    }

    fn min_uptime(&self) -> Duration {
        let recycle = self.recycle.min_uptime;
        self.roll.map_or(recycle, |roll| recycle.min(roll.terms.min_uptime))
    }

    pub(crate) fn longest_uptime(&self) -> Duration {
        let recycle = self.recycle.min_uptime;
        self.roll.map_or(recycle, |roll| recycle.max(roll.terms.min_uptime))
    }

    pub(crate) fn shortest_grace(&self) -> Duration {
        let recycle = self.recycle.grace;
        self.roll.map_or(recycle, |roll| recycle.min(roll.terms.grace))
    }
}

impl World {
    /// The others of its slot that nobody has sent away.
    pub(crate) fn companions(&self, proc: usize) -> Vec<usize> {
        let (group, slot) = (self.procs[proc].group, self.procs[proc].slot);
        let stays = |other: &usize| {
            let other = &self.procs[*other];
            other.slot == slot && other.told.drained.is_none() && !other.told.is_leaving()
        };
        self.unburied(group).filter(|other| *other != proc).filter(stays).collect()
    }

    /// Whether it is beside another one of its slot that was there first: what becomes of it is no harm to its group.
    pub(crate) fn is_surely_on_trial(&self, proc: usize) -> bool {
        let Process { edition, group, .. } = self.procs[proc];
        self.companions(proc).iter().any(|other| {
            let Process { told, edition: theirs, .. } = &self.procs[*other];
            // Beside one of another program it may be what fills the place again.
            let is_next = edition != self.groups[group].edition || *theirs == edition;
            *other < proc && told.ready_at.is_some() && is_next
        })
    }

    /// Whether it may be, or may have been, somebody's successor.
    pub(crate) fn may_be_on_trial(&self, proc: usize) -> bool {
        let process = &self.procs[proc];
        let group = &self.groups[process.group];
        group.roll.is_some_and(|roll| roll.edition == process.edition)
            || process.edition != group.edition
            || process.was_beside_another
            || group.ended_roll == Some(self.now())
    }

    /// Whoever is ordered has a slot, the right program, and room.
    pub(crate) fn check_edition(&mut self, proc: usize) {
        let process = &self.procs[proc];
        let (group, edition) = (&self.groups[process.group], process.edition);
        let may_roll = group.roll.is_some_and(|roll| roll.is_forward && roll.edition == edition);
        let is_known = edition == group.edition || may_roll;
        let text = format!("process {proc} is to run program {edition}, of {group:?}");
        self.court.demand(is_known, Check::EditionsAreKept, || text);
    }

    /// Whether an order for a slot where somebody is can be for a successor of his.
    pub(crate) fn check_successor(&mut self, group: usize, slot: u32) {
        let mut beside = 0;
        for place in 0..self.groups[group].wanted.max(slot + 1) {
            let staying = self.unburied(group).filter(|proc| {
                let process = &self.procs[*proc];
                // Nobody is told that a process which is still being started is to end at once.
                process.slot == place && !process.told.is_leaving() && process.told.spawned.is_some()
            });
            let staying = staying.count() as u32 + u32::from(place == slot);
            beside += staying.saturating_sub(1);
            let text = format!("{staying} workers have slot {place} of group {group}");
            self.court.demand(staying <= 2, Check::NeverTooMany, || text);
        }
        let surge = self.groups[group].surge();
        // What is withdrawn in this turn may be told of it later.
        let is_turning = self.groups[group].ended_roll == Some(self.now()) || self.end.soft.is_some();
        self.court.demand(beside <= surge || is_turning, Check::SurgeIsBounded, || {
            format!("group {group} has {beside} workers beside others, with room for {surge}")
        });
    }

    /// Whether a worker that is sent away is missed by nobody: another one has its place and takes jobs, or it never was
    /// more than a candidate.
    pub(crate) fn is_replaced(&self, proc: usize) -> bool {
        let now = self.now();
        let group = &self.groups[self.procs[proc].group];
        let (least, wanted) = (group.min_uptime(), group.wanted_edition());
        let is_heir = |heir: &usize| {
            let process = &self.procs[*heir];
            process.edition == wanted
                && process.told.refuses().is_none()
                && self.taint(*heir, now).is_none()
                && process.told.ready_at.is_some_and(|at| now >= at + least)
        };
        let is_ending = self.end.soft.is_some() || self.end.hard.is_some();
        let may_be_refused = is_ending || group.ended_roll == Some(now) || self.procs[proc].edition != wanted;
        let companions = self.companions(proc);
        // Nobody's place was its own before it had shown that it works.
        let told = &self.procs[proc].told;
        let uptime = self.procs[proc].min_uptime;
        let is_candidate = told.refuses().is_some()
            || self.taint(proc, now).is_some()
            || told.ready_at.is_none_or(|at| !self.court.is_overdue(now, at + uptime, at));
        let overdue = self.procs[proc]
            .told
            .ready_at
            .is_some_and(|at| now >= at + least + self.policy(proc).boot_timeout);
        let is_replaced = companions.iter().any(is_heir);
        let is_withdrawn = (may_be_refused || overdue) && (!companions.is_empty() || is_candidate);
        is_replaced || is_withdrawn
    }

    /// Whether the grace may be over of one that was replaced or withdrawn.
    pub(crate) fn may_overstay(&self, proc: usize, now: Time) -> bool {
        let process = &self.procs[proc];
        let Some(drained) = process.told.drained else { return false };
        let is_heir = |heir: &Process| (heir.group, heir.slot) == (process.group, process.slot);
        let mut heirs = self.procs.iter().skip(proc + 1).filter(|heir| is_heir(heir));
        let group = &self.groups[process.group];
        let may_be_withdrawn = group.surge() > 0 || group.has_ever_rolled();
        (may_be_withdrawn && now >= drained + process.grace)
            || heirs.any(|heir| heir.told.ready_at.is_some_and(|at| now >= at + heir.grace))
    }

    /// What the supervisor tells of rollouts and recycles.
    pub(crate) fn note_replacement(&mut self, event: &Event) {
        let now = self.now();
        let named = |name: &str| name.trim_start_matches('g').parse::<usize>().unwrap_or(0);
        match event {
            Event::RolloutStarted { group, edition } => {
                let group = named(group);
                let terms = self.groups[group].terms_of(*edition);
                let is_asked = self.groups[group].asked.iter().any(|(asked, _)| asked == edition);
                let is_alone = self.groups[group].roll.is_none();
                self.court.demand(is_asked && is_alone, Check::RolloutIsTrue, || {
                    format!(
                        "group {group} begins rollout {edition}, which nobody asked for, or beside another"
                    )
                });
                self.groups[group].roll = Some(RollModel { edition: *edition, is_forward: true, terms });
                self.groups[group].changed = now;
            }
            Event::RolloutAborted { group, edition, .. } => {
                let model = &mut self.groups[named(group)];
                model.ended_roll = Some(now);
                model.changed = now;
                if let Some(roll) = model.roll.as_mut().filter(|roll| roll.edition == *edition) {
                    roll.is_forward = false;
                }
            }
            Event::WorkerRecycled { worker, cause } => self.note_recycled(worker, *cause),
            _ => {}
        }
    }

    fn note_recycled(&mut self, name: &str, cause: RecycleCause) {
        let now = self.now();
        let named = self.live.iter().copied().filter(|proc| {
            let process = &self.procs[*proc];
            *process.name == *name && !process.desk.is_buried
        });
        let named: Vec<usize> = named.collect();
        let is_true = named.iter().any(|proc| {
            let (process, policy) = (&self.procs[*proc], &self.policy(*proc).recycle);
            let least = |limit: u64| (limit as f64 * (1.0 - policy.jitter)) as u64;
            match cause {
                RecycleCause::Memory { .. } => process.told.most_large_looks >= policy.samples,
                RecycleCause::Jobs(_) => {
                    policy.max_jobs.is_some_and(|most| u64::from(process.told.answers) >= least(most))
                }
                RecycleCause::Age(_) => policy.max_age.is_some_and(|most| {
                    now.since(process.told.ordered) >= most.mul_f64((1.0 - policy.jitter - 0.001).max(0.0))
                }),
                RecycleCause::Idle(idle) => {
                    policy.idle_timeout.is_some_and(|timeout| idle >= timeout)
                        && process.slot >= policy.min_workers
                }
                _ => false,
            }
        });
        self.court.demand(is_true, Check::RecycledForAReason, || format!("{name} is recycled: {cause}"));
        if matches!(cause, RecycleCause::Idle(_)) {
            for proc in named {
                let (group, slot) = (self.procs[proc].group, self.procs[proc].slot);
                self.groups[group].rests.push(slot);
            }
        }
    }

    /// How far a rollout has come.
    pub(crate) fn note_rollout(&mut self, group: usize, status: &RolloutStatus) {
        let now = self.now();
        self.trace.note(now, 45, group as u64, u64::from(status.edition), || {
            format!("→ rollout in group {group}: {status:?}")
        });
        let terms = self.groups[group].terms_of(status.edition);
        let has_failed = match &status.aborted {
            Some(RolloutAbort::Failures { failed, .. }) => *failed > terms.max_failures,
            Some(_) | None => true,
        };
        let ordered =
            self.procs.iter().filter(|process| process.group == group && process.edition == status.edition);
        let most = ordered.count() as u32;
        self.court.demand(has_failed && status.failed <= most, Check::RolloutIsTrue, || {
            format!("{most} workers of group {group}, {terms:?}, and it says: {status:?}")
        });
        if !status.is_over() {
            return;
        }
        self.check_end_of_rollout(group, status);
        let model = &mut self.groups[group];
        model.asked.retain(|(asked, _)| *asked != status.edition);
        if model.roll.is_some_and(|roll| roll.edition == status.edition) {
            model.roll = None;
            model.ended_roll = Some(now);
            model.changed = now;
        }
        if status.phase == RolloutPhase::Done {
            model.edition = status.edition;
        }
    }

    fn check_end_of_rollout(&mut self, group: usize, status: &RolloutStatus) {
        let is_wrong = |proc: usize| {
            let is_new = self.procs[proc].edition == status.edition;
            if status.phase == RolloutPhase::Done { !is_new } else { is_new }
        };
        let left = self.unburied(group).find(|proc| is_wrong(*proc));
        let is_cut_short =
            matches!(status.aborted, Some(RolloutAbort::ShuttingDown | RolloutAbort::Unkillable))
                || (status.phase == RolloutPhase::Aborted && self.groups[group].asked.len() > 1)
                || self.groups[group].written_off > self.groups[group].wanted
                || self.end.soft.is_some()
                || self.end.hard.is_some();
        self.court.demand(left.is_none() || is_cut_short, Check::RolloutIsTrue, || {
            format!("group {group} still has process {left:?} at the end: {status:?}")
        });
        let places = self.groups[group].wanted;
        let has_all = (0..places).all(|slot| {
            self.procs.iter().any(|process| {
                process.group == group
                    && process.slot == slot
                    && process.edition == status.edition
                    && process.told.ready_at.is_some()
            })
        });
        let may_rest = self.groups[group].recycle.idle_timeout.is_some();
        let is_empty = status.phase != RolloutPhase::Done || has_all || may_rest;
        self.court.demand(is_empty, Check::RolloutIsTrue, || {
            format!("group {group} has places that never were rolled: {status:?}")
        });
    }

    /// A worker that is worn has a successor before long, when nothing stands in the way.
    pub(crate) fn check_wear(&mut self, group: usize) {
        let now = self.now();
        let model = &self.groups[group];
        let Some(age) = model.recycle.max_age else { return };
        let is_hindered = model.roll.is_some()
            || model.degraded.is_some()
            || model.written_off > 0
            || self.end.soft.is_some()
            || self.end.hard.is_some();
        let alone = |proc: usize| {
            let slot = self.procs[proc].slot;
            self.unburied(group).filter(|other| self.procs[*other].slot == slot).count() == 1
        };
        if is_hindered || !self.unburied(group).all(alone) {
            self.groups[group].unhindered_since = now;
            return;
        }
        let slack = self.plan.config.sample_every * 2 + model.longest_wait();
        let since = model.unhindered_since.max(model.changed);
        let worn = self.unburied(group).find(|proc| {
            let told = &self.procs[*proc].told;
            let healthy = told.ready_at.unwrap_or(Time::NEVER) + model.healthy_after;
            let due = (told.ordered + age).max(healthy).max(since) + slack;
            told.refuses().is_none()
                && self.procs[*proc].slot < model.wanted
                && self.court.is_overdue(now, due, told.ordered)
        });
        self.court.demand(worn.is_none(), Check::WornAreReplaced, || {
            format!("process {worn:?} of group {group} is too old at {now:?} and has no successor")
        });
    }

    pub(crate) fn check_rollouts_ended(&mut self) {
        let now = self.now();
        let open = self.groups.iter().find(|group| group.roll.is_some() || !group.asked.is_empty());
        let text = open.map(|group| format!("at {now:?} a rollout has no end: {group:?}"));
        self.court.demand(text.is_none(), Check::EveryRolloutEnds, || text.unwrap_or_default());
    }

    pub(crate) fn has_rollouts(&self) -> bool {
        self.groups.iter().any(|group| group.roll.is_some() || !group.asked.is_empty())
    }
}
