//! A worker's status follows from what really happens.

use std::time::Duration;

use ganger::{Event, OnlineError, Supervisor, WorkerStatus};
use ganger_tests::calls::{Hold, Manners, Pause, Spin};
use ganger_tests::harness::{Gate, Held, PATIENCE, eventually, scenario};
use ganger_tests::workers::{started_with_feed, with};

/// W7: Starting, Ready, Busy, Draining, Stopping, and gone.
#[test]
fn the_status_follows_the_process() {
    scenario(|| {
        let (start, pause, hold) = (Gate::new(), Gate::new(), Gate::new());
        let manners = Manners { gate_at_start: Some(start.path()), ignores_term: true, ..Manners::new() };
        let builder = Supervisor::builder(with(&manners)).workers(1).term_grace(Duration::from_millis(500));
        let (supervisor, mut feed) = started_with_feed(builder);
        let status = || supervisor.health().workers.first().map(|worker| (worker.status, worker.in_flight));
        let starting = start.next();
        assert_eq!(status(), Some((WorkerStatus::Starting, 0)));
        starting.release();
        feed.ready();
        assert_eq!(status(), Some((WorkerStatus::Ready, 0)));
        supervisor.enqueue(Pause { gate: pause.path() }).expect("accepted").wait().expect("answered");
        let paused = pause.next();
        feed.wait_for("worker is busy", |event| matches!(event, Event::WorkerBusy { .. }).then_some(()));
        assert_eq!(status(), Some((WorkerStatus::Busy, 0)));
        paused.release();
        feed.ready();
        let spin = supervisor.enqueue(Spin { gate: hold.path() }).expect("accepted");
        let _spinning = hold.next();
        assert_eq!(status(), Some((WorkerStatus::Ready, 1)));
        supervisor.shutdown_worker("default-0", Duration::from_millis(200)).expect("it begins");
        assert_eq!(status(), Some((WorkerStatus::Draining, 1)));
        feed.wait_for("kill", |event| matches!(event, Event::WorkerKilled { .. }).then_some(()));
        assert_eq!(status().map(|(status, _)| status), Some(WorkerStatus::Stopping));
        assert!(!supervisor.health().is_healthy(), "a worker that is being killed is a problem");
        feed.crashed();
        assert_ne!(status().map(|(status, _)| status), Some(WorkerStatus::Stopping));
        drop(spin);
    });
}

/// W4: the pool is online when all its first workers have said ready, not before; `wait_online` says what is missing.
#[test]
fn online_is_when_all_have_said_ready() {
    scenario(|| {
        let start = Gate::new();
        let manners = Manners { gate_at_start: Some(start.path()), ..Manners::new() };
        let (supervisor, mut feed) = started_with_feed(Supervisor::builder(with(&manners)).workers(3));
        let mut starting = start.next_many(3);
        let last = starting.pop().expect("three");
        starting.into_iter().for_each(Held::release);
        feed.ready();
        feed.ready();
        let error = supervisor.wait_online(Duration::from_millis(30)).expect_err("one is missing");
        assert!(matches!(error, OnlineError::TimedOut { .. }), "{error:?}");
        let is_online = |event: &Event| matches!(event, Event::Online);
        assert!(!feed.seen().iter().any(is_online));
        last.release();
        supervisor.wait_online(PATIENCE).expect("online");
        feed.wait_for("online", |event| matches!(event, Event::Online).then_some(()));
        assert_eq!(feed.seen().iter().filter(|event| matches!(event, Event::WorkerReady { .. })).count(), 3);
    });
}

/// S1: the heap numbers are the allocator's own, sent by the worker; RSS is read by the supervisor.
#[test]
fn memory_is_shown_as_it_is() {
    scenario(|| {
        let hold = Gate::new();
        let manners = Manners { holds_mib: vec![0, 60], ..Manners::new() };
        let beats = [20, 2000, 10_000].map(Duration::from_millis);
        let builder = Supervisor::builder(with(&manners)).workers(2).heartbeat(beats[0], beats[1], beats[2]);
        let (supervisor, _feed) = started_with_feed(builder.sample_every(Duration::from_millis(10)));
        supervisor.wait_online(PATIENCE).expect("online");
        eventually("memory is known", || {
            let workers = supervisor.health().workers;
            let of = |slot: u32| workers.iter().find(|worker| worker.slot == slot).expect("there are two");
            let (light, heavy) = (of(0), of(1));
            let is_known = heavy.rss_bytes? > 60 << 20
                && heavy.heap_used_bytes > 60 << 20
                && heavy.heap_total_bytes >= heavy.heap_used_bytes
                && light.rss_bytes? < 30 << 20
                && (1..30 << 20).contains(&light.heap_used_bytes);
            is_known.then_some(())
        });
        drop(supervisor.enqueue(Hold { gate: hold.path() }).expect("accepted"));
        hold.next().release();
    });
}
