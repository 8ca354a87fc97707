//! What a worker says about itself: metrics and health.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::channel;
use std::time::Duration;

use ganger_protocol::{Amount, Change, HealthReport, MetricsReport};

use super::{PATIENCE, Run, waiting};
use crate::testing::Said;
use crate::worker::Worker;

const SHORT: Duration = Duration::from_millis(1);

/// The next thing said that is not about readiness, which may come before it or behind it.
fn news(run: &mut Run) -> Said {
    match run.next() {
        Said::Ready(_) => run.next(),
        news => news,
    }
}

fn metrics(run: &mut Run) -> MetricsReport {
    match news(run) {
        Said::Metrics(report) => report,
        other => panic!("metrics, not {other:?}"),
    }
}

fn rise(metric: u16, by: u64) -> Vec<Change> {
    vec![Change { metric, amount: Amount::Rise(by) }]
}

fn failure(run: &mut Run) -> Option<String> {
    match news(run) {
        Said::Health(HealthReport { failure }) => failure,
        other => panic!("health, not {other:?}"),
    }
}

/// M8: what was counted is told although every handler thread is busy, and the rest before the goodbye.
#[test]
fn counts_are_told_from_within_a_handler_and_before_the_goodbye() {
    let mut counter = None;
    let mut handler = None;
    let mut run = Run::of(|worker| {
        counter = worker.control().metrics().counter("seen_total", "").ok();
        handler = Some(waiting(worker, "wait"));
    });
    let (counter, (in_handler, release)) = (counter.expect("declared"), handler.expect("registered"));
    run.peer.request("wait", &[]);
    let request = in_handler.recv_timeout(PATIENCE).expect("called");
    counter.add(3);
    let mut first = metrics(&mut run);
    assert_eq!(first.declared.len(), 1);
    if first.changes.is_empty() {
        // It was told of the counter before it counted.
        first = metrics(&mut run);
    }
    assert_eq!(first.changes, rise(0, 3));
    counter.add(4);
    request.ack();
    release.send(()).expect("the handler waits");
    run.peer.drain();
    let mut rest = Vec::new();
    while let said @ (Said::Answer(..) | Said::Metrics(_)) = run.next() {
        if let Said::Metrics(report) = said {
            rest.extend(report.changes);
        }
    }
    assert_eq!(rest, rise(0, 4));
}

/// M8: a metric that does not move is spoken of once.
#[test]
fn what_has_not_changed_is_not_told_again() {
    let mut gauge = None;
    let mut run = Run::of(|worker| gauge = worker.control().metrics().gauge("depth", "").ok());
    let gauge = gauge.expect("declared");
    assert_eq!(metrics(&mut run).changes, [Change { metric: 0, amount: Amount::Level(0.0) }]);
    gauge.add(1.0);
    gauge.add(-1.0);
    run.peer.drain();
    assert_eq!(news(&mut run), Said::Goodbye);
}

/// M9: a failure is told once, with its reason, and its end.
#[test]
fn health_is_told_when_it_changes() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let mut run = Run::of(move |worker: &mut Worker| {
        worker.health_every(SHORT, PATIENCE).on_health(move || match counted.fetch_add(1, SeqCst) {
            0..=2 => Ok(()),
            3..=9 => Err(String::from("the disk is full")),
            10 => panic!("on purpose"),
            11 => Err("ä".repeat(600)),
            _ => Ok(()),
        });
    });
    assert_eq!(failure(&mut run).as_deref(), Some("the disk is full"));
    assert_eq!(failure(&mut run).as_deref(), Some("the health check panicked: on purpose"));
    assert_eq!(failure(&mut run), Some("ä".repeat(512)));
    assert_eq!(failure(&mut run), None);
    assert_eq!(runs.load(SeqCst).min(13), 13);
    run.leave();
}

/// M9: a check that hangs is a failure, and one that returns after all is heard.
#[test]
fn a_check_that_does_not_return_has_failed() {
    let (let_go, gate) = channel::<()>();
    let gate = parking_lot::Mutex::new(gate);
    let mut run = Run::of(move |worker: &mut Worker| {
        worker
            .health_every(PATIENCE, SHORT)
            .on_health(move || gate.lock().recv().map_err(|error| error.to_string()));
    });
    assert_eq!(failure(&mut run).as_deref(), Some("the health check has not returned for 1ms"));
    let_go.send(()).expect("it waits");
    assert_eq!(failure(&mut run), None);
    run.leave();
}

/// M9: one check a worker; a second would hide the first.
#[test]
#[should_panic(expected = "one health check")]
fn a_second_check_is_refused() {
    drop(Run::of(|worker| {
        worker.on_health(|| Ok(())).on_health(|| Ok(()));
    }));
}
