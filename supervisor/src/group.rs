//! A group: identical workers with one program and one set of policies.

use std::ffi::OsString;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::driver::{SlotValues, Terms};
use crate::scheduler::{GroupConfig, OnUnhealthy, Pick, PoisonPolicy, RecyclePolicy, RestartPolicy, Revive};
use crate::{Program, Resource, Rlimit, StartError};

mod check;

pub(crate) use check::{check_members, check_program, in_range};

/// The most workers of one group.
pub(crate) const MAX_WORKERS: usize = 4096;

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
    terms: Terms,
    policies: GroupConfig,
}

impl Group {
    /// As many workers as the machine has processors for this process, everything else by default. Names are
    /// unique in a supervisor, have 1 to 64 characters and neither spaces nor control characters.
    pub fn new(name: impl Into<Arc<str>>, program: Program) -> Group {
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
        Group { program, workers, terms: Terms::default(), policies: GroupConfig::new(name, 0) }
    }

    /// A single worker that is called as its group: a named worker.
    pub fn named(name: impl Into<Arc<str>>, program: Program) -> Group {
        let name = name.into();
        Group::new(Arc::clone(&name), program).members([name])
    }

    /// What the workers are called, from the first slot on, and that there are as many. Those of a group that grows
    /// beyond them, and those of all other groups, are called after their group and slot: "renderers-0". Names of
    /// workers are unique in a supervisor, and as names of groups otherwise.
    #[must_use]
    pub fn members<N: Into<Arc<str>>>(mut self, names: impl IntoIterator<Item = N>) -> Group {
        self.policies.members = names.into_iter().map(Into::into).collect();
        self.workers = self.policies.members.len();
        self
    }

    /// Whether a worker that has ended is replaced. Default [`Revive::Always`].
    #[must_use]
    pub fn revive(mut self, revive: Revive) -> Group {
        self.policies.revive = revive;
        self
    }

    /// An environment variable with a value for each slot, and from the first again when there are more slots than
    /// values: eight workers on four graphics processors, say.
    ///
    /// ```
    /// use ganger::{Group, Program};
    ///
    /// let group = Group::new("renderers", Program::beside("renderer"))
    ///     .workers(8)
    ///     .slot_env("CUDA_VISIBLE_DEVICES", ["0", "1", "2", "3"])
    ///     .slot_env_with("SCRATCH", |slot| format!("/scratch/{slot}").into());
    /// # drop(group);
    /// ```
    #[must_use]
    pub fn slot_env<V: Into<OsString>>(
        mut self,
        key: impl Into<OsString>,
        values: impl IntoIterator<Item = V>,
    ) -> Group {
        let values = values.into_iter().map(Into::into).collect();
        self.terms.slot_env.push((key.into(), SlotValues::Cycle(values)));
        self
    }

    /// An environment variable whose value is a function of the slot. It is called each time that a worker is started,
    /// on a thread of the supervisor's; while it runs no other worker is started.
    #[must_use]
    pub fn slot_env_with(
        mut self,
        key: impl Into<OsString>,
        value: impl Fn(u32) -> OsString + Send + Sync + 'static,
    ) -> Group {
        self.terms.slot_env.push((key.into(), SlotValues::Function(Arc::new(value))));
        self
    }

