//! What must never happen to a worker: each action is held against what is known of it.

use std::time::Duration;

use ganger::internals::{Event, GroupConfig, Outcome, Reply};
use ganger_protocol::{Epoch, Failure, Generation, Ordinal, RetryHint, Time};

use super::check::Check;
use super::groups::Fault;
use super::hash::{hash_bytes, hash_failure};
use super::ledger::{Abandoned, Answered, Claim, Loss, Overtime, Phase};
use super::process::Sort;
use super::world::World;

/// From the warning before a hard kill to the kill.
const WARNING: Duration = Duration::from_millis(100);

impl World {
    pub(crate) fn policy(&self, proc: usize) -> &GroupConfig {
        &self.plan.config.groups[self.procs[proc].group]
    }

    pub(crate) fn check_order(&mut self, proc: usize, group: usize, slot: u32, name: &str) {
        let now = self.now();
        let rival = self.live.iter().copied().find(|other| {
            let other = &self.procs[*other];
            !other.desk.is_buried && other.group == group && (other.slot == slot || &*other.name == name)
        });
        self.court.demand(rival.is_none(), Check::NeverTooMany, || {
            format!("process {proc} is ordered for slot {slot}, which process {rival:?} has")
        });
        self.court.demand(slot < self.groups[group].wanted, Check::NeverTooMany, || {
            format!("process {proc} is ordered for slot {slot} of {} wanted", self.groups[group].wanted)
        });
        self.court.demand(self.end.killed.is_none(), Check::DrainHoldsBack, || {
            format!("process {proc} is ordered after the end has begun")
        });
        if let Err(why) = self.groups[group].start(slot, now) {
            self.accuse(Check::BackoffIsKept, || why);
        }
    }

