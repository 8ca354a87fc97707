//! Resizes and rolls under load; `--help` says how.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ganger_tests::arg::positive;

/// Resizes and rolls a group every so often under load: exit status 1 when a job fails, or when the group has fewer
/// workers that take jobs than it should.
#[derive(Parser)]
#[command(name = "rolling", max_term_width = 100)]
struct Arguments {
    /// For how long
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = positive)]
    seconds: u64,
    /// How often something is asked for
    #[arg(long, value_name = "MS", default_value_t = 250, value_parser = positive)]
    every_ms: u64,
}

fn main() -> ExitCode {
    let Arguments { seconds, every_ms } = Arguments::parse();
    let figures = ganger_tests::rolling::run(Duration::from_secs(seconds), Duration::from_millis(every_ms));
    println!("{figures}");
    if figures.failed == 0 && figures.below == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
