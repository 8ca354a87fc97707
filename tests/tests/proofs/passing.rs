//! Descriptors passed there and back, in CI's form.

use std::time::Duration;

use ganger_tests::harness::Scenario;
use ganger_tests::passing::{Setting, run};

fn passes(kill_every: Option<Duration>) {
    let outcome = run(Setting { count: 4000, workers: 2, kill_every });
    println!("{outcome}");
    assert!(outcome.is_well() && outcome.passed == 4000, "{outcome}");
    assert_eq!(kill_every.is_some(), outcome.killed > 0, "{outcome}");
}

fn patiently() -> Scenario {
    Scenario::default().deadline(Duration::from_secs(180))
}

/// J14: four thousand descriptors go to workers and come back: none is lost, and none is left open at either end.
#[test]
fn no_descriptor_is_lost_and_none_is_left_open() {
    patiently().run(|| passes(None));
}

/// J14, P13: the same, while workers are killed.
#[test]
fn no_descriptor_is_lost_when_workers_are_killed() {
    patiently().run(|| passes(Some(Duration::from_millis(5))));
}
