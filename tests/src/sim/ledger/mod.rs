//! The reference model of a job's life, written from the promises. It shares nothing with the scheduler but the
//! numbers by which requests are named.
//!
//! ```text
//! Offered ──▶ Waiting ──sent──▶ InHand ──answer, loss, cancel──▶ Owes ──▶ Settled
//!               ▲  ▲               │ ran out of time, retry owed
//!               │  └── taken back ─┤
//!               └── old one over ── Between
//! ```
//!
//! Two sorts of knowledge are kept apart. *Truth* is what handlers really did (`marked`, `said`). *Knowledge* is
//! what the supervisor was told. The model says what must follow from the knowledge, and that it agrees with the
//! truth.

mod claims;
mod deadlines;
mod job;
mod losses;
mod order;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ganger::internals::GroupConfig;
use ganger_protocol::{Epoch, Ordinal, Time};

use super::check::Check;
use super::court::{Court, PRECISION};
use job::Retry;
pub(crate) use job::{
    Abandoned, Answered, Attempt, Claim, Job, Kinds, Loss, Overtime, Phase, Terms, WhichClock,
};

/// All jobs, and what must be true of them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) jobs: Vec<Job>,
    pub(crate) attempts: Vec<Attempt>,
    /// Jobs in the queue, by group, oldest first.
    pub(crate) waiting: Vec<BTreeSet<usize>>,
    /// Jobs never sent, by group, oldest first.
    pub(crate) unsent: Vec<BTreeSet<usize>>,
    /// Jobs with keys, by group and key, in the order in which they were enqueued.
    lines: BTreeMap<(usize, u64), Vec<usize>>,
    /// The groups' own terms for classes and keys.
    ageing: Vec<Duration>,
    key_limits: Vec<u32>,
    /// Jobs whose phase is `Owes` or `MayOwe`.
    owing: Vec<usize>,
    /// Attempts that were sent a Cancel in this turn.
    cancels: Vec<usize>,
    /// When a clock runs out.
    deadlines: BTreeMap<(Time, usize), (WhichClock, usize)>,
    pub(crate) unsettled: usize,
    /// Everything that is not in flight settles: no more attempts.
    pub(crate) is_settling: bool,
    /// Everything was killed.
    pub(crate) is_killed: bool,
    /// The soft kill's deadline may be over.
    pub(crate) may_be_killed: bool,
}

impl Ledger {
    pub(crate) fn new(groups: &[GroupConfig]) -> Ledger {
        let empty = vec![BTreeSet::new(); groups.len()];
        let ageing = groups.iter().map(|group| group.ageing).collect();
        let key_limits = groups.iter().map(|group| group.key_limit).collect();
        Ledger { waiting: empty.clone(), unsent: empty, ageing, key_limits, ..Ledger::default() }
    }

    pub(crate) fn offer(&mut self, group: usize, terms: Terms, enqueued: Time) -> usize {
        if let Some(key) = terms.key {
            self.lines.entry((group, key)).or_default().push(self.jobs.len());
        }
        self.jobs.push(Job {
            group,
            terms,
            enqueued,
            counts_from: enqueued + terms.delay,
            phase: Phase::Offered,
            number: 1,
            is_number_vague: false,
            attempts: Vec::new(),
            starts: 0,
            first_start: None,
            deaths: [0; 2],
            losses: [0; 2],
            said_no: false,
            settled: None,
        });
        self.jobs.len() - 1
    }

    /// The supervisor takes the job in.
    pub(crate) fn accept(&mut self, court: &Court, index: usize, now: Time) {
        let Job { group, terms, counts_from, .. } = self.jobs[index];
        self.unsettled += 1;
        self.unsent[group].insert(index);
        if let Some(timeout) = terms.timeout {
            self.deadlines.insert((counts_from + timeout, index), (WhichClock::Total, usize::MAX));
        }
        if let Some(timeout) = terms.queue_timeout {
            // One nanosecond apart, so that equal clocks do not hide each other.
            let at = counts_from + timeout + Duration::from_nanos(1);
            self.deadlines.insert((at, index), (WhichClock::Queue, usize::MAX));
        }
        // A stop that it met on its way moved its time, too.
        let most = (counts_from + court.stopped_since(self.jobs[index].enqueued)).since(now);
        let late = if terms.delay.is_zero() || most.is_zero() { Duration::ZERO } else { most + PRECISION };
        self.wait(index, now, [counts_from.since(now), late]);
    }

