//! From what a caller writes to what the scheduler and the driver are told.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use ganger_protocol::{Call, Failure, Limits, MAX_HEAD};

use crate::calls::{CallContext, Registry};
use crate::checks::CheckTimes;
use crate::driver::{self, DriverConfig, GroupProgram, OnSignals, Subscriber};
use crate::error::ConfigError;
use crate::group::{check_members, in_range, unusable};
use crate::scheduler::{
    Backlog, Config, GroupIndex, OnUnhealthy, Pick, PoisonPolicy, RecyclePolicy, RestartPolicy, Revive,
};
use crate::shared::QueueLimits;
use crate::store::StoreLimits;
use crate::supervisor::Settings;
use crate::{Events, Group, Resource, Rlimit, StartError, Supervisor};

/// The most groups of one supervisor.
const MAX_GROUPS: usize = 1024;
/// The most bytes of one payload: head and payload together have a length of 32 bits.
const MAX_PAYLOAD: usize = u32::MAX as usize - MAX_HEAD;
/// The most jobs that can be counted.
const MAX_JOBS: usize = usize::MAX >> 1;

/// Everything that can be said about a supervisor before it starts; made by
/// [`Supervisor::builder`](crate::Supervisor::builder).
///
/// What is said about workers here ([`workers`](Builder::workers) to [`heartbeat`](Builder::heartbeat)) goes for
/// the first group; the others are made with [`Group::new`] and come in with [`group`](Builder::group).
///
/// ```no_run
/// use std::time::Duration;
/// use ganger::{Program, Supervisor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let supervisor = Supervisor::builder(Program::beside("resizer"))
///     .workers(4)
///     .boot_timeout(Duration::from_secs(5))
///     .queue_limit(10_000)
///     .handle_signals()
///     .start()?;
/// # drop(supervisor);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing runs before start()"]
pub struct Builder {
    first: Group,
    others: Vec<Group>,
    queue: QueueLimits,
    store: StoreLimits,
    payloads: Limits,
    sample_every: Duration,
    handles_signals: bool,
    oom_events: Option<PathBuf>,
    handlers: Registry,
    call_threads: usize,
    settings: Settings,
}

/// What remains of a builder when it was found to make sense.
struct Plan {
    driver: DriverConfig,
    scheduler: Config,
    names: Arc<[Arc<str>]>,
    settings: Settings,
}

impl Builder {
    pub(crate) fn new(first: Group) -> Builder {
        Builder {
            first,
            others: Vec::new(),
            queue: QueueLimits::default(),
            store: StoreLimits::default(),
            payloads: Limits::default(),
            sample_every: Duration::from_millis(250),
            handles_signals: false,
            oom_events: None,
            handlers: Registry::default(),
            call_threads: 4,
            settings: Settings::default(),
        }
    }

    /// One more group.
    pub fn group(mut self, group: Group) -> Builder {
        self.others.push(group);
        self
    }

    /// As [`Group::workers`], for the first group.
    pub fn workers(self, workers: usize) -> Builder {
        self.first(|group| group.workers(workers))
    }

    /// As [`Group::prefetch`], for the first group.
    pub fn prefetch(self, requests: u32) -> Builder {
        self.first(|group| group.prefetch(requests))
    }

    /// As [`Group::pick`], for the first group.
    pub fn pick(self, pick: Pick) -> Builder {
        self.first(|group| group.pick(pick))
    }

    /// As [`Group::ageing`], for the first group.
    pub fn ageing(self, ageing: Duration) -> Builder {
        self.first(|group| group.ageing(ageing))
    }

    /// As [`Group::key_limit`], for the first group.
    pub fn key_limit(self, jobs: u32) -> Builder {
        self.first(|group| group.key_limit(jobs))
    }

    /// As [`Group::on_unhealthy`], for the first group.
    pub fn on_unhealthy(self, policy: OnUnhealthy) -> Builder {
        self.first(|group| group.on_unhealthy(policy))
    }

