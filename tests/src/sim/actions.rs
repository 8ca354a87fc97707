//! Every action, done as the real driver does it, and held against what is known of its worker.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use ganger::internals::{
    Action, Clock, GroupIndex, Input, JobKey, Outcome, Started, Ticket as TicketTrait, WorkerKey,
};
use ganger_protocol::{Body, Cancel, Epoch, Generation, Kind, Ordinal, RequestHead, Time, Vitals};

use super::calendar::{Happening, Signal};
use super::caller::Ticket;
use super::check::Check;
use super::hash::{hash_bytes, hash_failure};
use super::ledger::{Attempt, Claim, Kinds, WhichClock};
use super::library::payload;
use super::process::{Habits, Life, Process, Sort};
use super::world::World;

/// More actions than this in one turn are an endless loop.
const MOST_ACTIONS: u32 = 200_000;

impl World {
    /// Does what the scheduler wants until it wants nothing.
    pub(crate) fn act(&mut self) {
        for _ in 0..MOST_ACTIONS {
            let Some(action) = self.scheduler.poll_action() else { return };
            self.jostle();
            self.perform(action);
            if !self.court.is_clear() {
                return;
            }
        }
        self.accuse(Check::LoopNeverSpins, || format!("more than {MOST_ACTIONS} actions in one turn"));
    }

    /// Workers do not wait while the loop acts: one may start a request right now.
    fn jostle(&mut self) {
        if self.live.is_empty() || self.rng.u8(..8) != 0 {
            return;
        }
        let proc = self.live[self.rng.usize(..self.live.len())];
        if self.procs[proc].is_running() {
            self.start(proc);
        }
    }

    fn perform(&mut self, action: Action<Ticket>) {
        match action {
            Action::Spawn { worker, group, slot, name, edition } => {
                self.order(worker, group, slot, name, edition.0);
            }
            Action::Send { worker, job, ordinal, generation, epoch, attempt } => {
                self.send(worker, job, ordinal, generation, epoch, attempt);
            }
            Action::Requeued(job) => self.note_requeued(job),
            Action::Release(job) => self.note_released(job),
            Action::Cancel { worker, ordinal, epoch } => self.send_cancel(worker, ordinal, epoch),
            Action::TakeBack(worker) => self.take_back(worker),
            Action::ReadPage(worker) => self.show_page(worker),
            Action::Sample(worker) => self.sample(worker),
            Action::Drain(worker) => self.drain(worker),
            Action::WarnHardKill(worker) => self.warn(worker),
            Action::Terminate(worker) => self.terminate(worker),
            Action::Kill(worker) => self.kill(worker),
            Action::Bury(worker) => self.bury(worker),
            Action::Complete { ticket, outcome } => self.complete(&ticket, &outcome),
            Action::Admission { group, refuse } => {
                self.note_admission(usize::from(group.0), refuse.is_some());
            }
            Action::Rollout { group, status } => self.note_rollout(usize::from(group.0), &status),
            Action::Tell(event) => self.note_event(&event),
            Action::Stopped => self.note_stopped(),
        }
    }

    /// The process behind a key; one that is buried or never was is an offence.
    fn find(&mut self, worker: WorkerKey, what: &str) -> Option<usize> {
        let found = self
            .live
            .iter()
            .copied()
            .find(|proc| self.procs[*proc].worker == worker && !self.procs[*proc].desk.is_buried);
        if found.is_none() {
            self.accuse(Check::NothingForTheDead, || {
                format!("{what} for worker {worker:?}, which is buried or never was")
            });
        }
        found
    }

    fn order(&mut self, worker: WorkerKey, group: GroupIndex, slot: u32, name: Arc<str>, edition: u32) {
        let now = self.now();
        let proc = self.procs.len();
        self.trace.note(now, 30, proc as u64, worker.to_bits(), || {
            format!("→ spawn process {proc} as {name} of program {edition}, {worker:?}")
        });
        let group = usize::from(group.0);
        self.check_order(proc, group, slot, edition);
        let was_beside_another = self.has_anybody(group, slot);
        let process = Process::new(worker, group, slot, name, self.plan.room, now);
        let grace = self.groups[group].shortest_grace();
        let min_uptime = self.groups[group].longest_uptime();
        self.procs.push(Process { edition, grace, min_uptime, was_beside_another, ..process });
        self.live.push(proc);
        self.check_edition(proc);
        self.groups[group].rests.retain(|rest| *rest != slot);
        let start = now.max(self.spawner_free_at);
        let hangs = self.is_noisy() && self.chance(self.plan.faults.spawn / 8);
        let effort = Duration::from_micros(if hangs {
            self.rng.u64(..20_000_000)
        } else if self.rng.u8(..16) == 0 {
            self.rng.u64(..300_000)
        } else {
            self.rng.u64(300..3_000)
        });
        self.spawner_free_at = start + effort;
        self.after(self.spawner_free_at.since(now), Happening::SpawnDone { proc });
    }

