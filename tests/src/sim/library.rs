//! The program of a model process: the worker library's pure half, with handlers that follow a script.

use std::time::Duration;

use ganger::internals::ExitStatus;
use ganger_protocol::{
    Body, Failure, Inbox, Kind, Limits, MAGIC, Page, Ready, RetryHint, Taken, ToWorker, VERSION, WorkerHello,
};
use ganger_worker::internals::{Notice, Outcome, Session, Started};

use super::calendar::{Happening, Signal};
use super::caller::job_index;
use super::check::Check;
use super::hash::{hash_bytes, hash_failure};
use super::plan::Script;
use super::process::{Life, Run, RunEnd, Sort};
use super::world::{Stage, World};

impl World {
    /// A process does one thing of its own, or fails to.
    pub(crate) fn step(&mut self, proc: usize, happening: Happening) {
        if self.procs[proc].life == Life::Stopped {
            return self.while_stopped(proc, happening);
        }
        if !self.procs[proc].is_running() {
            return;
        }
        let faults = self.plan.faults;
        if self.is_noisy() && self.chance(faults.crash) {
            return self.crash(proc);
        }
        if self.is_noisy() && self.chance(faults.freeze) {
            self.freeze(proc);
        }
        if self.procs[proc].life == Life::Stopped {
            return self.while_stopped(proc, happening);
        }
        self.do_step(proc, happening);
    }

    fn while_stopped(&mut self, proc: usize, happening: Happening) {
        match happening {
            Happening::Recover { .. } => self.recover(proc),
            _ => self.procs[proc].deferred.push(happening),
        }
    }

    fn do_step(&mut self, proc: usize, happening: Happening) {
        match happening {
            Happening::Boot { .. } => self.boot(proc),
            Happening::Readiness { .. } => self.change_readiness(proc),
            Happening::Read { .. } => self.read(proc),
            Happening::Start { .. } => self.start(proc),
            Happening::HandlerEnd { serial, .. } => self.handler_end(proc, serial),
            Happening::Write { .. } => self.write(proc),
            Happening::Mischief { .. } => self.mischief(proc),
            Happening::Recover { .. } => self.recover(proc),
            Happening::Turn { .. }
            | Happening::Call
            | Happening::SpawnDone { .. }
            | Happening::Signal { .. }
            | Happening::LetGo { .. }
            | Happening::Nemesis => {}
        }
    }

    fn boot(&mut self, proc: usize) {
        match self.procs[proc].sort {
            Sort::NeverSaysHello => {}
            Sort::DiesAtBoot { code } => self.die(proc, ExitStatus::Code(code)),
            _ => self.read_soon(proc),
        }
    }

    pub(crate) fn read_soon(&mut self, proc: usize) {
        if !self.procs[proc].is_reading_soon {
            self.procs[proc].is_reading_soon = true;
            self.soon(Happening::Read { proc });
        }
    }

    pub(crate) fn write_soon(&mut self, proc: usize) {
        if !self.procs[proc].is_writing_soon {
            self.procs[proc].is_writing_soon = true;
            self.soon(Happening::Write { proc });
        }
    }

    fn read(&mut self, proc: usize) {
        self.procs[proc].is_reading_soon = false;
        if self.procs[proc].habits.is_deaf {
            return;
        }
        if self.procs[proc].down.is_at_end() {
            // The supervisor is gone: the library ends the process.
            return self.die(proc, ExitStatus::Code(0));
        }
        let most = if self.rng.u8(..4) == 0 { self.rng.usize(1..64) } else { usize::MAX };
        if self.procs[proc].session.is_some() {
            self.read_frames(proc, most);
        } else {
            self.read_hello(proc, most);
        }
        if self.procs[proc].is_running()
            && (self.procs[proc].down.len() > 0 || self.procs[proc].down.is_closed_by_writer())
        {
            self.read_soon(proc);
        }
        if self.procs[proc].desk.outbox.pending() > 0 {
            self.wake_loop();
        }
    }

    fn read_hello(&mut self, proc: usize, most: usize) {
        let process = &mut self.procs[proc];
        process.down.read(most, |bytes| process.inbox.push(bytes));
        let hello = match process.inbox.next_frame() {
            Ok(Some(frame)) => ToWorker::decode(frame).map_err(|error| error.to_string()),
            Ok(None) => return,
            Err(error) => Err(error.to_string()),
        };
        let greeting = match hello {
            Ok(ToWorker::Hello(hello)) if hello.worker == *process.name && hello.slot == process.slot => {
                hello
            }
            other => {
                let text = format!("process {proc} was greeted with {other:?}");
                return self.accuse(Check::WorkerAgrees, || text);
            }
        };
        debug_assert_eq!(greeting.magic, MAGIC);
        let inbox = std::mem::replace(
            &mut process.inbox,
            Inbox::new(Limits::default(), ganger_protocol::Growth::AtOnce),
        );
        process.session = Some(Session::resuming(Limits::default(), inbox));
        process.beats = true;
        self.say_hello(proc);
        self.read_frames(proc, 0);
    }

