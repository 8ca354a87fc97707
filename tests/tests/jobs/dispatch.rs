//! A job starts only in a ready worker's free slot.

use ganger::{Event, Supervisor, Unrouted, WorkerStatus};
use ganger_tests::calls::{About, Add, Hold, Manners, Pause, Record};
use ganger_tests::harness::{Gate, Scratch, eventually, scenario};
use ganger_tests::workers::{online, online_with_feed, plain, started_with_feed, with};

/// Requests are sent ahead only to a worker that has been quick.
fn warm_up(supervisor: &Supervisor) {
    let sums = supervisor.map((0..200).map(|number| Add(number, 0))).in_flight(1);
    assert_eq!(sums.filter(Result::is_ok).count(), 200);
}

/// J10: no more requests are in a worker's hands than it said it takes.
#[test]
fn never_more_than_the_capacity() {
    scenario(|| {
        for prefetch in [0, 8] {
            let gate = Gate::new();
            let manners = Manners { threads: 2, ..Manners::new() };
            let supervisor = online(Supervisor::builder(with(&manners)).workers(2).prefetch(prefetch));
            let handles: Vec<_> =
                (0..7).map(|_| supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted")).collect();
            let mut held = gate.next_many(4);
            // A round trip through the supervisor, so that whatever it would send was sent.
            assert_eq!(supervisor.health().workers.len(), 2);
            assert!(!gate.is_visited(), "a fifth handler runs in two workers of two threads");
            for worker in ["default-0", "default-1"] {
                assert_eq!(held.iter().filter(|one| one.worker() == worker).count(), 2);
            }
            for _ in 0..3 {
                held.remove(0).release();
                held.push(gate.next());
            }
            assert!(!gate.is_visited());
            held.into_iter().for_each(|one| one.release());
            handles.into_iter().for_each(|handle| drop(handle.wait().expect("answered")));
        }
    });
}

/// J10: a worker that has not said ready gets nothing, whatever waits.
#[test]
fn nothing_is_started_before_ready() {
    scenario(|| {
        let (starting, scratch) = (Gate::new(), Scratch::new());
        let manners = Manners { gate_at_start: Some(starting.path()), ..Manners::new() };
        let (supervisor, mut feed) =
            started_with_feed(Supervisor::builder(with(&manners)).workers(2).prefetch(4));
        let records: Vec<_> = (0..10)
            .map(|number| Record { file: scratch.join("record"), line: number.to_string() })
            .map(|record| supervisor.enqueue(record).expect("accepted"))
            .collect();
        let mut workers = starting.next_many(2);
        let health = supervisor.health();
        assert_eq!((health.groups[0].queued, health.groups[0].in_flight), (10, 0));
        assert!(scratch.lines("record").is_empty());
        let one = workers.remove(0);
        let name = one.worker().to_owned();
        one.release();
        assert_eq!(*feed.ready(), *name);
        for handle in records {
            assert_eq!(*handle.wait().expect("answered").worker, *name, "the other one is not ready");
        }
    });
}

/// J10, W1: a worker that says busy gets nothing until it says ready, any number of times; its requests in hand
/// are answered.
#[test]
fn a_busy_worker_gets_nothing_until_it_is_ready() {
    scenario(|| {
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(plain()).workers(1));
        for _ in 0..3 {
            let gate = Gate::new();
            supervisor
                .enqueue(Pause { gate: gate.path() })
                .expect("accepted")
                .wait()
                .expect("answered while busy");
            feed.wait_for("worker is busy", |event| matches!(event, Event::WorkerBusy { .. }).then_some(()));
            let held = gate.next();
            let waiting = supervisor.enqueue(Add(1, 1)).expect("accepted");
            let health = supervisor.health();
            assert_eq!((health.groups[0].queued, health.groups[0].in_flight), (1, 0));
            assert_eq!(health.workers[0].status, WorkerStatus::Busy);
            let waiting = waiting.try_result().expect_err("nobody takes it");
            held.release();
            feed.ready();
            assert_eq!(waiting.wait().expect("answered").data, 2);
        }
    });
}