    pub(crate) fn check_send(&mut self, proc: usize, job: usize, ordinal: Ordinal, generation: Generation) {
        let now = self.now();
        let told = &self.procs[proc].told;
        let refusal = told.refuses().or_else(|| self.taint(proc, now));
        self.court.demand(refusal.is_none(), Check::OnlyReadyWorkers, || {
            format!("job {job} was sent to process {proc}, which is {}", refusal.unwrap_or_default())
        });
        let room = told.capacity.unwrap_or(0) + self.policy(proc).prefetch;
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
    fn taint(&self, proc: usize, now: Time) -> Option<&'static str> {
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
    fn may_be_overtime(&self, job: usize) -> bool {
        !matches!(self.ledger.jobs[job].phase, Phase::InHand(_))
            || self.ledger.jobs[job].terms.overtime == Overtime::Leave
    }

    pub(crate) fn may_be_drained_now(&self, proc: usize) -> bool {
        let process = &self.procs[proc];
        let is_surplus = process.slot >= self.groups[process.group].wanted;
        let is_over = (self.end.soft.is_some() && self.ledger.unsettled == 0) || self.end.killed.is_some();
        is_surplus || is_over || process.told.shutdown_by.is_some()
    }

    pub(crate) fn check_drain(&mut self, proc: usize) {
        let has_reason = self.may_be_drained_now(proc);
        let process = &self.procs[proc];
        self.court
            .demand(has_reason, Check::DrainHoldsBack, || format!("process {proc} is drained for no reason"));
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

    fn reason_to_terminate(&self, proc: usize, now: Time) -> bool {
        let told = &self.procs[proc].told;
        // Decided before its death was read in this turn.
        let has_just_died = told.process_ended == Some(now) || told.link_ended == Some(now);
        has_just_died || self.is_due_for_the_ladder(proc, now)
    }

    fn is_due_for_the_ladder(&self, proc: usize, now: Time) -> bool {
        let told = &self.procs[proc].told;
        let policy = self.policy(proc);
        let is_missing = now >= self.court.forgiving(told.beat_seen, told.beat_seen + policy.missing_after);
        let overstays = told
            .drained
            .is_some_and(|at| told.shutdown_by.is_some_and(|by| now >= by) || now >= at + policy.leave_grace);
        is_missing
            || overstays
            || !self.procs[proc].sort.is_truthful()
            || self.ledger.may_be_killed
            || self.has_ripe_culprit(proc, now)
    }

    /// A request that ran out of time, or was cancelled and did not end; the others are done or had their grace.
    fn has_ripe_culprit(&self, proc: usize, now: Time) -> bool {
        let policy = self.policy(proc);
        let told = &self.procs[proc].told;
        let alone = told.held.iter().all(|attempt| {
            let attempt = &self.ledger.attempts[*attempt];
            attempt.abandoned.is_some()
                || self.ledger.is_overtime_unsaid(attempt.job, now)
                || self.ledger.jobs[attempt.job].is_settled()
        });
        // The others' answers may have been read before its own.
        told.held.iter().chain(&told.just_answered).any(|attempt| {
            let attempt = &self.ledger.attempts[*attempt];
            let (Some(abandoned), Some(cancelled)) = (attempt.abandoned, attempt.cancel_sent) else {
                return false;
            };
            let ends = cancelled + policy.cancel_grace;
            let cuts = abandoned.taints_from + policy.bystander_grace;
            abandoned.may_be_fatal && now >= ends && (alone || now >= cuts)
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
            (None, None) => (is_hard && !wants_warning) || was_unborn,
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
        let is_unkillable = is_unread && told.killed.is_some_and(|at| now >= at + kill_grace);
        told.is_written_off = is_unkillable;
        let is_proven = told.is_proven_dead(now, orphan_grace);
        self.court.demand(is_proven, Check::BuriedOnce, || {
            format!("process {proc} is buried at {now:?}, but not proven dead: {:?}", self.procs[proc].told)
        });
        let group = self.procs[proc].group;
        self.groups[group].written_off += u32::from(is_unkillable);
    }

    /// The supervisor knows that both the process and its link have ended.
    pub(crate) fn judge_if_gone(&mut self, proc: usize) {
        let told = &self.procs[proc].told;
        if told.process_ended.is_some()
            && told.link_ended.is_some()
            && !told.is_judged
            && !self.procs[proc].desk.is_buried
        {
            self.judge(proc);
        }
    }

    /// A worker is gone: what that means for its jobs and its slot.
    pub(crate) fn judge(&mut self, proc: usize) {
        let now = self.now();
        self.procs[proc].told.is_judged = true;
        let may_be_by_us = self.may_be_killed_now(proc);
        let held = std::mem::take(&mut self.procs[proc].told.held);
        let mut was_running = false;
        for attempt in held {
            let loss = Loss { may_be_by_us, ..self.loss(proc, attempt) };
            was_running |= loss.was_running;
            self.ledger.lose(&mut self.court, now, attempt, &loss);
        }
        let fault = if may_be_by_us { Fault::Maybe } else { self.fault(proc, was_running) };
        let (group, slot) = (self.procs[proc].group, self.procs[proc].slot);
        let healthy = self.procs[proc]
            .told
            .ready_at
            .is_some_and(|at| now.since(at) >= self.groups[group].healthy_after.mul_f64(0.9));
        if healthy {
            self.groups[group].note_health(slot);
        }
        self.groups[group].note_end(slot, fault, was_running, now);
    }

    fn loss(&self, proc: usize, attempt: usize) -> Loss {
        let process = &self.procs[proc];
        let told = &process.told;
        let attempt = &self.ledger.attempts[attempt];
        let is_started = told.process_ended.is_none() || attempt.ordinal.is_started(told.final_started);
        let was_running = is_started && told.final_running.contains(&attempt.ordinal);
        let is_by_us = told.kill_begun();
        Loss {
            is_started,
            was_running,
            is_charged: was_running && !is_by_us,
            is_by_us,
            may_be_by_us: false,
            is_unkillable: told.process_ended.is_none(),
            is_answered: attempt.said.iter().any(|(_, whole_at)| *whole_at <= process.up.written()),
            // A death that is read in the turn in which it was given up counts as either.
            is_certain: process.sort.is_truthful()
                && told.violated.is_none()
                && !(told.is_written_off && told.process_ended.is_some()),
        }
    }

    /// Whether a kill may have been decided in this turn, of which the action is still to come.
    fn may_be_killed_now(&self, proc: usize) -> bool {
        let now = self.now();
        let told = &self.procs[proc].told;
        let policy = self.policy(proc);
        let is_unready = told.capacity.is_none() && now >= told.ordered + policy.boot_timeout;
        let is_cut_off = told.link_ended.is_some_and(|at| at != now && now >= at + policy.close_grace);
        self.end.killed == Some(now) || is_unready || is_cut_off || self.is_due_for_the_ladder(proc, now)
    }

    fn fault(&self, proc: usize, was_running: bool) -> Fault {
        let process = &self.procs[proc];
        let told = &process.told;
        let is_odd = told.spawn_failed
            || told.process_ended.is_none()
            || told.violated.is_some()
            || !process.sort.is_truthful();
        if is_odd {
            Fault::Maybe
        } else if told.kill_begun() {
            // Ours; but a worker that never got ready, or fell silent, may be held responsible.
            Fault::Maybe
        } else if told.drained.is_some() || told.said_goodbye {
            Fault::Nobody
        } else if told.shutdown_by.is_some() || process.slot >= self.groups[process.group].wanted {
            // About to be drained, in this very turn perhaps.
            Fault::Maybe
        } else if was_running {
            Fault::Job
        } else {
            Fault::Own
        }
    }

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
        told.just_answered.push(attempt);
        told.last_progress = now;
        self.groups[group].note_answer(slot);
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
        self.groups[group].is_hopeless = true;
    }

    pub(crate) fn note_spawn_failed(&mut self, proc: usize, for_good: bool) {
        let group = self.procs[proc].group;
        self.groups[group].is_hopeless |= for_good;
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
        let named = |name: &str| name.trim_start_matches('g').parse::<usize>().unwrap_or(0);
        match event {
            Event::Degraded { group, reason } => {
                let group = named(group);
                let may = self.groups[group].may_degrade(now, &self.court);
                self.court.demand(may, Check::WindowIsKept, || {
                    format!("group {group} degrades at {now:?}: {reason}")
                });
                self.groups[group].degrade(now);
            }
            Event::Healed { group } => self.groups[named(group)].heal(now),
            _ => {}
        }
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
                let is_fatal = terms.overtime == Overtime::Kill;
                Abandoned { at: now, taints_from: now, is_fatal, may_be_fatal: is_fatal }
            }
            // One that is in its overtime already stays with what its owner said about that.
            Claim::Cancelled { .. } => Abandoned {
                at: now,
                taints_from: now + cancel_grace,
                is_fatal: !self.may_be_in_overtime(open) || terms.overtime == Overtime::Kill,
                may_be_fatal: true,
            },
            Claim::Replied { .. }
            | Claim::Failed { .. }
            | Claim::Lost
            | Claim::Poisoned { .. }
            | Claim::ShuttingDown { .. }
            | Claim::NoWorkers { .. } => return,
        };
        self.ledger.attempts[open].abandoned.get_or_insert(abandoned);
    }

    fn may_be_in_overtime(&self, attempt: usize) -> bool {
        let now = self.now();
        let attempt = &self.ledger.attempts[attempt];
        let timeout = self.ledger.jobs[attempt.job].terms.run_timeout;
        matches!((attempt.marked, timeout), (Some(marked), Some(timeout)) if now >= marked + timeout)
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