    fn say_hello(&mut self, proc: usize) {
        let overstays = self.procs[proc].habits.overstays;
        let sort = self.procs[proc].sort;
        let Some(session) = &mut self.procs[proc].session else { return };
        session.expect_hooks(usize::from(overstays));
        let version = if sort == Sort::WrongVersion { VERSION + 8 } else { VERSION };
        let hello = WorkerHello { magic: MAGIC, version, pid: 1, library: String::from("model") };
        if sort == Sort::BadManners {
            session.outbox().frame(Kind::Busy, &(), Body::Copy(&[]));
        }
        session.outbox().frame(Kind::WorkerHello, &hello, Body::Copy(&[]));
        if sort == Sort::BadManners {
            session.outbox().frame(Kind::WorkerHello, &hello, Body::Copy(&[]));
        }
        self.write_soon(proc);
        if sort != Sort::NeverReady {
            let delay = if self.rng.bool() {
                Duration::from_micros(self.rng.u64(..50))
            } else {
                Duration::from_micros(self.rng.u64(..20_000))
            };
            self.after(delay, Happening::Readiness { proc });
        }
        if sort.acts_up() {
            let delay = Duration::from_micros(self.rng.u64(..200_000));
            self.after(delay, Happening::Mischief { proc });
        }
    }

    /// Ready when it was not, and then again with another capacity at times; busy for a while when the plan says so.
    fn change_readiness(&mut self, proc: usize) {
        let wants_busy = self.is_noisy() && self.chance(self.plan.faults.busy * 10);
        let changes = self.is_noisy() && self.plan.faults.busy > 0;
        if changes && self.rng.u8(..4) == 0 {
            self.procs[proc].capacity = self.rng.u32(1..=self.plan.capacity_max);
        }
        let process = &mut self.procs[proc];
        let (wants_hard_kill, capacity) = (process.habits.wants_warning, process.capacity);
        let capacity = match process.sort {
            Sort::BadCapacity if self.rng.bool() => 0,
            Sort::BadCapacity => Page::SLOTS as u32 + 1,
            _ => capacity,
        };
        let Some(session) = &mut process.session else { return };
        if wants_busy {
            session.busy();
            process.welcomes = 0;
        } else {
            session.ready(Ready { capacity, wants_hard_kill });
            process.welcomes = capacity;
        }
        if wants_busy || changes {
            let delay = Duration::from_micros(self.rng.u64(..100_000));
            self.after(delay, Happening::Readiness { proc });
        }
        self.write_soon(proc);
        self.start_soon(proc);
    }

    fn read_frames(&mut self, proc: usize, most: usize) {
        let now = self.now();
        let process = &mut self.procs[proc];
        let Some(session) = &mut process.session else { return };
        process.down.read(most, |bytes| session.inbox().push(bytes));
        match session.take_in(now) {
            Ok(notices) => {
                for notice in notices {
                    self.heed(proc, &notice);
                }
                self.heed_cancels(proc);
                self.start_soon(proc);
                self.leave_if_due(proc);
            }
            Err(error) => {
                self.accuse(Check::WorkerAgrees, || {
                    format!("process {proc} refused its supervisor: {error}")
                });
            }
        }
    }

    fn heed(&mut self, proc: usize, notice: &Notice) {
        match notice {
            Notice::Event { .. } | Notice::Drain | Notice::Call(_) | Notice::CallAnswer(_) => {}
            Notice::StoreReply(_) | Notice::StoreChange(_) => {}
            Notice::HardKill => {
                if self.rng.bool() {
                    self.kernel_signal(proc, Signal::Kill);
                }
            }
        }
    }

    fn heed_cancels(&mut self, proc: usize) {
        let process = &mut self.procs[proc];
        let Some(session) = &process.session else { return };
        if process.runs.is_empty() {
            return;
        }
        let cancels = session.cancels();
        let mut ending = Vec::new();
        for run in &mut process.runs {
            if run.heeds_cancel && !run.was_cancelled && cancels.has(run.ticket) {
                run.was_cancelled = true;
                run.end = RunEnd::Fails(RetryHint::AsConfigured);
                ending.push(run.serial);
            }
        }
        for serial in ending {
            self.soon(Happening::HandlerEnd { proc, serial });
        }
    }

