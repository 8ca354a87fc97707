//! Many callers, many jobs, many ways to wait, all at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ganger::{Job, Supervisor};
use ganger_tests::calls::{Add, Hold};
use ganger_tests::harness::{Gate, scenario};
use ganger_tests::workers::{online, plain};

/// A hundred caller threads at once, each with its own way to wait, and one that does not wait at all.
#[test]
fn a_hundred_callers_each_in_their_own_way() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(2));
        let called_back = AtomicUsize::new(0);
        let (done, results) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for caller in 0..100i64 {
                let (supervisor, called_back, done) = (&supervisor, &called_back, done.clone());
                scope.spawn(move || {
                    for number in 0..10 {
                        let handle = supervisor.enqueue(Add(caller, number)).expect("accepted");
                        match caller % 4 {
                            0 => assert_eq!(handle.wait().expect("answered").data, caller + number),
                            1 => {
                                let mut handle = handle;
                                let result = loop {
                                    match handle.wait_timeout(Duration::ZERO) {
                                        Ok(result) => break result,
                                        Err(not_yet) => handle = not_yet,
                                    }
                                    std::thread::yield_now();
                                };
                                assert_eq!(result.expect("answered").data, caller + number);
                            }
                            2 => {
                                let done = done.clone();
                                handle.then(move |result| {
                                    done.send(result.expect("answered").data == caller + number)
                                        .expect("counted");
                                });
                                called_back.fetch_add(1, Ordering::Relaxed);
                            }
                            _ => drop(handle),
                        }
                    }
                });
            }
        });
        drop(done);
        supervisor.soft_kill().wait();
        assert_eq!(results.iter().filter(|is_right| *is_right).count(), called_back.into_inner());
    });
}

/// Priorities apart, nothing waits beside an idle worker: a job that comes while one of two workers is held for ever
/// is answered by the other.
#[test]
fn nothing_waits_beside_an_idle_worker() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(2).prefetch(16));
        let holding = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        for number in 0..300 {
            let job = Job::new(Add(number, 0)).timeout(Duration::from_secs(5));
            assert_eq!(supervisor.enqueue(job).expect("accepted").wait().expect("answered").data, number);
        }
        held.release();
        holding.wait().expect("answered");
    });
}
