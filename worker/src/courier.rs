//! The courier: a thread of its own for the user's event handlers and soft-kill hooks.
//!
//! Handler threads may be busy for hours and the sentry must never be, so that neither may run them. The thread
//! exists only if there is something registered that it could be needed for.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};

use crate::link::Link;

/// Events that wait for the courier; more are missed, and counted.
pub(crate) const EVENT_BACKLOG: usize = 1024;

pub(crate) type EventHandler = Box<dyn Fn(&[u8]) + Send + Sync>;
pub(crate) type SoftKillHook = Box<dyn FnOnce(Done) + Send>;

/// What the courier has been asked to call.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) events: HashMap<String, Arc<Vec<EventHandler>>>,
    pub(crate) soft_kill: Vec<SoftKillHook>,
}

impl Hooks {
    pub(crate) fn add_event(&mut self, name: &str, handler: EventHandler) {
        let handlers = self.events.entry(name.to_owned()).or_default();
        Arc::get_mut(handlers).expect("nothing is delivered before the worker serves").push(handler);
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.soft_kill.is_empty()
    }
}

/// What a soft-kill hook gives back, in any thread and at any time, when the worker may leave.
///
/// Dropping it says the same. The worker leaves when every hook is done and no request is in hand.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut worker = ganger_worker::Worker::connect()?;
/// worker.on_soft_kill(|done| {
///     std::thread::spawn(move || {
///         // … write what is cached, then:
///         done.done();
///     });
/// });
/// worker.serve()?;
/// # Ok(())
/// # }
/// ```
pub struct Done {
    link: Arc<Link>,
}

impl Done {
    /// Says that the worker may leave as far as this hook is concerned.
    pub fn done(self) {}
}

impl Drop for Done {
    fn drop(&mut self) {
        self.link.hook_done();
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Done").finish_non_exhaustive()
    }
}

enum Errand {
    Event(Arc<Vec<EventHandler>>, Vec<u8>),
    SoftKill,
}

/// An event that found the backlog full.
pub(crate) struct Missed;

/// The courier.
pub(crate) struct Courier {
    events: HashMap<String, Arc<Vec<EventHandler>>>,
    soft_kill_hooks: usize,
    bag: Mutex<Bag>,
    more: Condvar,
}

#[derive(Default)]
struct Bag {
    errands: VecDeque<Errand>,
    is_closed: bool,
}

impl Courier {
    /// Starts the thread if there is anything it could be needed for.
    pub(crate) fn start(link: &Arc<Link>, hooks: Hooks) -> io::Result<Arc<Courier>> {
        let needs_thread = !hooks.is_empty();
        let Hooks { events, soft_kill } = hooks;
        let soft_kill_hooks = soft_kill.len();
        let (bag, more) = (Mutex::default(), Condvar::new());
        let courier = Arc::new(Courier { events, soft_kill_hooks, bag, more });
        if needs_thread {
            let (link, courier) = (Arc::clone(link), Arc::clone(&courier));
            let thread = thread::Builder::new().name(String::from("ganger-courier"));
            thread.spawn(move || courier.run(&link, soft_kill))?;
        }
        Ok(courier)
    }

    pub(crate) fn soft_kill_hooks(&self) -> usize {
        self.soft_kill_hooks
    }

    /// Leaves an event for the courier; one that nobody waits for is no event.
    pub(crate) fn event(&self, name: &str, payload: Vec<u8>) -> Result<(), Missed> {
        let Some(handlers) = self.events.get(name) else { return Ok(()) };
        let mut bag = self.bag.lock();
        if bag.errands.len() >= EVENT_BACKLOG {
            log::warn!("event {name:?} is missed: {EVENT_BACKLOG} events wait for their handlers");
            return Err(Missed);
        }
        bag.errands.push_back(Errand::Event(Arc::clone(handlers), payload));
        self.more.notify_one();
        Ok(())
    }

    /// Has the soft-kill hooks run, behind the events that came before.
    pub(crate) fn soft_kill(&self) {
        self.bag.lock().errands.push_back(Errand::SoftKill);
        self.more.notify_one();
    }

    /// Lets the thread end; errands not yet begun are dropped.
    pub(crate) fn close(&self) {
        self.bag.lock().is_closed = true;
        self.more.notify_one();
    }

    fn run(&self, link: &Arc<Link>, mut soft_kill: Vec<SoftKillHook>) {
        while let Some(errand) = self.next() {
            match errand {
                Errand::Event(handlers, payload) => {
                    handlers.iter().for_each(|handler| guarded("an event handler", || handler(&payload)));
                }
                Errand::SoftKill => soft_kill.drain(..).for_each(|hook| {
                    let done = Done { link: Arc::clone(link) };
                    guarded("a soft-kill hook", || hook(done));
                }),
            }
        }
    }

    fn next(&self) -> Option<Errand> {
        let mut bag = self.bag.lock();
        loop {
            if bag.is_closed {
                return None;
            }
            match bag.errands.pop_front() {
                Some(errand) => return Some(errand),
                None => self.more.wait(&mut bag),
            }
        }
    }
}

/// Calls code of the user's whose panic must not end the thread. The panic hook has already reported it.
pub(crate) fn guarded(what: &str, call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        log::error!("{what} panicked");
    }
}
