//! A worker's end: what it means for the jobs it held and for its slot.
//!
//! A worker is dead when its link has been read to the end *and* its process has ended: whatever it answered counts.
//! Then its page is final. A request that was not started costs its job nothing; one that was running is charged with
//! the death; one that was answered but never flushed is lost without being charged.

use std::sync::Arc;

use ganger_protocol::{JobId, Ordinal};

use super::hand::Pending;
use super::hand::{Hand, InHand};
use super::job::{Phase, decided};
use super::worker::{Ended, State, Worker};
use super::{
    Action, Clock, CrashReport, Event, Exit, ExitStatus, GroupIndex, JobKey, KillCause, Outcome, Scheduler,
    Started, Ticket, WorkerKey, WorkerLost,
};

/// One death, as the requests in hand see it.
struct Death {
    report: Arc<CrashReport>,
    because: Option<JobId>,
    /// The process is proven dead, so that another attempt may begin.
    is_proven: bool,
    /// The supervisor killed it: nobody is charged.
    is_ours: bool,
}

impl<T: Ticket> Scheduler<T> {
    /// The one way in which a worker is gone.
    pub(super) fn judge(&mut self, key: WorkerKey) {
        self.bury(key, Proof::Dead);
    }

    /// A process that survives SIGKILL is no longer waited for.
    pub(super) fn write_off(&mut self, key: WorkerKey) {
        self.bury(key, Proof::None);
    }

    fn bury(&mut self, key: WorkerKey, proof: Proof) {
        let Some(mut worker) = self.workers.remove(key) else { return };
        self.timers.clear(&mut worker.timer);
        self.act(Action::Bury(key));
        let ended = worker.ended.take().unwrap_or_else(|| self.unknown_end(&worker));
        let hand = std::mem::replace(&mut worker.hand, Hand::new());
        let (started, unstarted) = sort_by_start(hand, &ended);
        let running = running(&started, &ended);
        let report = Arc::new(self.report(&worker, &ended, &running));
        let death = Death {
            report: Arc::clone(&report),
            because: culprit_of(worker.killed.as_ref()),
            is_proven: proof == Proof::Dead,
            is_ours: worker.killed.is_some(),
        };
        for request in unstarted {
            self.lose_unstarted(&request, &death);
            self.note_lost(worker.group, &request);
        }
        for (ordinal, request) in started {
            let is_running = running.iter().any(|(one, _)| *one == ordinal);
            self.lose_started(&request, &death, is_running);
            self.note_lost(worker.group, &request);
        }
        self.vacate(key, &worker, &death, !running.is_empty());
    }

    /// The job may have ended before; now nobody is at it any more, as far as it can be known.
    fn note_lost(&mut self, group: GroupIndex, request: &InHand) {
        if request.job.is_none() {
            self.depart(group, request.id);
        }
    }

    fn unknown_end(&self, worker: &Worker) -> Ended {
        let exit = Exit { status: ExitStatus::Unknown, oom_likely: false, stderr_tail: Vec::new() };
        // Everything it holds has been started: the rest was taken back before the first signal.
        let last = worker.hand.next_ordinal().0.wrapping_sub(1);
        Ended { at: self.now, exit, started: Ordinal(last), running: Vec::new() }
    }

    fn report(&self, worker: &Worker, ended: &Ended, running: &[(Ordinal, JobId)]) -> CrashReport {
        CrashReport {
            worker: Arc::clone(&worker.name),
            group: Arc::clone(&self.groups[usize::from(worker.group.0)].name),
            slot: worker.slot,
            pid: worker.pid,
            exit: ended.exit.clone(),
            killed: worker.killed.clone(),
            running: running.iter().map(|(_, id)| *id).collect(),
            rss_bytes: worker.rss_bytes,
            uptime: ended.at.since(worker.born),
        }
    }

    /// The death came before the start mark: it costs the job nothing, unless it happens too often.
    fn lose_unstarted(&mut self, request: &InHand, death: &Death) {
        let Some(key) = request.job else { return };
        let Some(job) = self.jobs.get_mut(key) else { return };
        let started = job.started();
        if let Some(pending) = request.pending {
            return self.finish(key, decided(pending, started, None));
        }
        if death.is_ours {
            return self.requeue(key);
        }
        let policy = self.config.groups[usize::from(job.group.0)].poison;
        job.losses = job.losses.saturating_add(1);
        if job.losses > policy.losses {
            job.reports.get_or_insert_default().push(Arc::clone(&death.report));
        }
        job.is_suspect |= job.losses >= policy.losses;
        if job.losses >= policy.losses.saturating_add(policy.deaths) {
            self.poison(key);
        } else {
            self.requeue(key);
        }
    }

    /// The death came after the start mark: nobody knows how far the handler came.
    fn lose_started(&mut self, request: &InHand, death: &Death, is_running: bool) {
        let Some(key) = request.job else { return };
        let Some(job) = self.jobs.get_mut(key) else { return };
        job.is_started = true;
        let is_overtime = matches!(job.phase, Phase::Ending { .. });
        match request.pending {
            Some(pending) if pending != Pending::Expired(Clock::Queue) => {
                return self
                    .finish(key, decided(pending, Started::Yes, Some(Arc::clone(&death.report.worker))));
            }
            Some(_) | None => {}
        }
        if is_running && !death.is_ours {
            let limit = self.config.groups[usize::from(job.group.0)].poison.deaths;
            job.deaths = job.deaths.saturating_add(1);
            job.reports.get_or_insert_default().push(Arc::clone(&death.report));
            job.is_suspect = true;
            if job.deaths >= limit {
                return self.poison(key);
            }
        }
        if is_overtime {
            // Its attempt had run out of time; now it is over.
            return if death.is_proven && self.may_retry() {
                self.retry(key);
            } else {
                let worker = Some(Arc::clone(&death.report.worker));
                self.finish(key, decided(Pending::Expired(Clock::Run), Started::Yes, worker));
            };
        }
        self.retry_lost(key, request, death);
    }

