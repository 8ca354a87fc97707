//! Plants mistakes and sees who finds them; `--help` says how.

use clap::Parser;
use ganger_tests::mutation::{Arguments, run};

fn main() -> std::process::ExitCode {
    run(&Arguments::parse())
}
