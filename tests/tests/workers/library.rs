//! What the worker library offers its program.

use std::time::Duration;

use ganger::{JobError, Supervisor};
use ganger_tests::calls::{About, Add, Hold, Later, Manners, Spin};
use ganger_tests::harness::{Gate, Held, Scratch, eventually, scenario};
use ganger_tests::workers::{online, online_with_feed, plain, with};

/// W2: as many handlers run at once as there are threads, and no more; that is also the capacity.
#[test]
fn as_many_handlers_as_threads() {
    scenario(|| {
        let gate = Gate::new();
        let manners = Manners { threads: 5, ..Manners::new() };
        let supervisor = online(Supervisor::builder(with(&manners)).workers(1));
        assert_eq!(supervisor.health().workers[0].capacity, 5);
        let handles: Vec<_> =
            (0..6).map(|_| supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted")).collect();
        let held = gate.next_many(5);
        assert_eq!((supervisor.health().groups[0].in_flight, supervisor.health().groups[0].queued), (5, 1));
        held.into_iter().for_each(Held::release);
        gate.next().release();
        handles.into_iter().for_each(|handle| drop(handle.wait().expect("answered")));
    });
}

/// W1, W2: handlers answer later, from any thread, in any order; one handler thread holds as many requests as the
/// worker has announced.
#[test]
fn handlers_answer_later_from_any_thread() {
    scenario(|| {
        let gate = Gate::new();
        let manners = Manners { capacity: Some(16), ..Manners::new() };
        let supervisor = online(Supervisor::builder(with(&manners)).workers(1));
        let handles: Vec<_> =
            (0..20).map(|_| supervisor.enqueue(Later { gate: gate.path() }).expect("accepted")).collect();
        let mut held = gate.next_many(16);
        assert_eq!(supervisor.health().groups[0].in_flight, 16);
        // The last first.
        while let Some(one) = held.pop() {
            one.release();
        }
        gate.next_many(4).into_iter().for_each(Held::release);
        for handle in handles {
            assert_eq!(handle.wait().expect("answered").data, "default-0");
        }
    });
}

/// W1, P10: the soft-kill hook runs once when no further request will come; the worker stays until the hook is done
/// and nothing is in hand.
#[test]
fn the_soft_kill_hook_holds_the_worker_until_it_is_done() {
    scenario(|| {
        let (scratch, hook, work) = (Scratch::new(), Gate::new(), Gate::new());
        let manners = Manners { soft_kill: Some((scratch.join("hook"), hook.path())), ..Manners::new() };
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(with(&manners)).workers(1));
        let handle = supervisor.enqueue(Hold { gate: work.path() }).expect("accepted");
        let held = work.next();
        let ticket = supervisor.soft_kill();
        held.release();
        handle.wait().expect("answered");
        let saving = hook.next();
        assert!(!ticket.wait_timeout(Duration::from_millis(50)), "it ended although the hook runs");
        assert_eq!(scratch.lines("hook"), ["soft kill"]);
        saving.release();
        ticket.wait();
        assert_eq!(feed.exited().exit.status, ganger::ExitStatus::Code(0));
        assert_eq!(scratch.lines("hook"), ["soft kill"], "it ran twice");
    });
}

/// W1, P8 of the library: a worker that asked for it gets a moment before a hard kill, also while all its handlers
/// are busy in native code.
#[test]
fn the_hard_kill_hook_runs_although_all_handlers_are_busy() {
    scenario(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let manners = Manners { hard_kill: Some(scratch.join("hook")), threads: 2, ..Manners::new() };
        let supervisor = online(Supervisor::builder(with(&manners)).workers(1));
        let handles: Vec<_> =
            (0..2).map(|_| supervisor.enqueue(Spin { gate: gate.path() }).expect("accepted")).collect();
        let spinning = gate.next_many(2);
        supervisor.hard_kill().wait();
        spinning.into_iter().for_each(Held::wait_gone);
        assert_eq!(scratch.lines("hook"), ["hard kill"]);
        for handle in handles {
            assert!(matches!(handle.wait(), Err(JobError::ShuttingDown { .. })));
        }
    });
}

/// M1, P8 of the library: events from the supervisor are delivered while every handler is busy in native code.
#[test]
fn events_are_delivered_although_all_handlers_are_busy() {
    scenario(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let manners = Manners { told: Some(scratch.join("told")), ..Manners::new() };
        let supervisor = online(Supervisor::builder(with(&manners)).workers(2));
        let handles: Vec<_> =
            (0..2).map(|_| supervisor.enqueue(Spin { gate: gate.path() }).expect("accepted")).collect();
        let _spinning = gate.next_many(2);
        for word in ["one", "two", "three"] {
            assert_eq!(supervisor.broadcast("tell", word).expect("sent"), 2);
        }
        let lines = eventually("both have heard everything", || {
            let lines = scratch.lines("told");
            (lines.len() == 6).then_some(lines)
        });
        let count = |word: &str| lines.iter().filter(|line| *line == word).count();
        assert_eq!((count("one"), count("two"), count("three")), (2, 2, 2));
        assert_eq!(
            (lines[0].as_str(), lines[5].as_str()),
            ("one", "three"),
            "each worker hears them in order"
        );
        drop(handles);
    });
}

/// W1, W6: a worker knows its name, group and place; a replacement inherits them.
#[test]
fn a_worker_knows_who_it_is() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(3));
        let mut known: Vec<(String, u32)> = supervisor
            .map((0..50).map(|_| About))
            .map(|about| about.expect("answered").data)
            .inspect(|about| assert_eq!(about.group, "default"))
            .map(|about| (about.name, about.slot))
            .collect();
        known.sort();
        known.dedup();
        assert!(known.iter().all(|(name, slot)| *name == format!("default-{slot}")), "{known:?}");
        assert!(!known.is_empty() && known.len() <= 3);
        supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("answered");
    });
}
