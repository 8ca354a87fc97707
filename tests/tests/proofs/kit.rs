//! The fault injector of the users' test kit, in real library workers.

use ganger::{Job, JobError, Program, Raw, Started, Supervisor};
use ganger_tests::harness::{Scratch, Watched, scenario};
use ganger_tests::workers::{online_with_feed, tireless};

fn builder(scratch: &Scratch, point: &str, end: &str) -> ganger::Builder {
    let program = Program::beside("fault_worker").args([point, "3", end]);
    let program = program.env("GANGER_TESTS_ONCE", scratch.join("once"));
    Supervisor::builder(program).workers(1).restart(tireless())
}

/// The third job of the first worker meets the fault; says how the job ended, and that every other got its own reply.
fn third_job(point: &str, retries: u16) -> Result<u16, JobError> {
    let scratch = Scratch::new();
    let (supervisor, mut feed) = online_with_feed(builder(&scratch, point, "die"));
    let mut third = None;
    for number in 1..=5u8 {
        let job = Job::new(Raw::new("echo", [number])).retries(retries);
        let result = supervisor.enqueue(job).expect("accepted").wait();
        if let Ok(response) = &result {
            assert_eq!(response.data, [number]);
        }
        match number {
            3 => third = Some(result.map(|response| response.attempt)),
            _ => assert_eq!(result.expect("answered").attempt, 1),
        }
    }
    feed.crashed();
    third.expect("it has ended")
}

fn is_lost(result: &Result<u16, JobError>) -> bool {
    matches!(result, Err(error @ JobError::WorkerLost { .. }) if error.started() == Started::Yes)
}

/// P5, with a library worker: a death before the start mark costs nothing, not even with a retry to spend.
#[test]
fn a_fault_before_the_start_costs_nothing() {
    scenario(|| {
        assert_eq!(third_job("before-start", 0).expect("answered"), 1);
        assert_eq!(third_job("before-start", 1).expect("answered"), 1);
    });
}

/// P3, with a library worker: a death after the start mark is the job's, wherever it happens up to the answer's last
/// byte, and costs a retry if there is one.
#[test]
fn a_fault_after_the_start_costs_an_attempt() {
    scenario(|| {
        for point in ["after-start", "before-answer", "inside-answer"] {
            let result = third_job(point, 0);
            assert!(is_lost(&result), "{point}: {result:?}");
            assert_eq!(third_job(point, 1).expect("retried"), 2, "{point}");
        }
    });
}

/// P6, with a library worker: a whole answer counts, whatever becomes of the worker.
#[test]
fn a_fault_after_the_answer_costs_nothing() {
    scenario(|| assert_eq!(third_job("after-answer", 0).expect("answered"), 1));
}

/// A worker that exits by a fault, and one that stops and is continued.
#[test]
fn faults_that_exit_and_stop() {
    scenario(|| {
        let scratch = Scratch::new();
        let (_supervisor, mut feed) = {
            let (supervisor, feed) = online_with_feed(builder(&scratch, "after-answer", "9"));
            for number in 1..=3u8 {
                let handle = supervisor.enqueue_raw("echo", [number]).expect("accepted");
                assert_eq!(handle.wait().expect("answered").data, [number]);
            }
            (supervisor, feed)
        };
        assert_eq!(feed.crashed().exit.status, ganger::ExitStatus::Code(9));
        let scratch = Scratch::new();
        let builder = builder(&scratch, "after-start", "stop");
        let (supervisor, events) = builder.start_with_events().expect("started");
        let mut feed = ganger_tests::harness::Feed::new(events);
        let worker = Watched::new(feed.spawned());
        let handles: Vec<_> =
            (1..=3u8).map(|number| supervisor.enqueue_raw("echo", [number]).expect("accepted")).collect();
        // It is continued again and again, because nothing tells when it has stopped.
        for mut handle in handles {
            let result = loop {
                match handle.wait_timeout(std::time::Duration::from_millis(20)) {
                    Ok(result) => break result,
                    Err(again) => handle = again,
                }
                worker.signal(rustix::process::Signal::CONT);
            };
            assert_eq!(result.expect("answered").attempt, 1);
        }
    });
}
