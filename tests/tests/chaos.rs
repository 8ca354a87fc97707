//! Chaos in short: `cargo run --release -p ganger-tests --bin chaos` is the long form.

use std::process::{Command, Stdio};
use std::time::Duration;

use ganger_tests::harness::Scenario;

/// Runs it, and gives what it printed.
fn chaos(arguments: &str) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(arguments.split(' '))
        .stdin(Stdio::null())
        .output()
        .expect("the program can be executed");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}

fn expect_clean(arguments: &'static str) {
    let (is_clean, text) = chaos(arguments);
    assert!(is_clean, "{text}");
    assert!(text.contains(" 0 breaches in "), "{text}");
}

/// P1 to P6, P13, J5 to J8, W5: twenty thousand jobs while workers are killed, and no promise is broken.
#[test]
fn workers_killed_at_random() {
    Scenario::default().deadline(Duration::from_secs(120)).run(|| {
        expect_clean("--jobs 20000 --workers 4 --kill-every-ms 8 --seed 21 --minutes 1 --least-kills 50");
    });
}

/// As above, while workers are stopped and continued as well.
#[test]
fn workers_killed_and_stopped_at_random() {
    Scenario::default().deadline(Duration::from_secs(120)).run(|| {
        expect_clean(
            "--jobs 10000 --workers 3 --kill-every-ms 8 --seed 22 --stop --minutes 1 --least-kills 20",
        );
    });
}

/// S6, W10, P11: as above, while groups are rolled out and workers recycled as well.
#[test]
fn workers_killed_while_they_are_replaced() {
    Scenario::default().deadline(Duration::from_secs(120)).run(|| {
        expect_clean(
            "--jobs 10000 --workers 4 --kill-every-ms 25 --seed 24 --roll-every-ms 60 --minutes 1 --least-kills 20",
        );
    });
}

/// A run that has proven nothing does not look like one that has.
#[test]
fn too_few_kills_are_no_success() {
    Scenario::default().run(|| {
        let (is_clean, text) = chaos("--jobs 10 --workers 1 --kill-every-ms 1000 --seed 23");
        assert!(!is_clean && text.contains("prove nothing"), "{text}");
    });
}
