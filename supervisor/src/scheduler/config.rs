//! Every knob and limit of the scheduler, with its default.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::Time;

use super::pick::Candidate;

/// What the scheduler is told once, at the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The groups, in the order of their [`GroupIndex`].
    pub groups: Vec<GroupConfig>,
    /// How often workers' memory and heartbeats are looked at. Default 250 ms.
    pub sample_every: Duration,
}

impl Config {
    /// One group of each of these, everything else by default.
    #[must_use]
    pub fn new(groups: Vec<GroupConfig>) -> Config {
        Config { groups, sample_every: Duration::from_millis(250) }
    }
}

/// A group's place in [`Config::groups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GroupIndex(pub u16);

/// The most requests that can be sent to a worker beyond its capacity.
pub const MAX_PREFETCH: u32 = 256;

/// The policies of one group of workers.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// The group's name.
    pub name: Arc<str>,
    /// How many workers are wanted.
    pub workers: u32,
    /// The names of the first of them; the others are called after the group and their slot.
    pub members: Vec<Arc<str>>,
    /// Whether a worker that has ended is replaced.
    pub revive: Revive,
    /// The most requests sent to a worker beyond its capacity: fewer the longer its requests take, and none when they
    /// take over a millisecond. 0 sends none ahead. Default [`MAX_PREFETCH`].
    pub prefetch: u32,
    /// How a worker is picked for a job.
    pub pick: Pick,
    /// How much later a job of the next higher class may come and still go first. Default 10 s.
    pub ageing: Duration,
    /// How many jobs of one key may be under way at once. Default 1.
    pub key_limit: u32,
    /// How long a worker may take from its start to its first ready. Default 30 s.
    pub boot_timeout: Duration,
    /// How long a handler has to answer after its request was cancelled. Default 1 s.
    pub cancel_grace: Duration,
    /// How long the other requests of a worker that must be killed have to finish. Default 5 s.
    pub bystander_grace: Duration,
    /// How long a worker that was asked to leave and holds nothing may take to do so. Default 30 s.
    pub leave_grace: Duration,
    /// From SIGTERM to SIGKILL. Default 5 s.
    pub term_grace: Duration,
    /// From SIGKILL until a process that is still there is written off. Default 5 s.
    pub kill_grace: Duration,
    /// How long a link may stay open after its process has ended, held by a grandchild. Default 100 ms.
    pub orphan_grace: Duration,
    /// How long a process may live on after it has closed its link without a goodbye: a program that panics closes
    /// it first and exits then, which takes its time on a busy machine. Default 1 s.
    pub close_grace: Duration,
    /// How often a worker beats. Default 1 s.
    pub heartbeat: Duration,
    /// A worker silent for this long gets nothing new. Default 3 s.
    pub suspect_after: Duration,
    /// A worker silent for this long is killed. Default 10 s.
    pub missing_after: Duration,
    /// What becomes of a worker whose own health check fails.
    pub on_unhealthy: OnUnhealthy,
    /// When crashed workers are replaced.
    pub restart: RestartPolicy,
    /// When a job that keeps killing workers is given up.
    pub poison: PoisonPolicy,
    /// When workers that are well are replaced, or sent away.
    pub recycle: RecyclePolicy,
}

impl GroupConfig {
    /// A group with this name and number of workers, everything else by default.
    pub fn new(name: impl Into<Arc<str>>, workers: u32) -> GroupConfig {
        GroupConfig {
            name: name.into(),
            workers,
            members: Vec::new(),
            revive: Revive::default(),
            prefetch: MAX_PREFETCH,
            pick: Pick::default(),
            ageing: Duration::from_secs(10),
            key_limit: 1,
            boot_timeout: Duration::from_secs(30),
            cancel_grace: Duration::from_secs(1),
            bystander_grace: Duration::from_secs(5),
            leave_grace: Duration::from_secs(30),
            term_grace: Duration::from_secs(5),
            kill_grace: Duration::from_secs(5),
            orphan_grace: Duration::from_millis(100),
            close_grace: Duration::from_secs(1),
            heartbeat: Duration::from_secs(1),
            suspect_after: Duration::from_secs(3),
            missing_after: Duration::from_secs(10),
            on_unhealthy: OnUnhealthy::default(),
            restart: RestartPolicy::default(),
            poison: PoisonPolicy::default(),
            recycle: RecyclePolicy::default(),
        }
    }
}

