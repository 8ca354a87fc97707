//! A group: identical workers with one program and one set of policies.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::POOLED_PAYLOAD;

use crate::error::ConfigError;
use crate::scheduler::{GroupConfig, MAX_PREFETCH, Pick, PoisonPolicy, RestartPolicy};
use crate::{Program, StartError};

/// The most workers of one group.
pub(crate) const MAX_WORKERS: usize = 4096;
/// The most requests sent ahead to one worker.
const MAX_NAME: usize = 64;
/// The most memory that a worker shares each way.
const MAX_POOL: usize = 1 << 30;

/// Identical workers: a name, a program, a number, and policies. Every job goes to a group.
///
/// ```
/// use std::time::Duration;
/// use ganger::{Group, Pick, Program, RestartPolicy, Supervisor};
///
/// let renderers = Group::new("renderers", Program::beside("renderer"))
///     .workers(4)
///     .pick(Pick::LeastBusy)
///     .restart(RestartPolicy::unlimited())
///     .term_grace(Duration::from_secs(2));
/// let mailers = Group::new("mailers", Program::beside("mailer")).workers(1);
/// let builder = Supervisor::builder(renderers).group(mailers);
/// # drop(builder);
/// ```
#[derive(Clone, Debug)]
pub struct Group {
    program: Program,
    workers: usize,
    pool_bytes: usize,
    policies: GroupConfig,
}

impl Group {
    /// As many workers as the machine has processors for this process, everything else by default. Names are
    /// unique in a supervisor, have 1 to 64 characters and neither spaces nor control characters.
    pub fn new(name: impl Into<Arc<str>>, program: Program) -> Group {
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
        Group { program, workers, pool_bytes: 0, policies: GroupConfig::new(name, 0) }
    }

    /// How many workers, from 1 to 4,096. Default: as many as there are processors for this process.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Group {
        self.workers = workers;
        self
    }

    /// How many requests at most are sent to a worker ahead of its free slots, from 0 to 256. They are as many as it
    /// answers in about 100 µs, none when a request takes over a millisecond, and they are taken back when another worker
    /// could have them sooner. Default 256; 0 where each job is to be picked a worker only when one is free.
    #[must_use]
    pub fn prefetch(mut self, requests: u32) -> Group {
        self.policies.prefetch = requests;
        self
    }

    /// How many bytes of memory each worker shares with the supervisor for the payloads of its requests, and as many
    /// for those of its answers: payloads of 64 KiB or more that fit go through it instead of the socket, about twice
    /// as fast where both ends share a processor and less where they do not. From 64 KiB to 1 GiB, or 0 for none.
    /// Default 0.
    ///
    /// It should hold a few of the largest payloads that are on their way to one worker at a time. The memory counts
    /// once for the system, and in what both processes are shown to use, as far as it has been used.
    #[must_use]
    pub fn payload_pool(mut self, bytes: usize) -> Group {
        self.pool_bytes = bytes;
        self
    }

    /// How a worker is picked for a job. Default [`Pick::Balanced`].
    #[must_use]
    pub fn pick(mut self, pick: Pick) -> Group {
        self.policies.pick = pick;
        self
    }

    /// When workers that exited unexpectedly are replaced. Default: up to 5 such exits in 120 s.
    #[must_use]
    pub fn restart(mut self, policy: RestartPolicy) -> Group {
        self.policies.restart = policy;
        self
    }

    /// When a job that keeps killing workers is given up. Default: at the third death.
    #[must_use]
    pub fn poison(mut self, policy: PoisonPolicy) -> Group {
        self.policies.poison = policy;
        self
    }

    /// How long a worker may take from its start to its first ready. Default 30 s.
    #[must_use]
    pub fn boot_timeout(mut self, timeout: Duration) -> Group {
        self.policies.boot_timeout = timeout;
        self
    }

    /// How long a handler has to answer after its request was cancelled or timed out, before its worker is ended.
    /// Default 1 s.
    #[must_use]
    pub fn cancel_grace(mut self, grace: Duration) -> Group {
        self.policies.cancel_grace = grace;
        self
    }

    /// How long the other requests of a worker that must be ended have to finish. Default 5 s.
    #[must_use]
    pub fn bystander_grace(mut self, grace: Duration) -> Group {
        self.policies.bystander_grace = grace;
        self
    }

    /// How long a worker that was asked to leave and holds nothing may take to do so. Default 30 s.
    #[must_use]
    pub fn leave_grace(mut self, grace: Duration) -> Group {
        self.policies.leave_grace = grace;
        self
    }

    /// How long a worker may live on after it has closed its link without a goodbye. Default 1 s.
    #[must_use]
    pub fn close_grace(mut self, grace: Duration) -> Group {
        self.policies.close_grace = grace;
        self
    }

    /// How long a worker's link may stay open after its process has ended, because a grandchild holds it. Default
    /// 100 ms.
    #[must_use]
    pub fn orphan_grace(mut self, grace: Duration) -> Group {
        self.policies.orphan_grace = grace;
        self
    }

    /// From SIGTERM to SIGKILL. Default 5 s.
    #[must_use]
    pub fn term_grace(mut self, grace: Duration) -> Group {
        self.policies.term_grace = grace;
        self
    }

    /// How often a worker beats, from 10 ms to 1 h. One that misses beats for `suspect_after` gets nothing new;
    /// one that misses them for `missing_after` is ended. Default 1 s, 3 s and 10 s.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration, suspect_after: Duration, missing_after: Duration) -> Group {
        self.policies.heartbeat = every;
        self.policies.suspect_after = suspect_after;
        self.policies.missing_after = missing_after;
        self
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.policies.name
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    pub(crate) fn pool_bytes(&self) -> usize {
        self.pool_bytes
    }

    /// The policies, if they make sense.
    pub(crate) fn checked(&self) -> Result<GroupConfig, ConfigError> {
        check_name(self.name())?;
        let workers = check_workers(self.name(), self.workers)?;
        check_prefetch(self.policies.prefetch)?;
        check_pool(self.pool_bytes)?;
        check_boot(self.policies.boot_timeout)?;
        check_heartbeat(&self.policies)?;
        check_restart(&self.policies.restart)?;
        check_poison(self.policies.poison)?;
        Ok(GroupConfig { workers, ..self.policies.clone() })
    }
}

