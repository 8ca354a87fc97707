//! The front door: what a running supervisor does for its callers.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Sender, bounded};
use ganger_protocol::{JobId, MAX_HEAD, Time};
use serde::Serialize;

use crate::builder::index_of;
use crate::command::Command;
use crate::driver::Subscriber;
use crate::error::HEAD_LIMIT;
use crate::group::MAX_WORKERS;
use crate::map::Map;
use crate::scheduler::{Backlog, Explanation, GroupIndex};
use crate::shared::{Online, Refused, Shared};
use crate::slot::JobSlot;
use crate::{
    Builder, CommandError, Completions, EnqueueError, Events, Group, Handle, Health, Job, OnlineError, Raw,
    Work,
};

/// How long the drop of the last clone waits for the end.
const DROP_PATIENCE: Duration = Duration::from_secs(1);

/// A running supervisor with its groups of workers and their queue.
///
/// Clones are the same supervisor, for any thread. Dropping the last clone is a [hard kill](Supervisor::hard_kill)
/// that is waited for, for one second at most; to let work finish, call [`soft_kill`](Supervisor::soft_kill) and
/// wait for its ticket. Several supervisors in one process do not know of each other.
///
/// ```no_run
/// use std::time::Duration;
/// use ganger::{Call, Job, Program, Supervisor};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Greet { name: String }
/// impl Call for Greet { const NAME: &'static str = "greet"; type Reply = String; }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let supervisor = Supervisor::builder(Program::beside("greeter")).workers(2).start()?;
/// let response = supervisor.enqueue(Greet { name: "world".into() })?.wait()?;
/// println!("{} in {:?}", response.data, response.run_time);
///
/// let urgent = Job::new(Greet { name: "you".into() }).retries(2).timeout(Duration::from_secs(5));
/// println!("{}", supervisor.enqueue(urgent)?.wait()?.data);
///
/// supervisor.soft_kill().wait();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    names: Arc<[Arc<str>]>,
    settings: Settings,
}

/// What the front door itself needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) event_backlog: usize,
    pub(crate) event_limit: usize,
    pub(crate) soft_kill_deadline: Duration,
    pub(crate) stuck_after: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            event_backlog: 1024,
            event_limit: 1 << 20,
            soft_kill_deadline: Duration::from_secs(30),
            stuck_after: Duration::from_secs(30),
        }
    }
}

/// How a supervisor is to end well.
///
/// ```
/// use std::time::Duration;
/// use ganger::{Backlog, SoftKill};
///
/// let quick = SoftKill::new().deadline(Duration::from_secs(3)).backlog(Backlog::Settle);
/// # drop(quick);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SoftKill {
    deadline: Option<Duration>,
    backlog: Backlog,
}

impl SoftKill {
    /// Work everything off, within the supervisor's own deadline.
    #[must_use]
    pub fn new() -> SoftKill {
        SoftKill::default()
    }

    /// How long it may take before it becomes a hard kill. Default
    /// [`Builder::soft_kill_deadline`].
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> SoftKill {
        self.deadline = Some(deadline);
        self
    }

    /// What becomes of accepted jobs that are not in flight. Default [`Backlog::WorkOff`].
    #[must_use]
    pub fn backlog(mut self, backlog: Backlog) -> SoftKill {
        self.backlog = backlog;
        self
    }
}

/// A shutdown that has begun. It keeps the supervisor alive until it is dropped, so that the shutdown is not cut
/// short by the drop of the last clone.
#[derive(Clone, Debug)]
#[must_use = "the shutdown is cut short when the last clone of the supervisor goes; wait for it"]
pub struct Ticket {
    supervisor: Supervisor,
}

impl Ticket {
    /// Blocks until the supervisor has stopped: every handle has settled, no worker runs.
    pub fn wait(&self) {
        self.supervisor.join();
    }

    /// As [`wait`](Ticket::wait), but not longer than `timeout`; says whether the supervisor has stopped.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.supervisor.inner.shared.wait_stopped(Some(timeout))
    }
}

impl Supervisor {
    /// Begins a supervisor whose first group is `first`: a [`Group`], or just a
    /// [`Program`](crate::Program) for a group called "default".
    pub fn builder(first: impl Into<Group>) -> Builder {
        Builder::new(first.into())
    }

    pub(crate) fn new(shared: Arc<Shared>, names: Arc<[Arc<str>]>, settings: Settings) -> Supervisor {
        Supervisor { inner: Arc::new(Inner { shared, names, settings }) }
    }

