//! Locks of the shared store: M7.

use std::time::Duration;

use ganger::{StoreError, StoreLimits, Supervisor};
use ganger_tests::harness::{Gate, scenario};
use ganger_tests::store::HoldLock;
use ganger_tests::workers::{online, plain, tireless};
use rustix::process::{Pid, Signal, kill_process};

const LONG: Duration = Duration::from_secs(60);

fn hold(name: &str, gate: &Gate) -> HoldLock {
    HoldLock { name: name.into(), wait_millis: 60_000, gate: gate.path() }
}

/// M7: the lock of a worker that is killed goes to the next who waits, at once, with a greater token.
#[test]
fn the_lock_of_a_dead_worker_goes_to_the_next() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(2).restart(tireless()));
        let first = supervisor.enqueue(hold("l", &gate)).expect("accepted");
        let holder = gate.next();
        let second = supervisor.enqueue(hold("l", &gate)).expect("accepted");
        let store = supervisor.store();
        assert!(store.try_lock("l").expect("asked").is_none(), "a worker has it");
        kill_process(Pid::from_raw(holder.pid() as i32).expect("a process"), Signal::KILL).expect("killed");
        let next = gate.next();
        assert_ne!(next.pid(), holder.pid());
        first.wait().expect_err("its worker died");
        let waiting = std::thread::spawn(move || store.lock("l", LONG).map(|lock| lock.token().0));
        next.release();
        let token = second.wait().expect("answered").data;
        assert!(waiting.join().expect("no panic").expect("had") > token, "tokens grow from holder to holder");
    });
}

/// M7: who waits too long is told so; a lock that was dropped is free; who waits longest has it first.
#[test]
fn a_wait_for_a_lock_has_an_end() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let store = supervisor.store();
        let held = store.lock("l", LONG).expect("free");
        let late = store.lock("l", Duration::from_millis(5)).expect_err("it is held");
        assert!(matches!(late, StoreError::LockTimedOut { .. }), "{late}");
        assert!(store.try_lock("l").expect("asked").is_none());
        drop(held);
        let again = store.try_lock("l").expect("asked").expect("free");
        assert_eq!(again.name(), "l");
        again.release().expect("released");
        assert!(store.lock("", LONG).is_err(), "a lock has a name");
    });
}

/// M7: a worker that leaves, and one that waits for a lock when the supervisor ends, hold nothing up.
#[test]
fn the_end_waits_for_no_lock() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(2));
        let store = supervisor.store();
        let held = store.lock("l", LONG).expect("free");
        let waits = supervisor.enqueue(hold("l", &gate)).expect("accepted");
        let here = std::thread::spawn(move || store.lock("l", LONG).map(drop));
        let _ = supervisor.hard_kill();
        assert!(waits.wait().is_err());
        assert!(supervisor.join_timeout(LONG));
        // It may have been asked after the end.
        assert_eq!(here.join().expect("no panic"), Err(StoreError::Gone));
        drop(held);
    });
}

/// M7: a process may hold, and wait for, only so many locks.
#[test]
fn locks_are_limited() {
    scenario(|| {
        let limits = StoreLimits { locks: 2, ..StoreLimits::default() };
        let supervisor = online(Supervisor::builder(plain()).workers(1).store_limits(limits));
        let store = supervisor.store();
        let held = ["a", "b"].map(|name| store.lock(name, LONG).expect("free"));
        let refused = store.lock("c", LONG).expect_err("the third");
        assert_eq!(refused, StoreError::TooManyLocks { limit: 2 });
        let gate = Gate::new();
        let job = supervisor.enqueue(hold("c", &gate)).expect("accepted");
        gate.next().release();
        job.wait().expect("the worker has a limit of its own");
        drop(held);
        store.lock("c", LONG).expect("there is room again").release().expect("released");
    });
}
