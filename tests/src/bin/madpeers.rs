//! Compares latencies with and without mad peers; `--help` says how.

use std::process::ExitCode;

use clap::Parser;
use ganger_tests::arg::count;
use ganger_tests::madpeers::{self, Comparison, Mood};

/// Compares the latencies of sane workers beside mad ones with those without: exit status 1 when the 99th percentile is
/// more than 1.2 times as long.
#[derive(Parser)]
#[command(name = "madpeers", max_term_width = 100)]
struct Arguments {
    /// Rounds of each sort, by turns
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = count)]
    rounds: usize,
    /// Jobs in each round
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = count)]
    jobs: usize,
}

fn main() -> ExitCode {
    let Arguments { rounds, jobs } = Arguments::parse();
    let compared = madpeers::compare(&Mood::ALL, rounds, jobs);
    compared.iter().for_each(|one| println!("{one}"));
    if compared.iter().all(Comparison::is_bearable) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
