//! Taking in: what the system says about the workers becomes inputs of the scheduler.

use std::os::fd::AsRawFd;

use ganger_protocol::{End, Taken};
use log::Level;
use rustix::process::Signal;

use super::config::{LAST_WORDS, OUTPUT_BUDGET};
use super::ear::Heard;
use super::link::{Link, Offence, Reading as LinkReading};
use super::output::{Pipe, Reading, Stream};
use super::turn::{BELL, Happened, SIGNALS, Turn, WRITTEN_OFF};
use super::worker::{Attention, Body, Life, Source, of_token, token};
use crate::event::Event;
use crate::metrics::Seat;
use crate::relay::{Input as Relayed, Origin, Request, Target};
use crate::scheduler::{Exit, ExitStatus, Input, WorkerKey};

impl Turn {
    /// Links come first, so that a reply beats its worker's exit and its job's timeout; then commands, whose bell
    /// is silent by now; then ends; then timers.
    pub(super) fn take_in(&mut self) {
        self.system.rested(self.now);
        let mut happened = std::mem::take(&mut self.system.happened);
        for one in &happened {
            self.take_in_event(*one);
        }
        self.take_in_commands();
        for one in &happened {
            self.take_in_end(*one);
        }
        happened.clear();
        self.system.happened = happened;
        if self.scheduler.poll_timeout().is_some_and(|due| due <= self.now) {
            self.scheduler.handle_timeout(self.now);
        }
        if self.counter.poll_timeout().is_some_and(|due| due <= self.now) {
            self.counter.handle_timeout(self.now);
        }
        if self.relay.poll_timeout().is_some_and(|due| due <= self.now) {
            self.relay.handle_timeout(self.now);
        }
    }

    fn take_in_event(&mut self, happened: Happened) {
        match happened.token {
            BELL | WRITTEN_OFF => {}
            SIGNALS => {
                if let Some(signals) = &mut self.signals {
                    signals.take_in(&self.shared);
                }
            }
            named => match of_token(named) {
                (worker, Source::Link) => self.take_in_link(worker, happened),
                (worker, Source::Stdout) => self.take_in_output(worker, Stream::Stdout),
                (worker, Source::Stderr) => self.take_in_output(worker, Stream::Stderr),
                (_, Source::Process) => {}
            },
        }
    }

    fn take_in_end(&mut self, happened: Happened) {
        match happened.token {
            BELL | SIGNALS => {}
            WRITTEN_OFF => self.reap_written_off(),
            named => match of_token(named) {
                (worker, Source::Process) => self.end_process(worker),
                (_, Source::Link | Source::Stdout | Source::Stderr) => {}
            },
        }
    }

    /// Which of them has ended is asked of each: there are few.
    fn reap_written_off(&mut self) {
        let Turn { now, scheduler, written_off, .. } = self;
        written_off.retain_mut(|(group, process)| {
            let has_ended = process.reap().is_some();
            if has_ended {
                scheduler.handle_input(*now, Input::LeftoverEnded(*group));
            }
            !has_ended
        });
    }

    fn take_in_link(&mut self, worker: WorkerKey, happened: Happened) {
        if happened.is_writable {
            self.due(worker, Attention::Flush);
        }
        if !happened.is_readable {
            return;
        }
        let Some(link) = self.link_mut(worker) else { return };
        if happened.is_hung_up {
            link.hang_up();
        }
        let read = self.read_link(worker);
        self.retry_held_back(worker);
        match read {
            Ok(LinkReading::Drained) => {}
            Ok(LinkReading::More) => self.system.unfinished.push(happened.token),
            Ok(LinkReading::Resting(until)) => self.system.resting.push((until, happened.token)),
            Ok(LinkReading::Ended) => self.end_link(worker),
            Err(offence) => self.offend(worker, offence),
        }
    }

    /// Nobody tells when there is room in a hatch; but a worker that has made some says something.
    pub(super) fn retry_held_back(&mut self, worker: WorkerKey) {
        if self.link_mut(worker).is_some_and(|link| link.is_held_back()) {
            self.due(worker, Attention::Flush);
        }
    }

    fn link_mut(&mut self, worker: WorkerKey) -> Option<&mut Link> {
        self.workers.body_mut(worker)?.link.as_mut()
    }

