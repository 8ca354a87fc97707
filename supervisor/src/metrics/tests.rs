use ganger_protocol::{Amount, Change, Declaration, MAX_METRICS, MetricsReport, Shape};

use super::ledger::{MAX_SERIES, Value};
use super::*;
use crate::scheduler::{GroupIndex, WorkerKey};

const SEAT: Seat = Seat { group: GroupIndex(0), slot: 3 };

fn worker(number: u64) -> WorkerKey {
    WorkerKey::from_bits(number)
}

fn declared(name: &str, shape: Shape) -> Declaration {
    Declaration { name: name.to_owned(), help: String::from("help"), labels: Vec::new(), shape }
}

fn report(declared: Vec<Declaration>, changes: Vec<Amount>) -> MetricsReport {
    let number = |(metric, amount): (usize, Amount)| Change { metric: metric as u16, amount };
    MetricsReport { declared, changes: changes.into_iter().enumerate().map(number).collect() }
}

fn three() -> Vec<Declaration> {
    vec![
        declared("seen_total", Shape::Counter),
        declared("depth", Shape::Gauge),
        declared("wait_seconds", Shape::Histogram(vec![1.0, 2.0])),
    ]
}

fn said(count: u64, level: f64) -> Vec<Amount> {
    let observed = Amount::Observed { buckets: vec![(0, count), (2, 1)], sum: 1.5 };
    vec![Amount::Rise(count), Amount::Level(level), observed]
}

fn shown(ledger: &Ledger) -> Vec<Value> {
    let tallies = ledger.tallies();
    tallies.slots.iter().flat_map(|tally| tally.series.iter()).map(|series| series.value.clone()).collect()
}

/// M8: what the dead have counted stays, what they measured does not, and the next worker goes on.
#[test]
fn a_slots_next_worker_goes_on_counting() {
    let mut ledger = Ledger::default();
    ledger.hear(worker(1), SEAT, report(three(), said(4, 7.0)));
    let before = ledger.tallies();
    ledger.forget(worker(1));
    let [Value::Counter(4), Value::Gauge(None), Value::Histogram(counts, sum)] = &shown(&ledger)[..] else {
        panic!("{:?}", shown(&ledger));
    };
    assert_eq!((&counts[..], *sum), (&[4, 0, 1][..], 1.5));
    ledger.hear(worker(2), SEAT, report(three(), said(5, 8.0)));
    let [Value::Counter(9), Value::Gauge(Some(level)), Value::Histogram(counts, sum)] = &shown(&ledger)[..]
    else {
        panic!("{:?}", shown(&ledger));
    };
    assert_eq!((level.value, &counts[..], *sum), (8.0, &[9, 0, 2][..], 3.0));
    let value = &before.slots[0].series[0].value;
    assert!(matches!(value, Value::Counter(4)), "a snapshot does not move: {value:?}");
}

/// M8: while a replacement and the one that leaves share a slot, both count, and the younger one's gauge is shown.
#[test]
fn two_workers_of_one_slot_do_not_disturb_each_other() {
    let mut ledger = Ledger::default();
    ledger.hear(worker(1), SEAT, report(three(), said(1, 1.0)));
    ledger.hear(worker(2), SEAT, report(three(), said(10, 2.0)));
    ledger.hear(worker(1), SEAT, report(vec![], said(100, 3.0)));
    ledger.forget(worker(1));
    let [Value::Counter(111), Value::Gauge(Some(level)), _] = &shown(&ledger)[..] else {
        panic!("{:?}", shown(&ledger));
    };
    assert!((level.value - 2.0).abs() < 1e-9, "{level:?}");
}

/// M8: one name is one thing. The first worker's word stays, also when it is a histogram's hidden name.
#[test]
fn what_contradicts_another_worker_is_refused_and_counted() {
    let mut ledger = Ledger::default();
    ledger.hear(worker(1), SEAT, report(three(), said(4, 7.0)));
    let other = Seat { slot: 4, ..SEAT };
    let lies = vec![
        declared("seen_total", Shape::Gauge),
        declared("wait_seconds", Shape::Histogram(vec![1.0])),
        declared("wait_seconds_sum", Shape::Counter),
        declared("fine", Shape::Counter),
    ];
    let changes = vec![Amount::Level(1.0), Amount::Level(1.0), Amount::Rise(1), Amount::Rise(6)];
    ledger.hear(worker(2), other, report(lies, changes));
    let tallies = ledger.tallies();
    assert_eq!((tallies.slots[1].refused, tallies.slots[1].series.len()), (3, 1));
    assert!(matches!(tallies.slots[1].series[0].value, Value::Counter(6)));
}