    /// As [`Group::restart`], for the first group.
    pub fn restart(self, policy: RestartPolicy) -> Builder {
        self.first(|group| group.restart(policy))
    }

    /// As [`Group::poison`], for the first group.
    pub fn poison(self, policy: PoisonPolicy) -> Builder {
        self.first(|group| group.poison(policy))
    }

    /// As [`Group::recycle`], for the first group.
    pub fn recycle(self, policy: RecyclePolicy) -> Builder {
        self.first(|group| group.recycle(policy))
    }

    /// As [`Group::recycle_above`], for the first group.
    pub fn recycle_above(self, bytes: u64) -> Builder {
        self.first(|group| group.recycle_above(bytes))
    }

    /// As [`Group::kill_above`], for the first group.
    pub fn kill_above(self, bytes: u64) -> Builder {
        self.first(|group| group.kill_above(bytes))
    }

    /// As [`Group::max_jobs`], for the first group.
    pub fn max_jobs(self, jobs: u64) -> Builder {
        self.first(|group| group.max_jobs(jobs))
    }

    /// As [`Group::max_age`], for the first group.
    pub fn max_age(self, age: Duration) -> Builder {
        self.first(|group| group.max_age(age))
    }

    /// As [`Group::idle_timeout`], for the first group.
    pub fn idle_timeout(self, timeout: Duration) -> Builder {
        self.first(|group| group.idle_timeout(timeout))
    }

    /// As [`Group::min_workers`], for the first group.
    pub fn min_workers(self, workers: u32) -> Builder {
        self.first(|group| group.min_workers(workers))
    }

    /// As [`Group::boot_timeout`], for the first group.
    pub fn boot_timeout(self, timeout: Duration) -> Builder {
        self.first(|group| group.boot_timeout(timeout))
    }

    /// As [`Group::cancel_grace`], for the first group.
    pub fn cancel_grace(self, grace: Duration) -> Builder {
        self.first(|group| group.cancel_grace(grace))
    }

    /// As [`Group::bystander_grace`], for the first group.
    pub fn bystander_grace(self, grace: Duration) -> Builder {
        self.first(|group| group.bystander_grace(grace))
    }

    /// As [`Group::leave_grace`], for the first group.
    pub fn leave_grace(self, grace: Duration) -> Builder {
        self.first(|group| group.leave_grace(grace))
    }

    /// As [`Group::close_grace`], for the first group.
    pub fn close_grace(self, grace: Duration) -> Builder {
        self.first(|group| group.close_grace(grace))
    }

    /// As [`Group::orphan_grace`], for the first group.
    pub fn orphan_grace(self, grace: Duration) -> Builder {
        self.first(|group| group.orphan_grace(grace))
    }

    /// As [`Group::term_grace`], for the first group.
    pub fn term_grace(self, grace: Duration) -> Builder {
        self.first(|group| group.term_grace(grace))
    }

    /// As [`Group::heartbeat`], for the first group.
    pub fn heartbeat(self, every: Duration, suspect_after: Duration, missing_after: Duration) -> Builder {
        self.first(|group| group.heartbeat(every, suspect_after, missing_after))
    }

    /// As [`Group::payload_pool`], for the first group.
    pub fn payload_pool(self, bytes: usize) -> Builder {
        self.first(|group| group.payload_pool(bytes))
    }

    /// As [`Group::members`], for the first group.
    pub fn members<N: Into<Arc<str>>>(self, names: impl IntoIterator<Item = N>) -> Builder {
        self.first(|group| group.members(names))
    }

    /// As [`Group::revive`], for the first group.
    pub fn revive(self, revive: Revive) -> Builder {
        self.first(|group| group.revive(revive))
    }

    /// As [`Group::slot_env`], for the first group.
    pub fn slot_env<V: Into<OsString>>(
        self,
        key: impl Into<OsString>,
        values: impl IntoIterator<Item = V>,
    ) -> Builder {
        self.first(|group| group.slot_env(key, values))
    }

