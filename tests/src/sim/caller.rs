//! The caller: what the owner of a supervisor does with it.

use std::time::Duration;

use ganger::internals::{
    Backlog, Edition, GroupIndex, Input, JobOptions, OnTimeout, Priority, RolloutTerms, Ticket as TicketTrait,
};
use ganger_protocol::{JobId, Time};

use super::calendar::Happening;
use super::ledger::{Kinds, Overtime, Phase, Terms};
use super::plan::Draft;
use super::world::{JobFacts, World};

/// What the scheduler carries for a job.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) index: usize,
    options: JobOptions,
}

impl TicketTrait for Ticket {
    fn id(&self) -> JobId {
        job_id(self.index)
    }

    fn options(&self) -> &JobOptions {
        &self.options
    }
}

/// The id by which the world finds a job again.
pub(crate) fn job_id(index: usize) -> JobId {
    JobId::from_bytes((index as u128).to_be_bytes())
}

pub(crate) fn job_index(id: JobId) -> usize {
    id.uuid().as_u128() as usize
}

/// Something on its way from the caller to the loop.
#[derive(Debug)]
pub(crate) enum Command {
    Enqueue { group: usize, ticket: Ticket, enqueued: Time },
    Cancel { job: usize },
    Resize { group: usize, workers: u32 },
    Rollout { group: usize, terms: RolloutTerms },
    CancelRollout { group: usize },
    ShutdownWorker { proc: usize, grace: Duration },
    Revive { group: usize, slot: u32 },
    SoftKill { deadline: Duration, backlog: Backlog },
    HardKill,
}

impl World {
    pub(crate) fn schedule_call(&mut self) {
        let mean = self.plan.pause.as_nanos() as u64;
        let pause = Duration::from_nanos(self.rng.u64(0..=2 * mean));
        self.after(pause, Happening::Call);
    }

    /// The caller does one thing, unless intake is over.
    pub(crate) fn call(&mut self) {
        let is_over = !self.is_noisy() || self.end.soft.is_some() || self.end.hard.is_some();
        if is_over
            || self.commands.iter().any(|one| matches!(one, Command::SoftKill { .. } | Command::HardKill))
        {
            return;
        }
        let mix = self.plan.mix;
        match self.rng.u32(..1_000) {
            lot if lot >= 1_000 - mix.rollout => self.roll_out(),
            lot if lot < mix.resize => self.resize(),
            lot if lot < mix.resize + mix.shutdown_worker => self.shutdown_worker(),
            lot if lot < mix.resize + mix.shutdown_worker + mix.cancel => self.cancel(),
            lot if lot < mix.resize + mix.shutdown_worker + mix.cancel + mix.revive => self.revive(),
            _ => self.enqueue_some(mix.burst_max),
        }
        self.wake_loop();
        self.schedule_call();
    }

    pub(crate) fn enqueue_some(&mut self, burst_max: u32) {
        for _ in 0..self.rng.u32(1..=burst_max) {
            self.enqueue();
        }
    }

    fn enqueue(&mut self) {
        let group = self.rng.usize(..self.groups.len());
        if self.groups[group].refuses || self.ledger.unsettled + self.commands.len() >= self.plan.queue_limit
        {
            return;
        }
        let mix = self.plan.mix;
        let draft = Draft::draw(&mut self.rng, &mix);
        let enqueued = self.now();
        let policy = self.plan.config.groups[group].poison;
        let mut draft = draft;
        self.give_instant(&mut draft.options);
        let terms = terms(&draft.options, policy.deaths, policy.losses, enqueued);
        let index = self.ledger.offer(group, terms, enqueued);
        self.jobs.push(JobFacts {
            key: None,
            script: draft.script,
            run_mean: draft.run_mean,
            payload_len: draft.payload_len,
            has_attachments: draft.options.has_attachments,
            is_released: false,
            run_timeout: draft.options.run_timeout,
        });
        let now = self.now();
        self.trace.note(now, 1, index as u64, group as u64, || {
            format!("enqueue job {index} for group {group}: {draft:?}")
        });
        self.commands.push(Command::Enqueue {
            group,
            ticket: Ticket { index, options: draft.options },
            enqueued,
        });
    }

