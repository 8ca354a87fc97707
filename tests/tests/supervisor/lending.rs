//! A sole caller runs the loop himself, and nothing that the loop promises suffers from it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ganger::{Clock, Job, JobError, JobStatus, Supervisor};
use ganger_tests::calls::{Add, Death, Die, Echo, Hold, Spin};
use ganger_tests::harness::{Gate, Watched, eventually, scenario};
use ganger_tests::workers::{online, online_with_feed, plain};

const SHORT: Duration = Duration::from_millis(50);

/// How often the loop's thread has gone to sleep.
fn sleeps_of_the_loop() -> u64 {
    let threads =
        fs::read_dir("/proc/self/task").expect("the threads").map(|thread| thread.expect("one").path());
    let is_loop =
        |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "ganger-loop");
    let path = { threads }.find(is_loop).expect("the loop's thread");
    let status = fs::read_to_string(path.join("status")).expect("its status");
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).expect("a number")
}

/// Calls until the loop's thread has left the loop to us: it slept less often than there were jobs.
fn call_until_lent(supervisor: &Supervisor) {
    eventually("the loop is lent to its only caller", || {
        let before = sleeps_of_the_loop();
        for number in 0..100 {
            let sum = supervisor.enqueue(Add(number, 1)).expect("accepted").wait().expect("answered");
            assert_eq!(sum.data, number + 1);
        }
        (sleeps_of_the_loop() - before < 50).then_some(())
    });
}

/// J1: one job after the other is done by the caller's own thread, and the loop's lies low.
#[test]
fn a_sole_caller_is_the_loop() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        call_until_lent(&supervisor);
    });
}

/// J5, P9: the clocks run on while a caller has the loop.
#[test]
fn the_clocks_are_kept_by_the_caller() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor =
            online(Supervisor::builder(plain()).workers(1).cancel_grace(SHORT).term_grace(SHORT));
        call_until_lent(&supervisor);
        let job = Job::new(Spin { gate: gate.path() }).run_timeout(SHORT);
        let since = Instant::now();
        match supervisor.enqueue(job).expect("accepted").wait() {
            Err(JobError::TimedOut { clock, .. }) => assert_eq!(clock, Clock::Run),
            other => panic!("{other:?}"),
        }
        assert!(since.elapsed() >= SHORT);
        let worker = Watched::new(gate.next().pid());
        worker.wait_end();
        supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("by the replacement");
    });
}

/// W4: a worker that dies under a caller who has the loop is found dead, buried and replaced.
#[test]
fn a_death_is_seen_by_the_caller() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        call_until_lent(&supervisor);
        let job = Job::new(Die(Death::Abort)).retries(0);
        match supervisor.enqueue(job).expect("accepted").wait() {
            Err(JobError::WorkerLost { .. }) => {}
            other => panic!("{other:?}"),
        }
        supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("by the replacement");
    });
}

/// W4: a worker that dies while nobody calls is replaced: a loan that is not used ends.
#[test]
fn a_death_is_seen_when_the_caller_is_elsewhere() {
    scenario(|| {
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(plain()).workers(1));
        let pid = feed.spawned();
        call_until_lent(&supervisor);
        Watched::new(pid).kill();
        feed.crashed();
        feed.spawned();
    });
}

/// J1: a second caller is served while the first waits for a job that takes its time, and so is the first.
#[test]
fn company_ends_the_loan() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = Arc::new(online(Supervisor::builder(plain()).workers(2)));
        call_until_lent(&supervisor);
        let first = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let waiting = thread::spawn(move || first.wait().expect("answered"));
        let held = gate.next();
        for number in 0..100 {
            supervisor.enqueue(Add(number, 1)).expect("accepted").wait().expect("answered");
        }
        held.release();
        waiting.join().expect("the first caller is served");
    });
}

/// J2: a caller who gives up waiting leaves his job to the loop, which settles it.
#[test]
fn a_caller_who_gives_up_gives_the_loop_back() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        call_until_lent(&supervisor);
        let handle = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let handle = handle.wait_timeout(SHORT).expect_err("it is held");
        gate.next().release();
        // Nobody waits, and nobody calls.
        eventually("the loop settles it", || (handle.status() == JobStatus::Settled).then_some(()));
        handle.wait().expect("answered");
    });
}

/// S3: a hard kill by another thread settles the job of the caller who has the loop.
#[test]
fn a_hard_kill_reaches_the_caller() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = Arc::new(online(Supervisor::builder(plain()).workers(1)));
        call_until_lent(&supervisor);
        let handle = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let waiting = thread::spawn(move || handle.wait());
        let held = gate.next();
        let killed = supervisor.hard_kill();
        match waiting.join().expect("the caller comes back") {
            Err(JobError::ShuttingDown { .. }) => {}
            other => panic!("{other:?}"),
        }
        killed.wait();
        held.wait_gone();
    });
}

/// J1: between two calls of a caller who has the loop, large payloads go both ways.
#[test]
fn a_large_payload_is_written_and_read_by_the_caller() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        call_until_lent(&supervisor);
        let large = vec![7; 5 << 20];
        let echoed = supervisor.enqueue(Echo(large.clone())).expect("accepted").wait().expect("answered");
        assert!(echoed.data == large);
    });
}
