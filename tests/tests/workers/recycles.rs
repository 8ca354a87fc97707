//! Workers that are replaced, or sent away, although they are well: for their memory, their jobs, their age, or because
//! nobody needs them.

use std::collections::HashSet;
use std::time::Duration;

use ganger::{
    Builder, ConfigError, Event, Job, JobError, KillCause, RecycleCause, RecyclePolicy, StartError,
    Supervisor,
};
use ganger_tests::calls::{About, Add, Hold, Leak, Manners};
use ganger_tests::harness::{Feed, Gate, eventually, live_descendants, scenario};
use ganger_tests::workers::{online, online_with_feed, plain, with};

const MIB: u64 = 1 << 20;

/// A policy that is quick about it, and exact.
fn quick() -> RecyclePolicy {
    RecyclePolicy { samples: 2, jitter: 0.0, min_uptime: Duration::ZERO, ..RecyclePolicy::default() }
}

fn looking(policy: RecyclePolicy) -> Builder {
    Supervisor::builder(plain()).recycle(policy).sample_every(Duration::from_millis(5))
}

fn recycled(feed: &mut Feed) -> RecycleCause {
    feed.wait_for("worker is recycled", |event| match event {
        Event::WorkerRecycled { cause, .. } => Some(*cause),
        _ => None,
    })
}

/// W10: workers that leak are replaced under load before they are too large; no job is lost, and each time the cause is
/// told.
#[test]
fn a_worker_that_leaks_is_recycled_under_load() {
    scenario(|| {
        let policy = RecyclePolicy { above_bytes: Some(64 * MIB), ..quick() };
        let (supervisor, mut feed) = online_with_feed(looking(policy).workers(2));
        let mut pids = HashSet::new();
        for _ in 0..8 {
            let leaks = supervisor.map((0..40).map(|_| Leak(4))).in_flight(2);
            pids.extend(leaks.map(|result| result.expect("answered").data));
            let cause = recycled(&mut feed);
            assert!(
                matches!(cause, RecycleCause::Memory { rss_bytes, limit_bytes } if rss_bytes > limit_bytes),
                "{cause:?}"
            );
        }
        let health = supervisor.health();
        assert!(health.groups[0].recycled.memory >= 8, "{health}");
        assert_eq!((health.groups[0].failed, health.groups[0].done), (0, 320));
        assert!(pids.len() > 4, "{pids:?}");
        assert!(health.is_healthy(), "{:?}", health.problems);
    });
}

/// W10: above the harder limit a worker is killed at once. What it had started is lost with that cause, or retried.
#[test]
fn a_worker_far_too_large_is_killed() {
    scenario(|| {
        let gate = Gate::new();
        let policy = RecyclePolicy { kill_above_bytes: Some(200 * MIB), ..quick() };
        let builder = Supervisor::builder(with(&Manners { threads: 3, ..Manners::new() })).workers(1);
        let (supervisor, mut feed) =
            online_with_feed(builder.recycle(policy).sample_every(Duration::from_millis(5)));
        let hold = || Job::new(Hold { gate: gate.path() });
        let (lost, retried) = (
            supervisor.enqueue(hold()).expect("accepted"),
            supervisor.enqueue(hold().retries(1)).expect("accepted"),
        );
        let _held = gate.next_many(2);
        let _leak = supervisor.enqueue(Leak(300)).expect("accepted");
        let cause = feed.wait_for("worker is killed", |event| match event {
            Event::WorkerKilled { cause, .. } => Some(cause.clone()),
            _ => None,
        });
        assert!(
            matches!(cause, KillCause::OverMemory { limit_bytes, .. } if limit_bytes == 200 * MIB),
            "{cause}"
        );
        match lost.wait() {
            Err(JobError::WorkerLost { report, .. }) => assert_eq!(report.killed, Some(cause)),
            other => panic!("{other:?}"),
        }
        gate.next().release();
        assert_eq!(retried.wait().expect("answered").attempt, 2);
        assert_eq!(supervisor.health().groups[0].recycled.killed, 1);
    });
}

/// W10: after its number of answers a worker is replaced, first by a successor: nothing waits, nothing fails.
#[test]
fn a_worker_is_recycled_after_so_many_jobs() {
    scenario(|| {
        let policy = RecyclePolicy { max_jobs: Some(50), ..quick() };
        let (supervisor, mut feed) = online_with_feed(looking(policy).workers(1));
        for _ in 0..3 {
            let sums = supervisor.map((0..60).map(|number| Add(number, 1)));
            assert!(sums.map(|result| result.expect("answered").data).eq(1..=60));
            let cause = recycled(&mut feed);
            assert!(matches!(cause, RecycleCause::Jobs(50..)), "{cause:?}");
        }
        assert_eq!(supervisor.health().groups[0].failed, 0);
        assert!(supervisor.health().groups[0].recycled.jobs >= 3);
    });
}

