//! Jobs with a time of their own.

use std::time::{Duration, Instant};

use ganger::{
    Backlog, Clock, EnqueueError, Job, JobError, JobStatus, OnTimeout, SoftKill, Started, Supervisor,
};
use ganger_tests::calls::{Add, Hold};
use ganger_tests::harness::{Gate, scenario};
use ganger_tests::workers::{online, plain};

const HOUR: Duration = Duration::from_secs(3600);
const WHILE: Duration = Duration::from_millis(80);

/// J12: a job runs not before its delay is over and soon after; what it waited for until then is no queue time.
#[test]
fn a_delayed_job_runs_at_its_time() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let since = Instant::now();
        let delayed = supervisor.enqueue(Job::new(Add(1, 2)).delay(WHILE)).expect("accepted");
        let named = supervisor.enqueue(Job::new(Add(3, 4)).not_before(since + 2 * WHILE)).expect("accepted");
        assert_eq!(delayed.status(), JobStatus::Queued);
        let group = supervisor.health().groups[0].clone();
        assert_eq!((group.queued, group.waiting, group.oldest), (2, 2, None));
        assert_eq!(supervisor.enqueue(Add(5, 6)).expect("accepted").wait().expect("done").data, 11);
        let response = delayed.wait().expect("done");
        assert!(since.elapsed() >= WHILE && response.queue_time < WHILE, "{response:?}");
        let response = named.wait().expect("done");
        assert!(since.elapsed() >= 2 * WHILE && response.queue_time < WHILE, "{response:?}");
    });
}

/// J12: a time that has passed is no delay.
#[test]
fn a_time_in_the_past_is_now() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let past = Instant::now();
        for job in [Job::new(Add(1, 1)).not_before(past), Job::new(Add(1, 1)).delay(Duration::ZERO)] {
            assert_eq!(supervisor.enqueue(job).expect("accepted").wait().expect("done").data, 2);
        }
    });
}

/// J12, J7: a delayed job that is cancelled is over at once; P8: until then it counts in the queue's limit.
#[test]
fn a_delayed_job_is_cancelled_at_once_and_counts_until_then() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1).queue_limit(1));
        let handle = supervisor.enqueue(Job::new(Add(1, 2)).delay(HOUR)).expect("accepted");
        let refused = supervisor.enqueue(Add(3, 4)).expect_err("full");
        assert!(matches!(refused, EnqueueError::QueueFull { .. }), "{refused:?}");
        handle.cancel();
        let error = handle.wait().expect_err("cancelled");
        assert!(matches!(error, JobError::Cancelled { started: Started::No, .. }), "{error:?}");
        supervisor.enqueue_timeout(Add(3, 4), HOUR).expect("there is room").wait().expect("done");
    });
}

/// J12, J5: the clocks of a delayed job count from the end of the delay.
#[test]
fn clocks_count_from_the_end_of_the_delay() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let running = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let since = Instant::now();
        let job = Job::new(Add(1, 2)).delay(WHILE).queue_timeout(WHILE).on_timeout(OnTimeout::Leave);
        let error = supervisor.enqueue(job).expect("accepted").wait().expect_err("nobody has time");
        assert!(matches!(error, JobError::TimedOut { clock: Clock::Queue, started: Started::No, .. }));
        assert!(since.elapsed() >= 2 * WHILE, "{:?}", since.elapsed());
        held.release();
        running.wait().expect("let in");
    });
}

/// J12, P10: a soft kill works delayed jobs off, at their time; or settles them, by choice.
#[test]
fn a_soft_kill_works_delayed_jobs_off_or_settles_them() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let since = Instant::now();
        let handle = supervisor.enqueue(Job::new(Add(1, 2)).delay(WHILE)).expect("accepted");
        supervisor.soft_kill().wait();
        assert_eq!(handle.wait().expect("worked off").data, 3);
        assert!(since.elapsed() >= WHILE);

        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let handle = supervisor.enqueue(Job::new(Add(1, 2)).delay(HOUR)).expect("accepted");
        supervisor.soft_kill_with(SoftKill::new().backlog(Backlog::Settle)).wait();
        let error = handle.wait().expect_err("settled");
        assert!(matches!(error, JobError::ShuttingDown { started: Started::No, .. }), "{error:?}");
    });
}