impl GroupConfig {
    /// What the worker in a slot is called.
    pub(super) fn name_of(&self, slot: u32) -> Arc<str> {
        match self.members.get(slot as usize) {
            Some(name) => Arc::clone(name),
            None => format!("{}-{slot}", self.name).into(),
        }
    }

    /// The slot of the worker of this name, whether the group has so many or not.
    pub(super) fn slot_of(&self, worker: &str) -> Option<u32> {
        if let Some(slot) = self.members.iter().position(|name| **name == *worker) {
            return u32::try_from(slot).ok();
        }
        self.default_slot_of(worker)
    }

    /// The slot of the worker that is called after its group and slot.
    pub(crate) fn default_slot_of(&self, worker: &str) -> Option<u32> {
        let slot: u32 = worker.strip_prefix(&*self.name)?.strip_prefix('-')?.parse().ok()?;
        // There are several ways to write a number, and names of their own have the first slots.
        (*self.name_of(slot) == *worker).then_some(slot)
    }
}

/// Whether a worker that has ended, in whatever way, is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Revive {
    /// Yes, within the group's [`RestartPolicy`].
    #[default]
    Always,
    /// No: its place stays empty until [`Supervisor::revive`](crate::Supervisor::revive) is called for it. A process
    /// that could not be started has not ended, and is tried again.
    ByCommand,
}

/// What becomes of a worker whose own health check fails, besides being shown and told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnUnhealthy {
    /// Nothing: it goes on as before. The default.
    #[default]
    Report,
    /// It gets no new request until the check succeeds again, and what it has not started is done elsewhere. When no
    /// worker of a group is healthy, its jobs wait.
    Unroute,
}

/// How a worker is picked among the ready ones with a free slot.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Pick {
    /// Idle before not idle, then the lowest resident memory in buckets of 2 MiB or 5 %, then the fewest requests
    /// in flight, then those whose last answer was no failure, then the one used last, whose memory is still in the
    /// caches. The default.
    #[default]
    Balanced,
    /// Strictly the lowest resident memory, as sampled last. Samples are stale, so a burst herds on one worker.
    LowestRss,
    /// The fewest requests in flight.
    LeastBusy,
    /// The least recently used.
    RoundRobin,
    /// The less busy of two drawn at random (Mitzenmacher, "The Power of Two Choices in Randomized Load
    /// Balancing", 2001).
    PowerOfTwo,
    /// The worker that the job's affinity key maps to by rendezvous hashing (Thaler and Ravishankar, 1998) among
    /// those available; jobs without a key as [`Pick::Balanced`].
    Affinity,
    /// A function of the candidates, which names one by its index; `None`, an index that is none, or a panic
    /// falls back to [`Pick::Balanced`].
    Custom(Arc<CustomPick>),
}

/// A pick policy of the user's own: from the candidates to the index of one of them.
pub type CustomPick = dyn Fn(&[Candidate]) -> Option<usize> + Send + Sync;

impl fmt::Debug for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pick::Balanced => "Balanced",
            Pick::LowestRss => "LowestRss",
            Pick::LeastBusy => "LeastBusy",
            Pick::RoundRobin => "RoundRobin",
            Pick::PowerOfTwo => "PowerOfTwo",
            Pick::Affinity => "Affinity",
            Pick::Custom(_) => "Custom",
        })
    }
}

/// When a worker that exited unexpectedly is replaced.
///
/// Only unexpected exits count: a death with a job running is charged to the job, and what the supervisor itself
/// ended (by a timeout, a resize, a shutdown) is nobody's fault.
#[derive(Clone, Debug, PartialEq)]
pub struct RestartPolicy {
    /// Unexpected exits within `window`, per wanted worker, after which the group is degraded; `None`: no limit.
    /// Default 5.
    pub limit: Option<u32>,
    /// The sliding window. Default 120 s.
    pub window: Duration,
    /// The delay before the second replacement in a row (the first is immediate); it doubles. Default 100 ms.
    pub backoff: Duration,
    /// The longest delay, and how often a degraded group is probed. Default 30 s.
    pub backoff_max: Duration,
    /// How much a delay varies either way, as a share of it. Default 0.2.
    pub jitter: f64,
    /// A worker that has lived this long, or has answered a job, is healthy: delays begin anew. Default 10 s.
    pub healthy_after: Duration,
    /// Deaths charged to jobs, with no job of the group answered in between, after which they count. Default 20.
    pub job_deaths: u32,
}

