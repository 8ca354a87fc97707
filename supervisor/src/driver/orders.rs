//! Taking in: what callers and the spawner ask and report.

use std::os::fd::AsRawFd;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::Sender;
use ganger_protocol::{Body as Payload, EventHead, Hatch, Kind};
use log::Level;

use super::StartFailure;
use super::config::{COMMANDS_PER_TURN, OUTBOX_EVENTS};
use super::link::Link;
use super::output::{Pipe, Tail};
use super::spawn::{Birth, Newborn};
use super::spawn_error::temporary;
use super::turn::{System, Turn};
use super::worker::{Attention, Body, Life, Source, token};
use crate::command::Command;
use crate::relay::Input as Relayed;
use crate::scheduler::{Backlog, GroupIndex, Input, SpawnFailure, Standstill, WorkerKey};
use crate::slot::JobSlot;

impl Turn {
    pub(super) fn take_in_commands(&mut self) {
        for _ in 0..COMMANDS_PER_TURN {
            let Ok(command) = self.shared.arrivals().try_recv() else { break };
            self.obey(command);
            // At once, so that what its caller asks next finds it done.
            self.release_held();
        }
        self.release_held();
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Enqueue(slot) => self.enqueue(&slot),
            Command::Cancel(slot) => {
                if let Some(job) = slot.place().and_then(|place| self.scheduler.job_at(place, slot.id())) {
                    self.input(Input::Cancel(job));
                }
            }
            Command::Feed(slot, feeder) => self.feed(&slot, feeder),
            Command::Resize { group, workers } => self.input(Input::Resize { group, workers }),
            Command::Rollout { group, terms, program, teller, reply } => {
                let edition = self.scheduler.roll_out(self.now, group, terms);
                self.editions.add(group, edition, program.map(|program| *program), teller);
                let _ = reply.try_send(edition);
            }
            Command::CancelRollout { group, edition } => self.input(Input::CancelRollout { group, edition }),
            Command::ShutdownWorker { name, grace, reply } => {
                let worker = self.scheduler.worker(&name);
                if let Some(worker) = worker {
                    self.input(Input::ShutdownWorker { worker, grace });
                }
                let _ = reply.try_send(worker.is_some());
            }
            Command::Revive { name, reply } => {
                let place = self.scheduler.place(&name);
                let found = place.map(|(group, slot)| self.scheduler.standstill(group, slot));
                if let (Some((group, slot)), Some(Standstill::Down)) = (place, found) {
                    self.input(Input::Revive { group, slot });
                }
                let _ = reply.try_send(found);
            }
            Command::SoftKill { deadline, backlog } => self.hold(deadline, backlog),
            Command::HardKill => {
                self.held = None;
                self.input(Input::HardKill);
            }
            Command::Broadcast { group, name, payload, reply } => {
                self.broadcast(group, &name, &payload, reply.as_ref());
            }
            Command::Snapshot(reply) => {
                let _ = reply.try_send(self.scheduler.snapshot());
            }
            Command::Publish(event) => self.publish(&event),
            Command::Figures(reply) => {
                let _ = reply.try_send(Box::new(self.figures()));
            }
            Command::Explain { group, reply } => {
                let _ = reply.try_send(self.scheduler.explain(group));
            }
            Command::Call(parcel, ticket) => self.take_in_call(*parcel, ticket),
            Command::Served { number, reply } => self.take_in_served(number, reply),
            Command::CountCalls(reply) => {
                let _ = reply.try_send(self.call_counts());
            }
            Command::Subscribe(subscriber) => self.subscribers.push(subscriber),
            Command::Store(order) => self.take_in_store_order(*order),
            Command::Born(birth) => self.take_in_birth(*birth),
        }
    }

    fn input(&mut self, input: Input) {
        self.scheduler.handle_input(self.now, input);
    }

    fn enqueue(&mut self, slot: &JobSlot) {
        self.known_jobs += 1;
        let job = self.scheduler.enqueue(self.now, slot.group(), slot.clone(), slot.enqueued());
        slot.set_place(job.place());
    }

    /// Of several soft kills that wait together the sooner deadline counts, and the backlog settles if any says so.
    fn hold(&mut self, deadline: Duration, backlog: Backlog) {
        self.held = Some(match self.held {
            None => (deadline, backlog),
            Some((other, Backlog::WorkOff)) => (deadline.min(other), backlog),
            Some((other, Backlog::Settle)) => (deadline.min(other), Backlog::Settle),
        });
    }

    /// A soft kill begins when every job that was admitted before the gate closed has arrived: those are to be
    /// worked off, too.
    fn release_held(&mut self) {
        let Some((deadline, backlog)) = self.held else { return };
        if self.shared.admission.jobs() <= self.known_jobs {
            self.held = None;
            self.input(Input::SoftKill { deadline, backlog });
        }
    }

    fn broadcast(
        &mut self,
        group: Option<GroupIndex>,
        name: &str,
        payload: &Bytes,
        reply: Option<&Sender<usize>>,
    ) {
        let mut reached = Vec::new();
        let head = EventHead { name: name.into() };
        if payload.len() <= self.limits.event {
            for worker in self.workers.iter_mut().filter(|worker| group.is_none_or(|it| it == worker.group)) {
                let Some(link) = worker.body.as_mut().and_then(|body| body.link.as_mut()) else { continue };
                if link.pending() > OUTBOX_EVENTS {
                    let name = worker.name.clone();
                    let note = || format!("worker {name} does not read: an event for it was dropped");
                    self.shared.courier.note(Level::Warn, note);
                    continue;
                }
                link.send(Kind::SupervisorEvent, &head, Payload::Share(payload.clone()));
                reached.push(worker.key);
            }
        }
        if let Some(reply) = reply {
            let _ = reply.try_send(reached.len());
        }
        for worker in reached {
            self.due(worker, Attention::FlushAndRing);
        }
    }

    fn take_in_birth(&mut self, birth: Birth) {
        let Birth { worker, group, result } = birth;
        if self.workers.worker_mut(worker).is_none() {
            return self.take_in_late_birth(group, result);
        }
        match result.and_then(|newborn| self.adopt(worker, newborn)) {
            Ok(pid) => {
                self.first.passed();
                self.input(Input::Spawned { worker, pid });
                self.end_process_without_pidfd(worker);
            }
            Err(error) => self.miscarry(worker, error),
        }
    }

    /// Buried before it was born, because that took too long.
    fn take_in_late_birth(&mut self, group: GroupIndex, result: Result<Newborn, SpawnFailure>) {
        self.first.passed();
        match result {
            Ok(newborn) => {
                newborn.process.kill();
                self.write_off(group, newborn.process);
            }
            Err(_) => self.input(Input::LeftoverEnded(group)),
        }
    }

    fn miscarry(&mut self, worker: WorkerKey, error: SpawnFailure) {
        self.tell_relay(Relayed::Gone(worker));
        let record = self.workers.remove(worker);
        match (&error, record) {
            (SpawnFailure::Permanent(reason), Some(record)) => {
                self.fail_start(StartFailure::Program { group: record.group, reason: reason.clone() });
            }
            (SpawnFailure::Temporary(_), _) | (SpawnFailure::Permanent(_), None) => self.first.passed(),
        }
        self.input(Input::SpawnFailed { worker, error });
    }

    /// Connects a new process with its worker's record, and says its pid.
    fn adopt(&mut self, worker: WorkerKey, newborn: Newborn) -> Result<u32, SpawnFailure> {
        let Newborn { process, socket, page, pool, bell, hatch, statm, stdout, stderr } = newborn;
        let hatch = Hatch::new(hatch);
        let pid = process.pid();
        let link = Link::new(worker, socket, self.limits, self.now);
        let link = link.offering(pool).opening(hatch).allowing(self.store_ops_per_second, self.now);
        let body = Body {
            process,
            link: Some(link),
            page,
            bell,
            statm,
            stdout,
            stderr,
            tail: Tail::default(),
            life: Life::Running,
            attention: Attention::None,
        };
        watch(&self.system, worker, &body).map_err(|error| temporary("watch the process", &error))?;
        if let Some(record) = self.workers.worker_mut(worker) {
            record.body = Some(body);
        }
        self.counter.born(worker);
        Ok(pid)
    }

    /// Without a pidfd nothing will tell that the process has ended: it has.
    fn end_process_without_pidfd(&mut self, worker: WorkerKey) {
        if self.workers.body_mut(worker).is_some_and(|body| body.process.pidfd().is_none()) {
            self.end_process(worker);
        }
    }
}

fn watch(system: &System, worker: WorkerKey, body: &Body) -> std::io::Result<()> {
    let link = body.link.as_ref().map(|link| (link.raw_fd(), Source::Link));
    let stdout = body.stdout.as_ref().map(|pipe: &Pipe| (pipe.raw_fd(), Source::Stdout));
    let stderr = body.stderr.as_ref().map(|pipe: &Pipe| (pipe.raw_fd(), Source::Stderr));
    let process = body.process.pidfd().map(|pidfd| (pidfd.as_raw_fd(), Source::Process));
    let all = [link, stdout, stderr, process];
    all.into_iter().flatten().try_for_each(|(fd, source)| system.watch(fd, token(worker, source)))
}
