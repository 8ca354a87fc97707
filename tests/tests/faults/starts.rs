//! Workers that do not come up, or come up wrong.

use std::time::{Duration, Instant};

use ganger::{Event, JobError, KillCause, RestartPolicy, Started, Supervisor};
use ganger_protocol::VERSION;
use ganger_tests::calls::{Manners, Start};
use ganger_tests::harness::{Gate, Scratch, scenario};
use ganger_tests::raw::{Step, service};
use ganger_tests::workers::{raw, started_with_feed, tireless, with};

/// W4: a worker that never says ready gets no job, is reported after the boot timeout, and is replaced.
#[test]
fn a_worker_that_never_says_ready_is_reported() {
    scenario(|| {
        let timeout = Duration::from_millis(150);
        for silent in [vec![Step::Hang], vec![Step::Hello(VERSION), Step::Hang]] {
            let lives = [silent, service()];
            let directory = Scratch::new();
            let builder = Supervisor::builder(raw(&directory, lives)).workers(1).boot_timeout(timeout);
            let since = Instant::now();
            let (supervisor, mut feed) = started_with_feed(builder.term_grace(timeout));
            let handle = supervisor.enqueue_raw("echo", *b"abc").expect("accepted");
            let cause = feed.wait_for("kill", |event| match event {
                Event::WorkerReady { .. } => panic!("it never said so"),
                Event::WorkerKilled { cause, .. } => Some(cause.clone()),
                _ => None,
            });
            assert_eq!(cause, KillCause::NotReady);
            assert!(since.elapsed() >= timeout);
            assert_eq!(feed.crashed().killed, Some(KillCause::NotReady));
            let response = handle.wait().expect("answered by the replacement");
            assert_eq!((response.attempt, &response.data[..]), (1, &b"abc"[..]));
        }
    });
}

/// W4: the same with the library: a worker that says busy before it serves and never ready.
#[test]
fn a_library_worker_that_never_says_ready_is_reported() {
    scenario(|| {
        let manners = Manners { start: Start::NeverReady, ..Manners::new() };
        let timeout = Duration::from_millis(150);
        let builder =
            Supervisor::builder(with(&manners)).workers(1).boot_timeout(timeout).term_grace(timeout);
        let (supervisor, mut feed) = started_with_feed(builder.restart(tireless()));
        let handle = supervisor.enqueue_raw("reverse", *b"abc").expect("accepted");
        for _ in 0..3 {
            assert_eq!(feed.crashed().killed, Some(KillCause::NotReady));
        }
        let handle = handle.try_result().expect_err("no worker was ever ready");
        supervisor.hard_kill().wait();
        assert_eq!(handle.wait().expect_err("it is over").started(), Started::No);
        let is_ready = |event: &Event| matches!(event, Event::WorkerReady { .. });
        assert!(!feed.finish().iter().any(is_ready));
    });
}

/// W5: a worker that speaks another version of the protocol is a permanent fault: it is named, and there is no storm
/// of further processes.
#[test]
fn another_version_is_permanent_and_does_not_storm() {
    scenario(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let other = vec![Step::Present(gate.path()), Step::Hello(VERSION + 8), Step::Hang];
        let (supervisor, mut feed) =
            started_with_feed(Supervisor::builder(raw(&scratch, [other])).workers(2));
        let reason = feed.degraded();
        assert!(
            reason.contains(&format!("version {}", VERSION + 8)) && reason.contains(&VERSION.to_string()),
            "{reason}"
        );
        gate.next_many(2).into_iter().for_each(|held| held.wait_gone());
        let error = supervisor.enqueue_raw("echo", *b"abc").map(ganger::Handle::wait);
        match error {
            Ok(Err(JobError::NoWorkers { reason, .. })) => assert!(reason.contains("version"), "{reason}"),
            Err(ganger::EnqueueError::NoWorkers { reason, .. }) => {
                assert!(reason.contains("version"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        // The next probe is thirty seconds away.
        assert!(gate.next_within(Duration::from_millis(500)).is_none(), "another process was started");
    });
}

/// W5: workers that crash at their start: the first replacement comes at once, later ones after a growing delay; past
/// the window the group is degraded; a probe heals it when the cause is gone.
#[test]
fn a_crash_loop_backs_off_degrades_and_heals() {
    scenario(|| {
        let scratch = Scratch::new();
        let trouble = scratch.file("trouble", "", 0o644);
        let manners = Manners { start: Start::PanicWhile(trouble.clone()), ..Manners::new() };
        let restart = RestartPolicy {
            limit: Some(4),
            backoff: Duration::from_millis(10),
            backoff_max: Duration::from_millis(100),
            ..RestartPolicy::default()
        };
        let (supervisor, mut feed) =
            started_with_feed(Supervisor::builder(with(&manners)).workers(1).restart(restart));
        let reason = feed.degraded();
        assert!(reason.contains("5 unexpected exits") && reason.contains("exit code 101"), "{reason}");
        let delays: Vec<Duration> = feed
            .seen()
            .iter()
            .filter_map(|event| match event {
                Event::WorkerRestarting { delay, .. } => Some(*delay),
                _ => None,
            })
            .collect();
        assert_eq!(delays.len(), 4, "{delays:?}");
        assert_eq!(delays[0], Duration::ZERO);
        let near = |delay: Duration, ideal: u64| {
            delay >= Duration::from_micros(800 * ideal) && delay <= Duration::from_micros(1200 * ideal)
        };
        assert!(near(delays[1], 10) && near(delays[2], 20) && near(delays[3], 40), "{delays:?}");
        assert!(!supervisor.health().is_healthy());
        std::fs::remove_file(trouble).expect("removed");
        feed.ready();
        let response = loop {
            // Until a probe has come up the queue refuses; then it accepts again.
            match supervisor.enqueue_raw("reverse", *b"abc") {
                Ok(handle) => break handle.wait().expect("answered"),
                Err(ganger::EnqueueError::NoWorkers { .. }) => std::thread::yield_now(),
                Err(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(response.data, b"cba");
        feed.wait_for("healed group", |event| matches!(event, Event::Healed { .. }).then_some(()));
        assert!(supervisor.health().is_healthy());
    });
}

/// W5: two workers of four crash at their start, the others work on: a degraded group keeps its healthy workers.
#[test]
fn a_degraded_group_keeps_its_healthy_workers() {
    scenario(|| {
        let scratch = Scratch::new();
        let lives = vec![service(), service(), vec![Step::Exit(1)]];
        let (backoff, backoff_max) = (Duration::from_millis(5), Duration::from_millis(50));
        let restart = RestartPolicy { limit: Some(1), backoff, backoff_max, ..RestartPolicy::default() };
        let builder = Supervisor::builder(raw(&scratch, lives)).workers(4).restart(restart);
        let (supervisor, mut feed) = started_with_feed(builder);
        feed.degraded();
        for number in 0..100u8 {
            let response =
                supervisor.enqueue_raw("echo", [number]).expect("accepted").wait().expect("answered");
            assert_eq!(response.data, [number]);
        }
        assert!(!supervisor.health().is_healthy());
    });
}