    /// As [`Group::slot_env_with`], for the first group.
    pub fn slot_env_with(
        self,
        key: impl Into<OsString>,
        value: impl Fn(u32) -> OsString + Send + Sync + 'static,
    ) -> Builder {
        self.first(|group| group.slot_env_with(key, value))
    }

    /// As [`Group::listener`], for the first group.
    pub fn listener(self, name: impl Into<Arc<str>>, listener: impl Into<OwnedFd>) -> Builder {
        self.first(|group| group.listener(name, listener))
    }

    /// As [`Group::niceness`], for the first group.
    pub fn niceness(self, niceness: i32) -> Builder {
        self.first(|group| group.niceness(niceness))
    }

    /// As [`Group::rlimit`], for the first group.
    pub fn rlimit(self, resource: Resource, limit: impl Into<Rlimit>) -> Builder {
        self.first(|group| group.rlimit(resource, limit))
    }

    /// How many jobs may be accepted and not settled at a time, all groups together. Default 16 Mi.
    pub fn queue_limit(mut self, jobs: usize) -> Builder {
        self.queue.jobs = jobs;
        self
    }

    /// How many bytes the payloads of those jobs may have together. Default 1 GiB.
    pub fn queue_bytes(mut self, bytes: usize) -> Builder {
        self.queue.bytes = bytes;
        self
    }

    /// How much the shared [`store`](Supervisor::store) takes. Default [`StoreLimits::default`].
    pub fn store_limits(mut self, limits: StoreLimits) -> Builder {
        self.store = limits;
        self
    }

    /// The largest payload of a request or an answer, in bytes. Default 64 MiB, at most 4 GiB less 32 KiB.
    pub fn payload_limit(mut self, bytes: usize) -> Builder {
        self.payloads.payload = bytes;
        self
    }

    /// The largest payload of an event, in bytes, either way. Default 1 MiB.
    pub fn event_limit(mut self, bytes: usize) -> Builder {
        self.payloads.event = bytes;
        self
    }

    /// How many events may wait for a subscriber; what comes while it is full is counted as missed. Default 1,024.
    pub fn event_backlog(mut self, events: usize) -> Builder {
        self.settings.event_backlog = events;
        self
    }

    /// How often workers' memory and heartbeats are looked at. Default 250 ms.
    pub fn sample_every(mut self, interval: Duration) -> Builder {
        self.sample_every = interval;
        self
    }

    /// How long [`soft_kill`](Supervisor::soft_kill) may take before every handle settles and the kill ladder begins.
    /// Default 30 s.
    pub fn soft_kill_deadline(mut self, deadline: Duration) -> Builder {
        self.settings.soft_kill_deadline = deadline;
        self
    }

    /// How long each [health check](Supervisor::on_health) of this process rests between two runs, and how long a run may
    /// take before it counts as failed. Default 5 s each.
    pub fn health_every(mut self, rest: Duration, patience: Duration) -> Builder {
        self.settings.checks = CheckTimes { rest, patience };
        self
    }

    /// How long a job may wait before [`health`](Supervisor::health) calls its queue stuck, if none of its group was
    /// answered in the last ten seconds either. Default 30 s.
    pub fn stuck_after(mut self, age: Duration) -> Builder {
        self.settings.stuck_after = age;
        self
    }

