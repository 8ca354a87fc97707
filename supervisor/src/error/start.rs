//! Why a supervisor could not be started.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A supervisor that could not be started. No process is left behind.
///
/// `Debug` shows the same sentence as `Display`, because that is what a `main` that returns the error prints.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A value given to the builder makes no sense.
    #[error("the configuration is refused: {0}")]
    Config(#[from] ConfigError),
    /// A group's program is not there or may not be executed.
    #[error("the program {} of group {group} cannot be run: {reason}", program.display())]
    Program {
        /// The group.
        group: Arc<str>,
        /// The path, as far as it was resolved.
        program: PathBuf,
        /// What is wrong with it, and where it was looked for.
        reason: String,
    },
    /// The machine refused something the supervisor needs for itself.
    #[error("the supervisor cannot {action}: {source}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A value given to a [`Builder`](crate::Builder) or [`Group`](crate::Group) that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// This process was itself started as a worker and has not connected: its workers would start workers, without end.
    #[error(
        "this process was started as a worker by process {supervisor}: ask Worker::inherited() before starting a \
         supervisor, and serve when it gives a worker"
    )]
    UnconnectedWorker {
        /// The supervisor that started it.
        supervisor: u32,
    },
    /// More groups than can be numbered.
    #[error("{count} groups; the limit is {limit}")]
    TooManyGroups {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Two groups have the same name.
    #[error("two groups are called {name:?}; names must be unique")]
    DuplicateGroup {
        /// The name.
        name: Arc<str>,
    },
    /// A group's name is empty or has characters that would garble logs.
    #[error("{name:?} is no name for a group: use 1 to 64 characters without spaces or control characters")]
    GroupName {
        /// The name.
        name: Arc<str>,
    },
    /// Two workers have, or could come to have, the same name.
    #[error(
        "two workers would be called {name:?}; names must be unique, also among those that ganger gives: a group's name, \
         a hyphen, the slot"
    )]
    DuplicateWorker {
        /// The name.
        name: Arc<str>,
    },
    /// A worker's name is empty or has characters that would garble logs.
    #[error("{name:?} is no name for a worker: use 1 to 64 characters without spaces or control characters")]
    WorkerName {
        /// The name.
        name: Arc<str>,
    },
    /// An environment variable that cannot be given to a process.
    #[error("the variable {key:?} of group {group} cannot be set: {reason}")]
    Variable {
        /// The group.
        group: Arc<str>,
        /// Its name.
        key: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A listener that cannot be given to workers.
    #[error("the listener {name:?} of group {group} cannot be given to workers: {reason}")]
    Listener {
        /// The group.
        group: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// What is wrong.
        reason: &'static str,
    },
    /// A group without workers.
    #[error("group {group} has 0 workers; it needs at least 1")]
    NoWorkers {
        /// The group.
        group: Arc<str>,
    },
    /// A group with more workers than a machine can have.
    #[error("group {group} has {workers} workers; the limit is {limit}")]
    TooManyWorkers {
        /// The group.
        group: Arc<str>,
        /// How many were asked for.
        workers: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A number outside its range.
    #[error("{knob} is {value}; it must be from {least} to {most}")]
    OutOfRange {
        /// The knob's name in the builder.
        knob: &'static str,
        /// What was asked for.
        value: String,
        /// The least value that is accepted.
        least: String,
        /// The largest value that is accepted.
        most: String,
    },
    /// Two values that contradict each other.
    #[error("{reason}")]
    Contradiction {
        /// Which, and why.
        reason: String,
    },
}