    /// A socket that listens, for every worker of the group: a `TcpListener`, a `UnixListener`, or any other descriptor
    /// of one. A worker takes it by its name, with `Worker::listener`. At most 64, with names as names of groups.
    ///
    /// The supervisor keeps its own copy: while workers are replaced, those who connect wait in the socket's queue, and
    /// none is turned away as long as that has room. What all copies have in common, such as whether accepting blocks,
    /// each worker changes for all.
    ///
    /// ```no_run
    /// use std::net::TcpListener;
    /// use ganger::{Group, Program};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let web = Group::new("web", Program::beside("web-worker"))
    ///     .listener("http", TcpListener::bind("127.0.0.1:8080")?);
    /// # drop(web);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn listener(mut self, name: impl Into<Arc<str>>, listener: impl Into<OwnedFd>) -> Group {
        let listener = listener.into();
        // Nobody gets it but through the Hello. It fails for no descriptor that is open.
        let _ = rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::CLOEXEC);
        self.terms.listeners.push((name.into(), Arc::new(listener)));
        self
    }

    /// The workers' niceness, from -20 (most processor time) to 19 (least). Less than the supervisor's own needs a
    /// privilege. Default the supervisor's.
    ///
    /// It is set, as [`rlimit`](Group::rlimit) is, when the process has been started and before it is connected.
    #[must_use]
    pub fn niceness(mut self, niceness: i32) -> Group {
        self.terms.niceness = Some(niceness);
        self
    }

    /// How much of a resource each worker may have. A hard limit above the supervisor's own needs a privilege. Default
    /// the supervisor's limits.
    ///
    /// Limits are set when the process has been started and before its `Worker::connect` returns: the worker's own code
    /// from there on runs under them. What comes before that, such as the loader, meets them somewhere on its way.
    #[must_use]
    pub fn rlimit(mut self, resource: Resource, limit: impl Into<Rlimit>) -> Group {
        self.terms.rlimits.insert(resource, limit.into());
        self
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
        self.terms.pool_bytes = bytes;
        self
    }

    /// How a worker is picked for a job. Default [`Pick::Balanced`].
    #[must_use]
    pub fn pick(mut self, pick: Pick) -> Group {
        self.policies.pick = pick;
        self
    }

    /// How much later a job of the next higher [class](crate::Priority) may come and still go first: a job counts as if it
    /// had come so much earlier for each class above the lowest. A short time makes the classes a mere head start, a long
    /// one lets higher classes hold lower ones up for as long. From 1 ms to 365 days. Default 10 s.
    ///
    /// These are the dynamic priorities of J. R. Jackson, "Some Problems in Queueing with Dynamic Priorities" (1960).
    #[must_use]
    pub fn ageing(mut self, ageing: Duration) -> Group {
        self.policies.ageing = ageing;
        self
    }

    /// How many jobs with the same [key](crate::Job::key) may be under way at once, at least 1. Default 1: strictly one
    /// after the other.
    #[must_use]
    pub fn key_limit(mut self, jobs: u32) -> Group {
        self.policies.key_limit = jobs;
        self
    }

    /// What becomes of a worker whose own health check fails, besides being shown by `health()` and told. Default
    /// [`OnUnhealthy::Report`]: nothing.
    #[must_use]
    pub fn on_unhealthy(mut self, policy: OnUnhealthy) -> Group {
        self.policies.on_unhealthy = policy;
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

    /// When workers that are well are replaced, or sent away: all of the policy at once. Default never.
    #[must_use]
    pub fn recycle(mut self, policy: RecyclePolicy) -> Group {
        self.policies.recycle = policy;
        self
    }

    /// Replaces a worker whose resident memory is above so many bytes at three looks in a row, replacement first: see
    /// [`RecyclePolicy`]. Default never.
    #[must_use]
    pub fn recycle_above(mut self, bytes: u64) -> Group {
        self.policies.recycle.above_bytes = Some(bytes);
        self
    }

    /// Kills a worker whose resident memory is above so many bytes, at the first look: what it had started is lost, or
    /// retried. It is the net below [`recycle_above`](Group::recycle_above). Default never.
    #[must_use]
    pub fn kill_above(mut self, bytes: u64) -> Group {
        self.policies.recycle.kill_above_bytes = Some(bytes);
        self
    }

    /// Replaces a worker that has answered about so many requests, replacement first: it goes on answering until its
    /// successor takes over. Default never.
    #[must_use]
    pub fn max_jobs(mut self, jobs: u64) -> Group {
        self.policies.recycle.max_jobs = Some(jobs);
        self
    }

    /// Replaces a worker that is about so old, replacement first. Default never.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Group {
        self.policies.recycle.max_age = Some(age);
        self
    }

    /// When for so long some of the workers were never needed, these leave; when jobs wait for a place, as many as that
    /// takes come back at once. Default never.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Group {
        self.policies.recycle.idle_timeout = Some(timeout);
        self
    }

    /// How many workers [`idle_timeout`](Group::idle_timeout) leaves, from 0. With 0 the first job after a pause waits for
    /// a process to start. Default 1.
    #[must_use]
    pub fn min_workers(mut self, workers: u32) -> Group {
        self.policies.recycle.min_workers = workers;
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

    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
    }
}

/// A group called "default" with this program, everything else by default.
impl From<Program> for Group {
    fn from(program: Program) -> Group {
        Group::new("default", program)
    }
}

/// The error of a group whose program cannot be run.
pub(crate) fn unusable(group: &Group, unusable: crate::program::Unusable) -> StartError {
    StartError::Program {
        group: Arc::clone(group.name()),
        program: unusable.program,
        reason: unusable.reason,
    }
}
