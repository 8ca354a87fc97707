//! What each event of a worker means for it.

use std::sync::Arc;

use ganger_protocol::Time;

use super::ladder::Step;
use super::worker::{Ended, State};
use super::{Action, Event, Input, KillCause, Scheduler, Ticket, WorkerKey};

impl<T: Ticket> Scheduler<T> {
    /// One thing that happened to a worker, held against what the worker is doing.
    pub(super) fn worker_input(&mut self, key: WorkerKey, input: Input) {
        let Some(worker) = self.workers.get(key) else { return };
        let group = &mut self.groups[usize::from(worker.group.0)];
        if matches!(input, Input::Answer { .. } | Input::Taken { .. }) {
            // Most of what is heard, and nothing that the number of workers depends on.
            group.is_dirty = true;
        } else {
            group.unsettle();
        }
        match input {
            Input::Spawned { pid, .. } => self.on_spawned(key, pid),
            Input::SpawnFailed { error, .. } => self.on_spawn_failed(key, error),
            Input::Hello(_) => {}
            Input::WrongVersion { version, .. } => self.on_wrong_version(key, version),
            Input::Ready { capacity, wants_hard_kill, .. } => self.on_ready(key, capacity, wants_hard_kill),
            Input::Busy(_) => self.on_busy(key),
            Input::Answer { ordinal, epoch, ran, reply, .. } => {
                self.on_answer(key, ordinal, epoch, ran, reply);
            }
            Input::Taken { ordinal, epoch, started, .. } => self.on_taken(key, ordinal, epoch, started),
            Input::Goodbye(_) => self.on_goodbye(key),
            Input::Violation { reason, .. } => self.on_violation(key, &reason),
            Input::LinkEnded(_) => self.on_link_ended(key),
            Input::ProcessEnded { exit, started, running, .. } => {
                self.on_process_ended(key, Ended { at: self.now, exit, started, running });
            }
            Input::Page { started, running, .. } => self.on_page(key, started, &running),
            Input::TakenBack { mark, .. } => self.on_taken_back(key, mark),
            Input::Sample { rss_bytes, vitals, .. } => self.on_sample(key, rss_bytes, vitals),
            Input::Health { failure, .. } => self.on_health(key, failure),
            Input::Cancel(_)
            | Input::Resize { .. }
            | Input::Revive { .. }
            | Input::CancelRollout { .. }
            | Input::ShutdownWorker { .. }
            | Input::SoftKill { .. }
            | Input::HardKill
            | Input::LeftoverEnded(_) => debug_assert!(false, "not an input of a worker"),
        }
        self.arm_worker(key);
    }

    fn on_spawned(&mut self, key: WorkerKey, pid: u32) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.pid = Some(pid);
        worker.beat_seen = now;
        let (name, state) = (Arc::clone(&worker.name), worker.state);
        if state == State::Spawning {
            worker.state = State::Starting;
        }
        self.tell(Event::WorkerSpawned { worker: name, pid });
        match state {
            State::Spawning => self.arm_sampling(),
            State::Stopping(_) => self.kill(key),
            State::Starting | State::Ready | State::Busy | State::Draining { .. } => {
                debug_assert!(false, "spawned twice");
            }
        }
    }

    fn on_ready(&mut self, key: WorkerKey, capacity: u32, wants_hard_kill: bool) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        let is_lowered = capacity < worker.capacity;
        worker.capacity = capacity.max(1);
        worker.wants_hard_kill = wants_hard_kill;
        match worker.state {
            State::Starting | State::Busy | State::Ready => {
                let is_news = worker.state != State::Ready;
                worker.state = State::Ready;
                worker.ready_since.get_or_insert(now);
                worker.beat_seen = now;
                let (name, group) = (Arc::clone(&worker.name), worker.group);
                // Whoever is told of it may give a job at once.
                self.note_admission(group);
                if is_news {
                    self.tell(Event::WorkerReady { worker: name, capacity });
                }
                self.note_online();
                if is_lowered {
                    self.take_back(key);
                }
                if is_news {
                    self.note_runnable(key);
                    self.act(Action::Sample(key));
                }
            }
            State::Draining { .. } | State::Stopping(_) | State::Spawning => {}
        }
    }

    fn on_busy(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        match worker.state {
            State::Starting | State::Ready => {
                let was_starting = worker.state == State::Starting;
                // A worker that is busy before it was ever ready is still starting: the boot timeout holds.
                if !was_starting {
                    worker.state = State::Busy;
                }
                let name = Arc::clone(&worker.name);
                self.tell(Event::WorkerBusy { worker: name });
                self.take_back(key);
            }
            State::Spawning | State::Busy | State::Draining { .. } | State::Stopping(_) => {}
        }
    }

    fn on_goodbye(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.said_goodbye = true;
        match worker.state {
            State::Draining { .. } if worker.hand.is_empty() => {}
            State::Draining { .. } => self.on_violation(key, "it said goodbye with requests in hand"),
            State::Starting | State::Ready | State::Busy => {
                self.on_violation(key, "it said goodbye without being asked to leave");
            }
            State::Spawning | State::Stopping(_) => {}
        }
    }

    pub(super) fn on_violation(&mut self, key: WorkerKey, reason: &str) {
        self.stop(key, KillCause::Violation(reason.into()), Step::Kill);
    }

    /// The link is at its end: usually the process is too, and says so in a moment.
    fn on_link_ended(&mut self, key: WorkerKey) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.link_ended.get_or_insert(now);
        self.judge_if_gone(key);
    }

    fn on_process_ended(&mut self, key: WorkerKey, ended: Ended) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.ended.get_or_insert(ended);
        self.judge_if_gone(key);
    }

    fn judge_if_gone(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get(key) else { return };
        if worker.link_ended.is_some() && worker.ended.is_some() {
            self.judge(key);
        }
    }

    /// Tells a worker that no further request comes. It leaves when it is done, or at the deadline by the ladder.
    pub(super) fn drain(&mut self, key: WorkerKey, deadline: Time) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key).filter(|worker| worker.ended.is_none()) else { return };
        match worker.state {
            State::Spawning => self.stop(key, KillCause::Overstayed, Step::Kill),
            State::Starting | State::Ready | State::Busy => {
                let idle_since = worker.hand.is_empty().then_some(now);
                worker.state = State::Draining { deadline, idle_since };
                self.take_back(key);
                self.act(Action::Drain(key));
            }
            State::Draining { deadline: ref mut old, .. } => *old = (*old).min(deadline),
            State::Stopping(_) => {}
        }
        self.arm_worker(key);
    }

    /// Takes back what the worker has not started; the answer comes before anything else happens.
    pub(super) fn take_back(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        if worker.hand.is_empty() || worker.is_taking_back {
            return;
        }
        worker.is_taking_back = true;
        self.act(Action::TakeBack(key));
    }
}
