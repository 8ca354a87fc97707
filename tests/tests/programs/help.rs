//! Every program of the tests says what it is.

use std::process::{Command, Stdio};

/// Whoever finds a program in the target directory can ask it.
#[test]
fn every_program_explains_itself() {
    let programs = [
        env!("CARGO_BIN_EXE_chaos"),
        env!("CARGO_BIN_EXE_fault_worker"),
        env!("CARGO_BIN_EXE_fuzz"),
        env!("CARGO_BIN_EXE_host"),
        env!("CARGO_BIN_EXE_leash"),
        env!("CARGO_BIN_EXE_lib_worker"),
        env!("CARGO_BIN_EXE_madpeers"),
        env!("CARGO_BIN_EXE_mutants"),
        env!("CARGO_BIN_EXE_raw_worker"),
        env!("CARGO_BIN_EXE_restarts"),
        env!("CARGO_BIN_EXE_rolling"),
        env!("CARGO_BIN_EXE_simulate"),
        env!("CARGO_BIN_EXE_sweep"),
    ];
    for program in programs {
        let output = Command::new(program).arg("--help").stdin(Stdio::null()).output().expect("executed");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.len() > 40, "{program}: {output:?}");
    }
}
