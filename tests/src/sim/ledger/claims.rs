//! What the supervisor says about a job's end, held against its life.

use ganger_protocol::Time;

use super::super::check::Check;
use super::super::court::Court;
use super::{Claim, Kinds, Ledger, Phase, WhichClock};

impl Ledger {
    /// The supervisor says how it ended.
    pub(crate) fn settle(&mut self, court: &mut Court, now: Time, index: usize, claim: &Claim) {
        let job = &self.jobs[index];
        if job.phase == Phase::Settled {
            return court.accuse(Check::SettlesOnce, || format!("job {index} ended again, as {claim:?}"));
        }
        self.check_phase(court, now, index, claim);
        self.check_started(court, index, claim);
        self.check_claim(court, now, index, claim);
        let is_vague = self.was_held_vaguely(index);
        let job = &mut self.jobs[index];
        self.waiting[job.group].remove(&index);
        self.unsent[job.group].remove(&index);
        job.phase = Phase::Settled;
        job.settled = Some(now);
        job.said_no = claim.started() == Some(false) && !is_vague;
        self.unsettled -= 1;
    }

    pub(super) fn check_phase(&self, court: &mut Court, now: Time, index: usize, claim: &Claim) {
        let job = &self.jobs[index];
        let kind = claim.kind();
        let allowed = match job.phase {
            // A clock that is due may be looked at before what else happened in the turn.
            Phase::Owes(kinds) | Phase::MayOwe(kinds) => {
                let is_end = kind == Kinds::SHUTTING_DOWN && self.may_be_killed;
                let waits = kind == Kinds::NO_WORKERS || (kind == Kinds::SHUTTING_DOWN && self.is_settling);
                let may_wait = matches!(job.phase, Phase::MayOwe(_)) && waits;
                kinds.has(kind) || kind == Kinds::TIMED_OUT || is_end || may_wait
            }
            _ if self.is_held_vaguely(index) => true,
            Phase::Waiting { .. } | Phase::InHand(_) | Phase::Between(_) => match claim {
                Claim::TimedOut { .. } => true,
                Claim::NoWorkers { .. } => !matches!(job.phase, Phase::InHand(_)),
                Claim::ShuttingDown { .. } => {
                    self.is_killed
                        || self.may_be_killed
                        || (self.is_settling && self.is_overtime_unsaid(index, now))
                }
                Claim::Replied { .. }
                | Claim::Failed { .. }
                | Claim::Cancelled { .. }
                | Claim::Lost
                | Claim::Poisoned { .. } => false,
            },
            Phase::Offered | Phase::Settled => false,
        };
        let check = match claim {
            Claim::Replied { .. } | Claim::Failed { .. } => Check::ReplyIsGenuine,
            Claim::Lost => Check::LossIsProven,
            Claim::Poisoned { .. } => Check::PoisonAtItsCount,
            Claim::NoWorkers { .. } => Check::NoWorkersIsTrue,
            Claim::TimedOut { .. } | Claim::Cancelled { .. } | Claim::ShuttingDown { .. } => {
                Check::OutcomeIsEarned
            }
        };
        let check = match job.phase {
            Phase::Waiting { .. } if matches!(claim, Claim::Lost | Claim::Failed { .. }) => {
                Check::RetriesAreGiven
            }
            Phase::Owes(kinds) if kinds == Kinds::POISONED => Check::PoisonAtItsCount,
            _ => check,
        };
        court.demand(allowed, check, || {
            format!(
                "job {index} in phase {:?} (attempt {}) ended as {claim:?} at {now:?}",
                job.phase, job.number
            )
        });
    }

