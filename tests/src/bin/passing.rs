//! Passes descriptors; `--help` says how.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ganger_tests::arg::number;
use ganger_tests::passing::{Setting, run};

/// Passes descriptors to workers and back, and looks whether any is lost or left open: exit status 1 when one is.
#[derive(Parser)]
#[command(name = "passing", max_term_width = 100)]
struct Arguments {
    /// How many descriptors, each there and back
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = number)]
    count: u64,
    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 2)]
    workers: usize,
    /// Kills a worker so often, in milliseconds; 0: never
    #[arg(long, value_name = "MS", default_value_t = 0)]
    kill_every_ms: u64,
}

fn main() -> ExitCode {
    let Arguments { count, workers, kill_every_ms } = Arguments::parse();
    let kill_every = (kill_every_ms > 0).then(|| Duration::from_millis(kill_every_ms));
    let outcome = run(Setting { count, workers, kill_every });
    println!("{outcome}");
    if outcome.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
