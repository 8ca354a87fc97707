//! Ending softly and hard.

use std::time::{Duration, Instant};

use ganger::{
    CommandError, EnqueueError, Event, Job, JobError, KillCause, RetryHint, SoftKill, Started, Supervisor,
};
use ganger_tests::calls::{Add, Death, End, Hold, Manners, Spin, Try};
use ganger_tests::harness::{Gate, Scratch, live_descendants, scenario};
use ganger_tests::workers::{online, online_with_feed, plain, with};

/// S2, P10: a soft kill closes the queue, works off everything accepted, retries and delayed retries too, and ends.
/// Workers that crash meanwhile are replaced.
#[test]
fn a_soft_kill_works_everything_off() {
    scenario(|| {
        let (gate, scratch) = (Gate::new(), Scratch::new());
        // Nothing is sent ahead: the worker's death must not take an answer with it that is not written yet.
        let (supervisor, feed) = online_with_feed(Supervisor::builder(plain()).workers(1).prefetch(0));
        let holding = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let queued: Vec<_> =
            (0..100).map(|number| supervisor.enqueue(Add(number, 0)).expect("accepted")).collect();
        let ends = vec![End::Die(Death::Signal(9)), End::Fail(RetryHint::Again)];
        let job = Job::new(Try { file: scratch.join("attempts"), ends }).retries(2);
        let backoff = Duration::from_millis(50);
        let tried = supervisor.enqueue(job.retry_backoff(backoff, backoff)).expect("accepted");
        let ticket = supervisor.soft_kill();
        match supervisor.enqueue(Add(7, 8)).expect_err("closed") {
            EnqueueError::ShuttingDown { job } => assert_eq!(job.into_call(), Add(7, 8)),
            other => panic!("{other:?}"),
        }
        assert!(!ticket.wait_timeout(Duration::from_millis(30)));
        held.release();
        ticket.wait();
        assert!(live_descendants().is_empty(), "{:?}", live_descendants());
        holding.wait().expect("answered");
        for (number, handle) in (0..).zip(queued) {
            assert_eq!(handle.wait().expect("answered").data, number);
        }
        assert_eq!(tried.wait().expect("the third attempt answers").attempt, 3);
        let events = feed.finish();
        let draining = events.iter().position(|event| matches!(event, Event::Draining)).expect("told");
        assert!(draining < events.len() - 1 && matches!(events.last(), Some(Event::Stopped)));
    });
}

/// S2: enqueue after a soft kill gives the payload back, at any time after.
#[test]
fn after_a_soft_kill_the_payload_is_given_back() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        supervisor.soft_kill().wait();
        for _ in 0..3 {
            let payload: Vec<u8> = (0..100).collect();
            let error = supervisor.enqueue_raw("reverse", payload.clone()).expect_err("stopped");
            assert!(matches!(&error, EnqueueError::ShuttingDown { .. }), "{error:?}");
            assert_eq!(error.into_job().into_call().bytes, payload);
        }
        assert_eq!(supervisor.resize(3), Err(CommandError::Stopped));
        assert_eq!(supervisor.broadcast("tell", "word"), Err(CommandError::Stopped));
        assert!(supervisor.events().next().is_none());
        supervisor.join();
    });
}

/// S2: past its deadline a soft kill becomes a hard one; jobs settle, workers are gone, and it returns.
#[test]
fn a_soft_kill_has_a_deadline() {
    scenario(|| {
        let gate = Gate::new();
        let (supervisor, feed) =
            online_with_feed(Supervisor::builder(plain()).workers(1).term_grace(Duration::from_millis(50)));
        let running = supervisor.enqueue(Spin { gate: gate.path() }).expect("accepted");
        let _spinning = gate.next();
        let queued = supervisor.enqueue(Add(1, 1)).expect("accepted");
        let since = Instant::now();
        let ticket = supervisor.soft_kill_with(SoftKill::new().deadline(Duration::from_millis(100)));
        ticket.wait();
        assert!(since.elapsed() >= Duration::from_millis(100) && since.elapsed() < Duration::from_secs(5));
        let started = |result: Result<_, JobError>| match result {
            Err(JobError::ShuttingDown { started, .. }) => started,
            other => panic!("{other:?}"),
        };
        assert_eq!(started(running.wait().map(drop)), Started::Yes);
        assert_eq!(started(queued.wait().map(drop)), Started::No);
        let cause = feed.finish().into_iter().find_map(|event| match event {
            Event::WorkerKilled { cause, .. } => Some(cause),
            _ => None,
        });
        assert_eq!(cause, Some(KillCause::Overstayed));
    });
}

