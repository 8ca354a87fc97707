use std::sync::mpsc::channel;

use super::*;
use crate::scheduler::Snapshot;
use crate::shared::QueueLimits;
use crate::testing::{answered, finish, replied, supervisor};
use crate::{Call, Phase};

const ROOM: QueueLimits = QueueLimits { jobs: 2, bytes: 1 << 20 };

#[derive(serde::Serialize, serde::Deserialize)]
struct Length(String);

impl Call for Length {
    const NAME: &'static str = "length";
    type Reply = usize;
}

/// A loop that does nothing.
fn idle(_: &Shared, _: Command) {}

/// J1, J2, J3: a call goes in encoded, its reply comes out decoded, with where and how.
#[test]
fn a_call_is_answered() {
    let (supervisor, _fake) = supervisor(ROOM, |shared, command| {
        if let Command::Enqueue(slot) = command {
            assert_eq!((slot.name(), slot.headers()), ("length", &[("trace".into(), "t1".into())][..]));
            let Length(text) = crate::decode(slot.payload()).expect("a length");
            finish(shared, &slot, answered(&text.len()));
        }
    });
    let job = Job::new(Length("four".into())).retries(3).header("trace", "t1");
    let response = supervisor.enqueue(job).expect("accepted").wait().expect("a reply");
    assert_eq!((response.data, &*response.worker), (4, "fake-0"));
    assert_eq!(response.run_time, Duration::from_micros(8));
}

/// J2: raw bytes are sent and answered as they are.
#[test]
fn raw_bytes_are_not_touched() {
    let (supervisor, _fake) = supervisor(ROOM, |shared, command| {
        if let Command::Enqueue(slot) = command {
            assert_eq!(slot.name(), "reverse");
            let data = slot.payload().iter().rev().copied().collect();
            finish(shared, &slot, replied(data));
        }
    });
    let handle = supervisor.enqueue_raw("reverse", *b"abc").expect("accepted");
    assert_eq!(handle.wait().expect("a reply").data, b"cba");
}

/// J9, P8: what does not fit is given back as it was, and room that appears is taken.
#[test]
fn a_full_queue_gives_the_payload_back_or_is_waited_for() {
    let (release, released) = channel::<()>();
    let (supervisor, _fake) = supervisor(ROOM, move |shared, command| {
        if let Command::Enqueue(slot) = command {
            released.recv().expect("the test goes on");
            finish(shared, &slot, replied(Vec::new()));
        }
    });
    let handles = [0, 1].map(|number| supervisor.enqueue_raw("echo", [number]).expect("room"));
    let error = supervisor.enqueue_raw("echo", *b"bytes").expect_err("full");
    assert!(matches!(error, EnqueueError::QueueFull { jobs: 2, job_limit: 2, .. }), "{error}");
    let job = error.into_job();
    assert_eq!(job.call().bytes, b"bytes");
    let error = supervisor.enqueue_timeout(job, Duration::ZERO).expect_err("still full");
    release.send(()).expect("the loop goes on");
    let third = supervisor.enqueue_timeout(error.into_job(), Duration::MAX).expect("room now");
    release.send(()).expect("the loop goes on");
    release.send(()).expect("the loop goes on");
    for handle in handles.into_iter().chain([third]) {
        handle.wait().expect("a reply");
    }
}

#[test]
fn a_payload_or_headers_over_the_limit_are_refused_with_both_sizes() {
    let (supervisor, _fake) = supervisor(ROOM, idle);
    let error = supervisor.enqueue_raw("echo", vec![0; (1 << 20) + 1]).expect_err("too large");
    assert_eq!(
        error.to_string(),
        "a payload of 1048577 bytes is over the limit of 1048576; raise Builder::payload_limit or send less"
    );
    assert_eq!(error.into_job().into_call().bytes.len(), (1 << 20) + 1);
    let job = Job::new(Length(String::new())).header("key", "v".repeat(40_000));
    let error = supervisor.enqueue(job).expect_err("too large");
    assert!(matches!(error, EnqueueError::HeadersTooLarge { size: 40_018, .. }), "{error}");
    // Many small ones are large, too: each costs its length.
    let job = (0..6_000).fold(Job::new(Length(String::new())), |job, _| job.header("", ""));
    let error = supervisor.enqueue(job).expect_err("too many");
    assert!(matches!(error, EnqueueError::HeadersTooLarge { .. }), "{error}");
}