    /// Half of those with a delay name the instant.
    fn give_instant(&mut self, options: &mut JobOptions) {
        let now = self.now();
        let Some(order) = options.order.as_mut().filter(|order| order.delay.is_some()) else { return };
        if self.rng.bool() {
            order.not_before = order.delay.take().map(|delay| now + delay);
        }
    }

    fn cancel(&mut self) {
        let Some(job) = self.any_job() else { return };
        self.commands.push(Command::Cancel { job });
    }

    /// Mostly one of the latest.
    fn any_job(&mut self) -> Option<usize> {
        let count = self.jobs.len();
        let back = if self.rng.bool() { self.rng.usize(..8) } else { self.rng.usize(..count.max(1)) };
        count.checked_sub(1 + back.min(count.checked_sub(1)?))
    }

    fn resize(&mut self) {
        let group = self.rng.usize(..self.groups.len());
        let workers = self.rng.u32(0..=5);
        // A group of nobody settles nothing: a short while only.
        let workers = if self.rng.u8(..4) == 0 { workers } else { workers.max(1) };
        self.commands.push(Command::Resize { group, workers });
    }

    fn roll_out(&mut self) {
        let group = self.rng.usize(..self.groups.len());
        if self.is_by_command(group) {
            return;
        }
        if self.rng.u8(..6) == 0 {
            return self.commands.push(Command::CancelRollout { group });
        }
        let mut millis = |most: u64| Duration::from_millis(self.rng.u64(0..=most));
        let terms = RolloutTerms { min_uptime: millis(400), grace: millis(3_000), ..RolloutTerms::default() };
        let grace = if self.rng.bool() { Duration::MAX } else { terms.grace };
        let (batch, max_failures) = (self.rng.u32(1..=3), self.rng.u32(0..=3));
        self.commands
            .push(Command::Rollout { group, terms: RolloutTerms { batch, max_failures, grace, ..terms } });
    }

    fn shutdown_worker(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let proc = self.live[self.rng.usize(..self.live.len())];
        let grace = Duration::from_millis(self.rng.u64(0..=1_000));
        self.commands.push(Command::ShutdownWorker { proc, grace });
    }

    fn revive(&mut self) {
        let group = self.rng.usize(..self.groups.len());
        let slot = self.rng.u32(0..5);
        self.commands.push(Command::Revive { group, slot });
    }

    /// The loop takes in what the caller sent.
    pub(crate) fn take_in_commands(&mut self) {
        for command in std::mem::take(&mut self.commands) {
            self.take_in_command(command);
        }
    }

