//! Calls that this process answers: the handlers, and the few threads that run them.
//!
//! A thread is started when there is a call for it and none is idle, up to the limit; they stay until the supervisor is
//! over. How much waits is bounded by the relay, which knows what this process holds.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use ganger_protocol::{Call, CallReply, CodecError, Failure, FailureKind, Refusal, Time, decode, encode};
use log::Level;
use parking_lot::{Condvar, Mutex};

use super::{CallContext, Peers};
use crate::command::Command;
use crate::shared::Shared;

type Handle = dyn Fn(&[u8], &CallContext) -> Result<Vec<u8>, Failure> + Send + Sync;
type Handler = Arc<Handle>;

/// The handlers of calls to this process, by name.
#[derive(Clone, Default)]
pub(crate) struct Registry(HashMap<String, Handler>);

/// A call to be handled.
#[derive(Debug)]
pub(crate) struct Task {
    /// The call's number.
    pub(crate) number: u64,
    /// The worker that calls; `None`: this process.
    pub(crate) caller: Option<Arc<str>>,
    /// The call's name.
    pub(crate) name: Arc<str>,
    /// The argument.
    pub(crate) payload: Bytes,
    /// Until when the caller waits.
    pub(crate) deadline: Time,
}

/// The handlers, what waits for them, and their threads.
pub(crate) struct Desk {
    limit: usize,
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    handlers: Registry,
    waiting: VecDeque<(Task, Handler)>,
    threads: usize,
    idle: usize,
    is_closed: bool,
}

impl Registry {
    /// Adds the handler of the call `C`.
    ///
    /// # Panics
    /// When it has one already.
    pub(crate) fn add<C, F>(&mut self, handler: F)
    where
        C: Call + 'static,
        F: Fn(C, &CallContext) -> Result<C::Reply, Failure> + Send + Sync + 'static,
    {
        self.add_raw(C::NAME, move |bytes, context| {
            let call = decode::<C>(bytes).map_err(|error| codec("argument", C::NAME, &error))?;
            encode(&handler(call, context)?).map_err(|error| codec("reply", C::NAME, &error))
        });
    }

    /// Adds the handler of a call whose argument and reply are bytes.
    ///
    /// # Panics
    /// When it has one already.
    pub(crate) fn add_raw<F>(&mut self, name: &str, handler: F)
    where
        F: Fn(&[u8], &CallContext) -> Result<Vec<u8>, Failure> + Send + Sync + 'static,
    {
        assert!(!self.0.contains_key(name), "the call {name:?} has a handler already");
        self.0.insert(name.to_owned(), Arc::new(handler));
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Desk {
    /// These handlers, on so many threads at most.
    pub(crate) fn new(handlers: Registry, limit: usize) -> Desk {
        let state = State { handlers, ..State::default() };
        Desk { limit, state: Mutex::new(state), more: Condvar::new() }
    }

    /// Registers a handler while others are at work.
    pub(crate) fn register(&self, add: impl FnOnce(&mut Registry)) {
        let mut state = self.state.lock();
        if !state.is_closed {
            add(&mut state.handlers);
        }
    }

    /// Leaves a call for the threads; never blocks for long.
    pub(crate) fn take(&self, shared: &Arc<Shared>, task: Task) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        let Some(handler) = state.handlers.0.get(&*task.name).map(Arc::clone) else {
            return Err(Refusal::UnknownCall);
        };
        let is_short = state.idle <= state.waiting.len() && state.threads < self.limit;
        if is_short && start(shared) {
            state.threads += 1;
            state.idle += 1;
        }
        if state.threads == 0 {
            return Err(Refusal::QueueFull);
        }
        state.waiting.push_back((task, handler));
        self.more.notify_one();
        Ok(())
    }

    /// Lets the threads end when they are through with what they are at. What waits is dropped, and so are the handlers
    /// and whatever they own.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        let dropped = (std::mem::take(&mut state.handlers), std::mem::take(&mut state.waiting));
        drop(state);
        self.more.notify_all();
        drop(dropped);
    }

    fn run(&self, shared: &Arc<Shared>) {
        while let Some((task, handler)) = self.next() {
            let number = task.number;
            let reply = handle(shared, task, &*handler);
            drop(handler);
            // Before the caller hears of it, whose next call then finds this thread idle.
            self.state.lock().idle += 1;
            shared.send(Command::Served { number, reply });
        }
    }

    fn next(&self) -> Option<(Task, Handler)> {
        let mut state = self.state.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(task) = state.waiting.pop_front() {
                state.idle -= 1;
                return Some(task);
            }
            self.more.wait(&mut state);
        }
    }
}

fn start(shared: &Arc<Shared>) -> bool {
    let own = Arc::clone(shared);
    let thread = thread::Builder::new().name(String::from("ganger-call"));
    let started = thread.spawn(move || own.desk.run(&own));
    if let Err(error) = &started {
        // On the loop: the logger is somebody else's code.
        shared.courier.note(Level::Error, || format!("a thread for calls could not be started: {error}"));
    }
    started.is_ok()
}

fn handle(shared: &Arc<Shared>, task: Task, handler: &Handle) -> CallReply {
    let Task { caller, name, payload, deadline, .. } = task;
    if deadline <= Time::now() {
        return CallReply::Refused(Refusal::TimedOut);
    }
    let context = CallContext { name, caller, deadline, peers: Peers::new(Arc::clone(shared)) };
    let limit = shared.admission.payload_limit();
    match catch_unwind(AssertUnwindSafe(|| handler(&payload, &context))) {
        Ok(Ok(reply)) if reply.len() > limit => CallReply::Failed(too_large(reply.len(), limit)),
        Ok(Ok(reply)) => CallReply::Data(reply),
        Ok(Err(failure)) => CallReply::Failed(failure),
        Err(panic) => CallReply::Failed(Failure::of_kind(FailureKind::Panic, message_of(&*panic))),
    }
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a message")
}

fn too_large(length: usize, limit: usize) -> Failure {
    let message = format!(
        "the reply has {length} bytes, over the limit of {limit}; raise Builder::payload_limit or send less"
    );
    Failure::of_kind(FailureKind::Codec, message)
}

fn codec(what: &str, call: &str, error: &CodecError) -> Failure {
    Failure::of_kind(FailureKind::Codec, format!("the {what} of the call {call:?}: {error}"))
}
