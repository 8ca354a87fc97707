//! Cancelling, before, during and after.

use std::time::Duration;

use ganger::{Event, Job, JobError, KillCause, Started, Supervisor};
use ganger_tests::calls::{About, Add, Cooperate, Hold, Record, Spin};
use ganger_tests::harness::{Gate, Scratch, Watched, scenario};
use ganger_tests::workers::{online, online_with_feed, plain};

const SHORT: Duration = Duration::from_millis(50);

fn was_cancelled(result: Result<impl std::fmt::Debug, JobError>, expected: Started) {
    match result {
        Err(JobError::Cancelled { started, .. }) => assert_eq!(started, expected),
        other => panic!("{other:?}"),
    }
}

/// J7: a queued job that is cancelled settles at once and is never run; those around it are.
#[test]
fn a_queued_job_is_cancelled_and_never_run() {
    scenario(|| {
        let (gate, scratch) = (Gate::new(), Scratch::new());
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let first = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let mut records: Vec<_> = ["a", "b", "c"]
            .iter()
            .map(|line| Record { file: scratch.join("record"), line: (*line).to_owned() })
            .map(|record| supervisor.enqueue(record).expect("accepted"))
            .collect();
        let cancelled = records.remove(1);
        cancelled.cancel();
        was_cancelled(cancelled.wait(), Started::No);
        held.release();
        first.wait().expect("answered");
        records.into_iter().for_each(|handle| drop(handle.wait().expect("answered")));
        assert_eq!(scratch.lines("record"), ["a", "c"]);
    });
}

/// J7: of a running job the handle settles at once; the handler sees `cancelled()` and may end in peace: its worker
/// stays.
#[test]
fn a_running_job_settles_at_once_and_its_handler_is_told() {
    scenario(|| {
        let (gate, scratch) = (Gate::new(), Scratch::new());
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let cooperate = Cooperate { gate: gate.path(), file: scratch.join("record") };
        let handle = supervisor.enqueue(cooperate).expect("accepted");
        let running = gate.next();
        let canceller = handle.canceller();
        assert_eq!(canceller.id(), handle.id());
        std::thread::spawn(move || canceller.cancel()).join().expect("cancelled");
        was_cancelled(handle.wait(), Started::Yes);
        let pid = running.pid();
        running.wait_gone();
        assert_eq!(scratch.lines("record"), ["cancelled"]);
        let about = supervisor.enqueue(About).expect("accepted").wait().expect("answered").data;
        assert_eq!(about.pid, pid);
    });
}

/// J7: a handler that does not end after its cancel grace costs its worker the life, and only that worker.
#[test]
fn a_stubborn_handler_costs_only_its_own_worker() {
    scenario(|| {
        let (stubborn, bystander) = (Gate::new(), Gate::new());
        let builder = Supervisor::builder(plain()).workers(2).cancel_grace(SHORT).term_grace(SHORT);
        let (supervisor, mut feed) = online_with_feed(builder);
        let spin = supervisor.enqueue(Spin { gate: stubborn.path() }).expect("accepted");
        let id = spin.id();
        let spinning = stubborn.next();
        let process = Watched::new(spinning.pid());
        let other = supervisor.enqueue(Hold { gate: bystander.path() }).expect("accepted");
        let held = bystander.next();
        spin.cancel();
        was_cancelled(spin.wait(), Started::Yes);
        process.wait_end();
        let report = feed.crashed();
        assert_eq!(
            (&*report.worker, report.killed.clone()),
            (spinning.worker(), Some(KillCause::Cancelled(id)))
        );
        assert!(Watched::new(held.pid()).is_alive());
        held.release();
        other.wait().expect("answered");
        let kills = |event: &&Event| matches!(event, Event::WorkerKilled { .. });
        drop(supervisor);
        // The last of all kills everybody; before that there was one.
        let events = feed.finish();
        let causes: Vec<_> = events.iter().filter(kills).collect();
        let others = causes
            .iter()
            .filter(|event| !matches!(event, Event::WorkerKilled { cause: KillCause::HardKill, .. }));
        assert_eq!(others.count(), 1, "{causes:#?}");
    });
}

/// J7: cancelling a job that has ended changes nothing (P2), any number of times.
#[test]
fn a_job_that_has_ended_stays_as_it_ended() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let handle = supervisor.enqueue(Add(1, 2)).expect("accepted");
        supervisor.enqueue(Add(0, 0)).expect("accepted").wait().expect("answered");
        handle.cancel();
        handle.cancel();
        assert_eq!(handle.wait().expect("it had answered").data, 3);
    });
}

/// J7, P2: a cancel that races with the answer: one of the two wins, and the worker goes on.
#[test]
fn a_cancel_races_with_the_reply() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(2));
        let (mut answered, mut cancelled) = (0, 0);
        for number in 0..2000 {
            let handle = supervisor.enqueue(Add(number, 1)).expect("accepted");
            let canceller = handle.canceller();
            if number % 2 == 0 {
                canceller.cancel();
            } else {
                std::thread::yield_now();
                canceller.cancel();
            }
            match handle.wait() {
                Ok(response) => {
                    assert_eq!(response.data, number + 1);
                    answered += 1;
                }
                Err(JobError::Cancelled { .. }) => cancelled += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(answered + cancelled, 2000);
        assert_eq!(supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("answered").data, 2);
        assert_eq!(supervisor.health().groups[0].restarts, 0, "nobody was killed for it");
    });
}

/// J7: a cancelled job is not retried.
#[test]
fn a_cancelled_job_is_not_retried() {
    scenario(|| {
        let gate = Gate::new();
        let builder = Supervisor::builder(plain()).workers(1).cancel_grace(SHORT).term_grace(SHORT);
        let supervisor = online(builder);
        let handle = supervisor.enqueue(Job::new(Spin { gate: gate.path() }).retries(5)).expect("accepted");
        let process = Watched::new(gate.next().pid());
        handle.cancel();
        was_cancelled(handle.wait(), Started::Yes);
        process.wait_end();
        supervisor.enqueue(Add(0, 0)).expect("accepted").wait().expect("answered");
        assert!(!gate.is_visited(), "it was tried again");
    });
}
