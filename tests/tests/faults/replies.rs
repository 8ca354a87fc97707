//! A worker that does wrong in, around and after its reply.

use std::time::Duration;

use ganger::{Builder, Clock, Job, JobError, KillCause, OnTimeout, Raw, RetryOn, Started, Supervisor};
use ganger_protocol::{AnswerHead, Answered, Epoch, Kind, Ordinal};
use ganger_tests::harness::{Gate, Scratch, eventually, scenario};
use ganger_tests::raw::{Reply, Step, To, frame, life, service};
use ganger_tests::workers::{online, online_with_feed, raw, tireless};

const KILL: Step = Step::Signal(9);

fn pool(scratch: &Scratch, lives: Vec<Vec<Step>>) -> Builder {
    Supervisor::builder(raw(scratch, lives)).workers(1).restart(tireless())
}

fn reply_len(payload: usize) -> usize {
    let head = AnswerHead { ordinal: Ordinal(1), epoch: Epoch(1), run_nanos: 1, answered: Answered::Data };
    frame(Kind::Answer, &head, &vec![0; payload]).len()
}

fn dies_in_its_reply(bytes: usize) -> Vec<Step> {
    life([Step::Take, Step::Start, Step::Answer(Reply::echo().cut(bytes)), KILL])
}

/// P6: the worker dies after every byte of its reply: short of the last the job is lost, with the last it is
/// answered. A result is delivered only from a whole frame.
#[test]
fn a_reply_counts_from_its_last_byte_on() {
    scenario(|| {
        let scratch = Scratch::new();
        let length = reply_len(64);
        let supervisor = online(pool(&scratch, (0..=length).map(dies_in_its_reply).collect()));
        let payload: Vec<u8> = (0..64).collect();
        for bytes in 0..=length {
            let result = supervisor.enqueue_raw("echo", payload.clone()).expect("accepted").wait();
            match result {
                Ok(response) => assert_eq!((bytes, response.data), (length, payload.clone())),
                Err(JobError::WorkerLost { .. }) => {
                    assert_ne!(bytes, length, "a whole reply was thrown away");
                }
                Err(other) => panic!("{bytes} bytes: {other:?}"),
            }
        }
    });
}

/// P6: as above, with a reply that is larger than the socket's buffers.
#[test]
fn a_large_reply_counts_from_its_last_byte_on() {
    scenario(|| {
        let scratch = Scratch::new();
        let size = 300_000;
        let length = reply_len(size);
        let cuts = [1, 7, 8, 9, 20, 4096, 65_535, 65_536, 212_992, size, length - 1, length];
        let supervisor = online(pool(&scratch, cuts.iter().copied().map(dies_in_its_reply).collect()));
        let payload: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        for bytes in cuts {
            let result = supervisor.enqueue_raw("echo", payload.clone()).expect("accepted").wait();
            match result {
                Ok(response) => assert!(bytes == length && response.data == payload),
                Err(JobError::WorkerLost { .. }) => {
                    assert_ne!(bytes, length, "a whole reply was thrown away");
                }
                Err(other) => panic!("{bytes} bytes: {other:?}"),
            }
        }
    });
}

/// celery#5120: there, a worker's exit was handled before the result that it had written. Here the reply beats the
/// exit, every time.
#[test]
fn a_reply_beats_the_exit() {
    scenario(|| {
        let scratch = Scratch::new();
        let answers_and_dies =
            |last: Step| life([Step::Take, Step::Start, Step::Answer(Reply::echo()), last]);
        let lives =
            (0..200).map(|number| answers_and_dies(if number % 2 == 0 { KILL } else { Step::Exit(1) }));
        let supervisor = online(pool(&scratch, lives.collect()));
        for number in 0..200u8 {
            let response =
                supervisor.enqueue_raw("echo", [number]).expect("accepted").wait().expect("answered");
            assert_eq!((&response.data[..], response.attempt), (&[number][..], 1));
        }
    });
}

