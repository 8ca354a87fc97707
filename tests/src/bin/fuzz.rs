//! Fuzzes; `--help` says how.

use clap::Parser;
use ganger_tests::fuzz::{Arguments, main as fuzz};

fn main() -> std::process::ExitCode {
    fuzz(&Arguments::parse())
}
