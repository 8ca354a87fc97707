//! Ending a worker against its will: who is to blame, who may finish first, and the rungs.
//!
//! A request that runs out of time, or is cancelled and does not end, is a *culprit*. Its worker is tainted: it gets
//! nothing new and its unstarted requests go back. The ladder begins when the worker holds nothing but culprits, or
//! at the end of the bystanders' grace. A culprit that is answered before then is forgiven.
//!
//! ```text
//! Cancel frame ─ cancel grace ─▶ (bystanders) ─▶ SIGTERM, SIGCONT ─ term grace ─▶ SIGKILL ─ kill grace ─▶ written off
//! ```

use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{JobId, Ordinal, Time};

use super::hand::Culprit;
use super::worker::{Rung, State};
use super::{Action, Event, KillCause, OnTimeout, Scheduler, Ticket, WorkerKey};

/// From the warning before a hard kill to the kill.
const WARNING: Duration = Duration::from_millis(100);

impl<T: Ticket> Scheduler<T> {
    /// A request ran out of time; its handle has been dealt with.
    pub(super) fn blame_timeout(&mut self, key: WorkerKey, ordinal: Ordinal, policy: OnTimeout) {
        let now = self.now;
        let Some(worker) = self.workers.get(key) else { return };
        let config = &self.config.groups[usize::from(worker.group.0)];
        let (ends_at, cuts_at) = match policy {
            OnTimeout::Kill => {
                let ends_at = now + config.cancel_grace;
                (ends_at, ends_at.max(now + config.bystander_grace))
            }
            OnTimeout::Leave | OnTimeout::Cooperative => (Time::NEVER, Time::NEVER),
        };
        let is_told = policy != OnTimeout::Leave;
        if is_told {
            self.send_cancel(key, ordinal);
        }
        self.blame(key, ordinal, |id| Culprit {
            cause: KillCause::TimedOut(id),
            is_told,
            taints_at: now,
            has_tainted: false,
            ends_at,
            cuts_at,
        });
    }

    /// A running request was cancelled by its owner; its handle has been dealt with.
    pub(super) fn blame_cancel(&mut self, key: WorkerKey, ordinal: Ordinal) {
        let now = self.now;
        let Some(worker) = self.workers.get(key) else { return };
        let config = &self.config.groups[usize::from(worker.group.0)];
        let ends_at = now + config.cancel_grace;
        let cuts_at = ends_at + config.bystander_grace;
        // One that ran out of time before may have been told already.
        if !worker.hand.is_told(ordinal) {
            self.send_cancel(key, ordinal);
        }
        self.blame(key, ordinal, |id| Culprit {
            cause: KillCause::Cancelled(id),
            is_told: true,
            taints_at: ends_at,
            has_tainted: false,
            ends_at,
            cuts_at,
        });
    }