/// S2: a second soft kill may only shorten the first.
#[test]
fn a_second_soft_kill_shortens_the_first() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor =
            online(Supervisor::builder(plain()).workers(1).term_grace(Duration::from_millis(50)));
        let running = supervisor.enqueue(Spin { gate: gate.path() }).expect("accepted");
        let _spinning = gate.next();
        let first = supervisor.soft_kill_with(SoftKill::new().deadline(Duration::from_secs(600)));
        let second = supervisor.soft_kill_with(SoftKill::new().deadline(Duration::from_millis(50)));
        let _third = supervisor.soft_kill_with(SoftKill::new().deadline(Duration::from_secs(600)));
        second.wait();
        first.wait();
        running.wait().expect_err("it did not end by itself");
    });
}

/// S3: a hard kill ends every process at once, those that are busy in native code and those that ignore SIGTERM;
/// handles settle; it returns at once and its ticket tells the end.
#[test]
fn a_hard_kill_ends_everything_at_once() {
    scenario(|| {
        let gate = Gate::new();
        let manners = Manners { ignores_term: true, ..Manners::new() };
        let supervisor = online(Supervisor::builder(with(&manners)).workers(3));
        let running: Vec<_> =
            (0..3).map(|_| supervisor.enqueue(Spin { gate: gate.path() }).expect("accepted")).collect();
        let _spinning = gate.next_many(3);
        let queued: Vec<_> =
            (0..100).map(|number| supervisor.enqueue(Add(number, 0)).expect("accepted")).collect();
        let since = Instant::now();
        let ticket = supervisor.hard_kill();
        ticket.wait();
        assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
        assert!(live_descendants().is_empty(), "{:?}", live_descendants());
        for handle in running {
            assert!(matches!(handle.wait(), Err(JobError::ShuttingDown { started: Started::Yes, .. })));
        }
        for handle in queued {
            assert!(matches!(handle.wait(), Err(JobError::ShuttingDown { started: Started::No, .. })));
        }
        supervisor.enqueue(Add(1, 1)).expect_err("closed");
    });
}

/// S2, S3: a hard kill cuts a soft one short.
#[test]
fn a_hard_kill_cuts_a_soft_one_short() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let running = supervisor.enqueue(Spin { gate: gate.path() }).expect("accepted");
        let _spinning = gate.next();
        let soft = supervisor.soft_kill();
        assert!(!soft.wait_timeout(Duration::from_millis(20)));
        supervisor.hard_kill().wait();
        soft.wait();
        running.wait().expect_err("cut short");
    });
}

/// S2: a ticket keeps the supervisor, so that letting go of everything else does not cut the work short.
#[test]
fn a_ticket_keeps_the_work_going() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let holding = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let ticket = supervisor.soft_kill();
        drop(supervisor);
        let holding = holding.try_result().expect_err("it is not cut short");
        held.release();
        ticket.wait();
        holding.wait().expect("answered");
    });
}

/// S2: a callback may end the supervisor, and wait for it, without waiting for itself.
#[test]
fn a_callback_may_end_the_supervisor() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let (done, ended) = std::sync::mpsc::channel();
        let inside = supervisor.clone();
        supervisor.enqueue(Add(1, 1)).expect("accepted").then(move |result| {
            inside.soft_kill().wait();
            done.send(result.map(|response| response.data)).expect("the test waits");
        });
        supervisor.join();
        assert_eq!(ended.recv().expect("called back").expect("answered"), 2);
    });
}