    /// Reads what a worker says and hands it to the scheduler.
    fn read_link(&mut self, worker: WorkerKey) -> Result<LinkReading, Offence> {
        let Turn { now, scheduler, relay, workers, peer, metrics, counter, reports, .. } = self;
        let Some(record) = workers.worker_mut(worker) else { return Ok(LinkReading::Drained) };
        let name = record.name.clone();
        let seat = Seat { group: record.group, slot: record.slot };
        let Some(body) = &mut record.body else { return Ok(LinkReading::Drained) };
        let Some(link) = &mut body.link else { return Ok(LinkReading::Drained) };
        *peer = body.page.processor(End::Worker);
        let (mut emitted, mut misuse) = (Vec::new(), None);
        let read = link.read(*now, |heard| match heard {
            Heard::Input(input) => scheduler.handle_input(*now, input),
            Heard::Taken(Taken { ordinal, epoch }) => {
                let started = body.page.mark().started;
                scheduler.handle_input(*now, Input::Taken { worker, ordinal, epoch, started });
            }
            Heard::Readiness(input) => {
                relay.handle_input(*now, Relayed::Up(worker));
                scheduler.handle_input(*now, input);
            }
            Heard::Call { call, to, name, payload, timeout } => {
                let (from, payload) = (Origin::Worker { worker, call }, payload.into());
                relay.handle_input(*now, Relayed::Call(Request { from, to, name, payload, timeout }));
            }
            Heard::CallAnswer { number, reply } => {
                relay.handle_input(*now, Relayed::Answer { by: Target::Worker(worker), number, reply });
            }
            Heard::Emitted { name, payload } => emitted.push((name, payload)),
            Heard::Metrics(report) => metrics.hear(worker, seat, report),
            Heard::StoreOp(request) => misuse = misuse.or(counter.asked(*now, worker, *request).err()),
            Heard::StoreRefused { id, refusal } => counter.refused(worker, id, refusal),
            Heard::Progress(said) => reports.take_in(scheduler, worker, said),
        });
        for (event, payload) in emitted {
            self.publish(&Event::Custom { worker: name.clone(), name: event, payload });
        }
        if let Some(misuse) = misuse {
            return Err(Offence {
                reason: misuse.to_string(),
                shown: String::from("an operation on the store"),
            });
        }
        read
    }

    /// Closes a link that was read to its end.
    fn end_link(&mut self, worker: WorkerKey) {
        let Some(body) = self.workers.body_mut(worker) else { return };
        if let Some(link) = body.link.take() {
            self.system.unwatch(link.raw_fd());
            self.scheduler.handle_input(self.now, Input::LinkEnded(worker));
            self.tell_relay(Relayed::Gone(worker));
        }
    }

    /// Nothing more is heard from a worker that broke the protocol: its link is at its end.
    fn offend(&mut self, worker: WorkerKey, offence: Offence) {
        let Some(record) = self.workers.worker_mut(worker) else { return };
        let name = record.name.clone();
        let Offence { reason, shown } = offence;
        self.shared.courier.note(Level::Error, || {
            format!("worker {name} broke the protocol: {reason}; the frame begins with {shown}")
        });
        self.scheduler.handle_input(self.now, Input::Violation { worker, reason });
        self.end_link(worker);
    }

    fn take_in_output(&mut self, worker: WorkerKey, stream: Stream) {
        match self.with_pipe(worker, stream, |pipe, tell| pipe.read(OUTPUT_BUDGET, tell)) {
            None | Some(Reading::Drained) => {}
            Some(Reading::More) => self.system.unfinished.push(token(worker, source_of(stream))),
            Some(Reading::Ended) => self.close_output(worker, stream),
        }
    }

    /// Lets `read` read a worker's pipe; the lines go to the log, those of standard error into the tail, too.
    fn with_pipe(
        &mut self,
        worker: WorkerKey,
        stream: Stream,
        read: impl FnOnce(&mut Pipe, &mut dyn FnMut(String)) -> Reading,
    ) -> Option<Reading> {
        let record = self.workers.worker_mut(worker)?;
        let (name, courier) = (&record.name, &self.shared.courier);
        let Body { stdout, stderr, tail, .. } = record.body.as_mut()?;
        let mut tell = |line: String| {
            if stream == Stream::Stderr {
                tail.push(line.clone());
            }
            courier.line(name, stream, line);
        };
        let pipe = match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        };
        pipe.as_mut().map(|pipe| read(pipe, &mut tell))
    }

    fn close_output(&mut self, worker: WorkerKey, stream: Stream) {
        let Some(body) = self.workers.body_mut(worker) else { return };
        let pipe = match stream {
            Stream::Stdout => body.stdout.take(),
            Stream::Stderr => body.stderr.take(),
        };
        if let Some(pipe) = pipe {
            self.system.unwatch(pipe.raw_fd());
        }
    }

    /// Reaps a process that has ended, and tells the scheduler all that is left of it.
    pub(super) fn end_process(&mut self, worker: WorkerKey) {
        let Some(body) = self.workers.body_mut(worker) else { return };
        if body.life == Life::Ended {
            return;
        }
        let Some(status) = body.process.reap() else { return };
        if let Some(pidfd) = body.process.pidfd() {
            self.system.unwatch(pidfd.as_raw_fd());
        }
        self.counter.gone(self.now, worker);
        let Some(body) = self.workers.body_mut(worker) else { return };
        let was_killed = std::mem::replace(&mut body.life, Life::Ended) == Life::Killed;
        let (started, running) = body.read_page();
        let is_sigkill = status == ExitStatus::Signal(Signal::KILL.as_raw());
        let oom_likely = is_sigkill && !was_killed && self.oom.has_risen();
        let exit = Exit { status, oom_likely, stderr_tail: self.last_words(worker) };
        self.scheduler.handle_input(self.now, Input::ProcessEnded { worker, exit, started, running });
    }

    /// What the pipes still hold. A grandchild may hold them open and write on: they are closed.
    fn last_words(&mut self, worker: WorkerKey) -> Vec<String> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.with_pipe(worker, stream, |pipe, tell| {
                pipe.read(LAST_WORDS, &mut *tell);
                pipe.end(tell)
            });
            self.close_output(worker, stream);
        }
        self.workers.body_mut(worker).map(|body| body.tail.take()).unwrap_or_default()
    }
}

fn source_of(stream: Stream) -> Source {
    match stream {
        Stream::Stdout => Source::Stdout,
        Stream::Stderr => Source::Stderr,
    }
}
