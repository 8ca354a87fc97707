//! The fake driver: one turn of the supervisor's loop, with every order and every cut that a real one may meet.

use ganger::internals::{Exit, ExitStatus, GroupIndex, Input, Reply, SpawnFailure};
use ganger_protocol::{
    Answered as Wire, Body, Failure, FrameError, Kind, MAGIC, Ordinal, Page, Slot, SupervisorHello, Time,
    ToSupervisor, VERSION, decode,
};

use super::calendar::{Happening, Signal};
use super::check::Check;
use super::process::{Life, Process, SpawnAnswer};
use super::world::World;

/// What came in after the timers were looked at may be due at once; but not for ever.
const MOST_SPINS: u32 = 30;

#[derive(Clone, Copy)]
enum Source {
    Commands,
    Processes,
    Time,
}

impl World {
    /// Take in, act, flush: in the order of the real loop, but for the sources, which are in any.
    pub(crate) fn turn(&mut self) {
        let now = self.now();
        self.turn_at = Time::NEVER;
        self.trace.note(now, 20, 0, 0, || String::from("turn"));
        let mut sources = [Source::Commands, Source::Processes, Source::Time];
        self.rng.shuffle(&mut sources);
        if self.has_orphaned_link() {
            // What is in a link must be read before the grace for it can be over, as the real loop does.
            sources = [Source::Commands, Source::Processes, Source::Time];
        }
        for source in sources {
            match source {
                Source::Commands => self.take_in_commands(),
                Source::Processes => self.take_in_processes(),
                Source::Time => self.take_in_time(),
            }
        }
        self.act();
        self.flush();
        self.last_turn = now;
        if self.court.is_clear() {
            self.check_turn();
        }
        self.next_turn();
    }

    fn has_orphaned_link(&self) -> bool {
        self.live.iter().any(|proc| {
            let told = &self.procs[*proc].told;
            told.process_ended.is_some() != told.link_ended.is_some()
        })
    }

    fn next_turn(&mut self) {
        let Some(due) = self.scheduler.poll_timeout() else { return };
        let now = self.now();
        let late = std::time::Duration::from_nanos(self.rng.u64(..200_000));
        self.spins = if due <= now { self.spins + 1 } else { 0 };
        self.court.demand(self.spins < MOST_SPINS, Check::LoopNeverSpins, || {
            format!(
                "at {now:?} the scheduler wants to be called again at {due:?}, for the {MOST_SPINS}th time"
            )
        });
        self.turn_by(due.max(now) + late);
    }

    fn take_in_time(&mut self) {
        let now = self.now();
        if self.scheduler.poll_timeout().is_some_and(|due| due <= now) {
            self.note_deadline_of_the_soft_kill();
            self.note_ripe_culprits();
            self.scheduler.handle_timeout(now);
        }
    }

    fn take_in_processes(&mut self) {
        let mut live = self.live.clone();
        self.rng.shuffle(&mut live);
        for proc in live {
            if self.rng.bool() {
                self.take_in_process(proc);
                self.take_in_link(proc);
            } else {
                self.take_in_link(proc);
                self.take_in_process(proc);
            }
        }
    }

    fn take_in_process(&mut self, proc: usize) {
        if self.procs[proc].desk.is_buried {
            return self.take_in_leftover(proc);
        }
        match self.procs[proc].desk.spawn_answer.take() {
            Some(answer) => self.take_in_spawn(proc, answer),
            None => self.take_in_death(proc),
        }
    }