/// Fault: a worker replies twice. The second reply is nobody's: it is dropped and counted, and the next job gets its
/// own.
#[test]
fn a_second_reply_is_dropped_and_counted() {
    scenario(|| {
        let scratch = Scratch::new();
        let again = Reply::with(*b"again").to(To::OldestAgain);
        let twice =
            [Step::Take, Step::Start, Step::Answer(again), Step::Answer(Reply::with(*b"more")), Step::Serve];
        let supervisor = online(pool(&scratch, vec![life(twice)]));
        let first = supervisor.enqueue_raw("echo", *b"first").expect("accepted").wait().expect("answered");
        assert_eq!(first.data, b"again");
        let second = supervisor.enqueue_raw("echo", *b"second").expect("accepted").wait().expect("answered");
        assert_eq!(second.data, b"second");
        let health = supervisor.health();
        assert_eq!(
            (health.groups[0].stale_answers, health.groups[0].restarts, health.groups[0].done),
            (1, 0, 2)
        );
    });
}

/// Fault: a worker replies for a job that it does not hold, and for one that it holds under another epoch. Both are
/// dropped and counted; the right reply counts. P6.
#[test]
fn a_reply_for_a_job_that_it_does_not_hold_is_dropped() {
    scenario(|| {
        let scratch = Scratch::new();
        let wrong = |to| Step::Answer(Reply::with(*b"wrong").to(to).while_running());
        let confused = [
            Step::Take,
            Step::Start,
            wrong(To::Nobody),
            wrong(To::OtherEpoch),
            Step::Answer(Reply::echo()),
            Step::Serve,
        ];
        let supervisor = online(pool(&scratch, vec![life(confused)]));
        for word in [b"right", b"other"] {
            let response = supervisor.enqueue_raw("echo", *word).expect("accepted").wait().expect("answered");
            assert_eq!(&response.data[..], word);
        }
        let health = supervisor.health();
        assert_eq!((health.groups[0].stale_answers, health.groups[0].restarts), (2, 0));
    });
}

/// Fault: a reply that comes late, after its job has timed out, is dropped and counted; the worker works on.
#[test]
fn a_late_reply_is_dropped_and_counted() {
    scenario(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let late =
            [Step::Take, Step::Start, Step::Gate(gate.path()), Step::Answer(Reply::echo()), Step::Serve];
        let supervisor = online(pool(&scratch, vec![life(late)]));
        let job = Job::new(Raw::new("echo", *b"late"));
        let job = job.run_timeout(Duration::from_millis(30)).on_timeout(OnTimeout::Leave);
        let handle = supervisor.enqueue(job).expect("accepted");
        let held = gate.next();
        let error = handle.wait().expect_err("it is late");
        assert!(matches!(error, JobError::TimedOut { clock: Clock::Run, .. }), "{error:?}");
        let next = supervisor.enqueue_raw("echo", *b"next").expect("accepted");
        held.release();
        assert_eq!(next.wait().expect("answered").data, b"next");
        let health = supervisor.health();
        assert_eq!((health.groups[0].stale_answers, health.groups[0].restarts), (1, 0));
    });
}

