//! The three clocks.

use std::time::{Duration, Instant};

use ganger::{Clock, Event, Job, JobError, KillCause, OnTimeout, RetryOn, Started, Supervisor};
use ganger_tests::calls::{About, Add, Cooperate, Hold, Later, Manners, Record, Spin};
use ganger_tests::harness::{Gate, Scratch, Watched, scenario};
use ganger_tests::workers::{online, online_with_feed, plain, with};

const SHORT: Duration = Duration::from_millis(50);
/// Far more than what a clock may be late on a machine that does other things, too.
const LATE: Duration = Duration::from_secs(2);

fn ran_out(result: Result<impl std::fmt::Debug, JobError>, expected: Clock, was_started: Started) {
    match result {
        Err(JobError::TimedOut { clock, started, .. }) => {
            assert_eq!((clock, started), (expected, was_started));
        }
        other => panic!("{other:?}"),
    }
}

/// J5, P9: a job that waits longer than its `queue_timeout` settles at that time, and is never run.
#[test]
fn the_queue_clock_ends_a_job_that_waits() {
    scenario(|| {
        let (gate, scratch) = (Gate::new(), Scratch::new());
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let first = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let record = Record { file: scratch.join("record"), line: String::from("it ran") };
        let since = Instant::now();
        let waiting = supervisor.enqueue(Job::new(record).queue_timeout(SHORT)).expect("accepted");
        ran_out(waiting.wait(), Clock::Queue, Started::No);
        let took = since.elapsed();
        assert!(took >= SHORT && took < SHORT + LATE, "{took:?}");
        held.release();
        first.wait().expect("answered");
        supervisor.enqueue(Add(0, 0)).expect("accepted").wait().expect("answered");
        assert!(scratch.lines("record").is_empty(), "a job that timed out in the queue was run");
    });
}

/// J5: the `queue_timeout` is over when the handler starts: a long handler does not run into it.
#[test]
fn the_queue_clock_stops_at_the_start() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let job = Job::new(Hold { gate: gate.path() }).queue_timeout(Duration::from_millis(200));
        let handle = supervisor.enqueue(job).expect("accepted");
        let held = gate.next();
        let handle = handle.wait_timeout(Duration::from_millis(300)).expect_err("it runs on");
        held.release();
        handle.wait().expect("answered");
    });
}

/// J5: the `run_timeout` counts from the handler's start, not from the enqueue.
#[test]
fn the_run_clock_does_not_count_the_queue() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let first = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let run_timeout = Duration::from_millis(200);
        let second = supervisor.enqueue(Job::new(Hold { gate: gate.path() }).run_timeout(run_timeout));
        let second = second.expect("accepted").wait_timeout(2 * run_timeout).expect_err("it waits");
        held.release();
        gate.next().release();
        second.wait().expect("answered in time");
        first.wait().expect("answered");
    });
}

/// J5, P9: a handler that runs too long: the handle settles at its time, the worker gets its grace, then is killed,
/// and its replacement takes the next job.
#[test]
fn the_run_clock_ends_an_attempt_and_the_worker_that_goes_on() {
    scenario(|| {
        let gate = Gate::new();
        let (supervisor, mut feed) =
            online_with_feed(Supervisor::builder(plain()).workers(1).cancel_grace(SHORT).term_grace(SHORT));
        let handle = supervisor.enqueue(Job::new(Spin { gate: gate.path() }).run_timeout(SHORT));
        let handle = handle.expect("accepted");
        let id = handle.id();
        let spinning = gate.next();
        let (process, since) = (Watched::new(spinning.pid()), Instant::now());
        ran_out(handle.wait(), Clock::Run, Started::Yes);
        assert!(since.elapsed() < SHORT + LATE);
        let cause = feed.wait_for("kill", |event| match event {
            Event::WorkerKilled { cause, .. } => Some(cause.clone()),
            _ => None,
        });
        assert_eq!(cause, KillCause::TimedOut(id));
        process.wait_end();
        let about = supervisor.enqueue(About).expect("accepted").wait().expect("answered").data;
        assert_ne!(about.pid, spinning.pid());
        let report = feed.crashed();
        assert_eq!(report.killed, Some(KillCause::TimedOut(id)));
    });
}

/// J5: without retries a timed-out attempt is the last; with `retry_on` the next begins only when it is over (P4).
#[test]
fn a_timed_out_attempt_is_retried_when_it_is_over() {
    scenario(|| {
        let gate = Gate::new();
        let (supervisor, _feed) =
            online_with_feed(Supervisor::builder(plain()).workers(2).cancel_grace(SHORT).term_grace(SHORT));
        let retry_on = RetryOn { run_timeout: true, ..RetryOn::default() };
        let job = Job::new(Spin { gate: gate.path() }).run_timeout(SHORT).retries(1).retry_on(retry_on);
        let handle = supervisor.enqueue(job).expect("accepted");
        let first = gate.next();
        let process = Watched::new(first.pid());
        let second = gate.next();
        assert!(!process.is_alive(), "the second attempt overlaps the first");
        assert_eq!((first.arrival().attempt, second.arrival().attempt), (1, 2));
        ran_out(handle.wait(), Clock::Run, Started::Yes);
    });
}

