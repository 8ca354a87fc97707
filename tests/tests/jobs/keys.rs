//! Jobs with keys: one after the other, in their order, whatever becomes of them.

use std::time::Duration;

use ganger::{Job, JobError, OnTimeout, Priority, Supervisor};
use ganger_tests::calls::{Add, Death, End, Hold, Record, Try};
use ganger_tests::harness::{Gate, Scratch, eventually, scenario};
use ganger_tests::workers::{online, plain, tireless};

fn record(scratch: &Scratch, line: &impl ToString) -> Job<Record> {
    Job::new(Record { file: scratch.join("order"), line: line.to_string() })
}

fn waiting(supervisor: &Supervisor) -> usize {
    supervisor.health().groups[0].waiting
}

/// J12, P7: of each key one job after the other and in order, although four workers are at it; priorities do not matter
/// within a key.
#[test]
fn jobs_of_a_key_are_done_in_order() {
    scenario(|| {
        let scratch = Scratch::new();
        let supervisor = online(Supervisor::builder(plain()).workers(4));
        let mut handles = Vec::new();
        for number in 0..40 {
            for key in ["Ada", "Grace", "Mary"] {
                let call = Record { file: scratch.join(key), line: format!("{number}") };
                let priority = if number % 3 == 0 { Priority::High } else { Priority::Low };
                let job = Job::new(call).key(key).priority(priority);
                handles.push(supervisor.enqueue(job).expect("accepted"));
            }
        }
        handles.into_iter().for_each(|handle| drop(handle.wait().expect("done")));
        let expected: Vec<String> = (0..40).map(|number: u32| number.to_string()).collect();
        for key in ["Ada", "Grace", "Mary"] {
            assert_eq!(scratch.lines(key), expected);
        }
    });
}

/// J12: whoever waits behind his key holds nobody else up, and a group may allow more than one at once.
#[test]
fn others_do_not_wait_for_a_key_and_a_limit_may_be_higher() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(3).key_limit(2));
        let handles: Vec<_> = (0..3)
            .map(|_| Job::new(Hold { gate: gate.path() }).key(7))
            .map(|job| supervisor.enqueue(job).expect("accepted"))
            .collect();
        let mut held = gate.next_many(2);
        let other = supervisor.enqueue(Job::new(Add(1, 2)).key(8)).expect("accepted");
        assert_eq!(other.wait().expect("done").data, 3);
        assert_eq!(supervisor.enqueue(Add(3, 4)).expect("accepted").wait().expect("done").data, 7);
        assert_eq!((waiting(&supervisor), gate.is_visited()), (1, false));
        held.pop().expect("the second").release();
        gate.next().release();
        held.pop().expect("the first").release();
        handles.into_iter().for_each(|handle| drop(handle.wait().expect("let in")));
    });
}

/// J12, P4: the next of a key waits until the one before it is done, over its worker's death, its back-off and its
/// retry.
#[test]
fn the_next_of_a_key_waits_for_a_retry() {
    scenario(|| {
        let scratch = Scratch::new();
        let supervisor = online(Supervisor::builder(plain()).workers(2).restart(tireless()));
        let dies = Try { file: scratch.join("order"), ends: vec![End::Die(Death::Signal(9))] };
        let pause = Duration::from_millis(50);
        let first = supervisor
            .enqueue(Job::new(dies).retries(1).retry_backoff(pause, pause).key("k"))
            .expect("accepted");
        let next = supervisor.enqueue(record(&scratch, &"next").key("k")).expect("accepted");
        first.wait().expect("the second attempt");
        next.wait().expect("done");
        assert_eq!(scratch.lines("order"), ["1", "2", "next"]);
    });
}

/// J12: a job may have ended while its handler goes on: the next of its key waits for the handler.
#[test]
fn the_next_of_a_key_waits_for_a_handler_that_outlives_its_job() {
    scenario(|| {
        let (gate, scratch) = (Gate::new(), Scratch::new());
        let supervisor = online(Supervisor::builder(plain()).workers(2));
        let overtime = Job::new(Hold { gate: gate.path() })
            .key("k")
            .timeout(Duration::from_millis(50))
            .on_timeout(OnTimeout::Leave);
        let first = supervisor.enqueue(overtime).expect("accepted");
        let next = supervisor.enqueue(record(&scratch, &"next").key("k")).expect("accepted");
        let held = gate.next();
        let error = first.wait().expect_err("out of time");
        assert!(matches!(error, JobError::TimedOut { .. }), "{error:?}");
        assert_eq!(supervisor.enqueue(Add(1, 2)).expect("accepted").wait().expect("done").data, 3);
        assert_eq!((waiting(&supervisor), scratch.lines("order").len()), (1, 0));
        held.release();
        next.wait().expect("done");
    });
}

/// J12: nothing is left of a key whose jobs are cancelled, wherever they wait.
#[test]
fn cancelled_jobs_of_a_key_make_room() {
    scenario(|| {
        let (gate, scratch) = (Gate::new(), Scratch::new());
        let supervisor = online(Supervisor::builder(plain()).workers(2));
        let running = supervisor.enqueue(Job::new(Hold { gate: gate.path() }).key(1)).expect("accepted");
        let held = gate.next();
        let behind: Vec<_> = (0..10)
            .map(|number| supervisor.enqueue(record(&scratch, &number).key(1)).expect("accepted"))
            .collect();
        behind.iter().take(9).for_each(ganger::Handle::cancel);
        eventually("they are gone", || (waiting(&supervisor) == 1).then_some(()));
        held.release();
        running.wait().expect("let in");
        assert!(behind.into_iter().filter_map(|handle| handle.wait().ok()).count() == 1);
        assert_eq!(scratch.lines("order"), ["9"]);
    });
}
