//! What the supervisor was told by a worker, and what it tells.

use ganger::internals::{Event, Outcome, Reply};
use ganger_protocol::{Epoch, Failure, Ordinal, ProgressHead, RetryHint};

use super::check::Check;
use super::hash::{hash_bytes, hash_failure};
use super::ledger::{Abandoned, Answered, Claim, Overtime, Phase};
use super::process::{Process, Sort};
use super::world::World;

impl World {
    /// An answer was read. It may be to nothing.
    pub(crate) fn note_answer(&mut self, proc: usize, ordinal: Ordinal, epoch: Epoch, reply: &Reply) {
        let now = self.now();
        let Some(attempt) = self.held(proc, ordinal, epoch) else {
            let is_odd = self.procs[proc].sort == Sort::Liar;
            return self.court.demand(is_odd, Check::WorkerAgrees, || {
                format!("process {proc} answered {ordinal:?} {epoch:?}, which it did not hold")
            });
        };
        let (hash, answered) = match reply {
            Reply::Data(data) => (hash_bytes(data), Answered::Data),
            Reply::Attached(both) => (hash_bytes(&both.0), Answered::Data),
            Reply::Failed(failure) => (hash_failure(failure), Answered::Failed { again: again(failure) }),
        };
        let was_said = self.ledger.attempts[attempt].said.iter().any(|(said, _)| *said == hash);
        // Bytes of another making may have got into the frame.
        let was_said = was_said || self.procs[proc].sort != Sort::Sound;
        self.court.demand(was_said, Check::WorkerAgrees, || {
            format!("an answer of process {proc} was damaged on its way")
        });
        if !self.procs[proc].sort.is_truthful() {
            // It says that it is done. Whatever its handler still does is its own harm.
            self.ledger.attempts[attempt].is_running = false;
        }
        self.ledger.answer(now, attempt, answered);
        let (group, slot) = (self.procs[proc].group, self.procs[proc].slot);
        let told = &mut self.procs[proc].told;
        told.held.retain(|other| *other != attempt);
        told.answers += 1;
        told.last_progress = now;
        self.groups[group].note_answer(slot);
    }

    /// A report was read: it is believed if, and only if, its attempt is the one that its job's owner waits for.
    pub(crate) fn note_progress(
        &mut self,
        proc: usize,
        head: ProgressHead,
        report: &[u8],
    ) -> Result<(), String> {
        let ProgressHead { ordinal, epoch } = head;
        let Some((key, number)) = self.scheduler.working_on(self.procs[proc].worker, ordinal, epoch) else {
            return Ok(());
        };
        let job = self.scheduler.ticket(key).map(|ticket| ticket.index);
        let held = self.held(proc, ordinal, epoch);
        let is_current = held.is_some_and(|held| {
            let attempt = &self.ledger.attempts[held];
            let is_own = job == Some(attempt.job) && attempt.number == number;
            let is_said = report == (held as u64).to_be_bytes() || attempt.is_garbled;
            is_own && (is_said || attempt.is_vague)
        });
        self.court.demand(is_current, Check::ProgressIsGenuine, || {
            format!("a report of process {proc} about {ordinal:?} {epoch:?} is believed for job {job:?}")
        });
        Ok(())
    }

    pub(crate) fn note_ready(&mut self, proc: usize, capacity: u32) {
        let now = self.now();
        let told = &mut self.procs[proc].told;
        told.capacity = Some(capacity);
        told.is_busy = false;
        told.ready_at.get_or_insert(now);
        if told.drained.is_none() {
            told.beat_seen = now;
        }
    }

    pub(crate) fn note_wrong_version(&mut self, proc: usize) {
        let group = self.procs[proc].group;
        let now = self.now();
        if !self.is_surely_on_trial(proc) {
            self.groups[group].note_hopeless(now);
        }
    }

    pub(crate) fn note_spawn_failed(&mut self, proc: usize, for_good: bool) {
        let group = self.procs[proc].group;
        if for_good && !self.is_surely_on_trial(proc) {
            let now = self.now();
            self.groups[group].note_hopeless(now);
        }
    }

    pub(crate) fn note_admission(&mut self, group: usize, refuses: bool) {
        let now = self.now();
        self.trace.note(now, 43, group as u64, u64::from(refuses), || {
            format!("→ group {group} refuses: {refuses}")
        });
        self.groups[group].refuses = refuses;
    }

    pub(crate) fn note_event(&mut self, event: &Event) {
        let now = self.now();
        self.trace.say(now, || format!("→ {event:?}"));
        self.note_replacement(event);
        let named = |name: &str| name.trim_start_matches('g').parse::<usize>().unwrap_or(0);
        match event {
            Event::Degraded { group, reason } => {
                let group = named(group);
                let may = self.groups[group].may_degrade(now, &self.court) || self.is_all_down(group);
                self.court.demand(may, Check::WindowIsKept, || {
                    format!("group {group} degrades at {now:?}: {reason}")
                });
                self.groups[group].degrade(now);
            }
            Event::Healed { group } => {
                let group = named(group);
                let may = self.may_heal(group);
                self.court.demand(may, Check::HealingIsEarned, || {
                    format!("group {group} heals at {now:?} for no reason: {:?}", self.groups[group])
                });
                self.groups[group].heal(now);
            }
            _ => {}
        }
    }