#[test]
fn an_unknown_group_is_refused_with_those_that_are_known() {
    let (supervisor, _fake) = supervisor(ROOM, idle);
    let error = supervisor.enqueue(Job::new(Length(String::new())).group("mailers")).expect_err("unknown");
    assert_eq!(error.to_string(), "there is no group called \"mailers\"; there are: default");
    assert!(matches!(supervisor.resize_group("x", 1), Err(CommandError::UnknownGroup { .. })));
    assert!(matches!(supervisor.explain("x"), Err(CommandError::UnknownGroup { .. })));
    assert_eq!(supervisor.resize(0), Err(CommandError::Workers { workers: 0, limit: MAX_WORKERS }));
}

/// S2: after a soft kill nothing is accepted, and the payload comes back.
#[test]
fn after_a_soft_kill_jobs_come_back() {
    let (supervisor, _fake) = supervisor(ROOM, idle);
    let ticket = supervisor.soft_kill();
    assert!(!ticket.wait_timeout(Duration::ZERO));
    let error = supervisor.enqueue(Length("late".into())).expect_err("closed");
    assert!(matches!(error, EnqueueError::ShuttingDown { .. }));
    assert_eq!(error.into_job().into_call().0, "late");
}

/// S3: a supervisor that has stopped answers everything.
#[test]
fn a_stopped_supervisor_answers_all_the_same() {
    let (supervisor, fake) = supervisor(ROOM, idle);
    supervisor.hard_kill().wait();
    fake.join().expect("no panic");
    assert_eq!(supervisor.health().phase, Phase::Stopped);
    assert!(!supervisor.health().is_healthy());
    assert_eq!(supervisor.broadcast("news", &1), Err(CommandError::Stopped));
    assert_eq!(supervisor.shutdown_worker("default-0", Duration::ZERO), Err(CommandError::Stopped));
    assert!(supervisor.events().recv().is_err());
    assert!(supervisor.join_timeout(Duration::ZERO));
    assert!(matches!(supervisor.enqueue_raw("echo", []), Err(EnqueueError::ShuttingDown { .. })));
}

#[test]
fn an_event_over_the_limit_is_refused() {
    let (supervisor, _fake) = supervisor(ROOM, idle);
    let error = supervisor.broadcast_raw("news", vec![0; (1 << 20) + 1]).expect_err("too large");
    assert_eq!(error, CommandError::TooLarge { size: (1 << 20) + 1, limit: 1 << 20 });
}

/// S1: what the loop shows is what is judged.
#[test]
fn health_is_asked_of_the_loop() {
    let (supervisor, _fake) = supervisor(ROOM, |_, command| {
        if let Command::Snapshot(reply) = command {
            let snapshot = Snapshot { groups: Vec::new(), workers: Vec::new(), is_shutting_down: false };
            reply.send(snapshot).expect("asked");
        }
    });
    assert!(supervisor.health().is_healthy());
}

/// The last clone ends the loop; a ticket is a clone.
#[test]
fn the_last_clone_ends_it_and_a_ticket_counts() {
    let (supervisor, fake) = supervisor(ROOM, idle);
    let ticket = supervisor.soft_kill_with(SoftKill::new().deadline(Duration::from_secs(1)));
    drop(supervisor);
    assert!(!ticket.wait_timeout(Duration::ZERO), "the ticket keeps it");
    drop(ticket);
    fake.join().expect("no panic");
}
