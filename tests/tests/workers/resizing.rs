//! Growing and shrinking while work goes on.

use std::time::Duration;

use ganger::{CommandError, Group, Job, Supervisor};
use ganger_tests::calls::{Add, Hold};
use ganger_tests::harness::{Gate, Held, eventually, live_descendants, scenario};
use ganger_tests::workers::{online, online_with_feed, plain};

/// W9: growing and shrinking under load loses nothing and fails nothing, and ends with as many workers as wanted.
#[test]
fn resizing_under_load_loses_nothing() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1).prefetch(4));
        std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let sums = supervisor.map((0..3000).map(|number| Add(number, 1)));
                sums.map(|result| result.expect("answered").data).eq(1..=3000)
            });
            for workers in [4, 2, 6, 1, 3] {
                supervisor.resize(workers).expect("resized");
                eventually("as many as wanted", || {
                    let health = supervisor.health();
                    (health.groups[0].ready as usize == workers && health.workers.len() == workers)
                        .then_some(())
                });
            }
            assert!(load.join().expect("no panic"), "answers are missing or wrong");
        });
        assert_eq!(live_descendants().len(), 3);
        let health = supervisor.health();
        assert!(health.is_healthy(), "{:?}", health.problems);
        assert_eq!(health.groups[0].failed, 0);
    });
}

/// W9: shrinking lets jobs in flight finish, however long they take, and takes nobody new into the leaving ones.
#[test]
fn shrinking_lets_jobs_in_flight_finish() {
    scenario(|| {
        let gate = Gate::new();
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(plain()).workers(3));
        let handles: Vec<_> =
            (0..3).map(|_| supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted")).collect();
        let held = gate.next_many(3);
        supervisor.resize(1).expect("resized");
        let waiting = supervisor.enqueue(Add(1, 1)).expect("accepted");
        let waiting = waiting.wait_timeout(Duration::from_millis(100)).expect_err("everybody is busy");
        let (staying, leaving): (Vec<Held>, Vec<Held>) =
            held.into_iter().partition(|held| held.worker() == "default-0");
        leaving.into_iter().for_each(Held::release);
        for _ in 0..2 {
            assert_ne!(&*feed.exited().worker, "default-0");
        }
        let waiting = waiting.try_result().expect_err("those who leave take nothing new");
        staying.into_iter().for_each(Held::release);
        assert_eq!(&*waiting.wait().expect("answered").worker, "default-0");
        handles.into_iter().for_each(|handle| drop(handle.wait().expect("it finished")));
        assert_eq!(live_descendants().len(), 1);
    });
}

/// W9: a group is resized by its name; a number that no group can have is refused.
#[test]
fn a_group_is_resized_by_its_name() {
    scenario(|| {
        let first = Group::new("a", plain()).workers(1);
        let supervisor = online(Supervisor::builder(first).group(Group::new("b", plain()).workers(1)));
        supervisor.resize_group("b", 3).expect("resized");
        eventually("three in b", || (supervisor.health().groups[1].ready == 3).then_some(()));
        assert_eq!(supervisor.health().groups[0].wanted, 1);
        supervisor.enqueue(Job::new(Add(1, 1)).group("b")).expect("accepted").wait().expect("answered");
        assert!(matches!(supervisor.resize_group("c", 1), Err(CommandError::UnknownGroup { .. })));
        for workers in [0, 5000] {
            let refused = supervisor.resize(workers).expect_err("impossible");
            assert_eq!(refused, CommandError::Workers { workers, limit: 4096 });
        }
    });
}
