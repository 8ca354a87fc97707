//! What must happen at last: checked whenever the supervisor goes to sleep, and when everything is quiet.

use std::time::Duration;

use super::caller::Command;
use super::check::Check;
use super::world::World;

/// How long a window may be held back while somebody idles.
const RECALL: Duration = Duration::from_millis(10);

/// Slack for what only the spawner delays.
const SPAWNING: Duration = Duration::from_secs(4);

impl World {
    /// The supervisor waits again.
    pub(crate) fn check_turn(&mut self) {
        let now = self.now();
        self.check_soft_deadline();
        self.ledger.close_turn(&mut self.court, now);
        for proc in self.live.clone() {
            self.check_ladder(proc);
            self.check_unrouted(proc);
        }
        for group in 0..self.groups.len() {
            self.check_idle_workers(group);
            self.check_overtaken_windows(group);
            self.check_strength(group);
            self.check_wear(group);
        }
        self.check_end_in_time();
        if self.rng.u8(..32) == 0 {
            self.check_insides();
        }
    }

    fn check_insides(&mut self) {
        if let Err(what) = self.scheduler.check() {
            self.accuse(Check::NoTimerIsLeft, || what);
        }
        let snapshot = self.scheduler.snapshot();
        for (group, shown) in snapshot.groups.iter().enumerate() {
            let waiting = self.ledger.waiting[group].len();
            if self.unburied(group).any(|proc| !self.procs[proc].sort.is_truthful()) {
                continue;
            }
            self.check_down(group, &shown.down);
            let held: usize = self.unburied(group).map(|proc| self.procs[proc].told.held.len()).sum();
            self.court.demand(
                shown.queued == waiting && shown.in_flight == held,
                Check::HealthIsTrue,
                || {
                    format!(
                        "group {group} shows {} queued and {} in flight, but has {waiting} and {held}",
                        shown.queued, shown.in_flight
                    )
                },
            );
        }
    }