/// M8: a slot whose workers declare other names in each life does not grow without end.
#[test]
fn a_slot_has_so_many_series_and_no_more() {
    let mut ledger = Ledger::default();
    for life in 0..3u64 {
        let names = (0..MAX_METRICS).map(|number| declared(&format!("x{life}_{number}"), Shape::Counter));
        ledger.hear(worker(life), SEAT, report(names.collect(), vec![Amount::Rise(1)]));
        ledger.forget(worker(life));
    }
    let tallies = ledger.tallies();
    assert_eq!(
        (tallies.slots[0].series.len(), tallies.slots[0].refused),
        (MAX_METRICS, 2 * MAX_METRICS as u64)
    );
}

/// M8: all slots together have a limit, too.
#[test]
fn a_supervisor_has_so_many_series_and_no_more() {
    let mut ledger = Ledger::default();
    let slots = MAX_SERIES / MAX_METRICS + 2;
    for slot in 0..slots as u32 {
        let names = (0..MAX_METRICS).map(|number| declared(&format!("x{number}"), Shape::Counter)).collect();
        ledger.hear(worker(u64::from(slot)), Seat { slot, ..SEAT }, report(names, vec![]));
    }
    let tallies = ledger.tallies();
    let kept: usize = tallies.slots.iter().map(|tally| tally.series.len()).sum();
    let refused: u64 = tallies.slots.iter().map(|tally| tally.refused).sum();
    assert_eq!((kept, kept + refused as usize), (MAX_SERIES, slots * MAX_METRICS));
}

/// P13: what the library never says ends the worker that says it.
#[test]
fn a_report_that_breaks_the_rules_is_an_offence() {
    let nonsense = [
        report(vec![declared("two words", Shape::Counter)], vec![]),
        report(vec![declared("ganger_up", Shape::Counter)], vec![]),
        report(vec![declared("x", Shape::Histogram(vec![f64::NAN]))], vec![]),
        report((0..300).map(|number| declared(&format!("x{number}"), Shape::Gauge)).collect(), vec![]),
        report(vec![], vec![Amount::Rise(1)]),
        report(vec![declared("x", Shape::Counter)], vec![Amount::Level(1.0)]),
        report(three(), vec![Amount::Rise(1), Amount::Level(0.0), Amount::Rise(1)]),
        report(
            three(),
            vec![Amount::Rise(1), Amount::Level(0.0), Amount::Observed { buckets: vec![(3, 1)], sum: 0.0 }],
        ),
        report(
            three(),
            vec![Amount::Rise(1), Amount::Level(0.0), Amount::Observed { buckets: vec![], sum: f64::NAN }],
        ),
    ];
    for report in nonsense {
        assert!(Judge::default().judge(&report).is_err(), "{report:?}");
    }
    let mut judge = Judge::default();
    judge.judge(&report(three(), said(1, f64::NAN))).expect("a gauge may show what is no number");
    let many = (0..MAX_METRICS - 2).map(|number| declared(&format!("x{number}"), Shape::Gauge)).collect();
    judge.judge(&report(many, vec![])).expect_err("one too many, over two reports");
}

/// Counts that have come to their end stay there: a counter that begins anew looks like a restart.
#[test]
fn counts_do_not_wrap() {
    let mut ledger = Ledger::default();
    ledger.hear(worker(1), SEAT, report(three(), said(u64::MAX, 0.0)));
    ledger.hear(worker(1), SEAT, report(vec![], said(u64::MAX, 0.0)));
    let text = {
        let figures = Figures { tallies: ledger.tallies(), events_missed: 0 };
        text::write(&[], &crate::Health::stopped(), &figures, &["g".into()])
    };
    for line in [
        "seen_total{group=\"g\",slot=\"3\"} 18446744073709551615",
        "wait_seconds_bucket{group=\"g\",slot=\"3\",le=\"+Inf\"} 18446744073709551615",
        "ganger_metrics_refused_total{group=\"g\",slot=\"3\"} 0",
        "# TYPE wait_seconds histogram",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
}
