//! Rolling and resizing, in CI's form.

use std::time::Duration;

use ganger_tests::harness::Scenario;
use ganger_tests::rolling;

/// P11, S6, W9; react_on_rails#2764: there, a rolling restart took the next worker down before the last one was back, and
/// drained the pool to nothing. Here, rolled and resized every 50 ms under load, a group does every job, and never has
/// fewer workers that take jobs than it should.
#[test]
fn rolling_and_resizing_fails_nothing() {
    Scenario::default().deadline(Duration::from_secs(60)).run(|| {
        let figures = rolling::run(Duration::from_secs(3), Duration::from_millis(50));
        assert_eq!((figures.failed, figures.below), (0, 0), "{figures}");
        assert!(figures.done > 100 && figures.rolled >= 3 && figures.resized >= 3, "{figures}");
        assert!(figures.looks > 50, "{figures}");
    });
}
