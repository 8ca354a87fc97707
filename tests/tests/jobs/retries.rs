//! Further attempts, and when there are none.

use std::time::{Duration, Instant};

use ganger::{Event, ExitStatus, Job, JobError, PoisonPolicy, RetryHint, RetryOn, Started, Supervisor};
use ganger_tests::calls::{Add, Death, Die, End, Manners, Record, Try};
use ganger_tests::harness::{Scratch, scenario};
use ganger_tests::workers::{online, online_with_feed, plain, with};

fn killed() -> End {
    End::Die(Death::Signal(9))
}

fn attempts(scratch: &Scratch, ends: &[End]) -> Job<Try> {
    Job::new(Try { file: scratch.join("attempts"), ends: ends.to_vec() })
}

/// J6, P3: without retries a handler runs at most once: its worker's death is the job's end, and the error says
/// that it had started and how the worker died.
#[test]
fn without_retries_a_death_is_the_end() {
    scenario(|| {
        let scratch = Scratch::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let handle = supervisor.enqueue(attempts(&scratch, &[killed()])).expect("accepted");
        let id = handle.id();
        let error = handle.wait().expect_err("lost");
        assert_eq!((error.job(), error.started()), (id, Started::Yes));
        match error {
            JobError::WorkerLost { report, because, .. } => {
                assert_eq!((report.exit.status, because), (ExitStatus::Signal(9), None));
                assert_eq!((&report.killed, &report.running[..]), (&None, &[id][..]));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(scratch.lines("attempts"), ["1"]);
    });
}

/// J6: `retries(n)` are n further attempts: with two deaths, two are enough and one is not.
#[test]
fn retries_are_further_attempts() {
    scenario(|| {
        let scratch = Scratch::new();
        let supervisor = online(Supervisor::builder(plain()).workers(2));
        let job = attempts(&scratch, &[killed(), killed()]).retries(2);
        let response = supervisor.enqueue(job).expect("accepted").wait().expect("the third attempt answers");
        assert_eq!((response.data, response.attempt), (3, 3));
        assert_eq!(scratch.lines("attempts"), ["1", "2", "3"]);

        let scratch = Scratch::new();
        let job = attempts(&scratch, &[killed(), killed()]).retries(1);
        let error = supervisor.enqueue(job).expect("accepted").wait().expect_err("the second is the last");
        assert!(matches!(error, JobError::WorkerLost { .. }), "{error:?}");
        assert_eq!(scratch.lines("attempts"), ["1", "2"]);
    });
}

/// J6: a handler's own failure is retried only if the job says so.
#[test]
fn a_failure_is_retried_only_by_choice() {
    scenario(|| {
        let scratch = Scratch::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let fails = [End::Fail(RetryHint::AsConfigured), End::Panic];
        let job = attempts(&scratch, &fails).retries(5);
        let error = supervisor.enqueue(job).expect("accepted").wait().expect_err("it fails");
        assert!(matches!(error, JobError::Failed { attempt: 1, .. }), "{error:?}");

        let scratch = Scratch::new();
        let retry_on = RetryOn { failure: true, ..RetryOn::default() };
        let job = attempts(&scratch, &fails).retries(5).retry_on(retry_on);
        let response = supervisor.enqueue(job).expect("accepted").wait().expect("the third attempt answers");
        assert_eq!((response.attempt, scratch.lines("attempts").len()), (3, 3));
    });
}

/// J6: what the handler says about trying again goes before what the job says.
#[test]
fn the_handlers_hint_goes_first() {
    scenario(|| {
        let scratch = Scratch::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let job = attempts(&scratch, &[End::Fail(RetryHint::Again)]).retries(1);
        assert_eq!(supervisor.enqueue(job).expect("accepted").wait().expect("answered").attempt, 2);

        let scratch = Scratch::new();
        let retry_on = RetryOn { failure: true, ..RetryOn::default() };
        let job = attempts(&scratch, &[End::Fail(RetryHint::Never)]).retries(5).retry_on(retry_on);
        let error =
            supervisor.enqueue(job).expect("accepted").wait().expect_err("it must not be tried again");
        assert!(matches!(error, JobError::Failed { attempt: 1, .. }), "{error:?}");
        assert_eq!(scratch.lines("attempts"), ["1"]);

        let scratch = Scratch::new();
        let job = attempts(&scratch, &[End::Fail(RetryHint::Again)]);
        let error = supervisor.enqueue(job).expect("accepted").wait().expect_err("there are no retries");
        assert!(matches!(error, JobError::Failed { attempt: 1, .. }), "{error:?}");
    });
}

/// J6: a retry waits for its back-off.
#[test]
fn a_retry_waits_for_its_back_off() {
    scenario(|| {
        let scratch = Scratch::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let (first, most) = (Duration::from_millis(100), Duration::from_millis(150));
        let again = End::Fail(RetryHint::Again);
        let job = attempts(&scratch, &[again.clone(), again]).retries(2).retry_backoff(first, most);
        let since = Instant::now();
        let response = supervisor.enqueue(job).expect("accepted").wait().expect("the third attempt answers");
        assert_eq!(response.attempt, 3);
        // 100 ms and 150 ms, each less its jitter of at most 20 %.
        assert!(since.elapsed() >= Duration::from_millis(200), "{:?}", since.elapsed());
    });
}

/// J6: a retried job keeps its place by age: it goes before jobs that came after it.
#[test]
fn a_retried_job_keeps_its_place() {
    scenario(|| {
        let scratch = Scratch::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let retried = supervisor.enqueue(attempts(&scratch, &[killed()]).retries(1)).expect("accepted");
        let record = |line: &str| Record { file: scratch.join("attempts"), line: line.to_owned() };
        let later: Vec<_> =
            ["b", "c"].iter().map(|line| supervisor.enqueue(record(line)).expect("accepted")).collect();
        retried.wait().expect("the second attempt answers");
        later.into_iter().for_each(|handle| drop(handle.wait().expect("answered")));
        assert_eq!(scratch.lines("attempts"), ["1", "2", "b", "c"]);
    });
}

/// J6, J8: a job at whose running three workers died is poisoned, with a report of each; it wins over exhausted
/// retries and over retries left, and other jobs go on.
#[test]
fn a_job_that_kills_three_workers_is_poisoned() {
    scenario(|| {
        for retries in [2, 50] {
            let scratch = Scratch::new();
            let (supervisor, mut feed) = online_with_feed(Supervisor::builder(plain()).workers(2));
            let job = attempts(&scratch, &vec![killed(); 60]).retries(retries);
            let handle = supervisor.enqueue(job).expect("accepted");
            let id = handle.id();
            let sums = supervisor.map((0..100).map(|number| Add(number, 1)));
            assert_eq!(sums.filter(Result::is_ok).count(), 100);
            match handle.wait().expect_err("poisoned") {
                JobError::Poisoned { job, reports, .. } => {
                    assert_eq!((job, reports.len()), (id, 3));
                    assert!(reports.iter().all(|report| report.exit.status == ExitStatus::Signal(9)));
                    assert!(reports.iter().all(|report| report.running == [id]));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(scratch.lines("attempts"), ["1", "2", "3"]);
            let deaths = feed.wait_for("poisoned job", |event| match event {
                Event::JobPoisoned { job, deaths } => Some((*job, *deaths)),
                _ => None,
            });
            assert_eq!(deaths, (id, 3));
        }
    });
}

/// J6: how many deaths are too many is the group's policy.
#[test]
fn the_poison_limit_is_a_policy() {
    scenario(|| {
        let poison = PoisonPolicy { deaths: 1, ..PoisonPolicy::default() };
        let supervisor = online(Supervisor::builder(plain()).workers(1).poison(poison));
        let job = Job::new(Die(Death::Abort)).retries(10);
        let error = supervisor.enqueue(job).expect("accepted").wait().expect_err("poisoned");
        assert!(matches!(&error, JobError::Poisoned { reports, .. } if reports.len() == 1), "{error:?}");
    });
}

/// P13: a job that was running at a death runs alone from then on, so that its next death harms nobody else: its
/// neighbours in a worker of four threads are lost with it at most once.
#[test]
fn a_suspect_runs_alone() {
    scenario(|| {
        let scratch = Scratch::new();
        let manners = Manners { threads: 4, ..Manners::new() };
        let supervisor = online(Supervisor::builder(with(&manners)).workers(2));
        let suspect =
            supervisor.enqueue(attempts(&scratch, &vec![killed(); 3]).retries(9)).expect("accepted");
        let neighbours: Vec<_> = (0..400)
            .map(|number| supervisor.enqueue(Job::new(Add(number, 0)).retries(1)).expect("accepted"))
            .collect();
        // With one retry each, none survives being charged with a second death.
        for (number, handle) in (0..).zip(neighbours) {
            assert_eq!(handle.wait().expect("answered").data, number);
        }
        assert!(matches!(suspect.wait(), Err(JobError::Poisoned { .. })));
    });
}
