//! The ways in which a handle gives its result.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use ganger::{Completions, Handle, Job, JobStatus, Supervisor};
use ganger_tests::calls::{Add, Echo, Hold, Manners, Record};
use ganger_tests::harness::{Gate, PATIENCE, Scratch, scenario};
use ganger_tests::workers::{online, plain, with};

/// J1: `wait` blocks until the job has ended.
#[test]
fn wait_gives_the_response() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let response = supervisor.enqueue(Add(20, 22)).expect("accepted").wait().expect("answered");
        assert_eq!(response.data, 42);
    });
}

/// J1: a job is accepted at once although no worker could take it, and runs when one can.
#[test]
fn enqueue_does_not_wait_for_a_worker() {
    scenario(|| {
        let gate = Gate::new();
        let manners = Manners { gate_at_start: Some(gate.path()), ..Manners::new() };
        let supervisor = Supervisor::builder(with(&manners)).workers(1).start().expect("started");
        let starting = gate.next();
        let handles: Vec<Handle<Add>> =
            (0..1000).map(|number| supervisor.enqueue(Add(number, 1)).expect("accepted")).collect();
        assert!(handles.iter().all(|handle| handle.status() == JobStatus::Queued));
        starting.release();
        for (number, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.wait().expect("answered").data, number as i64 + 1);
        }
    });
}

/// J1: `wait_timeout` and `try_result` give the handle back as long as the job has not ended, and zero only looks.
#[test]
fn a_handle_that_is_not_done_is_given_back() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let handle = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let id = handle.id();
        let held = gate.next();
        let handle = handle.try_result().expect_err("held");
        let handle = handle.wait_timeout(Duration::ZERO).expect_err("held");
        let handle = handle.wait_timeout(Duration::from_millis(20)).expect_err("held");
        assert_eq!((handle.id(), handle.status()), (id, JobStatus::Sent));
        held.release();
        let result = handle.wait_timeout(PATIENCE).expect("in time");
        assert_eq!(result.expect("answered").data, "default-0");
    });
}

/// J1: `wait_timeout` with the longest time there is waits for the answer.
#[test]
fn a_timeout_beyond_the_clock_is_none() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let handle = supervisor.enqueue(Add(1, 1)).expect("accepted");
        assert_eq!(handle.wait_timeout(Duration::MAX).expect("in time").expect("answered").data, 2);
    });
}

/// J1: a handle is a future: it is pending, its waker is called once the job has ended, and then it is ready.
#[test]
fn a_handle_is_a_future_for_any_executor() {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let mut handle = pin!(supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted"));
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let held = gate.next();
        assert!(handle.as_mut().poll(&mut context).is_pending());
        held.release();
        let result = loop {
            match handle.as_mut().poll(&mut context) {
                Poll::Ready(result) => break result,
                Poll::Pending => thread::park(),
            }
        };
        assert_eq!(result.expect("answered").data, "default-0");
    });
}

/// J1: handles are awaited inside tokio, many at once.
#[test]
fn handles_are_awaited_inside_tokio() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(2));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
        runtime.block_on(async {
            let tasks: Vec<_> = (0..200)
                .map(|number| tokio::spawn(supervisor.enqueue(Add(number, number)).expect("accepted")))
                .collect();
            for (number, task) in (0..).zip(tasks) {
                let response = task.await.expect("the task ends").expect("answered");
                assert_eq!(response.data, 2 * number);
            }
        });
    });
}

/// J1: a handle may be polled by one task and then waited for by a thread.
#[test]
fn a_handle_that_was_polled_can_be_waited_for() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let mut handle = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let mut context = Context::from_waker(Waker::noop());
        assert!(pin!(&mut handle).poll(&mut context).is_pending());
        held.release();
        assert_eq!(handle.wait().expect("answered").data, "default-0");
    });
}

/// J1: `then` calls back once, with the result, on a thread of the supervisor's; also when the job has ended long
/// before, and also when an earlier callback panicked.
#[test]
fn a_callback_is_called_once_with_the_result() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let (done, results) = channel();
        let caller = thread::current().id();
        supervisor.enqueue(Add(0, 0)).expect("accepted").then(|_| panic!("a callback that panics"));
        for number in 1..=50 {
            let done = done.clone();
            supervisor.enqueue(Add(number, 0)).expect("accepted").then(move |result| {
                done.send((result.map(|response| response.data), thread::current().id()))
                    .expect("the test waits");
            });
        }
        for number in 1..=50 {
            let (result, thread) = results.recv_timeout(PATIENCE).expect("called back");
            assert_eq!(result.expect("answered"), number);
            assert_ne!(thread, caller);
        }
        let handle = supervisor.enqueue(Add(51, 0)).expect("accepted");
        // One worker, first in, first out: when this one has ended, so has that.
        supervisor.enqueue(Add(52, 0)).expect("accepted").wait().expect("answered");
        assert_eq!(handle.status(), JobStatus::Settled);
        handle.then(move |result| {
            done.send((result.map(|response| response.data), caller)).expect("the test waits");
        });
        assert_eq!(results.recv_timeout(PATIENCE).expect("called back").0.expect("answered"), 51);
        results.recv_timeout(Duration::ZERO).expect_err("nobody calls back twice");
    });
}

/// J1: dropping the handle forgets the reply, not the job.
#[test]
fn a_job_whose_handle_was_dropped_is_done() {
    scenario(|| {
        let scratch = Scratch::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let file = scratch.join("record");
        for number in 0..10 {
            let record = Record { file: file.clone(), line: number.to_string() };
            drop(supervisor.enqueue(record).expect("accepted"));
        }
        // There is one worker, and the queue is first in, first out.
        supervisor.enqueue(Add(0, 0)).expect("accepted").wait().expect("answered");
        let expected: Vec<String> = (0..10).map(|number| number.to_string()).collect();
        assert_eq!(scratch.lines("record"), expected);
    });
}

/// J1: any thread may enqueue: 100 of them, each with jobs of its own, each gets its own answers.
#[test]
fn a_hundred_threads_enqueue() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(2));
        thread::scope(|scope| {
            for caller in 0..100 {
                let supervisor = &supervisor;
                scope.spawn(move || {
                    for number in 0..20 {
                        let handle = supervisor.enqueue(Add(1000 * caller, number)).expect("accepted");
                        assert_eq!(handle.wait().expect("answered").data, 1000 * caller + number);
                    }
                });
            }
        });
        assert_eq!(supervisor.health().groups[0].done, 2000);
    });
}

/// J1: many jobs' results arrive in one place, each once, with the id that was given for it.
#[test]
fn completions_bring_every_result_once() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(2));
        let done = Completions::new();
        let mut expected: Vec<_> = (0..300u32)
            .map(|number| {
                let job = Job::new(Echo(number.to_le_bytes().to_vec()));
                (supervisor.enqueue_to(job, &done).expect("accepted"), number)
            })
            .collect();
        let mut brought: Vec<_> = done
            .into_iter()
            .map(|(id, result)| {
                let bytes = result.expect("answered").data;
                (id, u32::from_le_bytes(bytes.try_into().expect("four bytes")))
            })
            .collect();
        expected.sort();
        brought.sort();
        assert_eq!(brought, expected);
        assert_eq!(done.outstanding(), 0);
        assert!(done.recv().is_none());
    });
}