/// J5, P9: `timeout` is for all of it: it settles a job that waits and one that runs, and says which it was.
#[test]
fn the_whole_clock_settles_at_its_time_whatever_the_worker_does() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor =
            online(Supervisor::builder(plain()).workers(1).cancel_grace(SHORT).term_grace(SHORT));
        let running = supervisor.enqueue(Job::new(Spin { gate: gate.path() }).timeout(4 * SHORT));
        let _spinning = gate.next();
        let since = Instant::now();
        let waiting = supervisor.enqueue(Job::new(Add(1, 1)).timeout(SHORT)).expect("accepted");
        ran_out(waiting.wait(), Clock::Total, Started::No);
        let took = since.elapsed();
        assert!(took >= SHORT && took < SHORT + LATE, "{took:?}");
        ran_out(running.expect("accepted").wait(), Clock::Total, Started::Yes);
        assert!(since.elapsed() < 4 * SHORT + LATE);
        assert_eq!(supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("answered").data, 2);
    });
}

/// J5: a handler that looks at `cancelled()` when its time is over keeps its worker alive.
#[test]
fn a_handler_that_gives_up_in_time_keeps_its_worker() {
    scenario(|| {
        let (gate, scratch) = (Gate::new(), Scratch::new());
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let cooperate = Cooperate { gate: gate.path(), file: scratch.join("record") };
        let handle = supervisor.enqueue(Job::new(cooperate).run_timeout(SHORT)).expect("accepted");
        let pid = gate.next().pid();
        ran_out(handle.wait(), Clock::Run, Started::Yes);
        let about = supervisor.enqueue(About).expect("accepted").wait().expect("answered").data;
        assert_eq!(about.pid, pid);
        assert_eq!(scratch.lines("record"), ["cancelled"]);
    });
}

/// J5: under `OnTimeout::Leave` a late worker is left alone: it gets nothing new until its late answer, and then
/// works on.
#[test]
fn a_worker_that_is_left_alone_works_on_after_its_late_answer() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let job = Job::new(Hold { gate: gate.path() }).run_timeout(SHORT).on_timeout(OnTimeout::Leave);
        let late = supervisor.enqueue(job).expect("accepted");
        let held = gate.next();
        let pid = held.pid();
        ran_out(late.wait(), Clock::Run, Started::Yes);
        let next = supervisor.enqueue(About).expect("accepted");
        let next = next.wait_timeout(4 * SHORT).expect_err("nothing new for a late worker");
        held.release();
        assert_eq!(next.wait().expect("answered").data.pid, pid);
        assert_eq!(supervisor.health().groups[0].stale_answers, 1);
    });
}

/// P13; workerpool#548: there, the kill for one job's timeout hit the next job of the same worker. Here the others
/// in the worker's hands get their time: one that is answered within it is a result like any other.
#[test]
fn bystanders_of_a_timeout_finish() {
    scenario(|| {
        let gate = Gate::new();
        let manners = Manners { threads: 2, ..Manners::new() };
        let supervisor =
            online(Supervisor::builder(with(&manners)).workers(1).cancel_grace(SHORT).term_grace(SHORT));
        let bystander = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let culprit =
            supervisor.enqueue(Job::new(Spin { gate: gate.path() }).run_timeout(SHORT)).expect("accepted");
        let process = Watched::new(gate.next().pid());
        ran_out(culprit.wait(), Clock::Run, Started::Yes);
        let bystander = bystander.wait_timeout(4 * SHORT).expect_err("it is held");
        assert!(process.is_alive(), "the bystander's grace is five seconds");
        held.release();
        assert_eq!(bystander.wait().expect("answered").data, "default-0");
        process.wait_end();
    });
}

/// P13: a bystander that does not finish within its grace is lost for the culprit's sake, and the error says so.
#[test]
fn a_bystander_that_is_cut_is_told_for_whose_sake() {
    scenario(|| {
        let gate = Gate::new();
        let manners = Manners { threads: 2, ..Manners::new() };
        let builder = Supervisor::builder(with(&manners)).workers(1);
        let supervisor = online(builder.cancel_grace(SHORT).term_grace(SHORT).bystander_grace(2 * SHORT));
        let bystander = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let _held = gate.next();
        let culprit =
            supervisor.enqueue(Job::new(Spin { gate: gate.path() }).run_timeout(SHORT)).expect("accepted");
        let id = culprit.id();
        match bystander.wait() {
            Err(JobError::WorkerLost { because, report, .. }) => {
                assert_eq!((because, report.killed.clone()), (Some(id), Some(KillCause::TimedOut(id))));
            }
            other => panic!("{other:?}"),
        }
        ran_out(culprit.wait(), Clock::Run, Started::Yes);
    });
}

