//! The end of a turn: what was owed must have been given, and no clock may be overdue.

use std::time::Duration;

use ganger_protocol::Time;

use super::super::check::Check;
use super::super::court::{Court, PRECISION};
use super::{Abandoned, Attempt, Kinds, Ledger, Overtime, Phase, WhichClock};

impl Ledger {
    /// The supervisor waits again: what was owed must have been given.
    pub(crate) fn close_turn(&mut self, court: &mut Court, now: Time) {
        for index in std::mem::take(&mut self.owing) {
            match self.jobs[index].phase {
                Phase::Owes(kinds) => {
                    let check = match kinds {
                        Kinds::POISONED => Check::PoisonAtItsCount,
                        _ => Check::SettlesAtOnce,
                    };
                    court.accuse(check, || {
                        format!("job {index} should have settled ({kinds:?}), and did not")
                    });
                }
                Phase::MayOwe(_) => {
                    let delay = self.jobs[index].terms.backoff_max.mul_f64(1.201) + PRECISION;
                    self.wait(index, now, [Duration::ZERO, delay]);
                }
                Phase::Offered
                | Phase::Waiting { .. }
                | Phase::InHand(_)
                | Phase::Between(_)
                | Phase::Settled => {}
            }
        }
        for attempt in std::mem::take(&mut self.cancels) {
            self.check_cancel(court, now, attempt);
        }
        self.check_deadlines(court, now);
    }

    /// A Cancel for a job that did not settle says that its run clock ran out and a retry follows.
    pub(super) fn check_cancel(&mut self, court: &mut Court, now: Time, attempt: usize) {
        let Attempt { job: index, marked, .. } = self.attempts[attempt];
        let job = &mut self.jobs[index];
        if job.phase != Phase::InHand(attempt) || self.attempts[attempt].is_vague {
            return;
        }
        let due = marked.and_then(|at| job.terms.run_timeout.map(|timeout| at + timeout));
        let owed = job.terms.retry_run_timeout && job.has_retry_left();
        court.demand(owed && due.is_some_and(|due| now >= due), Check::ClocksAreNeverEarly, || {
            format!("job {index} was cancelled at its worker at {now:?}, with its run clock due at {due:?}")
        });
        job.phase = Phase::Between(attempt);
        let fatal = (job.terms.overtime == Overtime::Kill).then_some(now);
        self.attempts[attempt].abandoned = Some(Abandoned { at: now, taints_from: now, fatal });
    }

    pub(super) fn check_deadlines(&mut self, court: &mut Court, now: Time) {
        while let Some(entry) = self.deadlines.first_entry() {
            let (at, index) = *entry.key();
            if now.since(at) <= PRECISION {
                return;
            }
            let (clock, attempt) = *entry.get();
            if !self.jobs[index].is_settled() && !court.is_overdue(now, at, self.jobs[index].enqueued) {
                return;
            }
            entry.remove();
            self.check_deadline(court, now, at, index, clock, attempt);
        }
    }

    pub(super) fn check_deadline(
        &mut self,
        court: &mut Court,
        now: Time,
        at: Time,
        index: usize,
        clock: WhichClock,
        attempt: usize,
    ) {
        let job = &self.jobs[index];
        let met = match clock {
            WhichClock::Total => job.is_settled(),
            WhichClock::Queue => {
                job.is_settled() || job.first_start.is_some() || self.was_held_vaguely(index)
            }
            WhichClock::Run => {
                job.is_settled()
                    || self.attempts[attempt].is_over
                    || self.attempts[attempt].is_vague
                    || self.may_be_on_its_way(at, attempt)
                    || self.is_between(now, index, attempt)
            }
        };
        court.demand(met, Check::DeadlinesAreMet, || {
            format!(
                "job {index}'s {clock:?} clock ran out at {at:?}, and at {now:?} it is {:?}",
                self.jobs[index].phase
            )
        });
    }

    /// Its handler was in time. An answer that is not there at the first look has as long once more, and no longer.
    fn may_be_on_its_way(&self, at: Time, attempt: usize) -> bool {
        let Attempt { job, marked, is_running, .. } = self.attempts[attempt];
        let limit = self.jobs[job].terms.run_timeout.unwrap_or_default();
        !is_running && marked.is_some_and(|marked| at < marked + 2 * limit)
    }

    /// A run clock that leads to a retry shows only in the Cancel, or not at all.
    pub(super) fn is_between(&mut self, now: Time, index: usize, attempt: usize) -> bool {
        let job = &mut self.jobs[index];
        let owed = job.terms.retry_run_timeout && job.has_retry_left();
        let told = job.terms.overtime == Overtime::Leave || self.attempts[attempt].cancel_sent.is_some();
        if job.phase == Phase::InHand(attempt) && owed && told {
            job.phase = Phase::Between(attempt);
            let fatal = (job.terms.overtime == Overtime::Kill).then_some(now);
            self.attempts[attempt].abandoned.get_or_insert(Abandoned { at: now, taints_from: now, fatal });
        }
        matches!(job.phase, Phase::Between(_))
    }

    /// Whether its attempt may have run out of time without a word.
    pub(crate) fn is_overtime_unsaid(&self, index: usize, now: Time) -> bool {
        matches!(self.jobs[index].phase, Phase::InHand(attempt) if self.may_have_run_out(now, attempt))
    }

    pub(super) fn may_have_run_out(&self, now: Time, attempt: usize) -> bool {
        let Attempt { job, marked, .. } = self.attempts[attempt];
        let job = &self.jobs[job];
        let (Some(timeout), Some(marked)) = (job.terms.run_timeout, marked) else { return false };
        job.terms.retry_run_timeout && job.has_retry_left() && now >= marked + timeout
    }
}
