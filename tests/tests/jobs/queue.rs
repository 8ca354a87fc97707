//! The bounded queue.

use std::thread;
use std::time::{Duration, Instant};

use ganger::{Backlog, EnqueueError, JobError, Raw, SoftKill, Started, Supervisor};
use ganger_tests::calls::{Add, Echo, Hold};
use ganger_tests::harness::{Gate, Scenario, scenario};
use ganger_tests::workers::{online, plain};

/// J9, P8: a queue that is full by count says so at once and gives the job back; when one has settled there is room.
#[test]
fn a_queue_full_by_count_gives_the_job_back() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1).queue_limit(5));
        let running = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let queued: Vec<_> =
            (0..4).map(|number| supervisor.enqueue(Add(number, 0)).expect("accepted")).collect();
        let since = Instant::now();
        match supervisor.enqueue(Add(7, 8)).expect_err("full") {
            EnqueueError::QueueFull { job, jobs, job_limit, .. } => {
                assert_eq!((job.into_call(), jobs, job_limit), (Add(7, 8), 5, 5));
            }
            other => panic!("{other:?}"),
        }
        assert!(since.elapsed() < Duration::from_millis(500));
        held.release();
        running.wait().expect("answered");
        queued.into_iter().for_each(|handle| drop(handle.wait().expect("answered")));
        for number in 0..100 {
            assert_eq!(
                supervisor.enqueue(Add(number, 1)).expect("room").wait().expect("answered").data,
                number + 1
            );
        }
    });
}

/// J9, P8: a queue that is full by bytes gives a raw payload back as it was.
#[test]
fn a_queue_full_by_bytes_gives_the_payload_back() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1).queue_bytes(100_000));
        let running = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let large = supervisor.enqueue_raw("reverse", vec![1; 90_000]).expect("accepted");
        let payload: Vec<u8> = (0..=255).cycle().take(20_000).collect();
        match supervisor.enqueue_raw("reverse", payload.clone()).expect_err("full") {
            EnqueueError::QueueFull { job, bytes, byte_limit, .. } => {
                assert_eq!(job.into_call(), Raw::new("reverse", payload));
                assert!(bytes >= 90_000 && byte_limit == 100_000, "{bytes} of {byte_limit}");
            }
            other => panic!("{other:?}"),
        }
        drop(supervisor.enqueue(Add(1, 1)).expect("there is room for a small one"));
        held.release();
        running.wait().expect("answered");
        assert_eq!(large.wait().expect("answered").data.len(), 90_000);
    });
}

/// J9: `enqueue_timeout` waits for room, as long as it is told and not longer.
#[test]
fn enqueue_timeout_waits_for_room() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1).queue_limit(1));
        let running = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let patience = Duration::from_millis(50);
        let since = Instant::now();
        let error = supervisor.enqueue_timeout(Echo(vec![1]), patience).expect_err("still full");
        assert!(since.elapsed() >= patience);
        assert!(matches!(&error, EnqueueError::QueueFull { .. }), "{error:?}");
        assert_eq!(error.into_job().into_call(), Echo(vec![1]));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| supervisor.enqueue_timeout(Echo(vec![2]), Duration::MAX));
            held.release();
            running.wait().expect("answered");
            let handle = waiting.join().expect("no panic").expect("there is room");
            assert_eq!(handle.wait().expect("answered").data, [2]);
        });
    });
}

/// J9: those who wait for room learn of the end.
#[test]
fn waiting_for_room_ends_with_the_supervisor() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1).queue_limit(1));
        let running = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let _held = gate.next();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| supervisor.enqueue_timeout(Echo(vec![2]), Duration::MAX));
            supervisor.hard_kill().wait();
            let error = waiting.join().expect("no panic").expect_err("it is over");
            assert!(matches!(&error, EnqueueError::ShuttingDown { .. }), "{error:?}");
            assert_eq!(error.into_job().into_call(), Echo(vec![2]));
        });
        running.wait().expect_err("it is over");
    });
}

/// J9: a payload over the limit is refused with both sizes and given back; one of just the limit is done.
#[test]
fn a_payload_over_the_limit_is_refused_with_both_sizes() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1).payload_limit(1000));
        match supervisor.enqueue_raw("reverse", vec![7; 1001]).expect_err("too large") {
            EnqueueError::TooLarge { job, size, limit } => {
                assert_eq!((job.into_call(), size, limit), (Raw::new("reverse", vec![7; 1001]), 1001, 1000));
            }
            other => panic!("{other:?}"),
        }
        let answer = supervisor.enqueue_raw("reverse", vec![7; 1000]).expect("accepted").wait();
        assert_eq!(answer.expect("answered").data.len(), 1000);
    });
}

/// J9: a million jobs are queued at once; the first of them are done while the others wait, and then all that are
/// left settle.
#[test]
fn a_million_jobs_are_queued() {
    Scenario::default().deadline(Duration::from_secs(180)).run(|| {
        const MILLION: u32 = 1_000_000;
        const FIRST: usize = 100_000;
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(2).prefetch(64));
        let holds: Vec<_> =
            (0..2).map(|_| supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted")).collect();
        let held = gate.next_many(2);
        let mut handles: Vec<_> = (0..MILLION)
            .map(|number| supervisor.enqueue_raw("reverse", number.to_le_bytes()).expect("accepted"))
            .collect();
        assert_eq!(supervisor.health().groups[0].queued, MILLION as usize);
        held.into_iter().for_each(|one| one.release());
        holds.into_iter().for_each(|handle| drop(handle.wait().expect("answered")));
        let others = handles.split_off(FIRST);
        for (number, handle) in (0u32..).zip(handles) {
            assert_eq!(handle.wait().expect("answered").data, number.to_be_bytes());
        }
        let ticket = supervisor.soft_kill_with(SoftKill::new().backlog(Backlog::Settle));
        let answered = others.into_iter().map(ganger::Handle::wait).filter(|result| match result {
            Ok(_) => true,
            Err(JobError::ShuttingDown { started: Started::No, .. }) => false,
            Err(other) => panic!("{other:?}"),
        });
        let answered = answered.count();
        assert!(answered < MILLION as usize - FIRST, "none was left to settle");
        ticket.wait();
    });
}