    fn take_in_spawn(&mut self, proc: usize, answer: SpawnAnswer) {
        let now = self.now();
        let worker = self.procs[proc].worker;
        let input = match answer {
            SpawnAnswer::Started => {
                self.procs[proc].told.spawned = Some(now);
                self.procs[proc].told.beat_seen = now;
                self.greet(proc);
                Input::Spawned { worker, pid: Process::pid(proc) }
            }
            SpawnAnswer::FailedForNow => {
                Input::SpawnFailed { worker, error: SpawnFailure::Temporary("no process for now".into()) }
            }
            SpawnAnswer::FailedForGood => {
                Input::SpawnFailed { worker, error: SpawnFailure::Permanent("no such program".into()) }
            }
        };
        self.trace
            .note(now, 21, proc as u64, answer as u64, || format!("spawner: process {proc} {answer:?}"));
        if answer != SpawnAnswer::Started {
            self.procs[proc].told.spawn_failed = true;
            self.note_spawn_failed(proc, answer == SpawnAnswer::FailedForGood);
        }
        self.scheduler.handle_input(now, input);
    }

    /// A process that had been given up is there at last, or at its end.
    fn take_in_leftover(&mut self, proc: usize) {
        let now = self.now();
        if self.procs[proc].desk.spawn_answer.take() == Some(SpawnAnswer::Started) {
            self.wants_signal(proc, Signal::Kill);
        }
        let process = &mut self.procs[proc];
        let has_ended = matches!(process.life, Life::Zombie(_) | Life::None);
        if !has_ended || !std::mem::take(&mut process.desk.is_left_over) {
            return;
        }
        process.life = Life::Reaped;
        let group = process.group;
        self.trace.note(now, 26, proc as u64, 0, || format!("process {proc} has ended after all"));
        self.groups[group].note_leftover_ended(now);
        self.scheduler.handle_input(now, Input::LeftoverEnded(GroupIndex(group as u16)));
        self.forget_the_gone();
    }

    fn greet(&mut self, proc: usize) {
        let heartbeat = self.plan.config.groups[self.procs[proc].group].heartbeat;
        let process = &mut self.procs[proc];
        let hello = SupervisorHello {
            magic: MAGIC,
            version: VERSION,
            supervisor: 1,
            worker: process.name.to_string(),
            group: String::from("group"),
            slot: process.slot,
            payload_limit: 64 << 20,
            event_limit: 1 << 20,
            heartbeat_millis: heartbeat.as_millis() as u32,
            listeners: Vec::new(),
        };
        process.desk.outbox.frame_with_fds(Kind::SupervisorHello, 3, &hello, Body::Copy(&[]));
    }

    /// The pidfd is readable: the page is final.
    fn take_in_death(&mut self, proc: usize) {
        let now = self.now();
        let process = &mut self.procs[proc];
        let Life::Zombie(status) = process.life else { return };
        if process.desk.has_ended_process || process.told.spawned.is_none() {
            return;
        }
        process.desk.has_ended_process = true;
        process.life = Life::Reaped;
        let started = process.started();
        let running: Vec<Slot> = process.page.slots().collect();
        process.told.process_ended = Some(now);
        process.told.final_started = started;
        process.told.final_running = running.iter().map(|slot| slot.ordinal).collect();
        let exit = Exit { status, oom_likely: status == ExitStatus::Signal(9), stderr_tail: Vec::new() };
        self.trace.note(now, 22, proc as u64, 0, || {
            format!("process {proc} is reaped: {status:?}, {started:?}, {running:?}")
        });
        let worker = self.procs[proc].worker;
        self.judge_if_gone(proc);
        if !self.procs[proc].desk.is_buried {
            self.scheduler.handle_input(now, Input::ProcessEnded { worker, exit, started, running });
        }
    }

    /// Reads a link, all of it or a part, and says when it is at its end.
    fn take_in_link(&mut self, proc: usize) {
        let process = &self.procs[proc];
        if process.told.spawned.is_none() || process.desk.has_ended_link || process.desk.is_buried {
            return;
        }
        if process.up.len() > 0 {
            // A dead worker's link is read as far as it goes: its grace may be over.
            let in_part = process.told.process_ended.is_none() && self.rng.u8(..4) == 0;
            let most = if in_part { self.rng.usize(1..40) } else { usize::MAX };
            self.read_link(proc, most);
        }
        let process = &mut self.procs[proc];
        if process.up.is_at_end() {
            process.desk.has_ended_link = true;
            process.told.link_ended.get_or_insert(self.calendar.now());
            self.end_link(proc);
        } else if process.up.len() > 0 {
            self.wake_loop();
        }
    }

