//! Ending: softly, with a deadline, or at once.

use std::time::Duration;

use ganger_protocol::Time;

use super::group::Group;
use super::hand::Pending;
use super::job::Phase;
use super::ladder::Step;
use super::{Action, Backlog, Event, JobKey, KillCause, Scheduler, Ticket, TimerKey, WorkerKey};

/// How far along its own life the supervisor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Running,
    /// Accepted jobs are worked off.
    Draining {
        deadline: Time,
        backlog: Backlog,
    },
    /// No job is left; the workers are leaving.
    Leaving {
        deadline: Time,
    },
    /// Everything is being ended.
    Ending,
    Stopped,
}

impl<T: Ticket> Scheduler<T> {
    /// Whether workers are wanted at all.
    pub(super) fn wants_workers(&self) -> bool {
        match self.life {
            Life::Running | Life::Draining { .. } => true,
            Life::Leaving { .. } | Life::Ending | Life::Stopped => false,
        }
    }

    /// Whether a job that comes now is turned away. It was accepted before the end began, and overtaken by it.
    pub(super) fn refuses_latecomers(&self) -> bool {
        match self.life {
            Life::Running | Life::Draining { backlog: Backlog::WorkOff, .. } => false,
            Life::Draining { backlog: Backlog::Settle, .. }
            | Life::Leaving { .. }
            | Life::Ending
            | Life::Stopped => true,
        }
    }

    /// Whether a job that comes back from a worker is settled instead of queued.
    pub(super) fn settles_backlog(&self) -> bool {
        self.refuses_latecomers()
    }

    /// Whether another attempt would still be made.
    pub(super) fn may_retry(&self) -> bool {
        !self.refuses_latecomers()
    }

    /// Until when a worker that is asked to leave may take; for ever unless the supervisor itself is leaving.
    pub(super) fn leaving_deadline(&self) -> Time {
        match self.life {
            Life::Leaving { deadline } => deadline,
            Life::Running | Life::Draining { .. } | Life::Ending | Life::Stopped => Time::NEVER,
        }
    }

    pub(super) fn soft_kill(&mut self, patience: Duration, backlog: Backlog) {
        let deadline = self.now + patience;
        match &mut self.life {
            Life::Running => {
                self.life = Life::Draining { deadline, backlog };
                self.tell(Event::Draining);
            }
            Life::Draining { deadline: old, backlog: how } => {
                *old = (*old).min(deadline);
                if backlog == Backlog::Settle {
                    *how = backlog;
                }
            }
            Life::Leaving { deadline: old } => *old = (*old).min(deadline),
            Life::Ending | Life::Stopped => return,
        }
        if backlog == Backlog::Settle {
            self.settle_backlog();
        }
        self.arm_shutdown();
        self.touch_all();
    }

    fn arm_shutdown(&mut self) {
        let due = match self.life {
            Life::Draining { deadline, .. } | Life::Leaving { deadline } => deadline,
            Life::Running | Life::Ending | Life::Stopped => Time::NEVER,
        };
        self.timers.set(&mut self.shutdown_timer, due, TimerKey::Shutdown);
    }

    /// Everything that is not in flight settles; what was sent and not started counts as not in flight.
    fn settle_backlog(&mut self) {
        for key in self.jobs.keys() {
            let Some(job) = self.jobs.get(key) else { continue };
            match job.phase {
                Phase::Queued | Phase::Waiting { .. } | Phase::Behind | Phase::Ending { .. } => {
                    self.decide(key, Pending::ShuttingDown);
                }
                Phase::Assigned { worker, .. } => self.take_back(worker),
            }
        }
    }

    /// The soft kill's patience is over: jobs settle, and the workers get the ladder.
    pub(super) fn patience_is_over(&mut self) {
        self.end(&KillCause::Overstayed, Step::Terminate);
    }

    /// Everything ends now.
    pub(super) fn hard_kill(&mut self) {
        self.end(&KillCause::HardKill, Step::Warn);
    }

    fn end(&mut self, cause: &KillCause, step: Step) {
        if self.life == Life::Stopped {
            return;
        }
        self.life = Life::Ending;
        self.timers.clear(&mut self.shutdown_timer);
        let jobs: Vec<JobKey> = self.jobs.keys();
        for key in jobs {
            self.decide(key, Pending::ShuttingDown);
        }
        let workers: Vec<WorkerKey> = self.workers.keys();
        for key in workers {
            self.stop(key, cause.clone(), step);
        }
        self.touch_all();
    }

    /// After each pass: a phase of the ending may have come to its end; then there is more to do.
    pub(super) fn advance_life(&mut self) -> bool {
        match self.life {
            Life::Draining { deadline, .. } if self.jobs.len() == 0 => {
                self.life = Life::Leaving { deadline };
                self.touch_all();
                true
            }
            Life::Leaving { .. } | Life::Ending if self.workers.len() == 0 => {
                self.life = Life::Stopped;
                self.timers.clear(&mut self.shutdown_timer);
                self.timers.clear(&mut self.sampling_timer);
                self.tell(Event::Stopped);
                self.act(Action::Stopped);
                true
            }
            Life::Running | Life::Draining { .. } | Life::Leaving { .. } | Life::Ending | Life::Stopped => {
                false
            }
        }
    }

    fn touch_all(&mut self) {
        self.groups.iter_mut().for_each(Group::unsettle);
    }
}