    fn blame(&mut self, key: WorkerKey, ordinal: Ordinal, culprit: impl FnOnce(JobId) -> Culprit) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        let Some(id) = worker.hand.get(ordinal).map(|request| request.id) else { return };
        worker.hand.blame(ordinal, culprit(id));
        self.judge_culprits(key);
        self.arm_worker(key);
    }

    fn send_cancel(&mut self, key: WorkerKey, ordinal: Ordinal) {
        let request = self.workers.get(key).and_then(|worker| worker.hand.get(ordinal));
        let Some(epoch) = request.map(|request| request.epoch) else { return };
        self.act(Action::Cancel { worker: key, ordinal, epoch });
    }

    /// Taints the worker for its culprits, and ends it when it is time.
    pub(super) fn judge_culprits(&mut self, key: WorkerKey) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        if worker.is_stopping() || !worker.hand.has_culprits() {
            return;
        }
        if worker.hand.taint(now) {
            self.take_back(key);
        }
        let Some(worker) = self.workers.get(key) else { return };
        if let Some(culprit) = worker.hand.must_end(now) {
            let cause = culprit.cause.clone();
            self.stop(key, cause, Step::Terminate);
        }
    }

    /// Begins the ladder, or climbs further up.
    pub(super) fn stop(&mut self, key: WorkerKey, cause: KillCause, step: Step) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        if worker.ended.is_some() {
            return;
        }
        match worker.state {
            State::Stopping(rung) => return self.hasten(key, rung, step),
            State::Spawning => return self.stop_unborn(key, cause, step),
            State::Starting | State::Ready | State::Busy | State::Draining { .. } => {}
        }
        worker.killed = Some(cause.clone());
        let (name, group) = (Arc::clone(&worker.name), worker.group);
        *self.groups[usize::from(group.0)].kills.entry(cause.label()).or_default() += 1;
        self.take_back(key);
        self.tell(Event::WorkerKilled { worker: name, cause });
        self.first_rung(key, step);
        self.arm_worker(key);
    }

    /// There is nothing to signal yet. Starting a process may take until its boot timeout; a call that does not come
    /// back then, or while everything ends, is given up like a process that cannot be killed.
    fn stop_unborn(&mut self, key: WorkerKey, cause: KillCause, step: Step) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        let config = &self.config.groups[usize::from(worker.group.0)];
        let patience = match step {
            Step::Kill => now.max(worker.born + config.boot_timeout),
            Step::Warn | Step::Terminate => now,
        };
        worker.killed = Some(cause);
        worker.state = State::Stopping(Rung::Unborn { until: patience + config.kill_grace });
        self.arm_worker(key);
    }

    /// The ladder has begun: whoever is in a greater hurry does not wait for the graces of the one who began it.
    fn hasten(&mut self, key: WorkerKey, rung: Rung, step: Step) {
        let now = self.now;
        match (rung, step) {
            (Rung::Unborn { until }, Step::Warn | Step::Terminate) => {
                let Some(worker) = self.workers.get_mut(key) else { return };
                let grace = self.config.groups[usize::from(worker.group.0)].kill_grace;
                worker.state = State::Stopping(Rung::Unborn { until: until.min(now + grace) });
            }
            (Rung::Terminated { .. }, Step::Warn) => self.first_rung(key, step),
            (Rung::Warned { .. }, Step::Warn | Step::Kill) | (Rung::Terminated { .. }, Step::Kill) => {
                self.kill(key);
            }
            (Rung::Unborn { .. } | Rung::Killed { .. }, _) | (_, Step::Terminate) => {}
        }
        self.arm_worker(key);
    }

    fn first_rung(&mut self, key: WorkerKey, step: Step) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        match step {
            Step::Warn if worker.wants_hard_kill => {
                worker.state = State::Stopping(Rung::Warned { until: now + WARNING });
                self.act(Action::WarnHardKill(key));
            }
            Step::Terminate => {
                let grace = self.config.groups[usize::from(worker.group.0)].term_grace;
                worker.state = State::Stopping(Rung::Terminated { until: now + grace });
                self.act(Action::Terminate(key));
            }
            Step::Warn | Step::Kill => self.kill(key),
        }
    }

    /// SIGKILL, at once.
    pub(super) fn kill(&mut self, key: WorkerKey) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        let grace = self.config.groups[usize::from(worker.group.0)].kill_grace;
        worker.state = State::Stopping(Rung::Killed { until: now + grace });
        self.act(Action::Kill(key));
        self.arm_worker(key);
    }

    /// The time on a rung is over.
    pub(super) fn climb(&mut self, key: WorkerKey, rung: Rung) {
        match rung {
            Rung::Warned { until } | Rung::Terminated { until } if until <= self.now => self.kill(key),
            Rung::Unborn { until } | Rung::Killed { until } if until <= self.now => self.write_off(key),
            Rung::Unborn { .. } | Rung::Warned { .. } | Rung::Terminated { .. } | Rung::Killed { .. } => {}
        }
    }
}

/// Where on the kill ladder a worker begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A warning by frame, for those that asked for it.
    Warn,
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}