    /// The new process is what the plan makes of it.
    pub(crate) fn begin_process(&mut self, proc: usize) {
        let faults = self.plan.faults;
        let capacity = self.rng.u32(1..=self.plan.capacity_max);
        let is_noisy = self.is_noisy();
        let (sort, habits) = if is_noisy {
            (Sort::draw(&mut self.rng, &faults), Habits::draw(&mut self.rng, &faults))
        } else {
            (Sort::Sound, Habits::default())
        };
        let process = &mut self.procs[proc];
        (process.life, process.sort, process.habits, process.capacity) =
            (Life::Running, sort, habits, capacity);
        self.boot_soon(proc);
        self.trace.say(self.calendar.now(), || {
            format!("process {proc} runs: {sort:?}, {habits:?}, capacity {capacity}")
        });
    }

    fn send(
        &mut self,
        worker: WorkerKey,
        job: JobKey,
        ordinal: Ordinal,
        generation: Generation,
        epoch: Epoch,
        number: u16,
    ) {
        let now = self.now();
        let Some(proc) = self.find(worker, "a request") else { return };
        // A job can end between the decision and now.
        let Some(ticket) = self.scheduler.ticket(job) else {
            return self
                .accuse(Check::OutcomeIsEarned, || format!("a request for job {job:?}, which has ended"));
        };
        let (index, id, run_timeout) = (ticket.index, ticket.id(), ticket.options().run_timeout);
        self.trace.note(now, 31, proc as u64, index as u64, || {
            format!("→ send job {index} to process {proc} as {ordinal:?} {generation:?} {epoch:?} attempt {number}")
        });
        self.check_send(proc, index, ordinal, generation);
        self.check_attachments(proc, index);
        let attempt = Attempt {
            job: index,
            proc,
            ordinal,
            generation,
            epoch,
            number,
            marked: None,
            is_running: false,
            said: Vec::new(),
            is_over: false,
            abandoned: None,
            cancel_sent: None,
            is_alone: self.ledger.jobs[index].is_suspect(),
            may_be_alone: self.ledger.jobs[index].may_be_suspect(),
            is_vague: !self.procs[proc].sort.is_truthful(),
            is_garbled: matches!(self.procs[proc].sort, Sort::Garbage | Sort::HugeFrame),
        };
        let attempt = self.ledger.send(&mut self.court, now, attempt);
        let told = &mut self.procs[proc].told;
        if told.held.is_empty() {
            told.last_progress = now;
        }
        told.held.push(attempt);
        told.next_ordinal = ordinal.next();
        let head = RequestHead {
            ordinal,
            generation,
            epoch,
            attempt: number,
            job: id,
            age_nanos: now.since(self.ledger.jobs[index].enqueued).as_nanos() as u64,
            run_timeout_nanos: run_timeout.map(|timeout| timeout.as_nanos() as u64),
            name: Cow::Borrowed("work"),
            headers: Vec::new(),
        };
        let argument = payload(index, self.jobs[index].payload_len);
        self.procs[proc].desk.outbox.frame(Kind::Request, &head, Body::Copy(&argument));
    }

    fn send_cancel(&mut self, worker: WorkerKey, ordinal: Ordinal, epoch: Epoch) {
        let now = self.now();
        let Some(proc) = self.find(worker, "a cancel") else { return };
        self.trace.note(now, 32, proc as u64, u64::from(ordinal.0), || {
            format!("→ cancel {ordinal:?} {epoch:?} at process {proc}")
        });
        match self.held(proc, ordinal, epoch) {
            Some(attempt) => self.ledger.note_cancel(attempt, now),
            None if self.may_have_held(proc, ordinal, epoch) => {}
            None => self.accuse(Check::LadderInOrder, || {
                format!("a cancel for {ordinal:?}, which process {proc} does not hold")
            }),
        }
        self.procs[proc].desk.outbox.frame(Kind::Cancel, &Cancel { ordinal, epoch }, Body::Copy(&[]));
    }

    /// Whether what was decided in this turn may be about an attempt whose end was read after that.
    fn may_have_held(&self, proc: usize, ordinal: Ordinal, epoch: Epoch) -> bool {
        let told = &self.procs[proc].told;
        let has_just_said = told.is_judged || told.last_progress == self.now();
        has_just_said && self.ledger.was_sent(proc, ordinal, epoch)
    }