    pub(super) fn check_started(&self, court: &mut Court, index: usize, claim: &Claim) {
        let job = &self.jobs[index];
        if self.was_held_vaguely(index) {
            return;
        }
        match claim.started() {
            Some(false) => court.demand(job.starts == 0, Check::StartedNoIsTrue, || {
                format!("job {index} ended as {claim:?}, but its handler was called {} times", job.starts)
            }),
            Some(true) => court.demand(job.starts > 0, Check::StartedYesIsTrue, || {
                format!("job {index} ended as {claim:?}, but its handler was never called")
            }),
            None => {}
        }
    }

    pub(super) fn check_claim(&self, court: &mut Court, now: Time, index: usize, claim: &Claim) {
        let job = &self.jobs[index];
        match claim {
            Claim::Replied { said, number } | Claim::Failed { said, number } => {
                let last = job.attempts.last().map(|last| &self.attempts[*last]);
                let genuine = last.is_some_and(|last| {
                    last.is_vague
                        || last.is_garbled
                        || (last.number == *number && last.said.iter().any(|(hash, _)| hash == said))
                });
                court.demand(genuine, Check::ReplyIsGenuine, || {
                    format!("job {index} ended as {claim:?}, which its current attempt never said: {last:?}")
                });
            }
            Claim::TimedOut { clock, .. } => self.check_clock(court, now, index, *clock),
            Claim::Poisoned { reports, .. } => {
                let most = usize::from(job.deaths[1]) + usize::from(job.losses[1]);
                court.demand(*reports <= most.max(1), Check::PoisonAtItsCount, || {
                    format!("job {index} was poisoned with {reports} reports after {:?} deaths", job.deaths)
                });
            }
            Claim::Cancelled { .. } | Claim::Lost | Claim::ShuttingDown { .. } | Claim::NoWorkers { .. } => {}
        }
    }

    pub(super) fn check_clock(&self, court: &mut Court, now: Time, index: usize, clock: WhichClock) {
        if clock != WhichClock::Total && self.was_held_vaguely(index) {
            return;
        }
        let job = &self.jobs[index];
        let due = match clock {
            WhichClock::Queue => job.terms.queue_timeout.map(|timeout| job.counts_from + timeout),
            WhichClock::Total => job.terms.timeout.map(|timeout| job.counts_from + timeout),
            WhichClock::Run => self.run_deadline(index),
        };
        court.demand(due.is_some_and(|due| now >= due), Check::ClocksAreNeverEarly, || {
            format!("job {index} ran out of its {clock:?} clock at {now:?}, which was due at {due:?}")
        });
        let since = match clock {
            WhichClock::Queue | WhichClock::Total => Some(job.counts_from),
            WhichClock::Run => job.attempts.last().and_then(|last| self.attempts[*last].marked),
        };
        let earliest = since.zip(due).map(|(since, due)| court.forgiving(since, due));
        court.demand(earliest.is_none_or(|earliest| now >= earliest), Check::StopsAreForgiven, || {
            format!("job {index} ran out of its {clock:?} clock at {now:?}, which a stop had moved to {earliest:?}")
        });
        match clock {
            WhichClock::Queue => {
                let on_time = |start: Time| due.is_none_or(|due| start >= due);
                court.demand(job.first_start.is_none_or(on_time), Check::ClocksAreNeverEarly, || {
                    format!("job {index} ran out of its queue clock although it was started before")
                });
            }
            WhichClock::Run => {
                let is_lost = matches!(job.phase, Phase::Owes(kinds) if kinds.has(Kinds::LOST));
                let owed = job.terms.retry_run_timeout
                    && job.has_retry_left()
                    && !self.is_settling
                    && !self.may_be_killed
                    && !is_lost;
                court.demand(!owed, Check::RetriesAreGiven, || {
                    format!("job {index} ended by its run clock with a retry left")
                });
            }
            WhichClock::Total => {}
        }
    }

    pub(super) fn run_deadline(&self, index: usize) -> Option<Time> {
        let job = &self.jobs[index];
        let last = &self.attempts[*job.attempts.last()?];
        Some(last.marked? + job.terms.run_timeout?)
    }
}
