//! Restarts, in CI's form.

use std::time::Duration;

use ganger_tests::harness::Scenario;
use ganger_tests::restarts;

/// W5, P13: two hundred restarts of every sort leave nothing behind: no descriptor, thread, process, zombie or mapping.
#[test]
fn restarts_leave_nothing_behind() {
    Scenario::default().deadline(Duration::from_secs(180)).run(|| {
        assert!(restarts::run(200).restarts() >= 200);
    });
}