/// gunicorn 85d1b5d0: there, the answer to a request that had timed out was read as the answer to the next one, and
/// every later one stayed one behind. Here the worker is as old as that: it answers one request after the other, the
/// first one late. Its late answer is neither the next attempt's of the same job nor the next job's.
#[test]
fn a_late_reply_shifts_nothing() {
    scenario(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let late = [
            Step::Take,
            Step::Start,
            Step::Gate(gate.path()),
            Step::Answer(Reply::with(*b"late")),
            Step::Serve,
        ];
        let supervisor = online(pool(&scratch, vec![life(late)]));
        let (limit, later) = (Duration::from_millis(30), Duration::from_millis(60));
        let job = Job::new(Raw::new("echo", *b"first")).run_timeout(limit).on_timeout(OnTimeout::Leave);
        let retry_on = RetryOn { run_timeout: true, ..RetryOn::default() };
        let first = supervisor.enqueue(job.retries(1).retry_on(retry_on)).expect("accepted");
        let held = gate.next();
        let clock = Job::new(Raw::new("echo", *b"clock")).timeout(later);
        // The first one's time is over before this one's.
        drop(supervisor.enqueue(clock).expect("accepted").wait().expect_err("nobody is free"));
        let others: Vec<_> =
            (0..20u8).map(|number| supervisor.enqueue_raw("echo", [number]).expect("accepted")).collect();
        held.release();
        let first = first.wait().expect("answered");
        assert_eq!((&first.data[..], first.attempt), (&b"first"[..], 2));
        for (number, other) in (0..).zip(others) {
            assert_eq!(other.wait().expect("answered").data, [number]);
        }
        let health = supervisor.health();
        assert_eq!(health.groups[0].restarts, 0);
    });
}

/// Fault: a timeout races with the reply, again and again: one of the two wins, nobody is killed, and every job's
/// reply is its own. P2.
#[test]
fn a_timeout_races_with_the_reply() {
    scenario(|| {
        let scratch = Scratch::new();
        let supervisor = online(pool(&scratch, vec![service()]));
        let (mut answered, mut timed_out) = (0, 0);
        for number in 0..1500u32 {
            let limit = Duration::from_micros(u64::from(number % 150));
            let job = Job::new(Raw::new("echo", number.to_le_bytes())).timeout(limit);
            match supervisor.enqueue(job).expect("accepted").wait() {
                Ok(response) => {
                    assert_eq!(response.data, number.to_le_bytes());
                    answered += 1;
                }
                Err(JobError::TimedOut { clock: Clock::Total, .. }) => timed_out += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(answered > 0 && timed_out > 0, "{answered} answered, {timed_out} timed out: no race");
        assert_eq!(supervisor.health().groups[0].restarts, 0);
    });
}

/// Fault: an answer before anything was asked breaks nothing: it is dropped and counted.
#[test]
fn an_answer_that_nobody_asked_for_is_dropped() {
    scenario(|| {
        let scratch = Scratch::new();
        let head = AnswerHead { ordinal: Ordinal(1), epoch: Epoch(1), run_nanos: 1, answered: Answered::Ack };
        let early = [Step::Write(frame(Kind::Answer, &head, &[])), Step::Serve];
        let supervisor = online(pool(&scratch, vec![life(early)]));
        eventually("it is counted", || (supervisor.health().groups[0].stale_answers == 1).then_some(()));
        let response = supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
        assert_eq!(response.data, b"abc");
    });
}

/// Fault: an answer for a request that was not started. P6: it is a whole frame from the worker that holds the
/// attempt, so it counts, and shows that the request was started, whatever the mark says. That the mark stays behind
/// is found out when something is taken back: the worker is killed for it, and nobody knows what it has started.
#[test]
fn an_answer_before_the_mark_counts_and_the_mark_is_found_out() {
    scenario(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let unmarked =
            [Step::Take, Step::Answer(Reply::with(*b"unmarked")), Step::Take, Step::Gate(gate.path())];
        let (supervisor, mut feed) = online_with_feed(pool(&scratch, vec![life(unmarked), service()]));
        let first = supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
        assert_eq!((&first.data[..], first.attempt), (&b"unmarked"[..], 1));
        let health = supervisor.health();
        assert_eq!((health.groups[0].stale_answers, health.groups[0].restarts), (0, 0));
        let second = supervisor.enqueue_raw("echo", *b"abc").expect("accepted");
        let _held = gate.next();
        second.cancel();
        assert_eq!(second.wait().expect_err("cancelled").started(), Started::Yes);
        assert!(matches!(feed.crashed().killed, Some(KillCause::Violation(_))));
        let third = supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
        assert_eq!((&third.data[..], third.attempt), (&b"abc"[..], 1));
    });
}