    /// The supervisor sends it. Says which attempt this is.
    pub(crate) fn send(&mut self, court: &mut Court, now: Time, attempt: Attempt) -> usize {
        let index = attempt.job;
        self.check_send(court, now, &attempt);
        let job = &mut self.jobs[index];
        job.number = attempt.number;
        job.is_number_vague = false;
        job.phase = Phase::InHand(self.attempts.len());
        job.attempts.push(self.attempts.len());
        self.waiting[job.group].remove(&index);
        self.unsent[job.group].remove(&index);
        self.attempts.push(attempt);
        self.attempts.len() - 1
    }

    /// Whether it is with a worker that lies.
    fn is_held_vaguely(&self, index: usize) -> bool {
        match self.jobs[index].phase {
            Phase::InHand(attempt) | Phase::Between(attempt) => self.attempts[attempt].is_vague,
            Phase::Offered | Phase::Waiting { .. } | Phase::Owes(_) | Phase::MayOwe(_) | Phase::Settled => {
                false
            }
        }
    }

    /// Whether it ever was.
    fn was_held_vaguely(&self, index: usize) -> bool {
        self.jobs[index].attempts.iter().any(|attempt| self.attempts[*attempt].is_vague)
    }

    /// The attempt with this epoch.
    pub(crate) fn attempt_of(&self, job: usize, epoch: Epoch) -> Option<usize> {
        let attempts = &self.jobs.get(job)?.attempts;
        attempts.iter().rev().copied().find(|attempt| self.attempts[*attempt].epoch == epoch)
    }

    /// Whether the worker ever got an attempt under these numbers.
    pub(crate) fn was_sent(&self, proc: usize, ordinal: Ordinal, epoch: Epoch) -> bool {
        let is_it = |one: &Attempt| one.proc == proc && one.ordinal == ordinal && one.epoch == epoch;
        self.attempts.iter().any(is_it)
    }

    /// Truth: the start mark moved over an attempt.
    pub(crate) fn mark(&mut self, court: &mut Court, now: Time, attempt: usize) {
        let Attempt { job: index, .. } = self.attempts[attempt];
        let running = self.jobs[index].attempts.iter().find(|other| self.attempts[**other].is_running);
        court.demand(running.is_none(), Check::AttemptsNeverOverlap, || {
            format!(
                "job {index} was started while its attempt on process {:?} runs",
                running.map(|one| self.attempts[*one].proc)
            )
        });
        if !self.attempts[attempt].is_vague {
            self.check_running(court, index);
        }
        let job = &mut self.jobs[index];
        job.starts += 1;
        job.first_start.get_or_insert(now);
        court.demand(job.starts <= 1 + u32::from(job.terms.retries), Check::RunsWithinRetries, || {
            format!("job {index} was started {} times with {} retries", job.starts, job.terms.retries)
        });
        court.demand(!job.said_no, Check::StartedNoIsTrue, || {
            format!("job {index} was started after it had ended as not started")
        });
        self.attempts[attempt].marked = Some(now);
        self.attempts[attempt].is_running = true;
        if let Some(timeout) = job.terms.run_timeout {
            for timeout in [timeout, 2 * timeout] {
                let at = now + timeout + Duration::from_nanos(2);
                self.deadlines.insert((at, index), (WhichClock::Run, attempt));
            }
        }
    }

    /// Knowledge: an answer to a request that the worker holds. The attempt is over.
    pub(crate) fn answer(&mut self, now: Time, attempt: usize, answer: Answered) {
        self.attempts[attempt].is_over = true;
        let index = self.attempts[attempt].job;
        match self.jobs[index].phase {
            Phase::InHand(current) if current == attempt => {}
            Phase::Between(old) if old == attempt => return self.wait_for_retry(index, now),
            _ => return,
        }
        let retry = match answer {
            Answered::Data => Retry::No(Kinds::REPLIED),
            Answered::Failed { again } => {
                let wanted = again.unwrap_or(self.jobs[index].terms.retry_failure);
                self.retry_or(index, wanted, Kinds::FAILED)
            }
        };
        let ran_out = self.may_have_run_out(now, attempt);
        let is_vague = self.attempts[attempt].is_vague;
        match retry {
            // It may have been taken back, for all that is known.
            Retry::No(kinds) if is_vague => self.may_owe(index, kinds),
            Retry::Yes if is_vague => self.may_owe(index, Kinds::NONE),
            // The clock may have been looked at first: then the answer is nobody's, and a retry is owed.
            Retry::No(kinds) if ran_out => self.may_owe(index, kinds),
            Retry::No(kinds) => self.owe(index, kinds),
            Retry::Yes => self.wait_for_retry(index, now),
        }
    }