    pub(crate) fn start_soon(&mut self, proc: usize) {
        let process = &mut self.procs[proc];
        let Some(session) = &mut process.session else { return };
        if session.can_start(&process.page) {
            self.soon(Happening::Start { proc });
        }
    }

    /// Starts one request, if there is one and room for it.
    pub(crate) fn start(&mut self, proc: usize) {
        let now = self.now();
        let process = &mut self.procs[proc];
        let Some(session) = &mut process.session else { return };
        match session.start_next(&process.page, now) {
            Ok(Some(started)) => self.handler_called(proc, &started),
            Ok(None) => {}
            Err(_) if !process.sort.is_truthful() => return self.die(proc, ExitStatus::Code(1)),
            Err(error) => {
                self.accuse(Check::OrdinalsFollow, || format!("process {proc} refused a request: {error}"));
            }
        }
        self.start_soon(proc);
    }

    /// Between the start mark and the handler's first line.
    pub(crate) fn handler_called(&mut self, proc: usize, started: &Started) {
        let now = self.now();
        let request = &started.request;
        let job = job_index(request.job);
        let attempt = self.ledger.attempt_of(job, request.epoch).filter(|found| {
            let attempt = &self.ledger.attempts[*found];
            attempt.proc == proc && attempt.ordinal == request.ordinal && attempt.number == request.attempt
        });
        self.trace.note(now, 10, proc as u64, job as u64, || {
            format!("process {proc} starts job {job} as {:?} {:?}", request.ordinal, request.epoch)
        });
        match attempt {
            Some(attempt) => self.ledger.mark(&mut self.court, now, attempt),
            None => self.accuse(Check::WorkerAgrees, || {
                format!("process {proc} got a request that nobody sent: {request:?}")
            }),
        }
        let (runs, welcomes) = (self.procs[proc].runs.len(), self.procs[proc].welcomes);
        self.court.demand(runs < welcomes as usize, Check::StartsInFreeSlots, || {
            format!("process {proc} starts job {job} beside {runs} others with room for {welcomes}")
        });
        let facts = self.jobs[job];
        let as_sent =
            request.payload == payload(job, facts.payload_len) && request.run_timeout == facts.run_timeout;
        self.court
            .demand(as_sent, Check::WorkerAgrees, || format!("job {job}'s request was damaged on its way"));
        if facts.has_attachments {
            self.say_taken(proc, started);
        }
        let end = self.draw_end(facts.script);
        self.run_serial += 1;
        let run = Run {
            serial: self.run_serial,
            ticket: started.ticket,
            attempt,
            end,
            heeds_cancel: self.rng.bool(),
            was_cancelled: false,
        };
        self.procs[proc].runs.push(run);
        self.report(proc, run);
        self.schedule_handler_end(proc, run, facts.run_mean);
    }

    /// As the library does; there are no descriptors in a model.
    fn say_taken(&mut self, proc: usize, started: &Started) {
        let taken = Taken { ordinal: started.request.ordinal, epoch: started.request.epoch };
        if let Some(session) = &mut self.procs[proc].session {
            session.outbox().frame(Kind::Taken, &taken, Body::Copy(&[]));
        }
        self.write_soon(proc);
    }

    /// Some handlers report how far they are.
    fn report(&mut self, proc: usize, run: Run) {
        let Some(attempt) = run.attempt.filter(|attempt| attempt % 8 == 0) else { return };
        let now = self.now();
        let Some(session) = self.procs[proc].session.as_mut() else { return };
        let report = (attempt as u64).to_be_bytes();
        // One that comes too soon after others is refused, which is nothing to a handler.
        if session.progress(run.ticket, Body::Copy(&report), now).is_ok() {
            self.write_soon(proc);
        }
    }

    fn draw_end(&mut self, script: Script) -> RunEnd {
        let replies = RunEnd::Replies { large: self.rng.u16(..500) == 0 };
        let fails = RunEnd::Fails(match self.rng.u8(..6) {
            0 => RetryHint::Again,
            1 => RetryHint::Never,
            _ => RetryHint::AsConfigured,
        });
        match script {
            Script::Works if self.rng.u8(..16) == 0 => RunEnd::Acknowledges,
            Script::Works => replies,
            Script::Kills => RunEnd::Dies,
            Script::MayKill if self.rng.bool() => RunEnd::Dies,
            Script::MayFail if self.rng.bool() => fails,
            Script::MayKill | Script::MayFail => replies,
            Script::Fails => fails,
            Script::Hangs if self.stage == Stage::Noise => RunEnd::Never,
            Script::Hangs => replies,
        }
    }