    /// Accepts a job, or says at once why not; never waits for a worker.
    ///
    /// # Errors
    /// [`EnqueueError`], which gives the job back.
    pub fn enqueue<C: Work>(&self, job: impl Into<Job<C>>) -> Result<Handle<C>, EnqueueError<C>> {
        self.submit(job.into(), |slot| self.shared().admit(slot.group(), slot.charge()))
    }

    /// As [`enqueue`](Supervisor::enqueue), but waits for room, up to `timeout`, while the queue is full.
    ///
    /// # Errors
    /// [`EnqueueError`], which gives the job back; [`EnqueueError::QueueFull`] only after `timeout`.
    pub fn enqueue_timeout<C: Work>(
        &self,
        job: impl Into<Job<C>>,
        timeout: Duration,
    ) -> Result<Handle<C>, EnqueueError<C>> {
        self.submit(job.into(), |slot| self.shared().admit_within(slot.group(), slot.charge(), timeout))
    }

    /// Accepts raw bytes for the handler called `name`; the reply is the bytes of its answer. For terms such as
    /// retries, enqueue a [`Job`] of [`Raw`].
    ///
    /// # Errors
    /// [`EnqueueError`], which gives the job back.
    pub fn enqueue_raw(
        &self,
        name: impl Into<Cow<'static, str>>,
        bytes: impl Into<Vec<u8>>,
    ) -> Result<Handle<Raw>, EnqueueError<Raw>> {
        self.enqueue(Raw::new(name, bytes))
    }

    /// Accepts a job whose result shall join those of others; gives its id, with which the result will come.
    ///
    /// # Errors
    /// [`EnqueueError`], which gives the job back.
    pub fn enqueue_to<C: Work>(
        &self,
        job: impl Into<Job<C>>,
        completions: &Completions<C>,
    ) -> Result<JobId, EnqueueError<C>> {
        let handle = self.enqueue(job)?;
        let id = handle.id();
        handle.forward(completions);
        Ok(id)
    }

    /// A job for each item, with a bounded number of them on their way; iterate it for the results.
    ///
    /// ```no_run
    /// # use ganger::{Call, Program, Supervisor};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Square(u64);
    /// # impl Call for Square { const NAME: &'static str = "square"; type Reply = u64; }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let supervisor = Supervisor::builder(Program::beside("mathematician")).start()?;
    /// let mut sum = 0;
    /// for result in supervisor.map((1..=1_000_000).map(Square)) {
    ///     sum += result?.data;
    /// }
    /// for (place, result) in supervisor.map((1..=10).map(Square)).unordered().in_flight(4) {
    ///     println!("{place}: {}", result?.data);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn map<C: Work, I>(&self, items: I) -> Map<C, I::IntoIter>
    where
        I: IntoIterator,
        I::Item: Into<Job<C>>,
    {
        Map::new(self.clone(), items.into_iter())
    }

    /// Waits until every first worker of every group has said ready once.
    ///
    /// # Errors
    /// [`OnlineError`] when they have not by `timeout`, when a group is degraded meanwhile, or when the supervisor
    /// stops first. In the first two cases the supervisor goes on.
    pub fn wait_online(&self, timeout: Duration) -> Result<(), OnlineError> {
        match self.shared().wait_online(Some(timeout)) {
            Online::Reached => Ok(()),
            Online::Pending => Err(OnlineError::TimedOut { waited: timeout }),
            Online::Degraded { group, reason } => Err(OnlineError::Degraded { group, reason }),
            Online::Stopped => Err(OnlineError::Stopped),
        }
    }

