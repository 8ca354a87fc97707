//! The front door: connect, register handlers, serve.

use std::any::type_name;
use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{Call, Failure, decode};
use serde::de::DeserializeOwned;

use crate::account::Check;
use crate::connect::{self, ConnectError};
use crate::control::{Control, check_capacity};
use crate::courier::{Done, Hooks};
use crate::handlers::{Handlers, returning, whole};
use crate::link::Link;
use crate::listener::{Listener, ListenerError};
use crate::request::{Context, RawRequest, Request};
use crate::serve::{self, ServeError};
use crate::testing::Fault;

/// A worker process, before it serves.
///
/// ```no_run
/// use ganger_worker::{Call, Worker};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Greet {
///     name: String,
/// }
///
/// impl Call for Greet {
///     const NAME: &'static str = "greet";
///     type Reply = String;
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let mut worker = Worker::connect()?;
///     worker.on_call(|greet: Greet, _cx| Ok(format!("Hello, {}!", greet.name)));
///     worker.serve()?;
///     Ok(())
/// }
/// ```
#[must_use = "a worker does nothing until it serves"]
pub struct Worker {
    tether: Tether,
    handlers: Handlers,
    hooks: Hooks,
    check: Check,
    threads: u32,
}

/// Lets the leash go when the worker is dropped, served or not.
struct Tether(Arc<Link>);

impl Drop for Tether {
    fn drop(&mut self) {
        self.0.finish(&mut self.0.lock(), Ok(()));
    }
}

impl Worker {
    /// Connects to the supervisor that started this process.
    ///
    /// Call it early in `main`: it puts `/dev/null` in the place of standard input, which was the leash, and
    /// from then on the process ends, at once and with whatever it is doing, when the supervisor does.
    ///
    /// # Errors
    /// [`ConnectError::NotAWorker`] when the process was not started by a supervisor; other [`ConnectError`]s
    /// when the two do not understand each other.
    pub fn connect() -> Result<Worker, ConnectError> {
        Ok(Worker::new(connect::connect()?))
    }