/// W10: a worker that has lived long enough is replaced; one that is not yet known to be well is not.
#[test]
fn a_worker_is_recycled_for_its_age() {
    scenario(|| {
        let policy = RecyclePolicy { max_age: Some(Duration::from_millis(50)), ..quick() };
        let (supervisor, mut feed) = online_with_feed(looking(policy).workers(1));
        let first = supervisor.enqueue(About).expect("accepted").wait().expect("answered").data.pid;
        assert!(matches!(recycled(&mut feed), RecycleCause::Age(age) if age >= Duration::from_millis(50)));
        let second = supervisor.enqueue(About).expect("accepted").wait().expect("answered").data.pid;
        assert_ne!(first, second);
        assert_eq!(supervisor.health().groups[0].recycled.age, 1);
    });
}

/// W10: a recycled worker finishes what it holds, however long that takes.
#[test]
fn a_recycled_worker_finishes_what_it_holds() {
    scenario(|| {
        let gate = Gate::new();
        let policy = RecyclePolicy { max_jobs: Some(1), ..quick() };
        let (supervisor, mut feed) = online_with_feed(looking(policy).workers(1).prefetch(0));
        let job = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        held.release();
        job.wait().expect("answered");
        let job = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        recycled(&mut feed);
        let other = supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("answered");
        assert_eq!(other.data, 2);
        held.release();
        job.wait().expect("it finished");
        feed.exited();
    });
}

/// W10: an idle group shrinks to its least, is none the worse for it, and grows again as jobs come.
#[test]
fn an_idle_group_shrinks_and_grows_again() {
    scenario(|| {
        for least in [1, 0] {
            let gate = Gate::new();
            let policy = RecyclePolicy {
                idle_timeout: Some(Duration::from_millis(60)),
                min_workers: least,
                ..quick()
            };
            let (supervisor, mut feed) = online_with_feed(looking(policy).workers(3));
            assert!(matches!(recycled(&mut feed), RecycleCause::Idle(_)));
            eventually("they have left", || (live_descendants().len() == least as usize).then_some(()));
            let health = supervisor.health();
            assert!(health.is_healthy(), "{:?}", health.problems);
            let group = &health.groups[0];
            assert_eq!((group.wanted, group.resting), (3, 3 - least));
            assert_eq!(group.recycled.idle, u64::from(3 - least));
            let jobs: Vec<_> =
                (0..3).map(|_| supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted")).collect();
            gate.next_many(3).into_iter().for_each(ganger_tests::harness::Held::release);
            jobs.into_iter().for_each(|job| drop(job.wait().expect("answered")));
        }
    });
}

/// W10: resized, a group is at its new strength at once, whoever rested.
#[test]
fn a_resized_group_does_not_rest() {
    scenario(|| {
        let policy = RecyclePolicy { idle_timeout: Some(Duration::from_millis(400)), ..quick() };
        let (supervisor, mut feed) = online_with_feed(looking(policy).workers(2));
        recycled(&mut feed);
        supervisor.resize(4).expect("resized");
        eventually("all are there", || (supervisor.health().groups[0].ready == 4).then_some(()));
    });
}

/// W10: what makes no sense is refused.
#[test]
fn limits_that_make_no_sense_are_refused() {
    scenario(|| {
        let refused = |builder: Builder| match builder.start() {
            Err(StartError::Config(error)) => error,
            other => panic!("{other:?}"),
        };
        let upside_down = Supervisor::builder(plain()).recycle_above(10).kill_above(5);
        assert!(matches!(refused(upside_down), ConfigError::Contradiction { .. }));
        let too_many =
            Supervisor::builder(plain()).workers(2).idle_timeout(Duration::from_secs(1)).min_workers(3);
        assert!(matches!(refused(too_many), ConfigError::OutOfRange { knob: "min_workers", .. }));
        let never = Supervisor::builder(plain()).recycle(RecyclePolicy { samples: 0, ..quick() });
        assert!(matches!(refused(never), ConfigError::OutOfRange { knob: "recycle.samples", .. }));
    });
}

/// W10: without limits nobody is recycled.
#[test]
fn nobody_is_recycled_unasked() {
    scenario(|| {
        let supervisor =
            online(Supervisor::builder(plain()).workers(1).sample_every(Duration::from_millis(5)));
        supervisor.map((0..200).map(|_| Leak(1))).for_each(|result| drop(result.expect("answered")));
        assert_eq!(supervisor.health().groups[0].recycled.total(), 0);
        assert_eq!(supervisor.health().groups[0].restarts, 0);
    });
}
