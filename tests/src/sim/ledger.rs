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

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ganger_protocol::{Epoch, Generation, Ordinal, Time};

use super::check::Check;
use super::court::{Court, PRECISION};

/// What a job's owner asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) retries: u16,
    pub(crate) queue_timeout: Option<Duration>,
    pub(crate) run_timeout: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) overtime: Overtime,
    pub(crate) retry_lost: bool,
    pub(crate) retry_failure: bool,
    pub(crate) retry_run_timeout: bool,
    pub(crate) backoff: Option<Duration>,
    pub(crate) backoff_max: Duration,
    /// Deaths while running, and losses while unstarted, as the group's policy has them.
    pub(crate) poison_deaths: u8,
    pub(crate) poison_losses: u8,
}

/// What becomes of a worker whose request ran out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overtime {
    Kill,
    Leave,
    Cooperative,
}

/// Where a job is, as far as the supervisor can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Still on its way to the supervisor.
    Offered,
    /// In the queue since `since`: not to be sent before `from`, certainly due at `by`.
    Waiting {
        since: Time,
        from: Time,
        by: Time,
    },
    /// Sent; this attempt is current.
    InHand(usize),
    /// This attempt ran out of time and the next waits for its end.
    Between(usize),
    /// Must settle, in one of these ways, before the supervisor waits again.
    Owes(Kinds),
    /// May settle in one of these ways in this turn, and else is due for another attempt.
    MayOwe(Kinds),
    Settled,
}

/// A set of ways to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kinds(pub(crate) u8);

impl Kinds {
    pub(crate) const NONE: Kinds = Kinds(0);
    pub(crate) const REPLIED: Kinds = Kinds(1);
    pub(crate) const FAILED: Kinds = Kinds(2);
    pub(crate) const TIMED_OUT: Kinds = Kinds(4);
    pub(crate) const CANCELLED: Kinds = Kinds(8);
    pub(crate) const LOST: Kinds = Kinds(16);
    pub(crate) const POISONED: Kinds = Kinds(32);
    pub(crate) const SHUTTING_DOWN: Kinds = Kinds(64);
    pub(crate) const NO_WORKERS: Kinds = Kinds(128);

    pub(crate) fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    pub(crate) fn has(self, other: Kinds) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Which clock a claim names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhichClock {
    Queue,
    Run,
    Total,
}

/// What the supervisor says about how a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Replied { said: u64, number: u16 },
    Failed { said: u64, number: u16 },
    TimedOut { clock: WhichClock, started: bool },
    Cancelled { started: bool },
    Lost,
    Poisoned { reports: usize },
    ShuttingDown { started: bool },
    NoWorkers { started: bool },
}

impl Claim {
    fn kind(&self) -> Kinds {
        match self {
            Claim::Replied { .. } => Kinds::REPLIED,
            Claim::Failed { .. } => Kinds::FAILED,
            Claim::TimedOut { .. } => Kinds::TIMED_OUT,
            Claim::Cancelled { .. } => Kinds::CANCELLED,
            Claim::Lost => Kinds::LOST,
            Claim::Poisoned { .. } => Kinds::POISONED,
            Claim::ShuttingDown { .. } => Kinds::SHUTTING_DOWN,
            Claim::NoWorkers { .. } => Kinds::NO_WORKERS,
        }
    }

    fn started(&self) -> Option<bool> {
        match self {
            Claim::TimedOut { started, .. }
            | Claim::Cancelled { started }
            | Claim::ShuttingDown { started }
            | Claim::NoWorkers { started } => Some(*started),
            Claim::Replied { .. } | Claim::Failed { .. } | Claim::Lost => Some(true),
            Claim::Poisoned { .. } => None,
        }
    }
}

