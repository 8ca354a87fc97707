//! What is known of a job, of its attempts, and of what is said about it.

use std::time::Duration;

use ganger_protocol::{Epoch, Generation, Ordinal, Time};

use super::super::court::Court;

/// What a job's owner asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// How many classes are above its own.
    pub(crate) class: u32,
    pub(crate) delay: Duration,
    pub(crate) key: Option<u64>,
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
    Poisoned { reports: usize, started: bool },
    ShuttingDown { started: bool },
    NoWorkers { started: bool },
}

impl Claim {
    pub(super) fn kind(&self) -> Kinds {
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

    pub(super) fn started(&self) -> Option<bool> {
        match self {
            Claim::TimedOut { started, .. }
            | Claim::Cancelled { started }
            | Claim::ShuttingDown { started }
            | Claim::Poisoned { started, .. }
            | Claim::NoWorkers { started } => Some(*started),
            Claim::Replied { .. } | Claim::Failed { .. } | Claim::Lost => Some(true),
        }
    }
}

/// One job.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) group: usize,
    pub(crate) terms: Terms,
    pub(crate) enqueued: Time,
    /// From when its clocks and its age count.
    pub(crate) counts_from: Time,
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
    /// Whether it simply waits in the order of enqueueing, with others of its class.
    pub(crate) fn is_simple(&self) -> bool {
        self.terms.key.is_none() && self.terms.delay.is_zero()
    }

    /// Whether it waits in the plain queue.
    pub(crate) fn is_plain(&self) -> bool {
        self.terms.class == 1 && self.terms.key.is_none()
    }

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

    pub(super) fn waits_since_before(&self, now: Time) -> bool {
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
    /// Since when its worker is to be killed for it.
    pub(crate) fatal: Option<Time>,
}

pub(super) enum Retry {
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
