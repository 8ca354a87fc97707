//! Runs the simulator; `--help` says how.

use clap::Parser;
use ganger_tests::runner::{Arguments, run};

fn main() -> std::process::ExitCode {
    run(&Arguments::parse())
}
