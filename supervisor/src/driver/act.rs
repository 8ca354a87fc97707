//! Acting: what the scheduler wants is done, in order.

use std::borrow::Cow;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use ganger_protocol::{
    Body as Payload, Cancel, Epoch, Generation, Kind, LARGE_PAYLOAD, Ordinal, RequestHead, Time,
};
use serde::Serialize;

use super::process::Process;
use super::spawn::SpawnRequest;
use super::turn::{Turn, WRITTEN_OFF};
use super::worker::{Attention, Body, Life, Worker};
use crate::relay::Input as Relayed;
use crate::scheduler::{Action, GroupIndex, Input, JobKey, Outcome, WorkerKey};
use crate::slot::{JobSlot, Stage};

/// A request as the scheduler numbers it.
struct Numbers {
    ordinal: Ordinal,
    generation: Generation,
    epoch: Epoch,
    attempt: u16,
}

impl Turn {
    pub(super) fn act(&mut self) {
        while let Some(action) = self.scheduler.poll_action() {
            self.do_action(action);
        }
        self.act_store();
        self.act_for_relay();
        self.first.all_asked();
    }

    fn do_action(&mut self, action: Action<JobSlot>) {
        match action {
            Action::Spawn { worker, group, slot, name, edition } => {
                let blueprint = self.editions.blueprint(group, edition);
                self.spawn(SpawnRequest { worker, group, slot, name, blueprint });
            }
            Action::Send { worker, job, ordinal, generation, epoch, attempt } => {
                self.send(worker, job, &Numbers { ordinal, generation, epoch, attempt });
            }
            Action::Requeued(job) => {
                if let Some(slot) = self.scheduler.ticket(job) {
                    slot.set_stage(Stage::Queued);
                }
            }
            Action::Release(job) => {
                if let Some(slot) = self.scheduler.ticket(job) {
                    slot.release_attachments();
                }
            }
            Action::Cancel { worker, ordinal, epoch } => {
                self.say(worker, Kind::Cancel, &Cancel { ordinal, epoch });
            }
            Action::TakeBack(worker) => self.take_back(worker),
            Action::ReadPage(worker) => self.read_page(worker),
            Action::Sample(worker) => self.sample(worker),
            Action::Drain(worker) => {
                self.tell_relay(Relayed::Leaving(worker));
                self.say(worker, Kind::Drain, &());
            }
            Action::WarnHardKill(worker) => self.say(worker, Kind::HardKill, &()),
            Action::Terminate(worker) => {
                if let Some(body) = self.workers.body_mut(worker) {
                    body.process.terminate();
                }
            }
            Action::Kill(worker) => self.kill(worker),
            Action::Bury(worker) => self.bury(worker),
            Action::Complete { ticket, outcome } => self.complete(&ticket, outcome),
            Action::Admission { group, refuse } => self.shared.admission.gate(group, refuse),
            Action::Rollout { group, status } => self.editions.tell(group, &status),
            Action::Tell(event) => self.publish(&event),
            Action::Stopped => self.is_stopped = true,
        }
    }

    fn spawn(&mut self, request: SpawnRequest) {
        self.first.asked();
        let (key, group, slot) = (request.worker, request.group, request.slot);
        self.tell_relay(Relayed::Born { worker: key, name: Arc::clone(&request.name), group });
        self.workers.add(Worker { key, name: Arc::clone(&request.name), group, slot, body: None });
        // The spawner ends after the loop: it takes every request.
        let _ = self.spawner.send(request);
    }

    fn send(&mut self, worker: WorkerKey, job: JobKey, numbers: &Numbers) {
        let Some(slot) = self.scheduler.ticket(job) else {
            debug_assert!(false, "{job:?} is over, and yet to be sent");
            return;
        };
        let link = self.workers.body_mut(worker).and_then(|body| body.link.as_mut());
        if let Some(link) = link {
            let payload = match slot.payload() {
                large if large.len() >= LARGE_PAYLOAD => Payload::Share(slot.shared_payload()),
                small => Payload::Copy(small),
            };
            let head = request(slot, numbers, self.now);
            match slot.attachments() {
                None => link.send_request(&head, payload),
                Some(fds) => link.send_with(&head, payload, fds),
            }
        }
        // The worker of a link that has ended is judged when its process has: it held the job.
        slot.set_stage(Stage::Sent);
        self.due(worker, Attention::Flush);
    }

