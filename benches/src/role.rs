//! One binary, three roles: the bench, its workers, and the peer of the raw measurement.

use std::env;
use std::error::Error;
use std::process::ExitCode;

use ganger_worker::Worker;

use crate::{place, raw};

/// Runs a bench that is its own worker: as a worker, what `register` registers; otherwise `bench`.
pub fn run(
    register: impl FnOnce(&mut Worker),
    bench: impl FnOnce() -> Result<ExitCode, Box<dyn Error>>,
) -> ExitCode {
    act(register, bench).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}

fn act(
    register: impl FnOnce(&mut Worker),
    bench: impl FnOnce() -> Result<ExitCode, Box<dyn Error>>,
) -> Result<ExitCode, Box<dyn Error>> {
    place::settle()?;
    if env::var_os(raw::ROLE).is_some() {
        raw::echo()?;
        return Ok(ExitCode::SUCCESS);
    }
    match Worker::inherited()? {
        Some(mut worker) => {
            register(&mut worker);
            worker.serve()?;
            Ok(ExitCode::SUCCESS)
        }
        None => bench(),
    }
}