    /// How all groups and workers are at this moment, with a verdict.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.ask(Command::Snapshot) {
            Ok(snapshot) => Health::of(snapshot, self.inner.settings.stuck_after),
            Err(Gone) => Health::stopped(),
        }
    }

    /// The workers among which a job of `group` would be given out now, as the group's [`Pick`](crate::Pick) sees
    /// them.
    ///
    /// # Errors
    /// [`CommandError::UnknownGroup`], [`CommandError::Stopped`].
    pub fn explain(&self, group: &str) -> Result<Vec<Explanation>, CommandError> {
        let group = self.group(group)?;
        Ok(self.ask(|reply| Command::Explain { group, reply })?)
    }

    /// Gives the first group another number of workers, from 1 to 4,096. New ones are started; those that are too
    /// many finish what they hold and leave.
    ///
    /// # Errors
    /// [`CommandError::Workers`].
    pub fn resize(&self, workers: usize) -> Result<(), CommandError> {
        self.resize_index(GroupIndex(0), workers)
    }

    /// As [`resize`](Supervisor::resize), for any group.
    ///
    /// # Errors
    /// [`CommandError::UnknownGroup`], [`CommandError::Workers`].
    pub fn resize_group(&self, group: &str, workers: usize) -> Result<(), CommandError> {
        self.resize_index(self.group(group)?, workers)
    }

    /// Lets the worker called `name` finish what it holds, for up to `grace`, and leave; then comes the kill
    /// ladder. It is replaced. Returns when this has begun: the event
    /// [`WorkerExited`](crate::Event::WorkerExited) tells the end.
    ///
    /// # Errors
    /// [`CommandError::UnknownWorker`], [`CommandError::Stopped`].
    pub fn shutdown_worker(&self, name: &str, grace: Duration) -> Result<(), CommandError> {
        let name: Arc<str> = name.into();
        let worker = Arc::clone(&name);
        match self.ask(|reply| Command::ShutdownWorker { name, grace, reply })? {
            true => Ok(()),
            false => Err(CommandError::UnknownWorker { worker }),
        }
    }

    /// Sends an event to every worker and says to how many. It is one-way: nothing is answered, and a worker
    /// that is just starting may miss it.
    ///
    /// # Errors
    /// [`CommandError::Encode`], [`CommandError::TooLarge`], [`CommandError::Stopped`].
    pub fn broadcast<T: Serialize + ?Sized>(&self, name: &str, payload: &T) -> Result<usize, CommandError> {
        self.send_event(None, name, ganger_protocol::encode(payload)?.into())
    }

    /// As [`broadcast`](Supervisor::broadcast), to the workers of one group.
    ///
    /// # Errors
    /// As [`broadcast`](Supervisor::broadcast), and [`CommandError::UnknownGroup`].
    pub fn broadcast_to<T: Serialize + ?Sized>(
        &self,
        group: &str,
        name: &str,
        payload: &T,
    ) -> Result<usize, CommandError> {
        let group = self.group(group)?;
        self.send_event(Some(group), name, ganger_protocol::encode(payload)?.into())
    }

    /// As [`broadcast`](Supervisor::broadcast), with raw bytes.
    ///
    /// # Errors
    /// [`CommandError::TooLarge`], [`CommandError::Stopped`].
    pub fn broadcast_raw(&self, name: &str, bytes: impl Into<Bytes>) -> Result<usize, CommandError> {
        self.send_event(None, name, bytes.into())
    }

    /// Subscribes to what happens from now on. To miss nothing from the first worker on, use
    /// [`Builder::start_with_events`].
    #[must_use]
    pub fn events(&self) -> Events {
        let (sender, receiver) = bounded(self.inner.settings.event_backlog);
        self.shared().send(Command::Subscribe(Subscriber::new(sender)));
        Events::new(receiver)
    }

    /// Ends well: nothing is accepted from now on, all accepted jobs are worked off, retries included, then the
    /// workers leave. After the [deadline](Builder::soft_kill_deadline) it becomes a hard kill. Calling it again
    /// changes nothing but the deadline, to a sooner one.
    pub fn soft_kill(&self) -> Ticket {
        self.soft_kill_with(SoftKill::new())
    }

    /// As [`soft_kill`](Supervisor::soft_kill), on other terms.
    pub fn soft_kill_with(&self, terms: SoftKill) -> Ticket {
        let deadline = terms.deadline.unwrap_or(self.inner.settings.soft_kill_deadline);
        self.shared().soft_kill(deadline, terms.backlog);
        Ticket { supervisor: self.clone() }
    }

    /// Ends now: workers that asked for a warning get 100 ms, all others SIGKILL at once, and every handle
    /// settles. Returns when this has begun; the ticket tells the end.
    pub fn hard_kill(&self) -> Ticket {
        self.shared().hard_kill();
        Ticket { supervisor: self.clone() }
    }

    /// Blocks until the supervisor has stopped, by whatever cause: every handle has settled, no worker runs, and
    /// all callbacks have returned. Called in a callback it waits for all but the callbacks.
    pub fn join(&self) {
        self.shared().wait_stopped(None);
    }

    /// As [`join`](Supervisor::join), but not longer than `timeout`; says whether the supervisor has stopped.
    #[must_use]
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        self.shared().wait_stopped(Some(timeout))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    fn submit<C: Work>(
        &self,
        mut job: Job<C>,
        admit: impl FnOnce(&JobSlot) -> Result<(), Refused>,
    ) -> Result<Handle<C>, EnqueueError<C>> {
        let Some(group) = index_of(&self.inner.names, job.group_name()) else {
            return Err(self.unknown_group(job));
        };
        let payload = match job.call_mut().take_payload() {
            Ok(payload) => payload,
            Err(source) => return Err(EnqueueError::Encode { job: Box::new(job), source }),
        };
        let slot = JobSlot::new(JobId::random(), job.spec(), group, payload, Time::now());
        match self.check_size(&slot).and_then(|()| admit(&slot).map_err(Refusal::Admission)) {
            Ok(()) => Ok(self.accept(slot)),
            Err(refusal) => Err(refused(job, slot, refusal)),
        }
    }

    fn accept<C>(&self, slot: JobSlot) -> Handle<C> {
        let slot = Arc::new(slot);
        self.shared().send(Command::Enqueue(Arc::clone(&slot)));
        Handle::new(slot, Arc::clone(self.shared()))
    }

    fn check_size(&self, slot: &JobSlot) -> Result<(), Refusal> {
        let limit = self.shared().admission.payload_limit();
        let size = slot.payload().len();
        if size > limit {
            return Err(Refusal::Admission(Refused::TooLarge { size, limit }));
        }
        let size = slot.head_len();
        if size > HEAD_LIMIT { Err(Refusal::HeadersTooLarge { size }) } else { Ok(()) }
    }

    fn unknown_group<C>(&self, job: Job<C>) -> EnqueueError<C> {
        let group = job.group_name().unwrap_or_default().into();
        EnqueueError::UnknownGroup { job: Box::new(job), group, known: self.known_groups() }
    }

    fn known_groups(&self) -> String {
        self.inner.names.join(", ")
    }

    fn group(&self, name: &str) -> Result<GroupIndex, CommandError> {
        index_of(&self.inner.names, Some(name))
            .ok_or_else(|| CommandError::UnknownGroup { group: name.into(), known: self.known_groups() })
    }

    fn resize_index(&self, group: GroupIndex, workers: usize) -> Result<(), CommandError> {
        if !(1..=MAX_WORKERS).contains(&workers) {
            return Err(CommandError::Workers { workers, limit: MAX_WORKERS });
        }
        self.shared().send(Command::Resize { group, workers: workers as u32 });
        Ok(())
    }

    fn send_event(
        &self,
        group: Option<GroupIndex>,
        name: &str,
        payload: Bytes,
    ) -> Result<usize, CommandError> {
        let limit = self.inner.settings.event_limit;
        if payload.len() > limit {
            return Err(CommandError::TooLarge { size: payload.len(), limit });
        }
        if name.len() > HEAD_LIMIT {
            return Err(CommandError::TooLarge { size: name.len(), limit: MAX_HEAD });
        }
        let name = name.into();
        Ok(self.ask(|reply| Command::Broadcast { group, name, payload, reply: Some(reply) })?)
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<T, Gone> {
        let (reply, answer) = bounded(1);
        self.shared().send(command(reply));
        answer.recv().map_err(|_| Gone)
    }
}