    /// The attempt that a worker holds under these numbers.
    pub(crate) fn held(&self, proc: usize, ordinal: Ordinal, epoch: Epoch) -> Option<usize> {
        // The latest: one that lies about its page may hold two of the same numbers.
        self.procs[proc].told.held.iter().rev().copied().find(|attempt| {
            let attempt = &self.ledger.attempts[*attempt];
            attempt.ordinal == ordinal && attempt.epoch == epoch
        })
    }

    fn take_back(&mut self, worker: WorkerKey) {
        let now = self.now();
        let Some(proc) = self.find(worker, "a take-back") else { return };
        let mark = self.procs[proc].page.take_back();
        self.trace.note(now, 33, proc as u64, u64::from(mark.started.0), || {
            format!("→ take back from process {proc}: {mark:?}")
        });
        self.procs[proc].told.generation = mark.generation;
        self.procs[proc].told.next_ordinal = mark.started.next();
        let is_truthful = self.procs[proc].sort.is_truthful();
        let held = std::mem::take(&mut self.procs[proc].told.held);
        let (kept, back): (Vec<usize>, Vec<usize>) = held.into_iter().partition(|attempt| {
            !is_truthful || self.ledger.attempts[*attempt].ordinal.is_started(mark.started)
        });
        self.procs[proc].told.held = kept;
        let may_be_judged = self.judged_kinds(proc) != Kinds::NONE;
        for attempt in back {
            if may_be_judged {
                // Its worker's death may have been counted before in this turn.
                self.ledger.note_possible_loss(attempt);
            }
            self.ledger.take_back(attempt, now);
        }
        self.scheduler.handle_input(now, Input::TakenBack { worker, mark });
    }

    fn show_page(&mut self, worker: WorkerKey) {
        let now = self.now();
        let Some(proc) = self.find(worker, "a look at the page") else { return };
        let (started, running) = self.read_page(proc);
        self.trace.note(now, 34, proc as u64, u64::from(started.0), || {
            format!("→ read the page of process {proc}: {started:?} {running:?}")
        });
        self.scheduler.handle_input(now, Input::Page { worker, started, running });
    }

    fn sample(&mut self, worker: WorkerKey) {
        let now = self.now();
        let Some(proc) = self.find(worker, "a sample") else { return };
        self.beat(proc);
        let is_gone = !self.procs[proc].is_alive() || self.procs[proc].habits.hides_memory;
        let vitals = self.procs[proc].page.vitals();
        let most = if self.is_noisy() { 200 } else { 40 };
        let rss_bytes = if is_gone { None } else { Some(self.rng.u64(1..most) << 20) };
        let config = &self.plan.config.groups[self.procs[proc].group];
        self.procs[proc].told.note_memory(now, rss_bytes, &config.recycle);
        let forgiven = self.court.stopped_since(self.procs[proc].told.beat_seen);
        self.procs[proc].told.note_sample(
            now,
            vitals.beat,
            forgiven,
            config.suspect_after,
            config.missing_after,
        );
        self.trace.note(now, 35, proc as u64, vitals.beat.nanos(), || {
            format!("→ sample process {proc}: {rss_bytes:?} {vitals:?}")
        });
        self.scheduler.handle_input(now, Input::Sample { worker, rss_bytes, vitals });
    }

    /// The beats since the last look.
    fn beat(&mut self, proc: usize) {
        let now = self.now();
        let heartbeat = self.plan.config.groups[self.procs[proc].group].heartbeat;
        let ago = Duration::from_nanos(self.rng.u64(..heartbeat.as_nanos() as u64));
        let process = &self.procs[proc];
        if process.beats && process.life == Life::Running {
            let beat = (now - ago).max(process.page.vitals().beat).max(Time::from_nanos(1));
            process.page.set_vitals(Vitals { beat, heap_total_bytes: 2, heap_used_bytes: 1 });
        }
    }

    fn drain(&mut self, worker: WorkerKey) {
        let now = self.now();
        let Some(proc) = self.find(worker, "a drain") else { return };
        self.trace.note(now, 36, proc as u64, 0, || format!("→ drain process {proc}"));
        self.check_drain(proc);
        self.procs[proc].told.drained = Some(now);
        self.procs[proc].desk.outbox.frame(Kind::Drain, &(), Body::Copy(&[]));
    }

    fn warn(&mut self, worker: WorkerKey) {
        let now = self.now();
        let Some(proc) = self.find(worker, "a warning") else { return };
        self.trace.note(now, 37, proc as u64, 0, || format!("→ warn process {proc}"));
        self.procs[proc].told.warned = Some(now);
        self.procs[proc].desk.outbox.frame(Kind::HardKill, &(), Body::Copy(&[]));
    }

