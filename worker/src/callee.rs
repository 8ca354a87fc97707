//! The callee: a thread of its own for calls from other processes.
//!
//! Jobs may take hours and calls must not wait for them, nor for `ready()`. The thread is started by the first call.
//! What waits for it is bounded in number and bytes; what is too much is refused at once, and so is a call that has no
//! handler, and one that has waited until its caller has given up.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;

use ganger_protocol::{Failure, FailureKind, Refusal};
use parking_lot::{Condvar, Mutex};

use crate::current::{self, Duty};
use crate::handlers::Handlers;
use crate::link::Link;
use crate::request::RawRequest;
use crate::serve::message_of;
use crate::session::{Called, Outcome};

/// Calls that wait for the thread; more are refused.
pub(crate) const CALL_BACKLOG: usize = 1024;

/// Bytes of arguments that wait for the thread; what is more is refused, unless it is the only one.
pub(crate) const CALL_BACKLOG_BYTES: usize = 64 << 20;

/// What waits for the thread.
pub(crate) struct Callee {
    handlers: Arc<Handlers>,
    link: Weak<Link>,
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    calls: VecDeque<Called>,
    bytes: usize,
    has_thread: bool,
    is_closed: bool,
}

impl Waiting {
    fn has_room_for(&self, call: &Called) -> bool {
        let bytes = self.bytes + call.payload.len();
        self.calls.is_empty() || self.calls.len() < CALL_BACKLOG && bytes <= CALL_BACKLOG_BYTES
    }
}

impl Callee {
    pub(crate) fn new(handlers: Arc<Handlers>, link: &Arc<Link>) -> Arc<Callee> {
        let link = Arc::downgrade(link);
        Arc::new(Callee { handlers, link, waiting: Mutex::default(), more: Condvar::new() })
    }

    /// Leaves a call for the thread; gives it back with the reason why it is refused.
    pub(crate) fn take(self: &Arc<Callee>, call: Called) -> Result<(), (Called, Refusal)> {
        if !self.handlers.has(&call.name) {
            return Err((call, Refusal::UnknownCall));
        }
        let mut waiting = self.waiting.lock();
        if !waiting.has_room_for(&call) || !(waiting.has_thread || self.start()) {
            return Err((call, Refusal::QueueFull));
        }
        waiting.has_thread = true;
        waiting.bytes += call.payload.len();
        waiting.calls.push_back(call);
        self.more.notify_one();
        Ok(())
    }

    /// Lets the thread end; what waits for it is dropped.
    pub(crate) fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.more.notify_one();
    }

    /// Says whether there is a thread now. Without one the call is refused, and the next one tries again.
    fn start(self: &Arc<Callee>) -> bool {
        let callee = Arc::clone(self);
        let thread = thread::Builder::new().name(String::from("ganger-callee"));
        match thread.spawn(move || callee.run()) {
            Ok(_) => true,
            Err(error) => {
                log::error!("calls are refused: their thread could not be started: {error}");
                false
            }
        }
    }

    fn run(&self) {
        while let Some(call) = self.next() {
            let Some(link) = self.link.upgrade() else { return };
            if link.now().since(call.received) >= call.timeout {
                link.refuse_call(call.ticket, Refusal::TimedOut);
            } else {
                self.answer(&link, call);
            }
        }
    }

    fn next(&self) -> Option<Called> {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.is_closed {
                return None;
            }
            match waiting.calls.pop_front() {
                Some(call) => {
                    waiting.bytes -= call.payload.len();
                    return Some(call);
                }
                None => self.more.wait(&mut waiting),
            }
        }
    }

    fn answer(&self, link: &Arc<Link>, call: Called) {
        let duty = Duty::Call(call.ticket);
        let request = RawRequest::called(Arc::clone(link), call);
        let handle = || catch_unwind(AssertUnwindSafe(|| self.handlers.handle(request)));
        let (result, is_orphan) = current::handling(duty, handle);
        if let (Err(panic), true) = (result, is_orphan) {
            let failure = Failure::of_kind(FailureKind::Panic, message_of(&*panic));
            link.fulfil(duty, Outcome::Failed(&failure));
        }
    }
}