    fn retry_lost(&mut self, key: JobKey, request: &InHand, death: &Death) {
        let Some(job) = self.jobs.get(key) else { return };
        let wanted = job.ticket.options().retry_on.worker_lost && job.has_retries_left();
        if wanted && death.is_proven && self.may_retry() {
            return self.retry(key);
        }
        let because = death.because.filter(|culprit| *culprit != request.id);
        let report = Arc::clone(&death.report);
        self.finish(key, Outcome::WorkerLost(WorkerLost { report, because }));
    }

    fn poison(&mut self, key: JobKey) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        let reports = job.reports.take().map(|reports| *reports).unwrap_or_default();
        let (id, deaths) = (job.ticket.id(), u8::try_from(reports.len()).unwrap_or(u8::MAX));
        let started = job.started();
        self.tell(Event::JobPoisoned { job: id, deaths });
        self.finish(key, Outcome::Poisoned { reports, started });
    }

    /// What the death means for the worker's slot.
    fn vacate(&mut self, key: WorkerKey, worker: &Worker, death: &Death, was_running: bool) {
        let group = worker.group;
        let is_leaving = matches!(worker.state, State::Draining { .. }) || worker.said_goodbye;
        let report = Arc::clone(&death.report);
        self.tell(match death.report.exit.status {
            _ if worker.pid.is_none() => Event::SpawnFailed {
                worker: Arc::clone(&worker.name),
                reason: format!("starting its process takes longer than {:.1?}", report.uptime).into(),
            },
            _ if !death.is_proven => Event::WorkerUnkillable { report },
            ExitStatus::Code(0) if is_leaving => Event::WorkerExited { report },
            ExitStatus::Code(_) | ExitStatus::Signal(_) | ExitStatus::Unknown => {
                Event::WorkerCrashed { report }
            }
        });
        // A program that does not survive its first job is not to be rolled out, whatever the job's part in that.
        let is_novice = worker.done + worker.failed == 0 && self.is_of_roll(group, worker.edition);
        let blame = match &worker.killed {
            _ if !death.is_proven => Blame::Unkillable,
            Some(KillCause::OverMemory { .. }) if was_running && !is_novice => Blame::Job,
            Some(cause) => blame_of(cause),
            None if is_leaving => Blame::Nobody,
            None if was_running && !is_novice => Blame::Job,
            None => Blame::Worker,
        };
        let end = death.report.to_string();
        if worker.pid.is_some() && self.has_slot(key, worker) && self.rests(group, worker.slot) {
            self.lay_down(key, group, worker.slot, blame, &end);
        } else {
            self.free_slot(key, group, worker.slot, blame, &end);
        }
    }
}

/// Whether the process is known to have ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    Dead,
    None,
}

/// To whom a worker's end is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// To the job it was running.
    Job,
    /// To the worker itself: it counts in the restart window.
    Worker,
    /// To the group's program, which cannot be run: no worker of it could do better.
    Program,
    /// It was meant to end.
    Nobody,
    /// It could not even be ended.
    Unkillable,
}

/// Whose fault it is when the supervisor had a reason to end a worker.
pub(super) fn blame_of(cause: &KillCause) -> Blame {
    match cause {
        KillCause::NotReady | KillCause::Silent | KillCause::Violation(_) | KillCause::LinkClosed => {
            Blame::Worker
        }
        KillCause::OverMemory { .. } => Blame::Worker,
        KillCause::WrongVersion(_) => Blame::Program,
        KillCause::TimedOut(_) | KillCause::Cancelled(_) | KillCause::Overstayed | KillCause::HardKill => {
            Blame::Nobody
        }
    }
}

fn culprit_of(killed: Option<&KillCause>) -> Option<JobId> {
    match killed? {
        KillCause::TimedOut(job) | KillCause::Cancelled(job) => Some(*job),
        KillCause::NotReady
        | KillCause::WrongVersion(_)
        | KillCause::Silent
        | KillCause::Violation(_)
        | KillCause::LinkClosed
        | KillCause::Overstayed
        | KillCause::OverMemory { .. }
        | KillCause::HardKill => None,
    }
}

type Requests = Vec<(Ordinal, InHand)>;

/// The requests that were started, and those that were not. An impossible start mark means that all may have been.
fn sort_by_start(mut hand: Hand, ended: &Ended) -> (Requests, Vec<InHand>) {
    let unstarted = match hand.note_started(ended.started) {
        Some(()) => hand.take_unstarted(),
        None => Vec::new(),
    };
    (hand.into_requests().collect(), unstarted)
}

fn running(started: &[(Ordinal, InHand)], ended: &Ended) -> Vec<(Ordinal, JobId)> {
    let is_running = |ordinal: Ordinal| ended.running.iter().any(|slot| slot.ordinal == ordinal);
    started
        .iter()
        .filter(|(ordinal, _)| is_running(*ordinal))
        .map(|(ordinal, one)| (*ordinal, one.id))
        .collect()
}
