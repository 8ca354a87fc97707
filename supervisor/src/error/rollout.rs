//! Why a program was not rolled out.

use std::path::PathBuf;
use std::sync::Arc;

use super::ConfigError;
use crate::scheduler::RolloutAbort;

/// A rollout that was refused, or that came to nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RolloutError {
    /// There is no group of this name.
    #[error("there is no group called {group:?}; there are: {known}")]
    UnknownGroup {
        /// The name.
        group: Arc<str>,
        /// The names that there are.
        known: String,
    },
    /// A value that makes no sense.
    #[error("the rollout is refused: {0}")]
    Config(#[from] ConfigError),
    /// The new program is not there or may not be executed; nothing has been replaced.
    #[error("the program {} for group {group} cannot be run: {reason}", program.display())]
    Program {
        /// The group.
        group: Arc<str>,
        /// The path, as far as it was resolved.
        program: PathBuf,
        /// What is wrong with it, and where it was looked for.
        reason: String,
    },
    /// It was given up: all workers run the former program.
    #[error("program {edition} was not rolled out to group {group}: {why}")]
    Aborted {
        /// The group.
        group: Arc<str>,
        /// The program's number.
        edition: u32,
        /// Why.
        why: RolloutAbort,
    },
    /// The supervisor has stopped.
    #[error("the supervisor has stopped")]
    Stopped,
}
