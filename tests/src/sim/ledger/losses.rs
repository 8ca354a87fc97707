//! A worker is proven dead: what that means for the jobs it held.

use std::time::Duration;

use ganger_protocol::Time;

use super::super::check::Check;
use super::super::court::Court;
use super::job::Retry;
use super::{Attempt, Kinds, Ledger, Loss, Phase};

impl Ledger {
    /// Knowledge: the attempt may have been lost unstarted, or only taken back.
    pub(crate) fn note_possible_loss(&mut self, attempt: usize) {
        let index = self.attempts[attempt].job;
        self.jobs[index].losses[1] += 1;
    }

    /// Knowledge: the attempt's worker is proven dead.
    pub(crate) fn lose(&mut self, court: &mut Court, now: Time, attempt: usize, loss: &Loss) {
        let Attempt { job: index, is_over, .. } = self.attempts[attempt];
        if is_over {
            return;
        }
        self.attempts[attempt].is_over = true;
        self.attempts[attempt].is_running &= loss.is_unkillable;
        court.demand(!(loss.is_answered && loss.is_certain), Check::ReplyBeatsExit, || {
            format!(
                "job {index} was answered wholly by process {}, whose death came first",
                self.attempts[attempt].proc
            )
        });
        match self.jobs[index].phase {
            Phase::InHand(current) if current == attempt => {
                let ran_out = self.may_have_run_out(now, attempt);
                self.lose_current(index, now, loss, ran_out);
            }
            Phase::Between(old) if old == attempt && loss.is_unkillable => {
                self.owe(index, Kinds::LOST.or(Kinds::TIMED_OUT));
            }
            Phase::Between(old) if old == attempt => self.lose_overtime(index, now, loss),
            _ => {}
        }
    }

    /// Its time was over before its worker died: a retry follows, unless this was one death too many.
    pub(super) fn lose_overtime(&mut self, index: usize, now: Time, loss: &Loss) {
        let job = &mut self.jobs[index];
        job.deaths[0] += u8::from(loss.is_charged && loss.is_certain && !loss.may_be_by_us);
        job.deaths[1] += u8::from(loss.is_charged || !loss.is_certain);
        if job.deaths[0] >= job.terms.poison_deaths {
            self.owe(index, Kinds::POISONED);
        } else if job.deaths[1] >= job.terms.poison_deaths {
            self.may_owe(index, Kinds::POISONED);
        } else {
            self.wait_for_retry(index, now);
        }
    }

    pub(super) fn lose_current(&mut self, index: usize, now: Time, loss: &Loss, ran_out: bool) {
        let job = &mut self.jobs[index];
        if !loss.is_certain {
            return self.lose_somehow(index);
        }
        if ran_out && self.is_settling {
            // Settled when everything else was, if its clock ran out without a word before.
            job.deaths[1] += u8::from(loss.is_charged);
            return self.owe(index, Kinds::LOST.or(Kinds::POISONED).or(Kinds::SHUTTING_DOWN));
        }
        if !loss.is_started {
            job.losses[0] += u8::from(!loss.is_by_us && !loss.may_be_by_us);
            job.losses[1] += 1;
            let most = job.terms.poison_losses + job.terms.poison_deaths;
            return if job.losses[0] >= most {
                self.owe(index, Kinds::POISONED);
            } else if job.losses[1] >= most {
                self.may_owe_poison(index);
            } else {
                self.wait(index, now, [Duration::ZERO; 2]);
            };
        }
        job.deaths[0] += u8::from(loss.is_charged && !loss.may_be_by_us);
        job.deaths[1] += u8::from(loss.is_charged);
        if loss.is_charged && job.deaths[0] >= job.terms.poison_deaths {
            return self.owe(index, Kinds::POISONED);
        }
        if loss.is_unkillable {
            return self.owe(index, Kinds::LOST.or(Kinds::TIMED_OUT));
        }
        let wanted = job.terms.retry_lost;
        let vague = job.deaths[1] >= job.terms.poison_deaths;
        match self.retry_or(index, wanted, Kinds::LOST) {
            // Its clock may have run out without a word: then a retry follows.
            Retry::No(kinds) if ran_out => self.may_owe(index, kinds.or(Kinds::POISONED)),
            Retry::No(kinds) if vague => self.owe(index, kinds.or(Kinds::POISONED)),
            Retry::No(kinds) => self.owe(index, kinds),
            Retry::Yes if vague => self.may_owe(index, Kinds::POISONED),
            Retry::Yes => self.wait_for_retry(index, now),
        }
    }

    /// A loss of which the truth is not known, because the worker lied: most things may follow.
    pub(super) fn lose_somehow(&mut self, index: usize) {
        let job = &mut self.jobs[index];
        job.deaths[1] += 1;
        job.losses[1] += 1;
        let mut kinds = Kinds::LOST.or(Kinds::SHUTTING_DOWN).or(Kinds::NO_WORKERS);
        let most = job.terms.poison_losses + job.terms.poison_deaths;
        if job.deaths[1] >= job.terms.poison_deaths || job.losses[1] >= most {
            kinds = kinds.or(Kinds::POISONED);
        }
        self.may_owe(index, kinds);
    }

    pub(super) fn may_owe_poison(&mut self, index: usize) {
        self.may_owe(index, Kinds::POISONED);
        self.jobs[index].number -= 1;
        self.jobs[index].is_number_vague = false;
    }
}