    /// Answers the call `C` when somebody calls [`Address::Primary`](crate::Address::Primary), from the first worker on.
    ///
    /// Handlers run on a few threads of their own ([`call_threads`](Builder::call_threads)), never on the loop. A panic
    /// in one becomes a failure of kind [`Panic`](crate::FailureKind::Panic). A handler that is to call in its turn has
    /// [`CallContext::peers`]; one that owned the [`Supervisor`] would keep it from ever being dropped.
    ///
    /// ```no_run
    /// # use ganger::{Call, Program, Supervisor};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct NextNumber;
    /// # impl Call for NextNumber { const NAME: &'static str = "next-number"; type Reply = u64; }
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let numbers = AtomicU64::new(1);
    /// let supervisor = Supervisor::builder(Program::beside("numberer"))
    ///     .on_call(move |_: NextNumber, _cx| Ok(numbers.fetch_add(1, Relaxed)))
    ///     .start()?;
    /// # drop(supervisor);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// When the call has a handler already.
    pub fn on_call<C, F>(mut self, handler: F) -> Builder
    where
        C: Call + 'static,
        F: Fn(C, &CallContext) -> Result<C::Reply, Failure> + Send + Sync + 'static,
    {
        self.handlers.add(handler);
        self
    }

    /// As [`on_call`](Builder::on_call), for a call whose argument and reply are bytes.
    ///
    /// # Panics
    /// When the call has a handler already.
    pub fn on_raw<F>(mut self, name: &str, handler: F) -> Builder
    where
        F: Fn(&[u8], &CallContext) -> Result<Vec<u8>, Failure> + Send + Sync + 'static,
    {
        self.handlers.add_raw(name, handler);
        self
    }

    /// How many threads answer calls to this process at most, from 1 to 1,024. Default 4; each is started when it is
    /// needed.
    pub fn call_threads(mut self, threads: usize) -> Builder {
        self.call_threads = threads;
        self
    }

    /// Takes over SIGINT and SIGTERM of the whole process: the first begins a soft kill, the second a hard kill.
    /// The supervisor never exits the process: wait with [`join`](Supervisor::join), then do it yourself. By
    /// default ganger touches no signal; leave this out to have a handler of your own call
    /// [`soft_kill`](Supervisor::soft_kill).
    pub fn handle_signals(mut self) -> Builder {
        self.handles_signals = true;
        self
    }

    /// A file with a line `oom_kill N` to read instead of the kernel's own count of out-of-memory kills: for tests,
    /// which cannot well run the machine out of memory.
    #[doc(hidden)]
    pub fn oom_events(mut self, file: impl Into<PathBuf>) -> Builder {
        self.oom_events = Some(file.into());
        self
    }

    /// Starts the supervisor. It returns when the supervisor is at work, not when its workers are: see
    /// [`wait_online`](Supervisor::wait_online). Jobs can be enqueued at once.
    ///
    /// # Errors
    /// [`StartError::Config`] for a value that makes no sense, [`StartError::Program`] when a group's program is
    /// missing or may not be executed, [`StartError::System`] when the machine refuses a thread or a descriptor.
    pub fn start(self) -> Result<Supervisor, StartError> {
        refuse_in_worker(unconnected_worker_of())?;
        self.plan()?.start(Vec::new())
    }

    /// As [`start`](Builder::start), with a subscription that misses nothing from the first event on.
    ///
    /// # Errors
    /// As [`start`](Builder::start).
    pub fn start_with_events(self) -> Result<(Supervisor, Events), StartError> {
        refuse_in_worker(unconnected_worker_of())?;
        let plan = self.plan()?;
        let (sender, receiver) = bounded(plan.settings.event_backlog);
        let supervisor = plan.start(vec![Subscriber::new(sender)])?;
        Ok((supervisor, Events::new(receiver)))
    }

    fn first(mut self, change: impl FnOnce(Group) -> Group) -> Builder {
        self.first = change(self.first);
        self
    }