    fn take_in_command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Enqueue { group, ticket, enqueued } => {
                let index = ticket.index;
                self.ledger.accept(&self.court, index, now);
                let key = self.scheduler.enqueue(now, GroupIndex(group as u16), ticket, enqueued);
                self.jobs[index].key = Some(key);
            }
            Command::Cancel { job } => self.take_in_cancel(job),
            Command::Resize { group, workers } => {
                self.trace.note(now, 2, group as u64, u64::from(workers), || {
                    format!("resize group {group} to {workers}")
                });
                self.groups[group].resize(workers, now);
                self.scheduler.handle_input(now, Input::Resize { group: GroupIndex(group as u16), workers });
            }
            Command::Rollout { group, terms } => {
                let edition = self.scheduler.roll_out(now, GroupIndex(group as u16), terms).0;
                self.trace.note(now, 7, group as u64, u64::from(edition), || {
                    format!("roll {edition} out to group {group}: {terms:?}")
                });
                let model = &mut self.groups[group];
                model.asked.retain(|(asked, _)| *asked != edition);
                model.asked.push((edition, terms));
            }
            Command::CancelRollout { group } => {
                let Some((edition, _)) = self.groups[group].asked.last().copied() else { return };
                self.trace.note(now, 8, group as u64, u64::from(edition), || {
                    format!("cancel rollout {edition} in group {group}")
                });
                let edition = Edition(edition);
                self.scheduler
                    .handle_input(now, Input::CancelRollout { group: GroupIndex(group as u16), edition });
            }
            Command::ShutdownWorker { proc, grace } => self.take_in_shutdown(proc, grace),
            Command::Revive { group, slot } => self.take_in_revive(group, slot),
            Command::SoftKill { deadline, backlog } => {
                self.trace.note(now, 3, 0, 0, || format!("soft kill with {backlog:?} within {deadline:?}"));
                self.end.soft.get_or_insert((now, now + deadline));
                if backlog == Backlog::Settle {
                    self.ledger.settle_waiting();
                }
                self.scheduler.handle_input(now, Input::SoftKill { deadline, backlog });
            }
            Command::HardKill => {
                self.trace.note(now, 4, 0, 0, || String::from("hard kill"));
                self.end.hard.get_or_insert(now);
                self.note_killed();
                self.scheduler.handle_input(now, Input::HardKill);
            }
        }
    }

    fn take_in_cancel(&mut self, job: usize) {
        let now = self.now();
        let Some(key) = self.jobs[job].key else { return };
        self.trace.note(now, 5, job as u64, 0, || format!("cancel job {job}"));
        let or = match self.ledger.jobs[job].phase {
            Phase::InHand(attempt) | Phase::Between(attempt) => {
                self.judged_kinds(self.ledger.attempts[attempt].proc)
            }
            Phase::Offered | Phase::Waiting { .. } | Phase::Owes(_) | Phase::MayOwe(_) | Phase::Settled => {
                Kinds::NONE
            }
        };
        self.ledger.cancel(job, or);
        self.scheduler.handle_input(now, Input::Cancel(key));
    }

    fn take_in_shutdown(&mut self, proc: usize, grace: Duration) {
        let now = self.now();
        let told = &mut self.procs[proc].told;
        let deadline = told.shutdown_by.map_or(now + grace, |old| old.min(now + grace));
        told.shutdown_by = Some(deadline);
        let worker = self.procs[proc].worker;
        self.trace.note(now, 6, proc as u64, 0, || format!("shut down process {proc} within {grace:?}"));
        self.scheduler.handle_input(now, Input::ShutdownWorker { worker, grace });
    }

    /// Everything ends at once, by the owner's word or because the soft kill's deadline is over.
    pub(crate) fn note_killed(&mut self) {
        let now = self.now();
        if self.end.killed.is_none() {
            self.end.killed = Some(now);
            let judged: Vec<Kinds> = (0..self.procs.len()).map(|proc| self.judged_kinds(proc)).collect();
            self.ledger.settle_all(|attempt| judged[attempt.proc]);
        }
    }

    /// How the jobs of a worker may have ended if the timers found it dead in this turn.
    pub(crate) fn judged_kinds(&self, proc: usize) -> Kinds {
        let grace = self.policy(proc).orphan_grace.min(self.policy(proc).kill_grace);
        let told = &self.procs[proc].told;
        let may_be = |at: Option<Time>| at.is_some_and(|at| self.now() >= at + grace);
        if may_be(told.process_ended) || may_be(told.killed) {
            Kinds::LOST.or(Kinds::POISONED).or(Kinds::TIMED_OUT)
        } else {
            Kinds::NONE
        }
    }
}

fn terms(options: &JobOptions, deaths: u8, losses: u8, enqueued: Time) -> Terms {
    let order = options.order.as_deref().cloned().unwrap_or_default();
    let named = order.not_before.map(|instant| instant.since(enqueued));
    Terms {
        class: match order.priority {
            Priority::High => 0,
            Priority::Low => 2,
            _ => 1,
        },
        delay: named.or(order.delay).unwrap_or(Duration::ZERO),
        key: order.key,
        retries: options.retries,
        queue_timeout: options.queue_timeout,
        run_timeout: options.run_timeout,
        timeout: options.timeout,
        overtime: match options.on_timeout {
            OnTimeout::Leave => Overtime::Leave,
            OnTimeout::Cooperative => Overtime::Cooperative,
            _ => Overtime::Kill,
        },
        retry_lost: options.retry_on.worker_lost,
        retry_failure: options.retry_on.failure,
        retry_run_timeout: options.retry_on.run_timeout,
        backoff: options.retry_backoff,
        backoff_max: options.retry_backoff_max,
        poison_deaths: deaths,
        poison_losses: losses,
    }
}
