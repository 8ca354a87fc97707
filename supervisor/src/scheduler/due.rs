//! What is due for a worker: its boot, its leaving, the rungs of the ladder, its culprits' graces. One timer for all.

use ganger_protocol::Time;

use super::ladder::Step;
use super::timers::TimerId;
use super::worker::{Rung, State, Worker};
use super::{GroupConfig, KillCause, Scheduler, Ticket, TimerKey, WorkerKey};

impl Worker {
    /// Until when it may live without its link; for ever with it. A worker that said goodbye closes it as it was
    /// asked to, and may tidy up for as long as it has to leave.
    fn hung_up_until(&self, config: &GroupConfig) -> Time {
        match self.link_ended {
            Some(at) if !self.said_goodbye => at + config.close_grace,
            Some(_) | None => Time::NEVER,
        }
    }

    /// When something about this worker is due, whatever it is.
    fn due(&self, config: &GroupConfig) -> Time {
        // A process that has ended is only waited for by its link: no signal and no grace matters any more.
        if let Some(ended) = &self.ended {
            return ended.at + config.orphan_grace;
        }
        let state = match self.state {
            State::Ready | State::Busy => Time::NEVER,
            State::Spawning | State::Starting => self.born + config.boot_timeout,
            State::Draining { deadline, idle_since } => {
                idle_since.map_or(deadline, |since| deadline.min(since + config.leave_grace))
            }
            State::Stopping(
                Rung::Unborn { until }
                | Rung::Warned { until }
                | Rung::Terminated { until }
                | Rung::Killed { until },
            ) => until,
        };
        let half_gone = if self.is_stopping() { Time::NEVER } else { self.hung_up_until(config) };
        let culprits = if self.is_stopping() { Time::NEVER } else { self.hand.next_culprit_step() };
        state.min(half_gone).min(culprits)
    }
}

impl<T: Ticket> Scheduler<T> {
    /// What is due for a worker.
    pub(super) fn worker_due(&mut self, key: WorkerKey) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.timer = TimerId::UNSET;
        let group = worker.group;
        let config = &self.config.groups[usize::from(group.0)];
        if worker.due(config) <= now {
            self.groups[usize::from(group.0)].unsettle();
            self.worker_step(key, now);
        }
        self.arm_worker(key);
    }

    fn worker_step(&mut self, key: WorkerKey, now: Time) {
        let Some(worker) = self.workers.get(key) else { return };
        let config = &self.config.groups[usize::from(worker.group.0)];
        if worker.ended.is_some() {
            return self.judge(key);
        }
        if worker.hung_up_until(config) <= now && !worker.is_stopping() {
            return self.stop(key, KillCause::LinkClosed, Step::Kill);
        }
        match worker.state {
            State::Spawning | State::Starting if worker.born + config.boot_timeout <= now => {
                self.stop(key, KillCause::NotReady, Step::Kill);
            }
            State::Draining { deadline, idle_since }
                if deadline <= now || idle_since.is_some_and(|since| since + config.leave_grace <= now) =>
            {
                self.stop(key, KillCause::Overstayed, Step::Terminate);
            }
            State::Stopping(rung) => self.climb(key, rung),
            State::Spawning | State::Starting | State::Ready | State::Busy | State::Draining { .. } => {
                self.judge_culprits(key);
            }
        }
    }

    pub(super) fn arm_worker(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        let due = worker.due(&self.config.groups[usize::from(worker.group.0)]);
        let mut timer = worker.timer;
        self.timers.set(&mut timer, due, TimerKey::Worker(key));
        worker.timer = timer;
    }
}
