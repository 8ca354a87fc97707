//! Chaos: a supervisor with a million jobs, while its workers are killed and stopped at random.
//!
//! The judge is outside. Three witnesses write down what they see, and none believes another: the submitter what
//! was accepted and what came back, the handlers what they really ran, the reaper which processes there were, when
//! it killed them and what the supervisor said of it. When all is over a checker, which knows nothing of how ganger
//! works, holds the three records against each other and against the promises.
//!
//! `cargo run --release -p ganger-tests --bin chaos -- --jobs 1000000 --workers 4 --kill-every-ms 20`

mod arguments;
mod breach;
mod checker;
mod docket;
mod errand;
mod journal;
mod ledger;
mod plan;
mod reaper;
mod roller;
mod run;
mod submitter;
mod sums;
mod worker;

use std::error::Error;
use std::process::ExitCode;

use arguments::Arguments;
use clap::Parser;

/// The program, in both of its roles: the run of chaos, and the worker of one.
///
/// It succeeds when nothing was breached and enough workers were killed to mean something.
///
/// # Errors
/// What keeps it from running at all.
pub fn main() -> Result<ExitCode, Box<dyn Error>> {
    if worker::serve_if_worker()?.is_break() {
        return Ok(ExitCode::SUCCESS);
    }
    run::run(&Arguments::parse())
}