impl Default for RestartPolicy {
    fn default() -> RestartPolicy {
        RestartPolicy {
            limit: Some(5),
            window: Duration::from_secs(120),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
            jitter: 0.2,
            healthy_after: Duration::from_secs(10),
            job_deaths: 20,
        }
    }
}

impl RestartPolicy {
    /// Never degraded: replacements go on for ever, with back-off.
    #[must_use]
    pub fn unlimited() -> RestartPolicy {
        RestartPolicy { limit: None, ..RestartPolicy::default() }
    }
}

/// When a job that keeps killing workers is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoisonPolicy {
    /// Worker deaths with the job running after which it is poisoned. Default 3; at least 1.
    pub deaths: u8,
    /// Worker deaths with the job sent but not started after which it is suspect; `deaths` more and it is
    /// poisoned. Default 8; at least 1.
    pub losses: u8,
}

impl Default for PoisonPolicy {
    fn default() -> PoisonPolicy {
        PoisonPolicy { deaths: 3, losses: 8 }
    }
}

/// When workers that are well are replaced before they do harm, or sent away because nobody needs them.
///
/// All limits are off by default. They are looked at every [`sample_every`](crate::Builder::sample_every). A worker that
/// is over one of them is replaced first: its successor is started beside it, must say ready and stay well for
/// [`min_uptime`](RecyclePolicy::min_uptime), and only then the old one finishes what it holds and leaves. No job is lost
/// by that, but by [`kill_above_bytes`](RecyclePolicy::kill_above_bytes) and a [`grace`](RecyclePolicy::grace) that is
/// shorter than a job.
#[derive(Clone, Debug, PartialEq)]
pub struct RecyclePolicy {
    /// Resident memory above which a worker is replaced, in bytes, once `samples` looks in a row have found it there.
    /// Default none.
    pub above_bytes: Option<u64>,
    /// How many looks in a row. Default 3; at least 1.
    pub samples: u32,
    /// Resident memory above which a worker is killed at the first look, in bytes. What it had started is lost with it, or
    /// retried; it counts as an unexpected exit, of the jobs' if any was running. Default none.
    pub kill_above_bytes: Option<u64>,
    /// Answers after which a worker is replaced. It goes on answering until its successor takes over. Default none.
    pub max_jobs: Option<u64>,
    /// The age at which a worker is replaced, but not before it is [healthy](RestartPolicy::healthy_after). Default none.
    pub max_age: Option<Duration>,
    /// When for so long some workers were never needed, they leave; when jobs wait for a place, they come back at once.
    /// Default none.
    pub idle_timeout: Option<Duration>,
    /// How many workers an idle group keeps. With 0 the first job after a pause waits for a process to start. Default 1.
    pub min_workers: u32,
    /// By how much each worker's own limits for memory, jobs and age lie below those above: drawn at its birth, at most
    /// this share, so that workers which were born together do not leave together. Default 0.2.
    pub jitter: f64,
    /// How many workers of the group may have a successor beside them at a time. Default 1; at least 1.
    pub at_once: u32,
    /// How long a successor must have been ready before it takes over. Default 1 s.
    pub min_uptime: Duration,
    /// How long the old worker has for what it holds, before the kill ladder. Default as long as it takes.
    pub grace: Duration,
}

impl Default for RecyclePolicy {
    fn default() -> RecyclePolicy {
        RecyclePolicy {
            above_bytes: None,
            samples: 3,
            kill_above_bytes: None,
            max_jobs: None,
            max_age: None,
            idle_timeout: None,
            min_workers: 1,
            jitter: 0.2,
            at_once: 1,
            min_uptime: Duration::from_secs(1),
            grace: Duration::MAX,
        }
    }
}

