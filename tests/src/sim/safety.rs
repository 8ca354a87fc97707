//! What must never happen to a worker: each action is held against what is known of it.

use std::time::Duration;

use ganger::internals::GroupConfig;
use ganger_protocol::{Generation, Ordinal, Time};

use super::check::Check;
use super::ledger::{Overtime, Phase};
use super::process::Sort;
use super::world::World;

/// From the warning before a hard kill to the kill.
const WARNING: Duration = Duration::from_millis(100);

impl World {
    pub(crate) fn policy(&self, proc: usize) -> &GroupConfig {
        &self.plan.config.groups[self.procs[proc].group]
    }

    pub(crate) fn has_anybody(&self, group: usize, slot: u32) -> bool {
        self.unburied(group).any(|other| self.procs[other].slot == slot)
    }

    pub(crate) fn check_order(&mut self, proc: usize, group: usize, slot: u32, edition: u32) {
        let now = self.now();
        let has_anybody = self.has_anybody(group, slot);
        if self.groups[group].surge() > 0 || self.groups[group].has_ever_rolled() {
            self.check_successor(group, slot);
        } else {
            self.court.demand(!has_anybody, Check::NeverTooMany, || {
                format!("process {proc} is ordered for slot {slot}, which another has")
            });
        }
        self.court.demand(slot < self.groups[group].wanted, Check::NeverTooMany, || {
            format!("process {proc} is ordered for slot {slot} of {} wanted", self.groups[group].wanted)
        });
        self.court.demand(self.end.killed.is_none(), Check::DrainHoldsBack, || {
            format!("process {proc} is ordered after the end has begun")
        });
        self.check_rest(proc, group, slot);
        // A successor is nobody's replacement yet.
        let is_successor = has_anybody || self.groups[group].roll.is_some_and(|_| edition > 0);
        if !is_successor && let Err(why) = self.groups[group].start(slot, now) {
            self.accuse(Check::BackoffIsKept, || why);
        }
    }

    pub(crate) fn check_attachments(&mut self, proc: usize, job: usize) {
        let facts = self.jobs[job];
        self.court.demand(!facts.is_released, Check::ReleasedIsNotSent, || {
            format!("job {job} was sent to process {proc} after its attachments had been let go")
        });
        let told = &self.procs[proc].told;
        let (held, room) = (told.held.len(), told.capacity.unwrap_or(0) as usize);
        let is_ahead = facts.has_attachments && held >= room && self.procs[proc].sort.is_truthful();
        self.court.demand(!is_ahead, Check::AttachmentsAreNotSentAhead, || {
            format!("job {job} has attachments and was sent to process {proc}, which holds {held} of {room}")
        });
    }

    pub(crate) fn check_send(&mut self, proc: usize, job: usize, ordinal: Ordinal, generation: Generation) {
        let now = self.now();
        let told = &self.procs[proc].told;
        let refusal = told.refuses().or_else(|| self.taint(proc, now));
        self.court.demand(refusal.is_none(), Check::OnlyReadyWorkers, || {
            format!("job {job} was sent to process {proc}, which is {}", refusal.unwrap_or_default())
        });
        // Only who waits in the plain queue is sent ahead.
        let ahead = if self.ledger.jobs[job].is_plain() { self.policy(proc).prefetch } else { 0 };
        let room = told.capacity.unwrap_or(0) + ahead;
        let held = told.held.len();
        let is_truthful = self.procs[proc].sort.is_truthful();
        self.court.demand(held < room as usize || !is_truthful, Check::WithinCapacity, || {
            format!("job {job} was sent to process {proc}, which holds {held} with room for {room}")
        });
        let expected = (told.next_ordinal, told.generation);
        let is_next = expected == (ordinal, generation) || !is_truthful;
        self.court.demand(is_next, Check::OrdinalsFollow, || {
            format!("job {job} was sent as {ordinal:?} {generation:?}, expected {expected:?}")
        });
        let is_suspect = self.ledger.jobs[job].is_suspect();
        let shares =
            is_truthful && told.held.iter().any(|other| is_suspect || self.ledger.attempts[*other].is_alone);
        self.court.demand(!shares, Check::SuspectsRunAlone, || {
            format!("job {job} (suspect: {is_suspect}) was sent to process {proc}, which holds another")
        });
        let group = self.ledger.jobs[job].group;
        self.court.demand(group == self.procs[proc].group, Check::OnlyReadyWorkers, || {
            format!("job {job} of group {group} was sent to process {proc} of another")
        });
    }