/// redis-py#2624, gunicorn 85d1b5d0: there, after a cancel or a timeout the late answer was taken for the answer to the
/// next request, because it came next, and all that followed were shifted by one: some saw what was others'. Here the
/// late answer of a job that has timed out is nobody else's.
#[test]
fn a_late_answer_is_not_the_next_jobs() {
    scenario(|| {
        let gate = Gate::new();
        let manners = Manners { capacity: Some(4), ..Manners::new() };
        let supervisor = online(Supervisor::builder(with(&manners)).workers(1));
        let job = Job::new(Later { gate: gate.path() }).run_timeout(SHORT).on_timeout(OnTimeout::Leave);
        let late = supervisor.enqueue(job).expect("accepted");
        let held = gate.next();
        ran_out(late.wait(), Clock::Run, Started::Yes);
        let handles: Vec<_> =
            (0..20).map(|number| supervisor.enqueue(Add(number, 100)).expect("accepted")).collect();
        held.release();
        for (number, handle) in (0..).zip(handles) {
            assert_eq!(handle.wait().expect("answered").data, number + 100);
        }
    });
}

/// redis-py#2624: there, the answer to a request that was cancelled while it was under way was left on the connection,
/// and the next caller got it. Here the late answer of a cancelled job is nobody else's.
#[test]
fn the_answer_of_a_cancelled_job_is_not_the_next_jobs() {
    scenario(|| {
        let gate = Gate::new();
        let manners = Manners { capacity: Some(4), ..Manners::new() };
        let builder = Supervisor::builder(with(&manners)).workers(1);
        let supervisor = online(builder.cancel_grace(Duration::from_secs(30)));
        let cancelled = supervisor.enqueue(Later { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        cancelled.cancel();
        assert!(matches!(cancelled.wait(), Err(JobError::Cancelled { started: Started::Yes, .. })));
        let handles: Vec<_> =
            (0..20).map(|number| supervisor.enqueue(Add(number, 100)).expect("accepted")).collect();
        held.release();
        for (number, handle) in (0..).zip(handles) {
            assert_eq!(handle.wait().expect("answered").data, number + 100);
        }
        assert_eq!(supervisor.health().groups[0].restarts, 0);
    });
}

/// procspawn#48: there, the first wait for a result that ran out killed the process that was to give it, although its
/// handle could still be waited for. Here a wait is only a wait: however often it runs out, the job goes on, its worker
/// lives, and the next wait brings the result. To end a job there are clocks and cancels.
#[test]
fn a_wait_that_runs_out_ends_nothing() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let mut handle = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let process = Watched::new(held.pid());
        for _ in 0..5 {
            handle = handle.wait_timeout(Duration::from_millis(5)).expect_err("it is held");
        }
        assert!(process.is_alive());
        held.release();
        let response = handle.wait().expect("answered");
        assert_eq!(response.attempt, 1);
        assert!(process.is_alive());
    });
}

/// procspawn#48, as a pool would have it: there, a timeout cost the process. Here a time-out costs the one worker that
/// does not give up, and no other: its siblings work on, and what they hold is answered.
#[test]
fn a_timeout_costs_at_most_its_own_worker() {
    scenario(|| {
        let gate = Gate::new();
        let builder = Supervisor::builder(plain()).workers(3).cancel_grace(SHORT).term_grace(SHORT);
        let supervisor = online(builder);
        let held: Vec<_> = (0..2)
            .map(|_| (supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted"), gate.next()))
            .collect();
        let spin = Job::new(Spin { gate: gate.path() }).run_timeout(SHORT);
        let culprit = supervisor.enqueue(spin).expect("accepted");
        let process = Watched::new(gate.next().pid());
        ran_out(culprit.wait(), Clock::Run, Started::Yes);
        process.wait_end();
        for (handle, held) in held {
            assert!(Watched::new(held.pid()).is_alive());
            held.release();
            handle.wait().expect("answered by the worker that held it");
        }
        assert_eq!(supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("answered").data, 2);
    });
}

/// P9: `timeout` settles a handle at its time, never early, and within 10 ms of it: the median of many, since the
/// machine does other things, too. Busy workers and a long queue change nothing.
#[test]
fn handles_settle_at_their_time() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        drop(supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted"));
        let _held = gate.next();
        for number in 0..1000 {
            drop(supervisor.enqueue(Add(number, 0)).expect("accepted"));
        }
        let mut late: Vec<Duration> = (0..31)
            .map(|round| {
                let timeout = Duration::from_millis(5 + round);
                let since = Instant::now();
                let handle = supervisor.enqueue(Job::new(Add(0, 0)).timeout(timeout)).expect("accepted");
                ran_out(handle.wait(), Clock::Total, Started::No);
                since.elapsed().checked_sub(timeout).expect("never early")
            })
            .collect();
        late.sort();
        assert!(late[late.len() / 2] <= Duration::from_millis(10), "{late:?}");
    });
}