    fn groups(&self) -> impl Iterator<Item = &Group> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn plan(&self) -> Result<Plan, StartError> {
        self.check_names()?;
        self.check_limits()?;
        let policies = self.groups().map(Group::checked).collect::<Result<Vec<_>, _>>()?;
        check_members(&policies)?;
        let programs = self
            .groups()
            .map(|group| {
                let program = group.program().resolve().map_err(|error| unusable(group, error))?;
                Ok::<_, StartError>(GroupProgram { terms: group.terms().clone(), ..program })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let names = policies.iter().map(|policy| Arc::clone(&policy.name)).collect();
        Ok(Plan {
            driver: DriverConfig {
                payloads: self.payloads,
                queue: self.queue,
                store: self.store,
                on_signals: self.on_signals(),
                oom_events: self.oom_events.clone(),
                handlers: self.handlers.clone(),
                call_threads: self.call_threads,
                ..DriverConfig::new(programs)
            },
            scheduler: Config { sample_every: self.sample_every, ..Config::new(policies) },
            names,
            settings: Settings { event_limit: self.payloads.event, ..self.settings.clone() },
        })
    }

    fn on_signals(&self) -> Option<OnSignals> {
        let on_signals =
            OnSignals { deadline: self.settings.soft_kill_deadline, backlog: Backlog::default() };
        self.handles_signals.then_some(on_signals)
    }

    fn check_names(&self) -> Result<(), ConfigError> {
        let count = self.groups().count();
        if count > MAX_GROUPS {
            return Err(ConfigError::TooManyGroups { count, limit: MAX_GROUPS });
        }
        let mut seen = HashSet::new();
        match self.groups().map(Group::name).find(|name| !seen.insert(Arc::clone(name))) {
            Some(name) => Err(ConfigError::DuplicateGroup { name: Arc::clone(name) }),
            None => Ok(()),
        }
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        in_range("queue_limit", self.queue.jobs, 1, MAX_JOBS)?;
        in_range("queue_bytes", self.queue.bytes, 1, usize::MAX)?;
        in_range("payload_limit", self.payloads.payload, 1, MAX_PAYLOAD)?;
        in_range("event_limit", self.payloads.event, 1, MAX_PAYLOAD)?;
        in_range("call_threads", self.call_threads, 1, 1024)?;
        in_range("event_backlog", self.settings.event_backlog, 1, 1 << 24)?;
        for (knob, value, most) in self.store.ranges() {
            in_range(knob, value, 1, most)?;
        }
        let CheckTimes { rest, patience } = self.settings.checks;
        in_range("health_every", rest.min(patience), Duration::from_millis(1), Duration::MAX)?;
        in_range("sample_every", self.sample_every, Duration::from_millis(1), Duration::from_secs(3600))
    }
}

impl Plan {
    fn start(mut self, subscribers: Vec<Subscriber>) -> Result<Supervisor, StartError> {
        self.driver.subscribers = subscribers;
        let started = driver::start(self.driver, self.scheduler)?;
        Ok(Supervisor::new(started.shared, self.names, self.settings))
    }
}

/// The place of the group called `name`; the first without a name.
pub(crate) fn index_of(names: &[Arc<str>], name: Option<&str>) -> Option<GroupIndex> {
    let place = match name {
        None => 0,
        Some(name) => names.iter().position(|known| **known == *name)?,
    };
    u16::try_from(place).ok().map(GroupIndex)
}

fn refuse_in_worker(supervisor: Option<u32>) -> Result<(), StartError> {
    supervisor.map_or(Ok(()), |supervisor| Err(ConfigError::UnconnectedWorker { supervisor }.into()))
}

/// The supervisor whose worker this process is, as long as it has not connected: connecting takes the leash away from
/// standard input. A worker that has connected may supervise workers of its own.
#[allow(clippy::disallowed_methods, reason = "a worker is told by its environment that it is one")]
fn unconnected_worker_of() -> Option<u32> {
    let named: u32 = std::env::var(ganger_protocol::WORKER_ENV).ok()?.parse().ok()?;
    let stdin = rustix::fs::fstat(std::io::stdin()).ok()?;
    let is_leash = rustix::fs::FileType::from_raw_mode(stdin.st_mode) == rustix::fs::FileType::Socket;
    (is_leash && std::os::unix::process::parent_id() == named).then_some(named)
}

#[cfg(test)]
mod tests;
