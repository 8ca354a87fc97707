//! Signals, when the supervisor is asked to handle them.

use std::time::Duration;

use ganger::{EnqueueError, JobError, Supervisor};
use ganger_tests::calls::{About, Add, Hold, Spin};
use ganger_tests::harness::{Gate, eventually, scenario};
use ganger_tests::workers::{online, plain};
use rustix::process::{Pid, Signal, getpgid, getpgrp, getpid, kill_process};

fn raise(signal: Signal) {
    kill_process(getpid(), signal).expect("sent");
}

/// S4: the first SIGTERM is a soft kill: what was accepted is worked off, the process goes on.
#[test]
fn the_first_signal_is_a_soft_kill() {
    scenario(|| {
        for signal in [Signal::TERM, Signal::INT] {
            let gate = Gate::new();
            let supervisor = online(Supervisor::builder(plain()).workers(1).handle_signals());
            let holding = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
            let held = gate.next();
            let queued = supervisor.enqueue(Add(1, 1)).expect("accepted");
            raise(signal);
            eventually("the queue is closed", || match supervisor.enqueue(Add(0, 0)) {
                Err(EnqueueError::ShuttingDown { .. }) => Some(()),
                Ok(_) | Err(_) => None,
            });
            held.release();
            supervisor.join();
            holding.wait().expect("answered");
            assert_eq!(queued.wait().expect("answered").data, 2);
        }
    });
}

/// S4: the second signal is a hard kill.
#[test]
fn the_second_signal_is_a_hard_kill() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1).handle_signals());
        let spinning = supervisor.enqueue(Spin { gate: gate.path() }).expect("accepted");
        let spinner = gate.next();
        raise(Signal::INT);
        assert!(!supervisor.join_timeout(Duration::from_millis(100)), "the first lets it run");
        raise(Signal::INT);
        supervisor.join();
        spinner.wait_gone();
        assert!(matches!(spinning.wait(), Err(JobError::ShuttingDown { .. })));
    });
}

/// S4: workers have process groups of their own, so that Ctrl-C in a terminal reaches only the supervisor.
#[test]
fn workers_have_process_groups_of_their_own() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(2));
        for about in supervisor.map((0..4).map(|_| About)) {
            let pid = Pid::from_raw(about.expect("answered").data.pid.cast_signed()).expect("a process id");
            assert_eq!(getpgid(Some(pid)).expect("known"), pid);
            assert_ne!(pid, getpgrp());
        }
    });
}
