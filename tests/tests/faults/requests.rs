//! A worker that dies on the way to a request's start.

use ganger::{Builder, ExitStatus, JobError, PoisonPolicy, Started, Supervisor};
use ganger_protocol::{HEADER_LEN, Kind, Ordinal, RequestHead};
use ganger_tests::harness::{Scratch, scenario};
use ganger_tests::raw::{Reply, Step, frame, life, service};
use ganger_tests::workers::{online, online_with_feed, raw, tireless};

const KILL: Step = Step::Signal(9);

/// One worker, replaced as often as it takes; a job may be lost before its start as often as it takes, too.
fn pool(scratch: &Scratch, lives: Vec<Vec<Step>>) -> Builder {
    let poison = PoisonPolicy { losses: u8::MAX, ..PoisonPolicy::default() };
    Supervisor::builder(raw(scratch, lives)).workers(1).restart(tireless()).poison(poison)
}

/// The bytes of a request's frame with this payload, as the supervisor of these tests writes it.
fn request_len(payload: usize) -> usize {
    let head = RequestHead {
        ordinal: Ordinal(1),
        generation: ganger_protocol::Generation(0),
        epoch: ganger_protocol::Epoch(1),
        attempt: 1,
        job: ganger_protocol::JobId::from_bytes([0; 16]),
        age_nanos: 1 << 20,
        run_timeout_nanos: None,
        name: "echo".into(),
        headers: Vec::new(),
    };
    frame(Kind::Request, &head, &vec![0; payload]).len()
}

/// Fault: the worker dies idle. It is replaced; no job is charged, and nobody notices.
#[test]
fn a_worker_that_dies_idle_is_replaced() {
    scenario(|| {
        let scratch = Scratch::new();
        let (supervisor, mut feed) = online_with_feed(pool(&scratch, vec![life([KILL]), service()]));
        let report = feed.crashed();
        assert_eq!((report.exit.status, report.running.len()), (ExitStatus::Signal(9), 0));
        feed.ready();
        let response = supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
        assert_eq!((&response.data[..], response.attempt), (&b"abc"[..], 1));
        assert_eq!(supervisor.health().groups[0].restarts, 1);
    });
}

/// Fault: the worker exits with 0 although nobody asked it to: that is a crash like any other.
#[test]
fn a_worker_that_exits_unasked_has_crashed() {
    scenario(|| {
        let scratch = Scratch::new();
        let started = life([Step::Take, Step::Start, Step::Exit(0)]);
        let (supervisor, mut feed) =
            online_with_feed(pool(&scratch, vec![life([Step::Exit(0)]), started, service()]));
        assert_eq!(feed.crashed().exit.status, ExitStatus::Code(0));
        let error = supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect_err("lost");
        assert!(
            matches!(&error, JobError::WorkerLost { report, .. } if report.exit.status == ExitStatus::Code(0)),
            "{error:?}"
        );
        supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
    });
}

/// P5: the worker dies after every byte of a request: before the mark a death costs nothing, however many there are.
/// No retry is spent, and the caller sees nothing.
#[test]
fn a_death_at_any_byte_of_a_request_costs_nothing() {
    scenario(|| {
        let scratch = Scratch::new();
        let length = request_len(64);
        let mut lives: Vec<_> = (0..length - 4).map(|bytes| life([Step::ReadBytes(bytes), KILL])).collect();
        lives.push(service());
        let deaths = lives.len() - 1;
        let supervisor = online(pool(&scratch, lives));
        let payload: Vec<u8> = (0..64).collect();
        let response =
            supervisor.enqueue_raw("echo", payload.clone()).expect("accepted").wait().expect("answered");
        assert_eq!((response.data, response.attempt), (payload, 1));
        assert_eq!(supervisor.health().groups[0].restarts, deaths as u64);
    });
}

/// P5: as above, with a request that is larger than the socket's buffers, so that it is not whole in the kernel when
/// the worker dies.
#[test]
fn a_death_inside_a_large_request_costs_nothing() {
    scenario(|| {
        let scratch = Scratch::new();
        let size = 900_000;
        let borders = [
            0,
            1,
            HEADER_LEN - 1,
            HEADER_LEN,
            HEADER_LEN + 20,
            4096,
            65_536,
            212_992,
            300_000,
            size - 1,
            size,
        ];
        let mut lives: Vec<_> = borders.iter().map(|bytes| life([Step::ReadBytes(*bytes), KILL])).collect();
        lives.push(service());
        let supervisor = online(pool(&scratch, lives));
        let payload: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let response =
            supervisor.enqueue_raw("echo", payload.clone()).expect("accepted").wait().expect("answered");
        assert_eq!(response.attempt, 1);
        assert!(response.data == payload);
    });
}

