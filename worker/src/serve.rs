//! The handler threads: leader and followers.
//!
//! Each starts the next request and handles it. One that finds none waits: the first as the reader, the others to
//! be called. A reader that has found a request calls one of the others before it handles it, and so hands the
//! reading on. With one handler thread there is nobody to call, and requests are handled in the reading thread.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use ganger_protocol::{End, Failure, FailureKind, Spin, processor};
use parking_lot::MutexGuard;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::account::Check;
use crate::callee::Callee;
use crate::courier::{Courier, Hooks};
use crate::current::{self, Duty};
use crate::handlers::Handlers;
use crate::link::{Link, Locked, Reader};
use crate::request::RawRequest;
use crate::session::{Outcome, Started, Violation};

/// Why [`Worker::serve`](crate::Worker::serve) ended other than by the supervisor's wish.
///
/// `Debug` shows the same sentence as `Display`, because that is what a `main` that returns the error prints.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The supervisor is gone. Only a worker inside another program's process lives to see this.
    #[error("the supervisor is gone, and this worker serves nobody any more")]
    SupervisorGone,
    /// The supervisor broke the protocol.
    #[error("the supervisor broke the protocol: {0}; build both with the same release of ganger")]
    Protocol(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The leash could not be read or written.
    #[error("the link to the supervisor failed: {0}")]
    Io(#[source] io::Error),
    /// A thread could not be started.
    #[error(
        "a handler thread could not be started: {0}; lower the concurrency, or raise the limit on processes (ulimit -u)"
    )]
    Thread(#[source] io::Error),
}

impl std::fmt::Debug for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl From<Violation> for ServeError {
    fn from(violation: Violation) -> ServeError {
        ServeError::Protocol(violation.into())
    }
}

/// Serves until the link is over. The calling thread is one of the handler threads.
pub(crate) fn serve(
    link: &Arc<Link>,
    handlers: Handlers,
    hooks: Hooks,
    check: Check,
    threads: usize,
) -> Result<(), ServeError> {
    let courier = Courier::start(link, hooks).map_err(ServeError::Thread)?;
    check.start(link).map_err(ServeError::Thread)?;
    let handlers = Arc::new(handlers);
    let others = (1..threads)
        .map(|index| start_handler_thread(index, link, &handlers))
        .collect::<io::Result<Vec<_>>>()
        .map_err(ServeError::Thread)?;
    link.open(courier, Callee::new(Arc::clone(&handlers), link));
    handle_requests(link, &handlers);
    link.wake_tasks(&mut link.lock());
    link.verdict()?;
    // Goodbye is said only when no handler runs: they end at once.
    others.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}

fn start_handler_thread(
    index: usize,
    link: &Arc<Link>,
    handlers: &Arc<Handlers>,
) -> io::Result<JoinHandle<()>> {
    let (link, handlers) = (Arc::clone(link), Arc::clone(handlers));
    let thread = thread::Builder::new().name(format!("ganger-handler-{index}"));
    thread.spawn(move || handle_requests(&link, &handlers))
}

fn handle_requests(link: &Arc<Link>, handlers: &Handlers) {
    let mut state = link.lock();
    while !state.is_over() {
        match link.start_next(&mut state) {
            Some(started) => {
                MutexGuard::unlocked(&mut state, || handle(link, handlers, started));
                link.handled(&mut state);
            }
            None => rest(link, &mut state),
        }
    }
}

/// Nothing can be started: write what there is, then wait.
fn rest(link: &Link, state: &mut Locked<'_>) {
    link.settle(state);
    if state.is_over() {
        return;
    }
    match state.reader {
        Reader::Absent => read_on(link, state),
        Reader::Reading | Reader::ReadingAndWriting => link.wait_to_be_called(state),
    }
}

/// Waits for the socket, as the reader, and reads.
fn read_on(link: &Link, state: &mut Locked<'_>) {
    let (reader, interest) = match state.session.pending() {
        0 => (Reader::Reading, PollFlags::IN),
        // For room in the hatch nobody can wait: the sentry looks.
        _ if state.session.outbox().is_held_back() => (Reader::Reading, PollFlags::IN),
        _ => (Reader::ReadingAndWriting, PollFlags::IN | PollFlags::OUT),
    };
    link.reader_goes(state, reader);
    let mut spin = std::mem::take(&mut state.spin);
    let leash = MutexGuard::unlocked(state, || wait_for(link, interest, &mut spin));
    state.spin = spin;
    link.reader_is_back(state);
    if leash.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
        link.read(state);
        link.wake_tasks(state);
    }
}

/// Looks for a moment if that pays, then sleeps.
fn wait_for(link: &Link, interest: PollFlags, spin: &mut Spin) -> PollFlags {
    let mut fds = [PollFd::new(&link.leash, interest), PollFd::new(&link.nudge, PollFlags::IN)];
    link.page.set_processor(End::Worker, processor());
    let supervisor = link.page.processor(End::Supervisor);
    let found = spin.look(supervisor, || look(&mut fds, Some(&Timespec::default())));
    found.unwrap_or_else(|| {
        let found = look(&mut fds, None);
        spin.woke();
        // Interrupted: nothing has happened.
        found.unwrap_or(PollFlags::empty())
    })
}

fn look(fds: &mut [PollFd<'_>; 2], timeout: Option<&Timespec>) -> Option<PollFlags> {
    match poll(fds, timeout) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(fds[0].revents()),
    }
}

fn handle(link: &Arc<Link>, handlers: &Handlers, started: Started) {
    if let Err(cut) = &started.request.attachments {
        let failure = Failure::of_kind(FailureKind::Attachments, cut.to_string());
        return link.answer(started.ticket, Outcome::Failed(&failure));
    }
    let duty = Duty::Request(started.ticket);
    let request = RawRequest::new(Arc::clone(link), started);
    let call = || catch_unwind(AssertUnwindSafe(|| handlers.handle(request)));
    let (result, is_orphan) = current::handling(duty, call);
    if let (Err(panic), true) = (result, is_orphan) {
        let failure = Failure::of_kind(FailureKind::Panic, message_of(&*panic));
        link.fulfil(duty, Outcome::Failed(&failure));
    }
}

pub(crate) fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a message")
}