    /// Appends a message that must be heard even by a worker whose threads are all busy.
    fn say(&mut self, worker: WorkerKey, kind: Kind, head: &impl Serialize) {
        if let Some(link) = self.workers.body_mut(worker).and_then(|body| body.link.as_mut()) {
            link.send(kind, head, Payload::Copy(&[]));
            self.due(worker, Attention::FlushAndRing);
        }
    }

    fn take_back(&mut self, worker: WorkerKey) {
        if let Some(body) = self.workers.body_mut(worker) {
            let mark = body.page.take_back();
            self.scheduler.handle_input(self.now, Input::TakenBack { worker, mark });
        }
    }

    fn read_page(&mut self, worker: WorkerKey) {
        if let Some(body) = self.workers.body_mut(worker) {
            let (started, running) = body.read_page();
            self.scheduler.handle_input(self.now, Input::Page { worker, started, running });
        }
    }

    fn sample(&mut self, worker: WorkerKey) {
        if let Some(body) = self.workers.body_mut(worker) {
            let rss_bytes = body.statm.as_ref().and_then(|statm| statm.rss_bytes());
            let vitals = body.page.vitals();
            self.scheduler.handle_input(self.now, Input::Sample { worker, rss_bytes, vitals });
        }
        self.retry_held_back(worker);
    }

    fn kill(&mut self, worker: WorkerKey) {
        let Some(body) = self.workers.body_mut(worker) else { return };
        body.process.kill();
        if body.life == Life::Running {
            body.life = Life::Killed;
        }
    }

    /// Forgets a worker. A process that would not die is kept in mind, to be reaped if it does after all.
    fn bury(&mut self, worker: WorkerKey) {
        self.metrics.forget(worker);
        self.counter.gone(self.now, worker);
        self.tell_relay(Relayed::Gone(worker));
        let Some(Worker { group, body, .. }) = self.workers.remove(worker) else { return };
        // One that was given up while its process was being started is dealt with when that comes back.
        let Some(body) = body else { return };
        for fd in body.raw_fds() {
            self.system.unwatch(fd);
        }
        let Body { process, life, .. } = body;
        if life == Life::Ended {
            return;
        }
        if life == Life::Running {
            process.kill();
        }
        if let Some(pidfd) = process.pidfd() {
            self.system.unwatch(pidfd.as_raw_fd());
        }
        self.write_off(group, process);
    }

    /// Keeps a process in mind until it ends.
    pub(super) fn write_off(&mut self, group: GroupIndex, process: Process) {
        if let Some(pidfd) = process.pidfd()
            && self.system.watch(pidfd.as_raw_fd(), WRITTEN_OFF).is_ok()
        {
            self.written_off.push((group, process));
        } else {
            // It has ended, or nobody can tell.
            self.scheduler.handle_input(self.now, Input::LeftoverEnded(group));
        }
    }

    fn complete(&mut self, slot: &JobSlot, outcome: Outcome) {
        self.settled.jobs += 1;
        self.settled.bytes += slot.charge();
        self.known_jobs -= 1;
        if !self.reports.is_empty() {
            self.reports.end(slot.id());
        }
        self.settled.wakes.extend(slot.settle(outcome));
    }
}

fn request<'a>(slot: &'a JobSlot, numbers: &Numbers, now: Time) -> RequestHead<'a> {
    let run_timeout = slot.options().run_timeout;
    let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    RequestHead {
        ordinal: numbers.ordinal,
        generation: numbers.generation,
        epoch: numbers.epoch,
        attempt: numbers.attempt,
        job: slot.id(),
        age_nanos: nanos(now.since(slot.enqueued())),
        run_timeout_nanos: run_timeout.map(nanos),
        name: Cow::Borrowed(slot.name()),
        headers: slot
            .headers()
            .iter()
            .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
            .collect(),
    }
}