impl RecyclePolicy {
    /// Whether workers can be worn at all.
    pub(super) fn wears(&self) -> bool {
        self.above_bytes.is_some() || self.max_jobs.is_some() || self.max_age.is_some()
    }
}

/// How a rollout is to go about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolloutTerms {
    /// How many workers may have a successor beside them at a time. Default 1; at least 1.
    pub batch: u32,
    /// How long a successor must have been ready before it takes over. Default 1 s.
    pub min_uptime: Duration,
    /// How long each old worker has for what it holds, before the kill ladder. Default as long as it takes.
    pub grace: Duration,
    /// How many new workers may fail before it is given up. Default 2.
    pub max_failures: u32,
}

impl Default for RolloutTerms {
    fn default() -> RolloutTerms {
        RolloutTerms { batch: 1, min_uptime: Duration::from_secs(1), grace: Duration::MAX, max_failures: 2 }
    }
}

/// What a job's owner asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct JobOptions {
    /// Further attempts after the first. Default 0.
    pub retries: u16,
    /// From enqueue until the first start. Default none.
    pub queue_timeout: Option<Duration>,
    /// One attempt, from its start. Default none.
    pub run_timeout: Option<Duration>,
    /// All of it, from enqueue. Default none.
    pub timeout: Option<Duration>,
    /// What happens to a worker whose request ran out of time. Default [`OnTimeout::Kill`].
    pub on_timeout: OnTimeout,
    /// Which endings of an attempt are worth a retry.
    pub retry_on: RetryOn,
    /// The delay before a retry; doubles with each, with jitter of 20 %. Default none.
    pub retry_backoff: Option<Duration>,
    /// The longest delay before a retry. Default 30 s.
    pub retry_backoff_max: Duration,
    /// Jobs with the same key prefer the same worker under [`Pick::Affinity`].
    pub affinity: Option<u64>,
    /// What decides about its turn besides its age. Most jobs have none of it.
    pub order: Option<Box<Order>>,
    /// Descriptors go with it. It is sent to a free slot only, never ahead, so that no worker holds more of them than
    /// it can use.
    pub has_attachments: bool,
}

/// What decides about a job's turn besides its age.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Its class.
    pub priority: Priority,
    /// From enqueue until it may be sent.
    pub delay: Option<Duration>,
    /// It may not be sent before, on the machine's clock.
    pub not_before: Option<Time>,
    /// Of jobs with the same key only so many are under way at once, in the order in which they came.
    pub key: Option<u64>,
}

/// A job's class. Of the jobs of a group that could be sent, those of a higher class go first, but none waits for ever:
/// one of a lower class goes before every job of the next higher class that comes more than the group's
/// [`ageing`](crate::Group::ageing) after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Priority {
    /// Goes before what is normal.
    High,
    /// What a job is unless it says otherwise.
    #[default]
    Normal,
    /// Goes when there is nothing else to do, or has waited for long enough.
    Low,
}

impl Default for JobOptions {
    fn default() -> JobOptions {
        JobOptions {
            retries: 0,
            queue_timeout: None,
            run_timeout: None,
            timeout: None,
            on_timeout: OnTimeout::Kill,
            retry_on: RetryOn::default(),
            retry_backoff: None,
            retry_backoff_max: Duration::from_secs(30),
            affinity: None,
            order: None,
            has_attachments: false,
        }
    }
}

/// What happens to a worker whose request ran out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnTimeout {
    /// It gets a Cancel and, if it does not answer within the grace, is killed, once its other requests are done.
    #[default]
    Kill,
    /// It gets nothing new until its late answer or its death.
    Leave,
    /// It gets a Cancel, and nothing new until its late answer or its death.
    Cooperative,
}

/// Which endings of an attempt are worth a retry, while there are retries left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RetryOn {
    /// The worker died with the request started. Default yes.
    pub worker_lost: bool,
    /// The handler answered with a failure; its [`RetryHint`](ganger_protocol::RetryHint) overrides this.
    /// Default no.
    pub failure: bool,
    /// The attempt ran into `run_timeout`. Default no.
    pub run_timeout: bool,
}

impl Default for RetryOn {
    fn default() -> RetryOn {
        RetryOn { worker_lost: true, failure: false, run_timeout: false }
    }
}