/// One job.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) group: usize,
    pub(crate) terms: Terms,
    pub(crate) enqueued: Time,
    pub(crate) phase: Phase,
    /// 1 + the retries spent.
    pub(crate) number: u16,
    /// A worker that lies about its page held it: the number may be one less.
    pub(crate) is_number_vague: bool,
    pub(crate) attempts: Vec<usize>,
    /// Truth: start marks.
    pub(crate) starts: u32,
    pub(crate) first_start: Option<Time>,
    /// Worker deaths charged to it, at least and at most.
    pub(crate) deaths: [u8; 2],
    /// Worker deaths with it unstarted, at least and at most.
    pub(crate) losses: [u8; 2],
    pub(crate) said_no: bool,
    pub(crate) settled: Option<Time>,
}

impl Job {
    pub(crate) fn is_suspect(&self) -> bool {
        self.deaths[0] >= 1 || self.losses[0] >= self.terms.poison_losses
    }

    pub(crate) fn may_be_suspect(&self) -> bool {
        self.deaths[1] >= 1 || self.losses[1] >= self.terms.poison_losses
    }

    pub(crate) fn has_retry_left(&self) -> bool {
        self.number <= self.terms.retries
    }

    /// Whether it certainly may be sent.
    pub(crate) fn is_due(&self, court: &Court, now: Time) -> bool {
        match self.phase {
            Phase::Waiting { since, by, .. } if by == since => true,
            Phase::Waiting { since, by, .. } => by + court.stopped_since(since) <= now,
            Phase::Offered
            | Phase::InHand(_)
            | Phase::Between(_)
            | Phase::Owes(_)
            | Phase::MayOwe(_)
            | Phase::Settled => false,
        }
    }

    fn waits_since_before(&self, now: Time) -> bool {
        matches!(self.phase, Phase::Waiting { since, .. } if since < now)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.phase == Phase::Settled
    }
}

/// One assignment of a job to a worker.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) job: usize,
    pub(crate) proc: usize,
    pub(crate) ordinal: Ordinal,
    pub(crate) generation: Generation,
    pub(crate) epoch: Epoch,
    pub(crate) number: u16,
    /// Truth: when the start mark moved over it.
    pub(crate) marked: Option<Time>,
    /// Truth: whether its handler is still at work.
    pub(crate) is_running: bool,
    /// Truth: what its worker said as its answer, by hash, and the count of the link's bytes at the end of it.
    pub(crate) said: Vec<(u64, u64)>,
    /// Knowledge: it answered, was taken back, or its worker is proven dead.
    pub(crate) is_over: bool,
    /// Knowledge: nobody waits for it any more, and from when that taints its worker.
    pub(crate) abandoned: Option<Abandoned>,
    /// A Cancel was sent for it.
    pub(crate) cancel_sent: Option<Time>,
    /// Its job was suspect when it was sent.
    pub(crate) is_alone: bool,
    pub(crate) may_be_alone: bool,
    /// Its worker lies: what really became of it may never be known.
    pub(crate) is_vague: bool,
    /// Its worker writes bytes into its own frames.
    pub(crate) is_garbled: bool,
}

/// An attempt that nobody waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abandoned {
    pub(crate) at: Time,
    pub(crate) taints_from: Time,
    /// Whether its worker is to be killed for it, and whether it may be.
    pub(crate) is_fatal: bool,
    pub(crate) may_be_fatal: bool,
}