/// J10: what was sent ahead to a busy worker is taken back for one that is idle, without the busy one's help.
#[test]
fn what_was_sent_ahead_is_taken_back_for_an_idle_worker() {
    scenario(|| {
        let (gate, scratch) = (Gate::new(), Scratch::new());
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(plain()).workers(1).prefetch(4));
        warm_up(&supervisor);
        let holding = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let records: Vec<_> = (0..4)
            .map(|number| Record { file: scratch.join("record"), line: number.to_string() })
            .map(|record| supervisor.enqueue(record).expect("accepted"))
            .collect();
        eventually("some are sent ahead", || (supervisor.health().groups[0].in_flight > 1).then_some(()));
        supervisor.resize(2).expect("resized");
        feed.ready();
        for handle in records {
            let response = handle.wait().expect("answered while the first is held");
            assert_eq!((&*response.worker, response.attempt), ("default-1", 1));
        }
        let mut lines = scratch.lines("record");
        lines.sort();
        assert_eq!(lines, ["0", "1", "2", "3"], "each was run once");
        held.release();
        holding.wait().expect("answered");
    });
}

/// J10: what was sent ahead to a worker that then says busy runs elsewhere; nothing starts in the busy one.
#[test]
fn what_was_sent_ahead_is_taken_back_from_a_worker_that_says_busy() {
    scenario(|| {
        let (gate, pause) = (Gate::new(), Gate::new());
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(plain()).workers(1).prefetch(8));
        warm_up(&supervisor);
        let holding = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let pausing = supervisor.enqueue(Pause { gate: pause.path() }).expect("accepted");
        let abouts: Vec<_> = (0..5).map(|_| supervisor.enqueue(About).expect("accepted")).collect();
        eventually("some are sent ahead", || (supervisor.health().groups[0].in_flight > 1).then_some(()));
        let busy = held.pid();
        held.release();
        holding.wait().expect("answered");
        pausing.wait().expect("answered");
        let paused = pause.next();
        feed.wait_for("worker is busy", |event| matches!(event, Event::WorkerBusy { .. }).then_some(()));
        assert_eq!(supervisor.health().groups[0].in_flight, 0, "nothing is left with a busy worker");
        supervisor.resize(2).expect("resized");
        for about in abouts {
            assert_ne!(about.wait().expect("answered").data.pid, busy);
        }
        paused.release();
    });
}

/// J10, W11: a worker that is suspected dead, because it has stopped beating, gets nothing; when it beats again it
/// works on.
#[test]
fn a_suspected_worker_gets_nothing() {
    use rustix::process::Signal;
    use std::time::Duration;
    scenario(|| {
        let beats = [20, 200, 60_000].map(Duration::from_millis);
        let builder = Supervisor::builder(plain()).workers(2).heartbeat(beats[0], beats[1], beats[2]);
        let (supervisor, mut feed) = online_with_feed(builder.sample_every(Duration::from_millis(10)));
        let health = supervisor.health();
        let stopped = &health.workers[0];
        let process = ganger_tests::harness::Watched::new(stopped.pid.expect("it runs"));
        process.signal(Signal::STOP);
        let suspected = feed.wait_for("suspicion", |event| match event {
            Event::WorkerSuspected { worker } => Some(worker.clone()),
            _ => None,
        });
        assert_eq!(suspected, stopped.name);
        let health = supervisor.health();
        assert!(!health.is_healthy(), "a suspected worker is a problem");
        let shown = health.workers.iter().find(|worker| worker.name == stopped.name).expect("it is shown");
        assert_eq!(shown.unrouted, Some(Unrouted::Suspected));
        for number in 0..50 {
            let response = supervisor.enqueue(Add(number, 0)).expect("accepted").wait().expect("answered");
            assert_ne!(response.worker, stopped.name);
        }
        process.signal(Signal::CONT);
        let cleared = feed.wait_for("a sign of life", |event| match event {
            Event::WorkerCleared { worker } => Some(worker.clone()),
            _ => None,
        });
        assert_eq!(cleared, stopped.name);
        assert!(supervisor.health().is_healthy());
    });
}