    /// Why a worker must not get anything new, because of what it holds.
    pub(super) fn taint(&self, proc: usize, now: Time) -> Option<&'static str> {
        let tainted = self.procs[proc].told.held.iter().any(|attempt| {
            let attempt = &self.ledger.attempts[*attempt];
            let Some(abandoned) = attempt.abandoned.filter(|_| !attempt.is_vague) else { return false };
            abandoned.taints_from == abandoned.at
                || self.court.is_overdue(now, abandoned.taints_from, abandoned.at)
        });
        tainted.then_some("tainted")
    }

    /// Whether it is, or will be, tainted.
    pub(crate) fn has_abandoned(&self, proc: usize) -> bool {
        self.procs[proc].told.held.iter().any(|attempt| {
            let attempt = &self.ledger.attempts[*attempt];
            attempt.abandoned.is_some() || attempt.cancel_sent.is_some() || self.may_be_overtime(attempt.job)
        })
    }

    /// Its run clock may have run out without a word.
    pub(super) fn may_be_overtime(&self, job: usize) -> bool {
        !matches!(self.ledger.jobs[job].phase, Phase::InHand(_))
            || self.ledger.jobs[job].terms.overtime == Overtime::Leave
    }

    pub(crate) fn may_be_drained_now(&self, proc: usize) -> bool {
        let process = &self.procs[proc];
        let group = &self.groups[process.group];
        let is_surplus = process.slot >= group.wanted || group.rests.contains(&process.slot);
        let is_over = (self.end.soft.is_some() && self.ledger.unsettled == 0) || self.end.killed.is_some();
        is_surplus || is_over || process.told.shutdown_by.is_some()
    }

    pub(crate) fn check_drain(&mut self, proc: usize) {
        let has_reason = self.may_be_drained_now(proc) || self.is_replaced(proc);
        let process = &self.procs[proc];
        self.court.demand(has_reason, Check::NobodyIsMissed, || {
            format!("process {proc} is drained for no reason, or missed: {process:?}")
        });
        self.court.demand(process.told.drained.is_none(), Check::LadderInOrder, || {
            format!("process {proc} is drained twice")
        });
    }

    pub(crate) fn check_terminate(&mut self, proc: usize) {
        let now = self.now();
        let told = &self.procs[proc].told;
        self.court.demand(!told.kill_begun(), Check::LadderInOrder, || {
            format!("SIGTERM to process {proc}, which is being killed")
        });
        let reason = self.reason_to_terminate(proc, now);
        self.court.demand(reason, Check::LadderInOrder, || {
            let told = &self.procs[proc].told;
            let held: Vec<_> = told.held.iter().map(|attempt| &self.ledger.attempts[*attempt]).collect();
            format!("SIGTERM to process {proc} at {now:?} for no reason: {told:?}, holding {held:?}")
        });
    }

    pub(super) fn reason_to_terminate(&self, proc: usize, now: Time) -> bool {
        let told = &self.procs[proc].told;
        // Decided before its death was read in this turn.
        let has_just_died = told.process_ended == Some(now) || told.link_ended == Some(now);
        has_just_died || self.is_due_for_the_ladder(proc, now)
    }

    pub(super) fn is_due_for_the_ladder(&self, proc: usize, now: Time) -> bool {
        let told = &self.procs[proc].told;
        let policy = self.policy(proc);
        let is_missing = now >= self.court.forgiving(told.beat_seen, told.beat_seen + policy.missing_after);
        let overstays = told.drained.is_some_and(|at| {
            told.shutdown_by.is_some_and(|by| now >= by)
                || self.may_overstay(proc, now)
                || now >= at + policy.leave_grace
        });
        is_missing
            || overstays
            || !self.procs[proc].sort.is_truthful()
            || self.ledger.may_be_killed
            || told.ripe_at == Some(now)
            || self.has_ripe_culprit(proc, now)
    }

    /// A request that ran out of time, or was cancelled and did not end; the others are done or had their grace.
    pub(super) fn has_ripe_culprit(&self, proc: usize, now: Time) -> bool {
        let policy = self.policy(proc);
        let told = &self.procs[proc].told;
        let alone = told.held.iter().all(|attempt| {
            let attempt = &self.ledger.attempts[*attempt];
            attempt.abandoned.is_some()
                || self.ledger.is_overtime_unsaid(attempt.job, now)
                || self.ledger.jobs[attempt.job].is_settled()
        });
        told.held.iter().any(|attempt| {
            let attempt = &self.ledger.attempts[*attempt];
            let (Some(abandoned), Some(cancelled)) = (attempt.abandoned, attempt.cancel_sent) else {
                return false;
            };
            let Some(fatal) = abandoned.fatal else { return false };
            let ends = cancelled + policy.cancel_grace;
            let cuts = abandoned.taints_from.max(fatal) + policy.bystander_grace;
            now >= ends && (alone || now >= cuts)
        })
    }

    pub(crate) fn check_kill(&mut self, proc: usize) {
        let now = self.now();
        let process = &self.procs[proc];
        let told = &process.told;
        let policy = self.policy(proc);
        // A page full of nonsense is found out by the scheduler itself.
        let left_unasked = told.said_goodbye && process.sort == Sort::LeavesUnasked;
        let is_faulty = !process.sort.is_truthful()
            || left_unasked
            || told.violated.is_some()
            || (!told.said_goodbye && told.link_ended.is_some_and(|at| now >= at + policy.close_grace));
        let is_unready = told.capacity.is_none() || told.ready_at == Some(now);
        let never_ready = is_unready && now >= told.ordered + policy.boot_timeout;
        let is_hard = self.end.hard.is_some();
        let was_unborn = told.spawned == Some(now);
        // It said so when it was ready, and before this turn.
        let wants_warning = process.habits.wants_warning && told.ready_at.is_some_and(|at| at != now);
        let step = match (told.terminated, told.warned) {
            (Some(at), _) => now >= at + policy.term_grace || is_hard,
            (None, Some(at)) => now >= at + WARNING,
            (None, None) => (is_hard && !wants_warning) || was_unborn || told.over_memory == Some(now),
        };
        let has_just_died = told.process_ended == Some(now);
        self.court.demand(step || is_faulty || never_ready || has_just_died, Check::LadderInOrder, || {
            format!("SIGKILL to process {proc} at {now:?} out of turn: {told:?}")
        });
        self.court.demand(told.killed.is_none(), Check::LadderInOrder, || {
            format!("SIGKILL to process {proc} twice")
        });
    }

    pub(crate) fn check_burial(&mut self, proc: usize) {
        let now = self.now();
        let (kill_grace, orphan_grace) = (self.policy(proc).kill_grace, self.policy(proc).orphan_grace);
        let told = &mut self.procs[proc].told;
        let is_unread = told.process_ended.is_none_or(|at| at == now);
        let is_unborn = told.spawned.is_none_or(|at| at == now);
        let is_stuck = is_unborn && !told.spawn_failed && now >= told.ordered + kill_grace;
        let is_unkillable = is_unread && (is_stuck || told.killed.is_some_and(|at| now >= at + kill_grace));
        told.is_written_off = is_unkillable;
        let is_proven = told.is_proven_dead(now, orphan_grace);
        self.court.demand(is_proven, Check::BuriedOnce, || {
            format!("process {proc} is buried at {now:?}, but not proven dead: {:?}", self.procs[proc].told)
        });
        let is_certain = self.procs[proc].told.process_ended.is_none();
        let group = &mut self.groups[self.procs[proc].group];
        group.written_off += u32::from(is_unkillable);
        group.surely_written_off += u32::from(is_unkillable && is_certain);
    }
}
