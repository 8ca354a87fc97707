//! Fuzzes: `fuzz --seconds N [--seed S] [--target inbox|messages|scheduler|session|all] [--replay FILE] [--keep-pool]`.

use std::process::ExitCode;

use ganger_tests::fuzz::{Arguments, main as fuzz};

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => fuzz(&arguments),
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}