    fn read_link(&mut self, proc: usize, most: usize) {
        let Some(mut inbox) = self.procs[proc].desk.inbox.take() else {
            // After a violation bytes are read only to find the end.
            self.procs[proc].up.read(most, |_| {});
            return;
        };
        self.procs[proc].up.read(most, |bytes| inbox.push(bytes));
        if self.procs[proc].session.as_ref().is_some_and(|session| session.pending() > 0) {
            self.write_soon(proc);
        }
        loop {
            let input = match inbox.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => match ToSupervisor::decode(frame) {
                    Ok(message) => self.translate(proc, message),
                    Err(error) => Err(error.to_string()),
                },
                Err(error) => Err(FrameError::to_string(&error)),
            };
            if let Err(reason) = input {
                return self.violated(proc, reason);
            }
        }
        self.procs[proc].desk.inbox = Some(inbox);
    }

    fn violated(&mut self, proc: usize, reason: String) {
        let now = self.now();
        self.trace.note(now, 23, proc as u64, 0, || format!("process {proc} broke the protocol: {reason}"));
        self.procs[proc].desk.has_violated = true;
        self.procs[proc].told.violated = Some(now);
        let worker = self.procs[proc].worker;
        self.scheduler.handle_input(now, Input::Violation { worker, reason });
    }

    fn end_link(&mut self, proc: usize) {
        let now = self.now();
        self.trace.note(now, 24, proc as u64, 0, || format!("process {proc}'s link is at its end"));
        let worker = self.procs[proc].worker;
        self.judge_if_gone(proc);
        self.scheduler.handle_input(now, Input::LinkEnded(worker));
    }

    /// What is allowed in which state, and what it means.
    fn translate(&mut self, proc: usize, message: ToSupervisor<'_>) -> Result<(), String> {
        let now = self.now();
        let worker = self.procs[proc].worker;
        let said_hello = self.procs[proc].desk.said_hello;
        let input = match message {
            ToSupervisor::Hello(_) if said_hello => return Err(String::from("a second Hello")),
            ToSupervisor::Hello(hello) => {
                self.procs[proc].desk.said_hello = true;
                if hello.version == VERSION {
                    Input::Hello(worker)
                } else {
                    self.procs[proc].told.violated = Some(now);
                    self.note_wrong_version(proc);
                    Input::WrongVersion { worker, version: hello.version }
                }
            }
            _ if !said_hello => return Err(String::from("a message before its Hello")),
            ToSupervisor::Ready(ready) if ready.capacity == 0 || ready.capacity as usize > Page::SLOTS => {
                return Err(format!("a capacity of {}", ready.capacity));
            }
            ToSupervisor::Ready(ready) => {
                self.note_ready(proc, ready.capacity);
                Input::Ready { worker, capacity: ready.capacity, wants_hard_kill: ready.wants_hard_kill }
            }
            ToSupervisor::Busy => {
                self.procs[proc].told.is_busy = true;
                Input::Busy(worker)
            }
            ToSupervisor::Answer(answer) => {
                let reply = match answer.head.answered {
                    Wire::Ack => Reply::Data(Vec::new()),
                    Wire::Data => Reply::Data(answer.payload.into_vec()),
                    Wire::Failed => Reply::Failed(failure(&answer.payload.into_vec())?),
                };
                self.note_answer(proc, answer.head.ordinal, answer.head.epoch, &reply);
                let ran = std::time::Duration::from_nanos(answer.head.run_nanos);
                Input::Answer { worker, ordinal: answer.head.ordinal, epoch: answer.head.epoch, ran, reply }
            }
            ToSupervisor::Progress(head, payload) => {
                return self.note_progress(proc, head, &payload.into_vec());
            }
            ToSupervisor::Taken(taken) => {
                let started = self.procs[proc].started();
                Input::Taken { worker, ordinal: taken.ordinal, epoch: taken.epoch, started }
            }
            ToSupervisor::Health(report) => Input::Health { worker, failure: report.failure.map(Into::into) },
            // Calls and the store have worlds of their own, and metrics none.
            ToSupervisor::Event(..)
            | ToSupervisor::Call(..)
            | ToSupervisor::CallAnswer(..)
            | ToSupervisor::StoreOp(..)
            | ToSupervisor::Metrics(_) => return Ok(()),
            ToSupervisor::Goodbye => {
                self.procs[proc].told.said_goodbye = true;
                let told = &self.procs[proc].told;
                // It may have been decided in this very turn that it is to leave.
                let is_asked = told.drained.is_some() || self.may_be_drained_now(proc);
                if !(is_asked && told.held.is_empty()) && self.procs[proc].sort.is_truthful() {
                    self.procs[proc].told.violated = Some(now);
                }
                Input::Goodbye(worker)
            }
        };
        self.trace.note(now, 25, proc as u64, 0, || format!("process {proc} says {input:?}"));
        self.scheduler.handle_input(now, input);
        Ok(())
    }

    /// One write per worker.
    fn flush(&mut self) {
        for proc in self.live.clone() {
            let process = &mut self.procs[proc];
            if process.desk.outbox.is_empty() || process.told.spawned.is_none() || process.desk.is_buried {
                continue;
            }
            let mut left = if self.rng.u8(..16) == 0 { self.rng.usize(1..100) } else { usize::MAX };
            let down = &mut process.down;
            let flushed = process.desk.outbox.flush(|pieces| {
                let piece = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| &piece[..]);
                let count = down.write(&piece[..piece.len().min(left)]);
                left -= count;
                if count == 0 { Err(std::io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
            });
            debug_assert!(flushed.is_ok());
            let wants_more = left == 0 && process.desk.outbox.pending() > 0;
            if process.is_alive() && process.down.len() > 0 {
                self.read_soon(proc);
            }
            if wants_more {
                self.wake_loop();
            }
        }
    }

    /// The spawner comes to an order.
    pub(crate) fn spawn_done(&mut self, proc: usize) {
        let faults = self.plan.faults;
        let answer = if self.is_noisy() && self.chance(faults.spawn) {
            if self.rng.u8(..8) == 0 { SpawnAnswer::FailedForGood } else { SpawnAnswer::FailedForNow }
        } else {
            SpawnAnswer::Started
        };
        self.procs[proc].desk.spawn_answer = Some(answer);
        if answer == SpawnAnswer::Started {
            self.begin_process(proc);
        } else {
            self.procs[proc].life = Life::None;
        }
        self.wake_loop();
    }

    pub(crate) fn wants_signal(&mut self, proc: usize, signal: Signal) {
        if self.procs[proc].life != Life::Reaped {
            self.kernel_signal(proc, signal);
        }
    }

    /// What the page says, as the driver reads it.
    pub(crate) fn read_page(&self, proc: usize) -> (Ordinal, Vec<Slot>) {
        let page = &self.procs[proc].page;
        (page.mark().started, page.slots().collect())
    }

    pub(crate) fn boot_soon(&mut self, proc: usize) {
        let delay = match self.rng.u8(..8) {
            0 => std::time::Duration::from_micros(self.rng.u64(..100_000)),
            _ => std::time::Duration::from_micros(self.rng.u64(100..3_000)),
        };
        self.after(delay, Happening::Boot { proc });
    }
}

fn failure(bytes: &[u8]) -> Result<Failure, String> {
    decode(bytes).map_err(|error| error.to_string())
}