    fn schedule_handler_end(&mut self, proc: usize, run: Run, mean: Duration) {
        if run.end == RunEnd::Never {
            return;
        }
        let delay = match self.rng.u8(..4) {
            0 => Duration::from_nanos(self.rng.u64(..2_000)),
            _ => mean.mul_f64(self.rng.f64() * 2.0),
        };
        self.after(delay, Happening::HandlerEnd { proc, serial: run.serial });
    }

    fn handler_end(&mut self, proc: usize, serial: u64) {
        let process = &mut self.procs[proc];
        let Some(at) = process.runs.iter().position(|run| run.serial == serial) else { return };
        let run = process.runs.swap_remove(at);
        if run.end == RunEnd::Dies {
            process.runs.push(run);
            return self.die(proc, ExitStatus::Signal(6));
        }
        self.answer(proc, run);
        self.court.demand(self.procs[proc].shows_what_runs(), Check::PageIsTrue, || {
            format!("process {proc} does not show in its page what it runs")
        });
        self.write_soon(proc);
        self.start_soon(proc);
        self.leave_if_due(proc);
    }

    fn answer(&mut self, proc: usize, run: Run) {
        let now = self.now();
        let (job, epoch) = run.attempt.map_or((0, 0), |attempt| {
            let attempt = &self.ledger.attempts[attempt];
            (attempt.job, attempt.epoch.0)
        });
        let failure = Failure::new(format!("job {job} failed in epoch {epoch} at process {proc}"));
        let process = &mut self.procs[proc];
        let Some(session) = &mut process.session else { return };
        let said = match run.end {
            RunEnd::Replies { large } => {
                let bytes = reply(job, epoch, proc, large);
                session.answer(&process.page, run.ticket, Outcome::Data(Body::Copy(&bytes)), now);
                hash_bytes(&bytes)
            }
            RunEnd::Acknowledges => {
                session.answer(&process.page, run.ticket, Outcome::Ack, now);
                hash_bytes(&[])
            }
            RunEnd::Fails(hint) => {
                let failure = failure.with_retry(hint);
                session.answer(&process.page, run.ticket, Outcome::Failed(&failure), now);
                hash_failure(&failure)
            }
            RunEnd::Dies | RunEnd::Never => return,
        };
        let whole_at = process.up.written() + session.pending() as u64;
        self.trace.note(now, 11, proc as u64, job as u64, || {
            format!("process {proc} ends job {job} epoch {epoch}: {:?}", run.end)
        });
        if let Some(attempt) = run.attempt {
            let attempt = &mut self.ledger.attempts[attempt];
            attempt.is_running = false;
            attempt.said.push((said, whole_at));
        }
    }

    pub(crate) fn leave_if_due(&mut self, proc: usize) {
        let process = &mut self.procs[proc];
        let Some(session) = &mut process.session else { return };
        if session.goodbye_due(&process.page) && !session.has_left() {
            session.leave();
            self.write_soon(proc);
        }
    }

    fn write(&mut self, proc: usize) {
        self.procs[proc].is_writing_soon = false;
        let most = if self.rng.u8(..4) == 0 { self.rng.usize(1..64) } else { usize::MAX };
        let written = self.write_some(proc, most);
        if written > 0 {
            self.wake_loop();
        }
        let Some(session) = &self.procs[proc].session else { return };
        let (pending, has_left) = (session.pending(), session.has_left());
        if pending > 0 && written > 0 {
            self.write_soon(proc);
        }
        if pending == 0 && has_left && self.rng.u8(..4) != 0 {
            self.die(proc, ExitStatus::Code(0));
        } else if pending == 0 && has_left {
            // It says goodbye and takes its time.
            self.after(Duration::from_millis(3), Happening::Write { proc });
        }
    }

    /// Writes at most `most` bytes into the link.
    pub(crate) fn write_some(&mut self, proc: usize, most: usize) -> usize {
        let process = &mut self.procs[proc];
        let Some(session) = &mut process.session else { return 0 };
        if process.up.is_closed_by_writer() {
            return 0;
        }
        let mut left = most;
        let up = &mut process.up;
        let flushed = session.outbox().flush(|pieces| {
            let piece = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| &piece[..]);
            let count = up.write(&piece[..piece.len().min(left)]);
            left -= count;
            if count == 0 { Err(std::io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
        });
        debug_assert!(flushed.is_ok());
        most - left
    }
}

/// The argument of a job.
pub(crate) fn payload(job: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ job) as u8).collect()
}

fn reply(job: usize, epoch: u32, proc: usize, large: bool) -> Vec<u8> {
    let mut bytes = format!("job {job} epoch {epoch} process {proc}").into_bytes();
    if large {
        bytes.resize(50_000, 7);
    }
    bytes
}
