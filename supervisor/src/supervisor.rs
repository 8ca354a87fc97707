//! The front door: what a running supervisor does for its callers.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Sender, bounded};
use ganger_protocol::{Address, Call, Failure, JobId, MAX_HEAD, Outgoing, Store, StoreDoor};
use serde::Serialize;

use crate::builder::index_of;
use crate::checks::{CheckTimes, Checks};
use crate::command::Command;
use crate::door::LoopDoor;
use crate::driver::Subscriber;
use crate::error::HEAD_LIMIT;
use crate::group::MAX_WORKERS;
use crate::map::Map;
use crate::metrics::Figures;
use crate::scheduler::{Edition, Explanation, GroupIndex, Snapshot, Standstill};
use crate::shared::{Online, Shared};
use crate::{
    Builder, CallContext, CallCounts, CommandError, Completions, EnqueueError, Events, Group, Handle, Health,
    Job, Metrics, OnlineError, Peers, Raw, RolloutError, Work,
};

mod shutdown;
mod submit;
#[cfg(test)]
mod tests;

pub use shutdown::{SoftKill, Ticket};

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
    door: Arc<LoopDoor>,
    names: Arc<[Arc<str>]>,
    settings: Settings,
    /// This process's own.
    metrics: ganger_protocol::Metrics,
}

/// What the front door itself needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) event_backlog: usize,
    pub(crate) event_limit: usize,
    pub(crate) soft_kill_deadline: Duration,
    pub(crate) stuck_after: Duration,
    pub(crate) checks: CheckTimes,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            event_backlog: 1024,
            event_limit: 1 << 20,
            soft_kill_deadline: Duration::from_secs(30),
            stuck_after: Duration::from_secs(30),
            checks: CheckTimes::default(),
        }
    }
}

impl Supervisor {
    /// Begins a supervisor whose first group is `first`: a [`Group`], or just a
    /// [`Program`](crate::Program) for a group called "default".
    pub fn builder(first: impl Into<Group>) -> Builder {
        Builder::new(first.into())
    }

    pub(crate) fn new(shared: Arc<Shared>, names: Arc<[Arc<str>]>, settings: Settings) -> Supervisor {
        let door = Arc::new(LoopDoor::new(Arc::clone(&shared)));
        Supervisor { inner: Arc::new(Inner { shared, door, names, settings, metrics: Default::default() }) }
    }