/// The loop has ended.
struct Gone;

impl From<Gone> for CommandError {
    fn from(_: Gone) -> CommandError {
        CommandError::Stopped
    }
}

enum Refusal {
    Admission(Refused),
    HeadersTooLarge { size: usize },
}

fn refused<C: Work>(mut job: Job<C>, slot: JobSlot, refusal: Refusal) -> EnqueueError<C> {
    job.call_mut().put_back(slot.into_payload());
    let job = Box::new(job);
    match refusal {
        Refusal::HeadersTooLarge { size } => EnqueueError::HeadersTooLarge { job, size, limit: HEAD_LIMIT },
        Refusal::Admission(Refused::QueueFull { jobs, bytes, limits }) => {
            EnqueueError::QueueFull { job, jobs, job_limit: limits.jobs, bytes, byte_limit: limits.bytes }
        }
        Refusal::Admission(Refused::TooLarge { size, limit }) => EnqueueError::TooLarge { job, size, limit },
        Refusal::Admission(Refused::ShuttingDown) => EnqueueError::ShuttingDown { job },
        Refusal::Admission(Refused::NoWorkers(reason)) => EnqueueError::NoWorkers { job, reason },
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.shared.wait_stopped(Some(Duration::ZERO)) {
            self.shared.hard_kill();
            self.shared.wait_stopped(Some(DROP_PATIENCE));
        }
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("groups", &self.inner.names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
