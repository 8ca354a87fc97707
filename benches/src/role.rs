//! One binary, four roles: the bench, its workers, the peer of a raw measurement, and a part of the bench that wants
//! a process of its own.

use std::error::Error;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser};
use ganger_worker::Worker;

use crate::{Common, Printer, fresh, place, raw};

/// What a measurement gives, or what went wrong.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// A bench in all its roles.
#[derive(Debug)]
pub struct Bench<T> {
    /// Its name, as in every line that it prints.
    pub name: &'static str,
    /// What it measures, against what; for `--help`.
    pub about: &'static str,
    /// Registers what its workers handle.
    pub worker: fn(&mut Worker),
    /// What it does in a process of its own; see [`in_fresh_process`](crate::in_fresh_process).
    pub fresh: fn(&[&str]) -> Outcome<Vec<f64>>,
    /// Measures everything.
    pub measure: fn(&T, &mut Printer) -> Outcome<()>,
}

/// For benches with no arguments of their own.
#[derive(Args, Clone, Copy, Debug)]
pub struct Nothing {}

#[derive(Parser)]
struct Line<T: Args> {
    #[command(flatten)]
    own: T,
    #[command(flatten)]
    common: Common,
}

impl<T: Args> Bench<T> {
    /// Acts in the role that this process was started for.
    #[must_use]
    pub fn run(self) -> ExitCode {
        self.act().unwrap_or_else(|error| {
            eprintln!("error: {error}");
            ExitCode::from(2)
        })
    }

    fn act(self) -> Outcome<ExitCode> {
        place::settle()?;
        if let Some(manner) = raw::manner() {
            raw::serve(&manner?)?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(mut worker) = Worker::inherited()? {
            (self.worker)(&mut worker);
            worker.serve()?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(words) = fresh::words() {
            let words: Vec<&str> = words.split(' ').collect();
            fresh::answer(&(self.fresh)(&words)?);
            return Ok(ExitCode::SUCCESS);
        }
        let command = Line::<T>::command().name(self.name).about(self.about).max_term_width(100);
        let Line { own, common } = Line::<T>::from_arg_matches(&command.get_matches())?;
        let mut printer = Printer::new(self.name, common);
        (self.measure)(&own, &mut printer)?;
        Ok(printer.exit_code())
    }
}

/// For benches that need no process of their own.
///
/// # Errors
/// Always.
pub fn nothing_fresh(_: &[&str]) -> Outcome<Vec<f64>> {
    Err("this bench does nothing in a process of its own".into())
}