    pub(super) fn unburied(&self, group: usize) -> impl Iterator<Item = usize> + '_ {
        let is_of = move |proc: &usize| self.procs[*proc].group == group && !self.procs[*proc].desk.is_buried;
        self.live.iter().copied().filter(is_of)
    }

    /// What the soft kill's deadline demands.
    fn check_soft_deadline(&mut self) {
        let now = self.now();
        let Some((since, deadline)) = self.end.soft else { return };
        if self.court.is_overdue(now, deadline, since) && self.ledger.unsettled > 0 {
            let left = self.ledger.unsettled;
            self.accuse(Check::EndingsEnd, || {
                format!("{left} jobs are unsettled after the soft kill's deadline")
            });
        }
    }

    /// Rungs are climbed in time, and the dead are judged.
    fn check_ladder(&mut self, proc: usize) {
        let now = self.now();
        let process = &self.procs[proc];
        let told = &process.told;
        if process.desk.is_buried || told.spawned.is_none() {
            return;
        }
        let policy = self.policy(proc);
        let late = |from: Option<ganger_protocol::Time>, grace: Duration| {
            from.is_some_and(|from| self.court.is_overdue(now, from + grace, from))
        };
        let both_ended = told.process_ended.is_some() && told.link_ended.is_some();
        let is_ending = told.process_ended.is_some() || told.kill_begun();
        let offence = if both_ended || late(told.process_ended, policy.orphan_grace) {
            Some("is dead and not judged")
        } else if told.process_ended.is_some() {
            None
        } else if late(told.killed, policy.kill_grace) {
            Some("has survived SIGKILL and is not written off")
        } else if told.killed.is_none() && told.warned.is_none() && late(told.terminated, policy.term_grace) {
            Some("has survived SIGTERM and gets no SIGKILL")
        } else if told.killed.is_none() && late(told.warned, Duration::from_millis(100)) {
            Some("was warned and gets no SIGKILL")
        } else if is_ending {
            None
        } else if told.violated.is_some() {
            Some("broke the protocol and is not killed")
        } else if !told.said_goodbye && late(told.link_ended, policy.close_grace) {
            Some("closed its link and is not killed")
        } else if told.capacity.is_none()
            && told.drained.is_none()
            && late(Some(told.ordered), policy.boot_timeout)
            && late(told.spawned, Duration::ZERO)
        {
            Some("never said ready and is not killed")
        } else if told.missing.is_some() && told.capacity.is_some() && told.link_ended.is_none() {
            Some("is silent and not killed")
        } else if told.drained.is_some()
            && told.shutdown_by.is_some_and(|by| self.court.is_overdue(now, by, told.ordered))
        {
            Some("was to leave by now and is not killed")
        } else if told.held.is_empty()
            && late(told.drained.map(|at| at.max(told.last_progress)), policy.leave_grace)
        {
            Some("is drained, holds nothing and does not leave")
        } else if self.has_overripe_culprit(proc) {
            Some("holds a request that ran out of time and is not killed")
        } else {
            None
        };
        self.court.demand(offence.is_none(), Check::LadderIsClimbed, || {
            format!("process {proc} {} at {now:?}: {:?}", offence.unwrap_or_default(), self.procs[proc].told)
        });
    }

    fn has_overripe_culprit(&self, proc: usize) -> bool {
        let now = self.now();
        let policy = self.policy(proc);
        self.procs[proc].told.held.iter().any(|attempt| {
            let attempt = &self.ledger.attempts[*attempt];
            let Some(abandoned) = attempt.abandoned.filter(|_| !attempt.is_vague) else { return false };
            let Some(fatal) = abandoned.fatal else { return false };
            let by = fatal + policy.cancel_grace + policy.bystander_grace;
            self.court.is_overdue(now, by, fatal)
        })
    }

    /// Who gets nothing new keeps nothing that it has not started.
    fn check_unrouted(&mut self, proc: usize) {
        let process = &self.procs[proc];
        let told = &process.told;
        if process.desk.is_buried
            || told.is_ending()
            || told.refuses().is_none()
            || !process.sort.is_truthful()
        {
            return;
        }
        let mark = process.page.mark();
        let startable = told.held.iter().copied().find(|attempt| {
            let attempt = &self.ledger.attempts[*attempt];
            attempt.generation == mark.generation && !attempt.ordinal.is_started(mark.started)
        });
        self.court.demand(startable.is_none(), Check::UnroutedKeepNothing, || {
            format!(
                "process {proc} is {:?} and still holds {:?}",
                told.refuses(),
                startable.map(|one| &self.ledger.attempts[one])
            )
        });
    }

    /// Workers that certainly take a request now.
    fn idle_workers(&self, group: usize) -> Vec<usize> {
        self.unburied(group)
            .filter(|proc| {
                let told = &self.procs[*proc].told;
                let is_alone = told.held.iter().any(|attempt| self.ledger.attempts[*attempt].may_be_alone);
                told.refuses().is_none()
                    && !self.has_abandoned(*proc)
                    && !is_alone
                    && !told.seemed_silent
                    && told.held.len() < told.capacity.unwrap_or(0) as usize
            })
            .collect()
    }

    fn check_idle_workers(&mut self, group: usize) {
        if self.ledger.waiting[group].is_empty() && self.plan.config.groups[group].prefetch == 0 {
            return;
        }
        let idle = self.idle_workers(group);
        if idle.is_empty() {
            self.groups[group].held_back_since = None;
            return;
        }
        let now = self.now();
        let is_due = |job: &usize| self.ledger.jobs[*job].is_due(&self.court, now);
        let may_go = |job: &usize| is_due(job) && self.ledger.is_seated(*job);
        let due: Vec<usize> = self.ledger.waiting[group].iter().copied().filter(may_go).collect();
        let suspects = due.iter().filter(|job| self.ledger.jobs[**job].may_be_suspect()).count();
        // One worker is kept free for the suspects.
        let free = idle.len() - usize::from(suspects > 0 || self.may_have_reserve(group)).min(idle.len());
        let common = due.iter().copied().find(|job| !self.ledger.jobs[*job].may_be_suspect());
        let empty = idle.iter().copied().find(|proc| self.procs[*proc].told.held.is_empty());
        let suspect = due.iter().copied().find(|job| self.ledger.jobs[*job].is_suspect());
        self.court.demand(common.is_none() || free == 0, Check::NothingWaitsBesideAnIdleWorker, || {
            format!("job {common:?} waits beside the processes {idle:?} at {now:?}")
        });
        self.court.demand(
            suspect.is_none() || empty.is_none(),
            Check::NothingWaitsBesideAnIdleWorker,
            || format!("the suspect job {suspect:?} waits beside the idle process {empty:?} at {now:?}"),
        );
        self.check_windows(group, free > 0);
    }

    /// A job that may be suspect waits for its delay.
    fn may_have_reserve(&self, group: usize) -> bool {
        self.ledger.waiting[group].iter().any(|job| self.ledger.jobs[*job].may_be_suspect())
    }

    fn check_windows(&mut self, group: usize, is_somebody_idle: bool) {
        let now = self.now();
        let stuck = self.unburied(group).find(|proc| self.holds_ahead(*proc));
        let Some(stuck) = stuck.filter(|_| is_somebody_idle) else {
            self.groups[group].held_back_since = None;
            return;
        };
        let told = &self.procs[stuck].told;
        let since = *self.groups[group].held_back_since.get_or_insert(now);
        let since = since.max(told.last_progress);
        self.court.demand(
            !self.court.is_overdue(now, since + RECALL, since),
            Check::WindowHoldsNothingBack,
            || {
                format!(
                    "process {stuck} holds requests ahead at {now:?} while somebody idles since {since:?}"
                )
            },
        );
    }

    /// Who waits by class does not wait for long behind requests that were sent ahead and come after him.
    fn check_overtaken_windows(&mut self, group: usize) {
        let now = self.now();
        let overtaken = self.overtaken_window(group);
        let Some((job, proc)) = overtaken else {
            self.groups[group].overtaken_since = None;
            return;
        };
        let since = *self.groups[group].overtaken_since.get_or_insert(now);
        let since = since.max(self.procs[proc].told.last_progress);
        self.court.demand(!self.court.is_overdue(now, since + RECALL, since), Check::ClassesAreKept, || {
            format!("job {job} waits since {since:?} behind requests that process {proc} holds ahead")
        });
    }

    /// A job that waits by rank, and a process that holds requests ahead that come after it.
    fn overtaken_window(&self, group: usize) -> Option<(usize, usize)> {
        if self.plan.config.groups[group].prefetch == 0 {
            return None;
        }
        let (ledger, now) = (&self.ledger, self.now());
        let waits = |job: &usize| {
            !ledger.jobs[*job].is_plain()
                && ledger.is_due_for_long(&self.court, now, *job)
                && ledger.is_seated(*job)
        };
        let first =
            ledger.waiting[group].iter().copied().filter(waits).min_by_key(|job| ledger.rank(*job))?;
        let is_overtaken = |proc: &usize| {
            let last = self.procs[*proc].told.held.last().map(|attempt| ledger.attempts[*attempt].job);
            self.holds_ahead(*proc) && last.is_some_and(|last| ledger.comes_before(&self.court, first, last))
        };
        self.unburied(group).find(is_overtaken).map(|proc| (first, proc))
    }

    fn holds_ahead(&self, proc: usize) -> bool {
        let told = &self.procs[proc].told;
        self.procs[proc].sort.is_truthful()
            && told.held.len() > told.capacity.unwrap_or(0) as usize
            && told.refuses().is_none()
            && self.unstarted_ahead(proc)
    }

    fn unstarted_ahead(&self, proc: usize) -> bool {
        let started = self.procs[proc].page.mark().started;
        self.procs[proc]
            .told
            .held
            .iter()
            .any(|attempt| !self.ledger.attempts[*attempt].ordinal.is_started(started))
    }

    /// Every wanted worker is there, on its way, or waits for its back-off.
    fn check_strength(&mut self, group: usize) {
        let now = self.now();
        let model = &self.groups[group];
        if self.end.killed.is_some() || (self.end.soft.is_some() && self.ledger.unsettled == 0) {
            return;
        }
        let is_active = |proc: &usize| {
            let told = &self.procs[*proc].told;
            // Nobody is told that a process which is still being started is to end at once.
            told.spawned.is_some() && !told.is_leaving()
        };
        let active = self.unburied(group).filter(is_active).count();
        let most = model.wanted + model.surge();
        self.court.demand(active <= most as usize, Check::NeverTooMany, || {
            format!("group {group} has {active} workers of {} wanted", model.wanted)
        });
        self.court.demand(model.degraded.is_some() || !model.must_degrade(now), Check::WindowIsKept, || {
            format!("group {group} is past its window of exits and not degraded: {model:?}")
        });
        let down = self.shown_down(group).len();
        let is_held = |slot: &u32| self.unburied(group).any(|proc| self.procs[proc].slot == *slot);
        let places = down + (0..model.wanted).filter(is_held).count();
        let is_probed = model
            .degraded
            .is_some_and(|since| self.unburied(group).any(|proc| self.procs[proc].told.ordered >= since));
        if places >= model.least() as usize || is_probed || model.written_off > model.wanted {
            return;
        }
        let late = self.court.is_overdue(now, model.changed + model.longest_wait(), model.changed);
        self.court.demand(!late, Check::ReplacementsAreStarted, || {
            format!(
                "group {group} has {places} workers of {} wanted since {:?}: {model:?}",
                model.wanted, model.changed
            )
        });
    }

    fn check_end_in_time(&mut self) {
        if self.end.stopped {
            return;
        }
        let now = self.now();
        let longest = |grace: fn(&ganger::internals::GroupConfig) -> Duration| {
            self.plan.config.groups.iter().map(grace).max().unwrap_or_default()
        };
        let kill = longest(|group| group.kill_grace) + longest(|group| group.orphan_grace) + SPAWNING;
        let soft = self.end.soft.is_some_and(|(since, deadline)| {
            self.court.is_overdue(now, deadline + longest(|group| group.term_grace) + kill, since)
        });
        let hard = self
            .end
            .hard
            .is_some_and(|at| self.court.is_overdue(now, at + Duration::from_millis(100) + kill, at));
        self.court.demand(!soft && !hard, Check::EndingsEnd, || {
            format!("not everything has ended at {now:?}: {:?}", self.end)
        });
    }

    /// Faults are over: is everything as it should be?
    pub(crate) fn is_restored(&self) -> bool {
        self.ledger.unsettled == 0
            && self.commands.is_empty()
            && !self.has_rollouts()
            && (0..self.groups.len()).all(|group| self.is_at_strength(group))
    }

    fn is_at_strength(&self, group: usize) -> bool {
        let model = &self.groups[group];
        let ready = self.unburied(group).filter(|proc| self.procs[*proc].told.refuses().is_none()).count();
        let leaving = self.unburied(group).any(|proc| self.procs[proc].told.is_leaving());
        let bounded = model.written_off > model.wanted;
        let down = self.shown_down(group).len();
        let is_well = model.degraded.is_none() || (down > 0 && down == model.wanted as usize);
        let is_enough = (model.least() as usize..=model.wanted as usize).contains(&(ready + down));
        (is_enough && !leaving && is_well) || bounded
    }

    pub(crate) fn check_restored(&mut self) {
        if !self.court.is_clear() {
            return;
        }
        let now = self.now();
        let open: Vec<usize> =
            (0..self.ledger.jobs.len()).filter(|job| !self.ledger.jobs[*job].is_settled()).collect();
        self.court.demand(open.is_empty(), Check::EverythingSettles, || {
            format!(
                "at {now:?} the jobs {open:?} are unsettled; the first is {:?}",
                open.first().map(|job| &self.ledger.jobs[*job])
            )
        });
        self.check_rollouts_ended();
        for group in 0..self.groups.len() {
            if self.is_at_strength(group) {
                continue;
            }
            let workers: Vec<_> = self.unburied(group).map(|proc| (proc, &self.procs[proc].told)).collect();
            let text = format!(
                "at {now:?} group {group} is not at its strength: {:?}, {workers:?}",
                self.groups[group]
            );
            self.accuse(Check::WorkersComeBack, || text);
        }
    }

    /// Nothing is left to wait for but the next look at the workers.
    pub(crate) fn check_idle(&mut self) {
        if self.court.is_clear() {
            self.check_insides();
        }
    }

    pub(crate) fn check_ended(&mut self) {
        if !self.court.is_clear() {
            return;
        }
        let now = self.now();
        self.court.demand(self.end.stopped, Check::EndingsEnd, || {
            format!("at {now:?} not everything has ended: {:?}", self.end)
        });
        let due = self.scheduler.poll_timeout();
        self.court.demand(due.is_none(), Check::NoTimerIsLeft, || {
            format!("after the end something is due at {due:?}")
        });
        self.check_insides();
    }

    /// A group that was resized to nobody gets somebody again.
    pub(crate) fn give_workers(&mut self, group: usize) {
        let is_told = self.commands.iter().any(
            |command| matches!(command, Command::Resize { group: other, workers: 0 } if *other == group),
        );
        if self.groups[group].wanted == 0 || is_told {
            self.commands.push(Command::Resize { group, workers: 1 });
        }
    }
}
