//! Several supervisors in one process.

use ganger::{EnqueueError, Supervisor};
use ganger_tests::calls::{About, Add, Death, Die};
use ganger_tests::harness::{live_descendants, scenario};
use ganger_tests::workers::{online, plain};

/// S8: two supervisors in one process do not know of each other: their workers have the same names and different
/// processes, a crash in one and the end of one are no matter of the other's.
#[test]
fn two_supervisors_do_not_know_of_each_other() {
    scenario(|| {
        let one = online(Supervisor::builder(plain()).workers(1));
        let other = online(Supervisor::builder(plain()).workers(1));
        let about = |supervisor: &Supervisor| {
            supervisor.enqueue(About).expect("accepted").wait().expect("answered").data
        };
        let (first, second) = (about(&one), about(&other));
        assert_eq!(first.name, second.name);
        assert_ne!(first.pid, second.pid);
        drop(one.enqueue(Die(Death::Abort)).expect("accepted").wait());
        assert_eq!(about(&other).pid, second.pid);
        assert_eq!(other.health().groups[0].restarts, 0);
        one.hard_kill().wait();
        assert!(matches!(one.enqueue(Add(1, 1)), Err(EnqueueError::ShuttingDown { .. })));
        assert_eq!(about(&other).pid, second.pid);
        drop(one);
        assert_eq!(live_descendants().len(), 1);
    });
}

/// S8: supervisors come and go, one after the other and at the same time, and nothing of them remains.
#[test]
fn supervisors_come_and_go() {
    scenario(|| {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..8 {
                        let supervisor = online(Supervisor::builder(plain()).workers(1));
                        let sum = supervisor.enqueue(Add(round, 1)).expect("accepted").wait();
                        assert_eq!(sum.expect("answered").data, round + 1);
                    }
                });
            }
        });
        assert!(live_descendants().is_empty());
    });
}