/// A group called "default" with this program, everything else by default.
impl From<Program> for Group {
    fn from(program: Program) -> Group {
        Group::new("default", program)
    }
}

fn check_name(name: &Arc<str>) -> Result<(), ConfigError> {
    let is_odd = |character: char| character.is_whitespace() || character.is_control();
    if name.is_empty() || name.chars().count() > MAX_NAME || name.contains(is_odd) {
        return Err(ConfigError::GroupName { name: Arc::clone(name) });
    }
    Ok(())
}

fn check_workers(group: &Arc<str>, workers: usize) -> Result<u32, ConfigError> {
    match workers {
        0 => Err(ConfigError::NoWorkers { group: Arc::clone(group) }),
        1..=MAX_WORKERS => Ok(workers as u32),
        _ => Err(ConfigError::TooManyWorkers { group: Arc::clone(group), workers, limit: MAX_WORKERS }),
    }
}

fn check_prefetch(prefetch: u32) -> Result<(), ConfigError> {
    in_range("prefetch", prefetch, 0, MAX_PREFETCH)
}

fn check_pool(bytes: usize) -> Result<(), ConfigError> {
    if bytes == 0 { Ok(()) } else { in_range("payload_pool", bytes, POOLED_PAYLOAD, MAX_POOL) }
}

fn check_boot(timeout: Duration) -> Result<(), ConfigError> {
    in_range("boot_timeout", timeout, Duration::from_millis(1), Duration::MAX)
}

fn check_heartbeat(policies: &GroupConfig) -> Result<(), ConfigError> {
    let GroupConfig { heartbeat, suspect_after, missing_after, .. } = *policies;
    in_range("heartbeat", heartbeat, Duration::from_millis(10), Duration::from_secs(3600))?;
    if suspect_after <= heartbeat || missing_after < suspect_after {
        let reason = format!(
            "a worker that beats every {heartbeat:?} cannot be suspected after {suspect_after:?} and missing after \
             {missing_after:?}; each must be longer than the one before"
        );
        return Err(ConfigError::Contradiction { reason });
    }
    Ok(())
}

fn check_restart(policy: &RestartPolicy) -> Result<(), ConfigError> {
    if !(0.0..=1.0).contains(&policy.jitter) {
        return Err(out_of_range("restart.jitter", policy.jitter, 0.0, 1.0));
    }
    in_range("restart.window", policy.window, Duration::from_millis(1), Duration::MAX)?;
    in_range("restart.backoff_max", policy.backoff_max, policy.backoff, Duration::MAX)?;
    in_range("restart.job_deaths", policy.job_deaths, 1, u32::MAX)
}

fn check_poison(policy: PoisonPolicy) -> Result<(), ConfigError> {
    in_range("poison.deaths", policy.deaths, 1, u8::MAX)?;
    in_range("poison.losses", policy.losses, 1, u8::MAX)
}

pub(crate) fn in_range<T: PartialOrd + std::fmt::Debug>(
    knob: &'static str,
    value: T,
    least: T,
    most: T,
) -> Result<(), ConfigError> {
    if value < least || value > most {
        return Err(out_of_range(knob, value, least, most));
    }
    Ok(())
}

fn out_of_range<T: std::fmt::Debug>(knob: &'static str, value: T, least: T, most: T) -> ConfigError {
    let [value, least, most] = [value, least, most].map(|value| format!("{value:?}"));
    ConfigError::OutOfRange { knob, value, least, most }
}

/// The error of a group whose program cannot be run.
pub(crate) fn unusable(group: &Group, unusable: crate::program::Unusable) -> StartError {
    StartError::Program {
        group: Arc::clone(group.name()),
        program: unusable.program,
        reason: unusable.reason,
    }
}