/// All jobs, and what must be true of them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) jobs: Vec<Job>,
    pub(crate) attempts: Vec<Attempt>,
    /// Jobs in the queue, by group, oldest first.
    pub(crate) waiting: Vec<BTreeSet<usize>>,
    /// Jobs never sent, by group, oldest first.
    pub(crate) unsent: Vec<BTreeSet<usize>>,
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
    pub(crate) fn new(groups: usize) -> Ledger {
        let empty = vec![BTreeSet::new(); groups];
        Ledger { waiting: empty.clone(), unsent: empty, ..Ledger::default() }
    }

    pub(crate) fn offer(&mut self, group: usize, terms: Terms, enqueued: Time) -> usize {
        self.jobs.push(Job {
            group,
            terms,
            enqueued,
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
    pub(crate) fn accept(&mut self, index: usize, now: Time) {
        let Job { group, terms, enqueued, .. } = self.jobs[index];
        self.unsettled += 1;
        self.unsent[group].insert(index);
        if let Some(timeout) = terms.timeout {
            self.deadlines.insert((enqueued + timeout, index), (WhichClock::Total, usize::MAX));
        }
        if let Some(timeout) = terms.queue_timeout {
            // One nanosecond apart, so that equal clocks do not hide each other.
            let at = enqueued + timeout + Duration::from_nanos(1);
            self.deadlines.insert((at, index), (WhichClock::Queue, usize::MAX));
        }
        self.wait(index, now, [Duration::ZERO; 2]);
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

    fn check_send(&self, court: &mut Court, now: Time, attempt: &Attempt) {
        let index = attempt.job;
        let job = &self.jobs[index];
        match job.phase {
            Phase::Waiting { from, .. } => {
                court.demand(now >= from, Check::RetriesAreGiven, || {
                    format!("job {index} was sent {:?} before its retry's delay was over", from.since(now))
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
    }

    fn check_order(&self, court: &mut Court, now: Time, index: usize) {
        let job = &self.jobs[index];
        if job.may_be_suspect() {
            return;
        }
        if job.attempts.is_empty() {
            let first = self.unsent[job.group].first().copied();
            court.demand(first == Some(index), Check::FirstInFirstOut, || {
                format!("job {index} was assigned before the older job {first:?}")
            });
        }
        let older = self.waiting[job.group].range(..index).find(|older| {
            let older = &self.jobs[**older];
            // One that comes back in this very turn may come too late for what was decided before.
            older.is_due(court, now) && older.waits_since_before(now) && !older.may_be_suspect()
        });
        court.demand(older.is_none(), Check::AgeKeepsItsPlace, || {
            format!("job {index} was sent before the older job {older:?}, which was due")
        });
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
            let at = now + timeout + Duration::from_nanos(2);
            self.deadlines.insert((at, index), (WhichClock::Run, attempt));
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

    /// Whether its attempt may have run out of time without a word.
    pub(crate) fn is_overtime_unsaid(&self, index: usize, now: Time) -> bool {
        matches!(self.jobs[index].phase, Phase::InHand(attempt) if self.may_have_run_out(now, attempt))
    }

    fn may_have_run_out(&self, now: Time, attempt: usize) -> bool {
        let Attempt { job, marked, .. } = self.attempts[attempt];
        let job = &self.jobs[job];
        let (Some(timeout), Some(marked)) = (job.terms.run_timeout, marked) else { return false };
        job.terms.retry_run_timeout && job.has_retry_left() && now >= marked + timeout
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
    fn lose_overtime(&mut self, index: usize, now: Time, loss: &Loss) {
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

    fn lose_current(&mut self, index: usize, now: Time, loss: &Loss, ran_out: bool) {
        let job = &mut self.jobs[index];
        if !loss.is_certain {
            return self.lose_somehow(index);
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
    fn lose_somehow(&mut self, index: usize) {
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

    fn may_owe_poison(&mut self, index: usize) {
        self.may_owe(index, Kinds::POISONED);
        self.jobs[index].number -= 1;
        self.jobs[index].is_number_vague = false;
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

    fn check_phase(&self, court: &mut Court, now: Time, index: usize, claim: &Claim) {
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

    fn check_started(&self, court: &mut Court, index: usize, claim: &Claim) {
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

    fn check_claim(&self, court: &mut Court, now: Time, index: usize, claim: &Claim) {
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
            Claim::Poisoned { reports } => {
                let most = usize::from(job.deaths[1]) + usize::from(job.losses[1]);
                court.demand(*reports <= most.max(1), Check::PoisonAtItsCount, || {
                    format!("job {index} was poisoned with {reports} reports after {:?} deaths", job.deaths)
                });
            }
            Claim::Cancelled { .. } | Claim::Lost | Claim::ShuttingDown { .. } | Claim::NoWorkers { .. } => {}
        }
    }

    fn check_clock(&self, court: &mut Court, now: Time, index: usize, clock: WhichClock) {
        if clock != WhichClock::Total && self.was_held_vaguely(index) {
            return;
        }
        let job = &self.jobs[index];
        let due = match clock {
            WhichClock::Queue => job.terms.queue_timeout.map(|timeout| job.enqueued + timeout),
            WhichClock::Total => job.terms.timeout.map(|timeout| job.enqueued + timeout),
            WhichClock::Run => self.run_deadline(index),
        };
        court.demand(due.is_some_and(|due| now >= due), Check::ClocksAreNeverEarly, || {
            format!("job {index} ran out of its {clock:?} clock at {now:?}, which was due at {due:?}")
        });
        let since = match clock {
            WhichClock::Queue | WhichClock::Total => Some(job.enqueued),
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
                let owed =
                    job.terms.retry_run_timeout && job.has_retry_left() && !self.is_settling && !is_lost;
                court.demand(!owed, Check::RetriesAreGiven, || {
                    format!("job {index} ended by its run clock with a retry left")
                });
            }
            WhichClock::Total => {}
        }
    }

    fn run_deadline(&self, index: usize) -> Option<Time> {
        let job = &self.jobs[index];
        let last = &self.attempts[*job.attempts.last()?];
        Some(last.marked? + job.terms.run_timeout?)
    }

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
    fn check_cancel(&mut self, court: &mut Court, now: Time, attempt: usize) {
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
        let is_fatal = job.terms.overtime == Overtime::Kill;
        self.attempts[attempt].abandoned =
            Some(Abandoned { at: now, taints_from: now, is_fatal, may_be_fatal: is_fatal });
    }

    fn check_deadlines(&mut self, court: &mut Court, now: Time) {
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

    fn check_deadline(
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
                    // Its handler was in time; the answer is on its way.
                    || !self.attempts[attempt].is_running
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

    /// A run clock that leads to a retry shows only in the Cancel, or not at all.
    fn is_between(&mut self, now: Time, index: usize, attempt: usize) -> bool {
        let job = &mut self.jobs[index];
        let owed = job.terms.retry_run_timeout && job.has_retry_left();
        let told = job.terms.overtime == Overtime::Leave || self.attempts[attempt].cancel_sent.is_some();
        if job.phase == Phase::InHand(attempt) && owed && told {
            job.phase = Phase::Between(attempt);
            let is_fatal = job.terms.overtime == Overtime::Kill;
            self.attempts[attempt].abandoned.get_or_insert(Abandoned {
                at: now,
                taints_from: now,
                is_fatal,
                may_be_fatal: is_fatal,
            });
        }
        matches!(job.phase, Phase::Between(_))
    }
}

enum Retry {
    Yes,
    No(Kinds),
}

/// What an answer was, as the supervisor read it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answered {
    Data,
    /// With the handler's own word about trying again, if it has one.
    Failed {
        again: Option<bool>,
    },
}

/// What is known, and true, about an attempt whose worker is dead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    pub(crate) is_started: bool,
    /// Its handler was at work when the worker died.
    pub(crate) was_running: bool,
    /// It ran when the worker died, and we did not kill it.
    pub(crate) is_charged: bool,
    pub(crate) is_by_us: bool,
    /// The timers may have decided to kill it in this turn, before its death was read.
    pub(crate) may_be_by_us: bool,
    pub(crate) is_unkillable: bool,
    /// Truth: its whole answer was in the link.
    pub(crate) is_answered: bool,
    /// The worker did not lie about its page or its answers.
    pub(crate) is_certain: bool,
}
