//! Every accepted job's handle settles, exactly once.

use std::collections::HashSet;
use std::time::Duration;

use ganger::{
    Backlog, Completions, FailureKind, Job, JobError, JobId, JobResult, Program, SoftKill, Started,
    Supervisor, Work,
};
use ganger_tests::calls::{Add, Death, Die, Fail, Forget, Hold, Manners, Misread, Panic, Start, Unheard};
use ganger_tests::harness::{Gate, scenario};
use ganger_tests::workers::{online, plain, started_with_feed, with};

/// Jobs that are all alike, and where their results arrive.
struct Crowd<C: Work> {
    done: Completions<C>,
    ids: HashSet<JobId>,
}

impl<C: Work> Crowd<C> {
    fn enqueue(supervisor: &Supervisor, count: usize, job: impl Fn() -> Job<C>) -> Crowd<C> {
        let done = Completions::new();
        let ids = (0..count).map(|_| supervisor.enqueue_to(job(), &done).expect("accepted")).collect();
        Crowd { done, ids }
    }

    /// Each of them settles once, in the way that is right.
    fn settles(mut self, is_right: impl Fn(&JobResult<C>) -> bool)
    where
        C::Reply: std::fmt::Debug,
    {
        for (id, result) in &self.done {
            assert!(is_right(&result), "{id}: {result:?}");
            assert!(self.ids.remove(&id), "{id} settles twice, or is another's");
        }
        assert!(self.ids.is_empty(), "{:?} did not settle", self.ids);
    }
}

/// J8, P1, P2: jobs of every kind, among them such as kill their workers: each settles once, in its own way.
#[test]
fn a_crowd_of_all_sorts_settles() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(3).prefetch(0));
        let fail = || Job::new(Fail { message: String::from("no"), details: None });
        // Those who share the pool with killers may be lost to them only while they run, and there is one at a time:
        // nothing is sent ahead, so that each answer is written before the next handler is called.
        let sums = Crowd::enqueue(&supervisor, 300, || Job::new(Add(1, 2)));
        let failures = Crowd::enqueue(&supervisor, 50, fail);
        let panics = Crowd::enqueue(&supervisor, 50, || Job::new(Panic(String::from("oh"))));
        let forgotten = Crowd::enqueue(&supervisor, 50, || Job::new(Forget));
        let unheard = Crowd::enqueue(&supervisor, 50, || Job::new(Unheard(0)));
        let misread = Crowd::enqueue(&supervisor, 50, || Job::new(Misread));
        let deadly = Crowd::enqueue(&supervisor, 5, || Job::new(Die(Death::Signal(9))));
        let poison = Crowd::enqueue(&supervisor, 1, || Job::new(Die(Death::Abort)).retries(10));
        sums.settles(|result| matches!(result, Ok(response) if response.data == 3));
        failures.settles(|result| is_failure(result, FailureKind::Handler));
        panics.settles(|result| is_failure(result, FailureKind::Panic));
        forgotten.settles(|result| is_failure(result, FailureKind::Dropped));
        unheard.settles(|result| is_failure(result, FailureKind::UnknownCall));
        misread.settles(|result| matches!(result, Err(JobError::Codec { .. })));
        deadly.settles(|result| matches!(result, Err(JobError::WorkerLost { .. })));
        poison.settles(
            |result| matches!(result, Err(JobError::Poisoned { reports, .. }) if reports.len() == 3),
        );
    });
}

fn is_failure<R>(result: &Result<R, JobError>, kind: FailureKind) -> bool {
    result.as_ref().err().and_then(JobError::failure).is_some_and(|failure| failure.kind == kind)
}

/// J8: dropping the last clone of the supervisor settles what is queued and what runs, within a second.
#[test]
fn dropping_the_supervisor_settles_everything() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let running = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let _held = gate.next();
        let queued: Vec<_> =
            (0..100).map(|number| supervisor.enqueue(Add(number, 0)).expect("accepted")).collect();
        let clone = supervisor.clone();
        drop(supervisor);
        let running = running.try_result().expect_err("a clone keeps it up");
        let since = std::time::Instant::now();
        drop(clone);
        assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
        let settled = |result: Result<_, JobError>| match result {
            Err(JobError::ShuttingDown { started, .. }) => started,
            other => panic!("{other:?}"),
        };
        assert_eq!(settled(running.wait().map(|_| ())), Started::Yes);
        for handle in queued {
            assert_eq!(settled(handle.wait().map(|_| ())), Started::No);
        }
    });
}

/// J8, P10: by choice a soft kill settles what is queued, and what runs is answered.
#[test]
fn a_soft_kill_settles_the_queue_by_choice() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1).prefetch(4));
        let running = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let queued: Vec<_> =
            (0..20).map(|number| supervisor.enqueue(Add(number, 0)).expect("accepted")).collect();
        let ticket = supervisor.soft_kill_with(SoftKill::new().backlog(Backlog::Settle));
        for handle in queued {
            let error = handle.wait().expect_err("it is settled");
            assert!(matches!(error, JobError::ShuttingDown { started: Started::No, .. }), "{error:?}");
        }
        held.release();
        running.wait().expect("what runs is answered");
        ticket.wait();
    });
}

/// J8, W5: a group that is degraded with no worker left fails its jobs instead of keeping them.
#[test]
fn jobs_of_a_group_without_workers_fail() {
    scenario(|| {
        let manners = Manners { start: Start::Exit(3), ..Manners::new() };
        let (supervisor, mut feed) = started_with_feed(Supervisor::builder(with(&manners)).workers(1));
        let handles: Vec<_> = (0..20).map(|number| supervisor.enqueue(Add(number, 0))).collect();
        let reason = feed.degraded();
        for handle in handles.into_iter().flatten() {
            match handle.wait().expect_err("nobody is left") {
                JobError::NoWorkers { reason: why, started: Started::No, .. } => {
                    assert!(why.contains("exit code 3") && why == reason, "{why}");
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

/// J8: a job accepted by a supervisor that cannot run anything settles when the supervisor goes.
#[test]
fn a_job_that_no_worker_ever_took_settles_with_the_supervisor() {
    scenario(|| {
        // It reads nothing and says nothing.
        let supervisor =
            Supervisor::builder(Program::new("sleep").arg("1000")).workers(1).start().expect("started");
        let handle = supervisor.enqueue(Add(1, 1)).expect("accepted");
        supervisor.hard_kill().wait();
        let error = handle.wait().expect_err("it never ran");
        assert!(matches!(error, JobError::ShuttingDown { started: Started::No, .. }), "{error:?}");
    });
}