    /// Accepts a job, or says at once why not; never waits for a worker.
    ///
    /// # Errors
    /// [`EnqueueError`], which gives the job back.
    pub fn enqueue<C: Work>(&self, job: impl Into<Job<C>>) -> Result<Handle<C>, EnqueueError<C>> {
        self.submit(job.into(), |group, charge| self.shared().admit(group, charge))
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
        self.submit(job.into(), |group, charge| self.shared().admit_within(group, charge, timeout))
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
            Ok(snapshot) => self.judged(snapshot),
            Err(Gone) => Health::stopped(),
        }
    }

    /// Begins a health check of this process, by a name of its own: it says why something is not as it should be, if it is
    /// not. While it fails [`health`](Supervisor::health) does, and an event tells when that changes.
    ///
    /// It runs on a thread of its own, at once and then every 5 s, or as [`Builder::health_every`] says, until the
    /// supervisor has stopped. A run that panics, or does not return in time, is a failure too. At most 64 checks.
    ///
    /// A check that holds a clone of the supervisor keeps it from ending when the last other clone is dropped.
    ///
    /// ```no_run
    /// # use ganger::{Program, Supervisor};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let supervisor = Supervisor::builder(Program::beside("resizer")).start()?;
    /// supervisor.on_health("spool", || match std::fs::metadata("/var/spool/pictures") {
    ///     Ok(_) => Ok(()),
    ///     Err(error) => Err(error.to_string()),
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CommandError::Check`], [`CommandError::Stopped`].
    pub fn on_health<F>(&self, name: impl Into<Arc<str>>, check: F) -> Result<(), CommandError>
    where
        F: Fn() -> Result<(), String> + Send + 'static,
    {
        Checks::add(self.shared(), name.into(), self.inner.settings.checks, check)
    }

    fn judged(&self, snapshot: Snapshot) -> Health {
        let Settings { stuck_after, checks, .. } = &self.inner.settings;
        Health::of(snapshot, *stuck_after).with(self.shared().checks.problems(checks.patience))
    }

    /// Where metrics of this process are declared, and those of all processes are read.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::new(self.clone(), self.inner.metrics.clone())
    }

    /// Health and figures; when the loop has ended, as they were then.
    pub(crate) fn figures(&self) -> (Health, Figures) {
        match self.ask(Command::Figures) {
            Ok(both) => (self.judged(both.0), both.1),
            Err(Gone) => match self.shared().last.lock().clone() {
                Some(both) => (Health::ended(both.0), both.1),
                None => (Health::stopped(), Figures::default()),
            },
        }
    }

    pub(crate) fn group_names(&self) -> &[Arc<str>] {
        &self.inner.names
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
    /// [`CommandError::Workers`], [`CommandError::Stopped`].
    pub fn resize(&self, workers: usize) -> Result<(), CommandError> {
        self.resize_index(GroupIndex(0), workers)
    }

    /// As [`resize`](Supervisor::resize), for any group.
    ///
    /// # Errors
    /// [`CommandError::UnknownGroup`], [`CommandError::Workers`], [`CommandError::Stopped`].
    pub fn resize_group(&self, group: &str, workers: usize) -> Result<(), CommandError> {
        self.resize_index(self.group(group)?, workers)
    }

    /// Lets the worker called `name` finish what it holds, for up to `grace`, and leave; then comes the kill
    /// ladder. It is replaced, unless its group's workers are [revived by command](crate::Revive::ByCommand). Returns
    /// when this has begun: the event [`WorkerExited`](crate::Event::WorkerExited) tells the end.
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

    /// Starts the worker called `name` again, which has ended: in a group whose workers are
    /// [revived by command](crate::Revive::ByCommand) nobody else does; in any other group its back-off is cut short.
    /// One that is still on its way out is started when it is gone. Returns when this is ordered: the event
    /// [`WorkerReady`](crate::Event::WorkerReady) tells the rest.
    ///
    /// ```no_run
    /// use ganger::{Group, Program, Revive, Supervisor};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mailer = Group::named("mailer", Program::beside("mailer")).revive(Revive::ByCommand);
    /// let supervisor = Supervisor::builder(mailer).start()?;
    /// // … and when health() says that it is down:
    /// supervisor.revive("mailer")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CommandError::UnknownWorker`], [`CommandError::NotDown`], [`CommandError::Stopped`] also when the supervisor
    /// is ending.
    pub fn revive(&self, name: &str) -> Result<(), CommandError> {
        let name: Arc<str> = name.into();
        let worker = Arc::clone(&name);
        match self.ask(|reply| Command::Revive { name, reply })? {
            Some(Standstill::Down) => Ok(()),
            Some(Standstill::Up) => Err(CommandError::NotDown { worker }),
            Some(Standstill::Ending) => Err(CommandError::Stopped),
            None => Err(CommandError::UnknownWorker { worker }),
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

    /// Calls another process: one worker, or all of a group; this process, too. The call is encoded here and made when it
    /// is waited for, sent, awaited or collected; it waits 5 s unless [`timeout`](Outgoing::timeout) says otherwise.
    ///
    /// A call is no job: it is neither queued nor retried, it is answered beside the target's jobs, on a thread of its
    /// own there, also while all its handlers are busy, and it is gone when the target is. The handlers are those that
    /// answer jobs. A worker can be called from its first `ready` or `busy` until it is told to leave.
    ///
    /// ```no_run
    /// # use ganger::{Call, Program, Supervisor};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct CacheSize;
    /// # impl Call for CacheSize { const NAME: &'static str = "cache-size"; type Reply = u64; }
    /// use std::time::Duration;
    /// use ganger::Address;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let supervisor = Supervisor::builder(Program::beside("cache")).start()?;
    /// let one = supervisor.call(Address::worker("default-0"), &CacheSize).wait()?;
    /// let all = supervisor.call(Address::all(), &CacheSize).timeout(Duration::from_secs(1)).collect()?;
    /// println!("{one} of {}", all.replies().map(|(_, size)| size).sum::<u64>());
    /// # Ok(())
    /// # }
    /// ```
    pub fn call<C: Call>(&self, to: impl Into<Address>, call: &C) -> Outgoing<C::Reply> {
        self.peers().call(to, call)
    }

    /// Calls another process as [`call`](Supervisor::call) does, with bytes for bytes.
    pub fn call_raw(
        &self,
        to: impl Into<Address>,
        name: impl Into<Cow<'static, str>>,
        data: impl Into<Vec<u8>>,
    ) -> Outgoing<Vec<u8>> {
        self.peers().call_raw(to, name, data)
    }

    /// What calls are made with, to be owned by a handler or a thread.
    #[must_use]
    pub fn peers(&self) -> Peers {
        Peers::new(Arc::clone(self.shared()))
    }

    /// Answers the call `C` from now on when somebody calls [`Address::Primary`]. See [`Builder::on_call`], which
    /// does so from the first worker on. When the supervisor has stopped, the handler is dropped.
    ///
    /// # Panics
    /// When the call has a handler already.
    pub fn on_call<C, F>(&self, handler: F)
    where
        C: Call + 'static,
        F: Fn(C, &CallContext) -> Result<C::Reply, Failure> + Send + Sync + 'static,
    {
        self.shared().desk.register(|registry| registry.add(handler));
    }

    /// How many calls between processes are on their way, and how many answers were dropped so far.
    ///
    /// # Errors
    /// [`CommandError::Stopped`].
    pub fn call_counts(&self) -> Result<CallCounts, CommandError> {
        Ok(self.ask(Command::CountCalls)?)
    }

    /// Subscribes to what happens from now on. To miss nothing from the first worker on, use
    /// [`Builder::start_with_events`].
    #[must_use]
    pub fn events(&self) -> Events {
        let (sender, receiver) = bounded(self.inner.settings.event_backlog);
        self.shared().send(Command::Subscribe(Subscriber::new(sender)));
        Events::new(receiver)
    }

    /// The store that this supervisor and all its workers share. It lives as long as the supervisor, which it does not
    /// keep alive.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use ganger::{Program, Supervisor};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let supervisor = Supervisor::builder(Program::beside("resizer")).start()?;
    /// let store = supervisor.store();
    /// store.set("config/size", &640u32)?;
    /// let seen = store.increment("seen", 1)?;
    /// let guard = store.lock("index", Duration::from_secs(5))?;
    /// // … nobody else holds it, here or in a worker
    /// drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(Arc::clone(&self.inner.door) as Arc<dyn StoreDoor>)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    fn known_groups(&self) -> String {
        self.inner.names.join(", ")
    }

    fn group(&self, name: &str) -> Result<GroupIndex, CommandError> {
        index_of(&self.inner.names, Some(name))
            .ok_or_else(|| CommandError::UnknownGroup { group: name.into(), known: self.known_groups() })
    }

    pub(crate) fn rollout_group(&self, name: &Arc<str>) -> Result<GroupIndex, RolloutError> {
        index_of(&self.inner.names, Some(name))
            .ok_or_else(|| RolloutError::UnknownGroup { group: Arc::clone(name), known: self.known_groups() })
    }

    pub(crate) fn ask_rollout(
        &self,
        command: impl FnOnce(Sender<Edition>) -> Command,
    ) -> Result<Edition, RolloutError> {
        self.ask(command).map_err(|Gone| RolloutError::Stopped)
    }

    pub(crate) fn shares(&self) -> Arc<Shared> {
        Arc::clone(self.shared())
    }

    fn resize_index(&self, group: GroupIndex, workers: usize) -> Result<(), CommandError> {
        if !(1..=MAX_WORKERS).contains(&workers) {
            return Err(CommandError::Workers { workers, limit: MAX_WORKERS });
        }
        if self.join_timeout(Duration::ZERO) {
            return Err(CommandError::Stopped);
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
