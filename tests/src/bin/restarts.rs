//! Restarts workers; `--help` says how.

use clap::Parser;
use ganger_tests::arg::number;

/// Restarts workers in every way, and looks whether anything is left behind: exit status 101 when anything leaks.
#[derive(Parser)]
#[command(name = "restarts", max_term_width = 100)]
struct Arguments {
    /// How many restarts
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = number)]
    count: u64,
}

fn main() {
    let _ = ganger_tests::restarts::run(Arguments::parse().count);
}