    /// The worker that this process is, if a supervisor started it as one: for a program that is its own worker.
    ///
    /// ```no_run
    /// use ganger_worker::Worker;
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     if let Some(worker) = Worker::inherited()? {
    ///         // … register handlers
    ///         return Ok(worker.serve()?);
    ///     }
    ///     // … be the supervisor
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// Those of [`connect`](Worker::connect) except [`ConnectError::NotAWorker`], which is `None` here.
    pub fn inherited() -> Result<Option<Worker>, ConnectError> {
        match Worker::connect() {
            Ok(worker) => Ok(Some(worker)),
            Err(ConnectError::NotAWorker { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn new(link: Arc<Link>) -> Worker {
        Worker {
            tether: Tether(link),
            handlers: Handlers::default(),
            hooks: Hooks::default(),
            check: Check::default(),
            threads: 1,
        }
    }

    /// Sets how many threads run handlers; 1 unless said. It is also how many requests the worker takes at once
    /// unless [`Control::ready_with`] says another number.
    ///
    /// # Panics
    /// When `threads` is 0 or above 1,020.
    pub fn concurrency(&mut self, threads: u32) -> &mut Worker {
        check_capacity(threads);
        self.threads = threads;
        self.link().lock().default_capacity = threads;
        self
    }

    /// Registers the handler of the call `C`: from argument to reply.
    ///
    /// A panic in it becomes a failure of kind [`Panic`](crate::FailureKind::Panic); the worker stays up.
    ///
    /// # Panics
    /// When the call has a handler already.
    pub fn on_call<C, F>(&mut self, handler: F) -> &mut Worker
    where
        C: Call + 'static,
        F: Fn(C, &Context) -> Result<C::Reply, Failure> + Send + Sync + 'static,
    {
        self.handlers.add(C::NAME, returning(handler));
        self
    }

    /// Registers the handler of the call `C` in its full form: it is given the whole request, and may answer
    /// later and from any thread.
    ///
    /// # Panics
    /// When the call has a handler already.
    pub fn on_request<C, F>(&mut self, handler: F) -> &mut Worker
    where
        C: Call + 'static,
        F: Fn(Request<C>) + Send + Sync + 'static,
    {
        self.handlers.add(C::NAME, whole(handler));
        self
    }

    /// Registers the handler of a call whose argument and reply are bytes.
    ///
    /// # Panics
    /// When the call has a handler already.
    pub fn on_raw<F>(&mut self, name: &str, handler: F) -> &mut Worker
    where
        F: Fn(RawRequest) + Send + Sync + 'static,
    {
        self.handlers.add(name, Box::new(handler));
        self
    }

    /// Registers the handler of all calls that have none. Without it they are answered with a failure of kind
    /// [`UnknownCall`](crate::FailureKind::UnknownCall).
    ///
    /// # Panics
    /// When there is one already.
    pub fn on_any<F>(&mut self, handler: F) -> &mut Worker
    where
        F: Fn(RawRequest) + Send + Sync + 'static,
    {
        self.handlers.add_for_the_rest(Box::new(handler));
        self
    }

    /// Registers a handler of an event from the supervisor; an event may have several.
    ///
    /// Event handlers run one after the other on a thread of their own, also while all handler threads are busy.
    /// An event whose payload is not a `T` is logged and skipped.
    pub fn on_event<T, F>(&mut self, name: &str, handler: F) -> &mut Worker
    where
        T: DeserializeOwned,
        F: Fn(T) + Send + Sync + 'static,
    {
        let event = name.to_owned();
        self.on_event_raw(name, move |payload| match decode(payload) {
            Ok(payload) => handler(payload),
            Err(error) => log::warn!("event {event:?} is not a {}: {error}", type_name::<T>()),
        })
    }

    /// Registers a handler of an event whose payload is bytes.
    pub fn on_event_raw<F>(&mut self, name: &str, handler: F) -> &mut Worker
    where
        F: Fn(&[u8]) + Send + Sync + 'static,
    {
        self.hooks.add_event(name, Box::new(handler));
        self
    }

    /// Registers a hook that runs once when no further request will come. The worker leaves when its [`Done`]
    /// was used or dropped and no request is in hand.
    pub fn on_soft_kill<F>(&mut self, hook: F) -> &mut Worker
    where
        F: FnOnce(Done) + Send + 'static,
    {
        self.hooks.soft_kill.push(Box::new(hook));
        self
    }

    /// Registers a hook that runs about 100 ms before the supervisor kills this process, also while all handler
    /// threads are busy. Without one it is killed without a word.
    pub fn on_hard_kill<F>(&mut self, hook: F) -> &mut Worker
    where
        F: FnOnce() + Send + 'static,
    {
        self.link().lock().hard_kill.hooks.push(Box::new(hook));
        self
    }

    /// Registers the worker's health check: why it is not healthy, if it is not. What it says is shown by the
    /// supervisor's `health()`, and told by an event when it changes; by the group's policy the worker gets no more
    /// requests meanwhile.
    ///
    /// It runs on a thread of its own, for the first time when the worker begins to serve and then every 5 s, or as
    /// [`health_every`](Worker::health_every) says. A run that panics, or does not return in time, is a failure too. Of
    /// a reason the first 1,024 bytes are told.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut worker = ganger_worker::Worker::connect()?;
    /// worker.on_health(|| match std::fs::metadata("/var/cache/thumbnails") {
    ///     Ok(_) => Ok(()),
    ///     Err(error) => Err(format!("the cache cannot be reached: {error}")),
    /// });
    /// worker.serve()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// When there is one already.
    pub fn on_health<F>(&mut self, check: F) -> &mut Worker
    where
        F: Fn() -> Result<(), String> + Send + Sync + 'static,
    {
        let other = self.check.probe.replace(Box::new(check));
        assert!(other.is_none(), "a worker has one health check, which may look at several things");
        self
    }

    /// Sets how long the health check rests between two runs, and how long a run may take before it counts as failed,
    /// which is noted up to a second late. 5 s each unless said.
    ///
    /// # Panics
    /// When either is under a millisecond.
    pub fn health_every(&mut self, rest: Duration, patience: Duration) -> &mut Worker {
        assert!(
            rest.min(patience) >= Duration::from_millis(1),
            "a health check every {rest:?} for {patience:?}"
        );
        (self.check.every, self.check.patience) = (rest, patience);
        self
    }

    /// Lets something go wrong on purpose: for tests of whoever depends on this worker. See
    /// [`testing::Fault`](crate::testing::Fault); several may be injected.
    pub fn inject(&mut self, fault: Fault) -> &mut Worker {
        self.link().inject(fault);
        self
    }

    /// Takes a listener that the supervisor shares with this worker: as a `TcpListener`, a `UnixListener`, or a
    /// descriptor. The supervisor and the other workers of the group have their own copies: a connection goes to
    /// whoever accepts it first, and none is lost when this worker stops accepting and ends. Whether accepting blocks is
    /// common to all copies.
    ///
    /// ```no_run
    /// use std::net::TcpListener;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let worker = ganger_worker::Worker::connect()?;
    /// let listener: TcpListener = worker.listener("http")?;
    /// # drop(listener);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ListenerError`] when there is none of this name, or not of this kind.
    pub fn listener<L: Listener>(&self, name: &str) -> Result<L, ListenerError> {
        self.link().listeners.take(name)
    }

    /// A handle for any thread: readiness, events, the requests in hand.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(self.link()))
    }

    /// Handles requests until the supervisor needs this worker no longer. The calling thread becomes one of the
    /// handler threads; with a concurrency of 1 it is the only one.
    ///
    /// Says [`ready`](Control::ready) by itself unless [`busy`](Control::busy) was called.
    ///
    /// # Errors
    /// [`ServeError`] when a thread cannot be started or the supervisor does not follow the protocol. When the
    /// supervisor is gone it does not return: the process ends.
    pub fn serve(self) -> Result<(), ServeError> {
        let Worker { tether, handlers, hooks, check, threads } = self;
        serve::serve(&tether.0, handlers, hooks, check, threads as usize)
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.tether.0
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("control", &self.control()).finish_non_exhaustive()
    }
}
