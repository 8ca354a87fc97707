//! The simulator's short form, with the scheduler's own assertions on.
//!
//! It proves, for every schedule that it draws, what the checks say: P1 to P7, P9, P10 and P13 of the semantics,
//! and the features J5, J6, J7, J8, J10, W5, W8, W9, W11, S2 and S3 as far as the scheduler decides them.

use ganger_tests::sim::{self, Options};

fn run_all(seeds: std::ops::Range<u64>, options: Options) {
    for seed in seeds {
        let report = sim::run(seed, options);
        if let Some(violation) = report.violations.first() {
            let lines = sim::run(seed, Options { keep_lines: 60, ..options }).lines.join("\n");
            panic!("{lines}\nseed {seed}: {violation}\nreplay: simulate --from {seed} --seeds 1 --trace");
        }
    }
}

/// J8, J10: many short schedules, each drawn anew.
#[test]
fn no_schedule_breaks_a_promise() {
    run_all(0..400, Options::default());
}

/// A few long ones: what only shows after many deaths, retries and resizes.
#[test]
fn no_long_schedule_breaks_a_promise() {
    run_all(1_000_000..1_000_020, Options { steps: 6_000, ..Options::default() });
}

/// A failure can only be understood if it can be seen again.
#[test]
fn the_same_seed_gives_the_same_events() {
    for seed in 0..100 {
        let first = sim::run(seed, Options::default());
        let again = sim::run(seed, Options { keep_lines: 10, ..Options::default() });
        assert_eq!((first.hash, first.events), (again.hash, again.events), "seed {seed}");
    }
}

/// Schedules differ, and they are not empty.
#[test]
fn schedules_do_something_and_each_something_else() {
    let reports: Vec<_> = (0..100).map(|seed| sim::run(seed, Options::default())).collect();
    let mut hashes: Vec<u64> = reports.iter().map(|report| report.hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), reports.len());
    assert!(reports.iter().map(|report| report.jobs).sum::<u64>() > 1_000);
}