/// Fault: the worker has read the whole request and dies before the mark. P5.
#[test]
fn a_death_just_before_the_mark_costs_nothing() {
    scenario(|| {
        let scratch = Scratch::new();
        let supervisor = online(pool(&scratch, vec![life([Step::Take, KILL]), service()]));
        let response = supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
        assert_eq!((&response.data[..], response.attempt), (&b"abc"[..], 1));
    });
}

/// Fault: the worker dies after the mark. P3: without retries it is lost, and was started; with one there is one
/// further attempt.
#[test]
fn a_death_just_after_the_mark_spends_the_attempt() {
    scenario(|| {
        let scratch = Scratch::new();
        let dies = || life([Step::Take, Step::Start, KILL]);
        let (supervisor, mut feed) = online_with_feed(pool(&scratch, vec![dies(), dies(), service()]));
        let handle = supervisor.enqueue_raw("echo", *b"abc").expect("accepted");
        let id = handle.id();
        let error = handle.wait().expect_err("lost");
        assert!(matches!(error, JobError::WorkerLost { .. }), "{error:?}");
        assert_eq!(error.started(), Started::Yes);
        assert_eq!(feed.crashed().running, [id]);
        let job = ganger::Job::new(ganger::Raw::new("echo", *b"abc")).retries(1);
        let response = supervisor.enqueue(job).expect("accepted").wait().expect("the second attempt answers");
        assert_eq!(response.attempt, 2);
    });
}

/// Fault: the worker has handled a request and dies with the answer unflushed. The job was started, so that it is
/// lost; but it was running no longer, so that it is not charged with the death: it never becomes poison.
#[test]
fn an_answer_that_was_not_flushed_is_lost_but_not_charged() {
    scenario(|| {
        let scratch = Scratch::new();
        let unflushed = || life([Step::Take, Step::Start, Step::Answer(Reply::echo().cut(0)), KILL]);
        let poison = PoisonPolicy { deaths: 1, ..PoisonPolicy::default() };
        let lives = vec![unflushed(), unflushed(), service()];
        let (supervisor, mut feed) = online_with_feed(pool(&scratch, lives).poison(poison));
        let error = supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect_err("lost");
        assert!(matches!(error, JobError::WorkerLost { .. }), "{error:?}");
        assert!(feed.crashed().running.is_empty());
        let job = ganger::Job::new(ganger::Raw::new("echo", *b"abc")).retries(1);
        assert_eq!(supervisor.enqueue(job).expect("accepted").wait().expect("answered").attempt, 2);
    });
}

/// P5: a job that was lost before its start too often is suspect, and poisoned at last: it cannot go on for ever.
#[test]
fn a_job_that_is_lost_before_its_start_again_and_again_is_poisoned() {
    scenario(|| {
        let scratch = Scratch::new();
        let builder = pool(&scratch, vec![life([Step::Take, KILL])]).poison(PoisonPolicy::default());
        let supervisor = online(builder);
        let error = supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect_err("poisoned");
        assert!(matches!(&error, JobError::Poisoned { reports, .. } if reports.len() == 3), "{error:?}");
        // Eight losses make it suspect, three more are too many; the last replacement may be still to come.
        assert!(supervisor.health().groups[0].restarts >= 10);
    });
}

/// P13: of the jobs in a worker's window only the one that runs is charged with its death; those sent ahead go back
/// to their places.
#[test]
fn only_the_running_job_is_charged_with_a_death() {
    scenario(|| {
        let scratch = Scratch::new();
        // It takes three at once, starts the first, and dies.
        let dies = [
            vec![Step::Hello(ganger_protocol::VERSION), Step::Ready(3), Step::Take, Step::Start],
            vec![Step::Take, Step::Take, KILL],
        ]
        .concat();
        let (supervisor, mut feed) = online_with_feed(pool(&scratch, vec![dies, service()]));
        let handles: Vec<_> =
            (0..3u8).map(|number| supervisor.enqueue_raw("echo", [number]).expect("accepted")).collect();
        let ids: Vec<_> = handles.iter().map(ganger::Handle::id).collect();
        let results: Vec<_> = handles.into_iter().map(ganger::Handle::wait).collect();
        assert_eq!(feed.crashed().running, [ids[0]]);
        assert!(matches!(results[0], Err(JobError::WorkerLost { .. })));
        for (number, result) in results.iter().enumerate().skip(1) {
            let response = result.as_ref().expect("it was not started");
            assert_eq!((&response.data[..], response.attempt), (&[number as u8][..], 1));
        }
    });
}
