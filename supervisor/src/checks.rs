//! Health checks of the supervisor's own process.
//!
//! Each has a thread of its own, so that one which hangs keeps nobody waiting but itself: neither the loop, nor another
//! check, nor whoever asks for the health.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ganger_protocol::Time;
use parking_lot::{Condvar, Mutex};

use crate::command::Command;
use crate::error::CommandError;
use crate::event::Event;
use crate::health::Problem;
use crate::shared::Shared;

/// The most checks of one supervisor: each is a thread.
const MAX_CHECKS: usize = 64;

/// When checks run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckTimes {
    /// From the end of one run to the begin of the next.
    pub(crate) rest: Duration,
    /// A run that has not returned by then has failed.
    pub(crate) patience: Duration,
}

impl Default for CheckTimes {
    fn default() -> CheckTimes {
        CheckTimes { rest: Duration::from_secs(5), patience: Duration::from_secs(5) }
    }
}

/// The checks of one supervisor.
#[derive(Default)]
pub(crate) struct Checks {
    book: Mutex<Book>,
    /// Told when the book is closed.
    closed: Condvar,
}

#[derive(Default)]
struct Book {
    checks: Vec<Check>,
    is_closed: bool,
}

/// What is known of one check.
struct Check {
    name: Arc<str>,
    /// Since when it runs, if it does.
    running: Option<Time>,
    /// What its last run said.
    failure: Option<Arc<str>>,
}

impl Checks {
    /// Begins a check, on a thread of its own.
    ///
    /// # Errors
    /// [`CommandError::Check`], [`CommandError::Stopped`].
    pub(crate) fn add<F>(
        shared: &Arc<Shared>,
        name: Arc<str>,
        times: CheckTimes,
        check: F,
    ) -> Result<(), CommandError>
    where
        F: Fn() -> Result<(), String> + Send + 'static,
    {
        let refused = |reason: String| CommandError::Check { check: Arc::clone(&name), reason };
        let mut book = shared.checks.book.lock();
        if book.is_closed {
            return Err(CommandError::Stopped);
        }
        if book.checks.iter().any(|other| other.name == name) {
            return Err(refused(String::from("there is one of this name")));
        }
        if book.checks.len() == MAX_CHECKS {
            return Err(refused(format!("a supervisor may have {MAX_CHECKS}")));
        }
        let (index, its_shared) = (book.checks.len(), Arc::clone(shared));
        thread::Builder::new()
            .name(String::from("ganger-health"))
            .spawn(move || its_shared.checks.run(&its_shared, index, times, &check))
            .map_err(|error| refused(format!("its thread cannot be started: {error}")))?;
        book.checks.push(Check { name, running: None, failure: None });
        Ok(())
    }

    /// What the checks find wrong.
    pub(crate) fn problems(&self, patience: Duration) -> Vec<Problem> {
        let (now, book) = (Time::now(), self.book.lock());
        let problem = |check: &Check| {
            let hangs = check.running.is_some_and(|since| now.since(since) >= patience);
            let hung = || Arc::from(format!("it has not returned for {patience:?}"));
            let reason = if hangs { Some(hung()) } else { check.failure.clone() };
            reason.map(|reason| Problem::Check { check: Arc::clone(&check.name), reason })
        };
        book.checks.iter().filter_map(problem).collect()
    }

    /// Ends all threads that are not in a check; those end when it returns.
    pub(crate) fn close(&self) {
        self.book.lock().is_closed = true;
        self.closed.notify_all();
    }

    fn run(&self, shared: &Shared, index: usize, times: CheckTimes, check: &impl Fn() -> Result<(), String>) {
        let mut book = self.book.lock();
        while !book.is_closed {
            book.checks[index].running = Some(Time::now());
            drop(book);
            let failure = outcome(check);
            book = self.book.lock();
            let Check { name, running, failure: before } = &mut book.checks[index];
            *running = None;
            if *before != failure {
                before.clone_from(&failure);
                tell(shared, Arc::clone(name), failure);
            }
            let until = Time::now() + times.rest;
            while !book.is_closed && Time::now() < until {
                self.closed.wait_for(&mut book, until.since(Time::now()));
            }
        }
    }
}

fn outcome(check: &impl Fn() -> Result<(), String>) -> Option<Arc<str>> {
    match catch_unwind(AssertUnwindSafe(check)) {
        Ok(verdict) => verdict.err().map(Arc::from),
        Err(panic) => Some(format!("it panicked: {}", message_of(&*panic)).into()),
    }
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

fn tell(shared: &Shared, check: Arc<str>, failure: Option<Arc<str>>) {
    shared.send(Command::Publish(match failure {
        Some(reason) => Event::CheckFailed { check, reason },
        None => Event::CheckPassed { check },
    }));
}
