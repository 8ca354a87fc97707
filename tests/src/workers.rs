//! The test workers' programs.

use ganger::Program;

use crate::calls::Manners;
use crate::harness::Scratch;
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
