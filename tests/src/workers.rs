//! The test workers' programs.

use std::time::Duration;

use ganger::{Builder, Program, RestartPolicy, Supervisor};

use crate::calls::Manners;
use crate::harness::{Feed, PATIENCE, Scratch};
use crate::raw::{Script, Step};

/// A worker with the worker library and no manners of its own.
#[must_use]
pub fn plain() -> Program {
    with(&Manners::new())
}

/// A worker with the worker library that behaves as told.
#[must_use]
pub fn with(manners: &Manners) -> Program {
    Program::beside("lib_worker").arg(manners.to_arg())
}

/// A worker without the library that does as told: one life a process, the last life repeats. Several workers
/// share the lives, in the order in which they are started.
#[must_use]
pub fn raw(scratch: &Scratch, lives: impl IntoIterator<Item = Vec<Step>>) -> Program {
    let script = Script { directory: scratch.path().to_owned(), lives: lives.into_iter().collect() };
    Program::beside("raw_worker").arg(script.to_arg())
}

/// Starts, and waits until every worker has said ready once.
///
/// # Panics
/// When it cannot be started, or not all workers are ready in time.
#[must_use]
pub fn online(builder: Builder) -> Supervisor {
    let supervisor = builder.start().expect("started");
    supervisor.wait_online(PATIENCE).expect("online");
    supervisor
}

/// As [`online`], with everything that has happened since the start.
///
/// # Panics
/// As [`online`].
#[must_use]
pub fn online_with_feed(builder: Builder) -> (Supervisor, Feed) {
    let (supervisor, feed) = started_with_feed(builder);
    supervisor.wait_online(PATIENCE).expect("online");
    (supervisor, feed)
}

/// Starts, with everything that happens from then on.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn started_with_feed(builder: Builder) -> (Supervisor, Feed) {
    let (supervisor, events) = builder.start_with_events().expect("started");
    (supervisor, Feed::new(events))
}

/// Every worker is replaced at once, as often as it takes.
#[must_use]
pub fn tireless() -> RestartPolicy {
    let soon = Duration::from_millis(1);
    RestartPolicy { backoff: soon, backoff_max: soon, ..RestartPolicy::unlimited() }
}
