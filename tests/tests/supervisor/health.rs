//! Whether all is well, and the numbers behind it.

use std::time::Duration;

use ganger::{Phase, Problem, Supervisor, WorkerStatus};
use ganger_tests::calls::{About, Add, Death, Die, Fail, Hold};
use ganger_tests::harness::{Gate, eventually, scenario};
use ganger_tests::workers::{online, plain};

/// S1: per worker and per group, the numbers are what happened.
#[test]
fn the_numbers_are_what_happened() {
    scenario(|| {
        let gate = Gate::new();
        // Nothing is sent ahead, so that what waits is counted in the queue.
        let builder = Supervisor::builder(plain()).workers(1).prefetch(0);
        let supervisor = online(builder.sample_every(Duration::from_millis(10)));
        let pid = supervisor.enqueue(About).expect("accepted").wait().expect("answered").data.pid;
        for number in 0..9 {
            supervisor.enqueue(Add(number, 0)).expect("accepted").wait().expect("answered");
        }
        for message in ["one", "disk full"] {
            let fail = Fail { message: message.to_owned(), details: None };
            supervisor.enqueue(fail).expect("accepted").wait().expect_err("it fails");
        }
        let holding = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let queued: Vec<_> =
            (0..3).map(|number| supervisor.enqueue(Add(number, 0)).expect("accepted")).collect();
        let health = eventually("it is sampled", || {
            let health = supervisor.health();
            health.workers[0].rss_bytes.is_some().then_some(health)
        });
        let worker = &health.workers[0];
        assert_eq!((&*worker.name, &*worker.group, worker.slot), ("default-0", "default", 0));
        assert_eq!((worker.pid, worker.status, worker.unrouted), (Some(pid), WorkerStatus::Ready, None));
        assert_eq!(
            (worker.capacity, worker.in_flight, worker.done, worker.failed, worker.restarts),
            (1, 1, 10, 2, 0)
        );
        assert!(worker.last_error.as_ref().expect("it failed").contains("disk full"));
        assert!(worker.uptime > Duration::ZERO);
        let group = &health.groups[0];
        assert_eq!((&*group.name, group.wanted, group.ready), ("default", 1, 1));
        assert_eq!((group.queued, group.in_flight, group.done, group.failed), (3, 1, 10, 2));
        assert!(group.oldest.expect("three wait") > Duration::ZERO && group.rate > 0.0);
        assert!(health.is_healthy() && health.phase == Phase::Running, "{:?}", health.problems);
        let table = health.to_string();
        assert!(
            table.starts_with("healthy, running")
                && table.contains("default-0")
                && table.contains("disk full")
        );
        held.release();
        holding.wait().expect("answered");
        queued.into_iter().for_each(|handle| drop(handle.wait().expect("answered")));
    });
}

/// S1: restarts are counted, and the cause is kept.
#[test]
fn a_restart_is_counted_with_its_cause() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        drop(supervisor.enqueue(Die(Death::Exit(7))).expect("accepted").wait());
        supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("answered");
        let health = supervisor.health();
        assert_eq!((health.workers[0].restarts, health.groups[0].restarts), (1, 1));
        assert!(health.workers[0].last_error.as_ref().expect("it died").contains("exit code 7"));
    });
}

/// S1: jobs that wait for long while nothing is answered make the supervisor unhealthy; an answer makes it healthy.
#[test]
fn a_stuck_queue_is_a_problem() {
    scenario(|| {
        let gate = Gate::new();
        let stuck_after = Duration::from_millis(50);
        let supervisor = online(Supervisor::builder(plain()).workers(1).stuck_after(stuck_after));
        let holding = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let queued = supervisor.enqueue(Add(1, 1)).expect("accepted");
        assert!(supervisor.health().is_healthy(), "it has not waited for long");
        let problem = eventually("the queue is stuck", || supervisor.health().problems.into_iter().next());
        match problem {
            Problem::QueueStuck { group, queued, oldest } => {
                assert_eq!((&*group, queued), ("default", 1));
                assert!(oldest >= stuck_after);
            }
            other => panic!("{other:?}"),
        }
        held.release();
        holding.wait().expect("answered");
        queued.wait().expect("answered");
        assert!(supervisor.health().is_healthy());
    });
}

/// S1: a supervisor that shuts down, and one that has stopped, say so.
#[test]
fn the_phase_is_told() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let holding = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let ticket = supervisor.soft_kill();
        let health = supervisor.health();
        assert_eq!((health.phase, health.is_healthy()), (Phase::ShuttingDown, true));
        held.release();
        holding.wait().expect("answered");
        ticket.wait();
        let health = supervisor.health();
        assert_eq!((health.phase, &health.problems[..]), (Phase::Stopped, &[Problem::Stopped][..]));
    });
}
