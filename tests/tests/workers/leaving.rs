//! Asking one worker to leave.

use std::time::{Duration, Instant};

use ganger::{CommandError, Event, ExitStatus, JobError, KillCause, Supervisor};
use ganger_tests::calls::{About, Add, Hold, Leave, Manners, Spin};
use ganger_tests::harness::{Gate, Scenario, Watched, eventually, scenario};
use ganger_tests::workers::{online_with_feed, plain, with};
use rustix::process::Signal;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(80);

/// W8: an idle worker leaves at once and is replaced.
#[test]
fn an_idle_worker_leaves_at_once() {
    scenario(|| {
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(plain()).workers(1));
        feed.ready();
        let pid = supervisor.health().workers[0].pid;
        supervisor.shutdown_worker("default-0", LONG).expect("it begins");
        let report = feed.exited();
        assert_eq!((report.pid, report.exit.status, report.killed.clone()), (pid, ExitStatus::Code(0), None));
        feed.ready();
        supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("answered by the replacement");
        let unknown = supervisor.shutdown_worker("default-7", LONG).expect_err("there is none");
        assert_eq!(unknown, CommandError::UnknownWorker { worker: "default-7".into() });
    });
}

/// W8; pm2#5043: there, a worker that was draining still got jobs. Here it finishes what it holds, gets nothing new,
/// and leaves.
#[test]
fn a_draining_worker_finishes_what_it_holds_and_gets_nothing_new() {
    scenario(|| {
        let gate = Gate::new();
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(plain()).workers(2).prefetch(4));
        let holding = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let (name, pid) = (held.worker().to_owned(), held.pid());
        supervisor.shutdown_worker(&name, LONG).expect("it begins");
        for _ in 0..100 {
            let about = supervisor.enqueue(About).expect("accepted").wait().expect("answered").data;
            assert_ne!(about.pid, pid, "a draining worker got a job");
        }
        held.release();
        assert_eq!(*holding.wait().expect("it finishes").worker, *name);
        let report = feed.exited();
        assert_eq!((report.pid, report.exit.status), (Some(pid), ExitStatus::Code(0)));
        eventually("it is replaced", || (supervisor.health().groups[0].ready == 2).then_some(()));
    });
}

/// W8: past its grace a worker gets SIGTERM. A job that it held is lost, and told so.
#[test]
fn past_its_grace_a_worker_is_terminated() {
    scenario(|| {
        let gate = Gate::new();
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(plain()).workers(1));
        let handle = supervisor.enqueue(Spin { gate: gate.path() }).expect("accepted");
        let _spinning = gate.next();
        supervisor.shutdown_worker("default-0", SHORT).expect("it begins");
        let report = feed.crashed();
        assert_eq!(
            (report.exit.status, report.killed.clone()),
            (ExitStatus::Signal(15), Some(KillCause::Overstayed))
        );
        assert!(matches!(handle.wait(), Err(JobError::WorkerLost { .. })));
    });
}

/// W8: a worker that ignores SIGTERM gets SIGKILL; so does one that is stopped. It always ends.
#[test]
fn the_ladder_always_ends() {
    scenario(|| {
        let gate = Gate::new();
        let manners = Manners { ignores_term: true, ..Manners::new() };
        let (supervisor, mut feed) =
            online_with_feed(Supervisor::builder(with(&manners)).workers(1).term_grace(SHORT));
        let handle = supervisor.enqueue(Spin { gate: gate.path() }).expect("accepted");
        let _spinning = gate.next();
        let since = Instant::now();
        supervisor.shutdown_worker("default-0", SHORT).expect("it begins");
        let report = feed.crashed();
        assert!(since.elapsed() >= 2 * SHORT);
        assert_eq!(
            (report.exit.status, report.killed.clone()),
            (ExitStatus::Signal(9), Some(KillCause::Overstayed))
        );
        assert!(matches!(handle.wait(), Err(JobError::WorkerLost { .. })));

        eventually("it is replaced", || (supervisor.health().groups[0].ready == 1).then_some(()));
        let stopped = Watched::new(supervisor.health().workers[0].pid.expect("it runs"));
        stopped.signal(Signal::STOP);
        supervisor.shutdown_worker("default-0", SHORT).expect("it begins");
        stopped.wait_end();
    });
}

/// W8: what a worker has started in its process group ends with it.
#[test]
fn the_ladder_is_for_the_whole_process_group() {
    Scenario::default().orphans(1).run(|| {
        let gate = Gate::new();
        let (supervisor, mut feed) =
            online_with_feed(Supervisor::builder(plain()).workers(1).term_grace(SHORT));
        supervisor
            .enqueue(Leave { gate: gate.path(), as_daemon: false })
            .expect("accepted")
            .wait()
            .expect("answered");
        let child = gate.next();
        let process = Watched::new(child.pid());
        let spin = supervisor.enqueue(Spin { gate: gate.path() }).expect("accepted");
        let _spinning = gate.next();
        supervisor.shutdown_worker("default-0", Duration::ZERO).expect("it begins");
        feed.crashed();
        process.wait_end();
        drop(spin);
    });
}

/// W8: a shutdown of a worker is told step by step.
#[test]
fn a_kill_is_announced_with_its_cause() {
    scenario(|| {
        let gate = Gate::new();
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(plain()).workers(1));
        drop(supervisor.enqueue(Spin { gate: gate.path() }).expect("accepted"));
        let _spinning = gate.next();
        supervisor.shutdown_worker("default-0", SHORT).expect("it begins");
        let cause = feed.wait_for("kill", |event| match event {
            Event::WorkerKilled { cause, .. } => Some(cause.clone()),
            Event::WorkerCrashed { .. } => panic!("told after the fact"),
            _ => None,
        });
        assert_eq!(cause, KillCause::Overstayed);
        feed.crashed();
    });
}

/// W8: a program that tidies up after it has served is not killed while it does so, within the time it was given.
#[test]
fn a_worker_may_tidy_up_after_it_has_served() {
    scenario(|| {
        let gate = Gate::new();
        let manners = Manners { gate_at_end: Some(gate.path()), ..Manners::new() };
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(with(&manners)).workers(1));
        supervisor.shutdown_worker("default-0", LONG).expect("it begins");
        let tidying = gate.next();
        let process = Watched::new(tidying.pid());
        assert!(!process.ends_within(Duration::from_millis(1500)), "it was killed while it tidied up");
        tidying.release();
        let report = feed.exited();
        assert_eq!((report.exit.status, report.killed.clone()), (ExitStatus::Code(0), None));
        feed.ready();
        let ticket = supervisor.soft_kill();
        gate.next().release();
        ticket.wait();
    });
}