    fn may_heal(&self, group: usize) -> bool {
        let model = &self.groups[group];
        let Some(since) = model.degraded else { return false };
        let is_well = |proc: usize| self.is_well(proc);
        let is_good_probe = |proc: usize| {
            let told = &self.procs[proc].told;
            told.ordered >= since && (is_well(proc) || (model.heals_when_ready() && told.ready_at.is_some()))
        };
        let is_filled =
            |slot: u32| self.unburied(group).any(|proc| self.procs[proc].slot == slot && is_well(proc));
        model.has_its_places_back()
            || self.unburied(group).any(is_good_probe)
            || (model.wanted > 0 && (0..model.wanted).all(is_filled))
            || self.are_all_others_down(group, is_filled)
    }

    /// Whether it has answered a job, or has been ready for long.
    fn is_well(&self, proc: usize) -> bool {
        let Process { told, group, was_beside_another, .. } = &self.procs[proc];
        if *was_beside_another && told.ready_at.is_some() {
            // It may have taken over from one that was.
            return true;
        }
        let healthy_after = self.groups[*group].healthy_after;
        told.answers > 0 || told.ready_at.is_some_and(|at| self.now() >= at + healthy_after)
    }

    pub(crate) fn note_stopped(&mut self) {
        let now = self.now();
        self.trace.note(now, 44, 0, 0, || String::from("→ stopped"));
        let left = self.live.iter().any(|proc| !self.procs[*proc].desk.is_buried);
        self.court.demand(
            !left && self.ledger.unsettled == 0 && !self.end.stopped,
            Check::EndingsEnd,
            || String::from("it says that everything has ended, and it has not"),
        );
        self.end.stopped = true;
    }

    /// Details of an outcome that only the world can judge.
    pub(crate) fn check_completion(&mut self, index: usize, outcome: &Outcome) {
        let last = self.ledger.jobs[index].attempts.last().map(|last| self.ledger.attempts[*last].proc);
        let name = last.map(|proc| &*self.procs[proc].name);
        match outcome {
            Outcome::Replied { attempt, .. } | Outcome::Failed { attempt, .. } => {
                self.court.demand(name == Some(&*attempt.worker), Check::ReplyIsGenuine, || {
                    format!("job {index} was answered by {}, but held by {name:?}", attempt.worker)
                });
            }
            Outcome::WorkerLost(lost) => {
                let because = lost.because.map(super::caller::job_index);
                let is_own = because == Some(index);
                let is_known = because.is_none_or(|job| {
                    self.ledger.jobs[job]
                        .attempts
                        .iter()
                        .any(|attempt| Some(self.ledger.attempts[*attempt].proc) == last)
                });
                self.court.demand(
                    name == Some(&*lost.report.worker) && is_known && !is_own,
                    Check::LossIsProven,
                    || {
                        format!(
                            "job {index} was lost with {} because of {because:?}, but held by {name:?}",
                            lost.report.worker
                        )
                    },
                );
            }
            Outcome::ShuttingDown { .. } => {
                let is_evidence =
                    matches!(self.ledger.jobs[index].phase, Phase::InHand(_) | Phase::Waiting { .. });
                if is_evidence && self.ledger.may_be_killed {
                    self.note_killed();
                }
            }
            Outcome::NoWorkers { .. } => {
                let group = self.ledger.jobs[index].group;
                let serving = self.live.iter().copied().find(|proc| {
                    let process = &self.procs[*proc];
                    process.group == group && process.told.capacity.is_some() && !process.told.is_leaving()
                });
                let degraded = self.groups[group].degraded.is_some();
                self.court.demand(degraded && serving.is_none(), Check::NoWorkersIsTrue, || {
                    format!(
                        "job {index} found no workers, but process {serving:?} serves (degraded: {degraded})"
                    )
                });
            }
            Outcome::TimedOut { .. } | Outcome::Cancelled { .. } | Outcome::Poisoned { .. } => {}
        }
    }

    /// The job has settled; the attempt may go on without it.
    pub(crate) fn abandon(&mut self, index: usize, claim: &Claim) {
        let now = self.now();
        let Some(open) = self.ledger.open_attempt(index) else { return };
        let proc = self.ledger.attempts[open].proc;
        let cancel_grace = self.policy(proc).cancel_grace;
        let terms = self.ledger.jobs[index].terms;
        let abandoned = match claim {
            Claim::TimedOut { .. } => {
                let fatal = (terms.overtime == Overtime::Kill).then_some(now);
                Abandoned { at: now, taints_from: now, fatal }
            }
            Claim::Cancelled { .. } => {
                Abandoned { at: now, taints_from: now + cancel_grace, fatal: Some(now) }
            }
            Claim::Replied { .. }
            | Claim::Failed { .. }
            | Claim::Lost
            | Claim::Poisoned { .. }
            | Claim::ShuttingDown { .. }
            | Claim::NoWorkers { .. } => return,
        };
        let standing = self.ledger.attempts[open].abandoned.get_or_insert(abandoned);
        // One that was left alone in its overtime, and is cancelled then.
        standing.fatal = standing.fatal.or(abandoned.fatal);
    }

    /// The timers are about to be looked at: what they decide may be done after answers that come later in the turn.
    pub(crate) fn note_ripe_culprits(&mut self) {
        let now = self.now();
        for index in 0..self.live.len() {
            let proc = self.live[index];
            if self.has_ripe_culprit(proc, now) {
                self.procs[proc].told.ripe_at = Some(now);
            }
        }
    }

    /// The timers may end everything now.
    pub(crate) fn note_deadline_of_the_soft_kill(&mut self) {
        let now = self.now();
        if self.end.soft.is_some_and(|(_, deadline)| now >= deadline) {
            self.ledger.may_be_killed = true;
        }
    }
}

fn again(failure: &Failure) -> Option<bool> {
    match failure.retry {
        RetryHint::AsConfigured => None,
        RetryHint::Again => Some(true),
        RetryHint::Never => Some(false),
    }
}