    fn terminate(&mut self, worker: WorkerKey) {
        let now = self.now();
        let Some(proc) = self.find(worker, "SIGTERM") else { return };
        self.trace.note(now, 38, proc as u64, 0, || format!("→ SIGTERM to process {proc}"));
        self.check_terminate(proc);
        self.procs[proc].told.terminated = Some(now);
        self.wants_signal(proc, Signal::Terminate);
    }

    fn kill(&mut self, worker: WorkerKey) {
        let now = self.now();
        let Some(proc) = self.find(worker, "SIGKILL") else { return };
        self.trace.note(now, 39, proc as u64, 0, || format!("→ SIGKILL to process {proc}"));
        self.check_kill(proc);
        self.procs[proc].told.killed = Some(now);
        self.wants_signal(proc, Signal::Kill);
    }

    fn bury(&mut self, worker: WorkerKey) {
        let now = self.now();
        let Some(proc) = self.find(worker, "a burial") else { return };
        self.trace.note(now, 40, proc as u64, 0, || format!("→ bury process {proc}"));
        self.check_burial(proc);
        if !self.procs[proc].told.is_judged {
            self.judge(proc);
        }
        let process = &mut self.procs[proc];
        process.desk.is_buried = true;
        process.desk.is_left_over = !matches!(process.life, Life::Reaped | Life::None);
        process.down.close_writer();
        process.up.close_reader();
        let is_at_large = process.is_alive() && process.told.killed.is_none();
        if is_at_large {
            self.wants_signal(proc, Signal::Kill);
        }
        if self.procs[proc].is_alive() {
            self.read_soon(proc);
        }
        self.forget_the_gone();
    }

    /// Nothing can happen to a process that is dead and buried.
    pub(crate) fn forget_the_gone(&mut self) {
        let procs = &self.procs;
        self.live.retain(|proc| !procs[*proc].desk.is_buried || procs[*proc].desk.is_left_over);
    }

    fn note_requeued(&mut self, job: JobKey) {
        let now = self.now();
        let index = self.scheduler.ticket(job).map(|ticket| ticket.index);
        self.trace.note(now, 41, job.to_bits(), 0, || format!("→ requeued job {index:?}"));
    }

    fn note_released(&mut self, job: JobKey) {
        let now = self.now();
        let Some(index) = self.scheduler.ticket(job).map(|ticket| ticket.index) else { return };
        self.trace.note(now, 43, index as u64, 0, || format!("→ attachments of job {index} are let go"));
        self.jobs[index].is_released = true;
        let is_marked =
            |attempt: &Attempt| attempt.job == index && (attempt.marked.is_some() || attempt.is_vague);
        let is_earned = self.jobs[index].has_attachments && self.ledger.attempts.iter().any(is_marked);
        self.court.demand(is_earned, Check::ReleasedIsNotSent, || {
            format!("the attachments of job {index} were let go before a worker had started it")
        });
    }

    fn complete(&mut self, ticket: &Ticket, outcome: &Outcome) {
        let now = self.now();
        let index = ticket.index;
        let claim = claim(outcome);
        self.trace.note(now, 42, index as u64, 0, || format!("→ job {index} ends: {claim:?}"));
        self.check_completion(index, outcome);
        self.ledger.settle(&mut self.court, now, index, &claim);
        self.abandon(index, &claim);
    }
}

fn claim(outcome: &Outcome) -> Claim {
    let is_yes = |started: &Started| *started == Started::Yes;
    match outcome {
        Outcome::Replied { data, attempt, .. } => {
            Claim::Replied { said: hash_bytes(data), number: attempt.attempt }
        }
        Outcome::Failed { failure, attempt } => {
            Claim::Failed { said: hash_failure(failure), number: attempt.attempt }
        }
        Outcome::TimedOut { clock, started, .. } => {
            let clock = match clock {
                Clock::Queue => WhichClock::Queue,
                Clock::Run => WhichClock::Run,
                _ => WhichClock::Total,
            };
            Claim::TimedOut { clock, started: is_yes(started) }
        }
        Outcome::Cancelled { started, .. } => Claim::Cancelled { started: is_yes(started) },
        Outcome::WorkerLost(_) => Claim::Lost,
        Outcome::Poisoned { reports, started } => {
            Claim::Poisoned { reports: reports.len(), started: is_yes(started) }
        }
        Outcome::ShuttingDown { started, .. } => Claim::ShuttingDown { started: is_yes(started) },
        Outcome::NoWorkers { started, .. } => Claim::NoWorkers { started: is_yes(started) },
    }
}
