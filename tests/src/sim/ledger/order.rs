//! What may be sent, and in which order.

use ganger_protocol::{Epoch, Time};

use super::super::check::Check;
use super::super::court::Court;
use super::{Attempt, Job, Ledger, Phase};

impl Ledger {
    pub(super) fn check_send(&self, court: &mut Court, now: Time, attempt: &Attempt) {
        let index = attempt.job;
        let job = &self.jobs[index];
        match job.phase {
            Phase::Waiting { from, .. } => {
                let check = match job.attempts.is_empty() {
                    true => Check::NeverBeforeItsTime,
                    false => Check::RetriesAreGiven,
                };
                court.demand(now >= from, check, || {
                    format!("job {index} was sent {:?} before its delay was over", from.since(now))
                });
            }
            Phase::MayOwe(_) => {}
            Phase::InHand(old) | Phase::Between(old) if self.attempts[old].is_vague => {}
            Phase::InHand(old) | Phase::Between(old) => {
                court.accuse(Check::ProofBeforeResend, || {
                    format!(
                        "job {index} was sent again although its attempt on process {} is not over",
                        self.attempts[old].proc
                    )
                });
            }
            Phase::Offered | Phase::Owes(_) | Phase::Settled => {
                court.accuse(Check::OutcomeIsEarned, || {
                    format!("job {index} was sent in phase {:?}", job.phase)
                });
            }
        }
        let less = job.is_number_vague && attempt.number + 1 == job.number;
        let more = self.is_held_vaguely(index) && attempt.number == job.number + 1;
        court.demand(attempt.number == job.number || less || more, Check::UnstartedLossIsFree, || {
            format!(
                "job {index} was sent as attempt {}, but it is its attempt {}",
                attempt.number, job.number
            )
        });
        let last = job.attempts.last().map_or(Epoch(0), |last| self.attempts[*last].epoch);
        court.demand(attempt.epoch > last, Check::EpochsAreFresh, || {
            format!("job {index} was sent with {:?} after {last:?}", attempt.epoch)
        });
        court.demand(!self.is_settling, Check::DrainHoldsBack, || {
            format!("job {index} was sent after a kill that lets only what is in flight end")
        });
        self.check_order(court, now, index);
        self.check_class(court, now, index);
        self.check_line(court, index);
    }

    pub(super) fn check_order(&self, court: &mut Court, now: Time, index: usize) {
        let job = &self.jobs[index];
        if job.may_be_suspect() {
            return;
        }
        let is_alike = |other: &Job| other.is_simple() && other.terms.class == job.terms.class;
        if !is_alike(job) {
            return;
        }
        if job.attempts.is_empty() {
            let first = self.unsent[job.group].iter().copied().find(|first| is_alike(&self.jobs[*first]));
            court.demand(first == Some(index), Check::FirstInFirstOut, || {
                format!("job {index} was assigned before the older job {first:?}")
            });
        }
        let older = self.waiting[job.group].range(..index).find(|older| {
            let older = &self.jobs[**older];
            // One that comes back in this very turn may come too late for what was decided before.
            is_alike(older)
                && older.is_due(court, now)
                && older.waits_since_before(now)
                && !older.may_be_suspect()
        });
        court.demand(older.is_none(), Check::AgeKeepsItsPlace, || {
            format!("job {index} was sent before the older job {older:?}, which was due")
        });
    }
}