    /// Knowledge: the attempt will never be started.
    pub(crate) fn take_back(&mut self, attempt: usize, now: Time) {
        self.attempts[attempt].is_over = true;
        let index = self.attempts[attempt].job;
        match self.jobs[index].phase {
            Phase::InHand(current) if current == attempt => self.wait(index, now, [Duration::ZERO; 2]),
            Phase::Between(old) if old == attempt => self.wait_for_retry(index, now),
            _ => {}
        }
    }

    fn retry_or(&self, index: usize, wanted: bool, kinds: Kinds) -> Retry {
        if !wanted || !self.jobs[index].has_retry_left() {
            Retry::No(kinds)
        } else if self.is_settling {
            Retry::No(kinds.or(Kinds::SHUTTING_DOWN))
        } else {
            Retry::Yes
        }
    }

    /// Knowledge: its owner cancels it. False if it had ended before.
    ///
    /// `or`: how else it may have ended already, if its worker may have been judged in this turn.
    pub(crate) fn cancel(&mut self, index: usize, or: Kinds) -> bool {
        match self.jobs[index].phase {
            Phase::Waiting { .. } | Phase::InHand(_) | Phase::Between(_) => {
                self.owe(index, Kinds::CANCELLED.or(or));
                true
            }
            Phase::MayOwe(kinds) => {
                self.owe(index, kinds.or(Kinds::CANCELLED));
                true
            }
            Phase::Offered | Phase::Owes(_) | Phase::Settled => false,
        }
    }

    /// The supervisor asks the worker to give an attempt up.
    pub(crate) fn note_cancel(&mut self, attempt: usize, now: Time) {
        self.attempts[attempt].cancel_sent.get_or_insert(now);
        self.cancels.push(attempt);
    }

    /// Knowledge: only what is in flight may end by itself; the rest settles.
    pub(crate) fn settle_waiting(&mut self) {
        self.is_settling = true;
        for index in 0..self.jobs.len() {
            match self.jobs[index].phase {
                Phase::Waiting { .. } | Phase::Between(_) => self.owe(index, Kinds::SHUTTING_DOWN),
                Phase::Offered | Phase::InHand(_) | Phase::Owes(_) | Phase::MayOwe(_) | Phase::Settled => {}
            }
        }
    }

    /// Knowledge: everything ends now.
    ///
    /// `or`: how else a job may have ended already, if its worker may have been judged in this turn.
    pub(crate) fn settle_all(&mut self, or: impl Fn(&Attempt) -> Kinds) {
        self.settle_waiting();
        self.is_killed = true;
        for index in 0..self.jobs.len() {
            match self.jobs[index].phase {
                Phase::InHand(attempt) => {
                    let or = or(&self.attempts[attempt]);
                    self.owe(index, Kinds::SHUTTING_DOWN.or(or));
                }
                Phase::MayOwe(kinds) => self.owe(index, kinds.or(Kinds::SHUTTING_DOWN)),
                Phase::Offered
                | Phase::Waiting { .. }
                | Phase::Between(_)
                | Phase::Owes(_)
                | Phase::Settled => {}
            }
        }
    }

    /// The attempt that is with a worker, whoever waits for it.
    pub(crate) fn open_attempt(&self, index: usize) -> Option<usize> {
        let last = *self.jobs[index].attempts.last()?;
        (!self.attempts[last].is_over).then_some(last)
    }

    fn wait(&mut self, index: usize, since: Time, delay: [Duration; 2]) {
        let job = &mut self.jobs[index];
        job.phase = Phase::Waiting { since, from: since + delay[0], by: since + delay[1] };
        self.waiting[job.group].insert(index);
        if self.is_settling {
            self.owe(index, Kinds::SHUTTING_DOWN);
        }
    }

    fn wait_for_retry(&mut self, index: usize, now: Time) {
        let job = &mut self.jobs[index];
        job.number += 1;
        let exponent = u32::from(job.number - 2).min(20);
        let delay = job
            .terms
            .backoff
            .map_or(Duration::ZERO, |first| first.saturating_mul(1 << exponent).min(job.terms.backoff_max));
        let late = if delay.is_zero() { Duration::ZERO } else { PRECISION };
        self.wait(index, now, [delay.mul_f64(0.799), delay.mul_f64(1.201) + late]);
    }

    fn owe(&mut self, index: usize, kinds: Kinds) {
        let job = &mut self.jobs[index];
        self.waiting[job.group].remove(&index);
        job.phase = Phase::Owes(kinds);
        self.owing.push(index);
    }

    fn may_owe(&mut self, index: usize, kinds: Kinds) {
        let job = &mut self.jobs[index];
        job.phase = Phase::MayOwe(kinds);
        job.number += 1;
        job.is_number_vague = true;
        self.owing.push(index);
    }
}
