//! What an answer holds, and what a failure says.

use std::time::{Duration, Instant, SystemTime};

use ganger::{CodecError, EnqueueError, FailureKind, Job, JobError, Raw, Supervisor, encode};
use ganger_tests::calls::{
    About, Acknowledge, Add, Echo, EmptyHanded, Fail, Forget, Hold, Inspect, Misread, OneTooMany, Panic,
    Unheard,
};
use ganger_tests::harness::{Gate, scenario};
use ganger_tests::workers::{online, plain};

fn pool() -> Supervisor {
    online(Supervisor::builder(plain()).workers(1))
}

/// J2: raw bytes arrive as they are and come back as they are, none and all values of them.
#[test]
fn raw_bytes_are_left_alone() {
    scenario(|| {
        let supervisor = pool();
        for bytes in [vec![], vec![0], (0..=255).collect::<Vec<u8>>(), vec![7; 1 << 20]] {
            let answer = supervisor.enqueue_raw("reverse", bytes.clone()).expect("accepted").wait();
            let expected: Vec<u8> = bytes.into_iter().rev().collect();
            assert!(answer.expect("answered").data == expected, "{} bytes", expected.len());
        }
    });
}

/// J2: the typed and the raw door lead to the same handler, and no byte is encoded twice: what a raw job sends is
/// what a typed handler decodes.
#[test]
fn typed_and_raw_go_through_the_same_door() {
    scenario(|| {
        let supervisor = pool();
        let payload = encode(&Add(2, 3)).expect("encodes");
        let answer = supervisor.enqueue_raw("add", payload).expect("accepted").wait().expect("answered").data;
        assert_eq!(answer, encode(&5i64).expect("encodes"));
        let job = Job::new(Raw::new("reverse", *b"abc")).retries(1);
        assert_eq!(supervisor.enqueue(job).expect("accepted").wait().expect("answered").data, b"cba");
    });
}

/// J2: payloads of every size around the borders of buffers make the way there and back.
#[test]
fn payloads_of_every_size_survive() {
    scenario(|| {
        let supervisor = pool();
        let borders = [1usize, 128, 4096, 8192, 32 << 10, 64 << 10, 208 << 10, 1 << 20, 3 << 20];
        let sizes = borders.iter().flat_map(|border| [border - 1, *border, border + 1]);
        let echoes = sizes.map(|size| Echo((0..size).map(|at| (at * 31 % 251) as u8).collect()));
        let echoes: Vec<Echo> = echoes.collect();
        for (echo, result) in echoes.clone().into_iter().zip(supervisor.map(echoes)) {
            assert!(result.expect("answered").data == echo.0, "{} bytes", echo.0.len());
        }
    });
}

/// J3: a response says what, who, which attempt, and how long it waited and ran.
#[test]
fn a_response_says_how_it_came_about() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = pool();
        let before = SystemTime::now();
        let first = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let waiting_since = Instant::now();
        let handle = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let (id, after) = (handle.id(), SystemTime::now());
        let waited = handle.wait_timeout(Duration::from_millis(30)).expect_err("it waits for the first");
        let has_waited = waiting_since.elapsed();
        held.release();
        let held = gate.next();
        let running_since = Instant::now();
        assert_eq!(held.arrival().job, Some(id), "the handler sees the same id");
        let waited = waited.wait_timeout(Duration::from_millis(20)).expect_err("it is held");
        let has_run = running_since.elapsed();
        held.release();
        let response = waited.wait().expect("answered");
        let all = waiting_since.elapsed();
        assert_eq!((response.id, &*response.worker, response.attempt), (id, "default-0", 1));
        assert_eq!(response.id.uuid().get_version_num(), 4);
        assert!(response.queue_time >= has_waited, "{:?} {has_waited:?}", response.queue_time);
        assert!(response.run_time >= has_run, "{:?} {has_run:?}", response.run_time);
        assert!(response.queue_time + response.run_time <= all, "{response:?} in {all:?}");
        let slack = Duration::from_millis(50);
        assert!(response.created_at() >= before - slack && response.created_at() <= after + slack);
        let first = first.wait().expect("answered");
        assert!(first.queue_time < has_waited, "an idle worker takes it at once");
    });
}

/// J2, J3: headers travel with the request, in their order, and so do the attempt and the deadline.
#[test]
fn headers_travel_with_the_request() {
    scenario(|| {
        let supervisor = pool();
        let job = Job::new(Inspect).header("trace", "4bf9").header("empty", "").header("trace", "again");
        let handle = supervisor.enqueue(job.run_timeout(Duration::from_secs(30))).expect("accepted");
        let id = handle.id();
        let seen = handle.wait().expect("answered").data;
        let pairs = [("trace", "4bf9"), ("empty", ""), ("trace", "again")];
        assert_eq!(seen.headers, pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!((seen.job, seen.attempt, seen.has_deadline), (id, 1, true));
        assert_eq!(seen.in_hand, ["inspect"]);
        let plain = supervisor.enqueue(Inspect).expect("accepted").wait().expect("answered").data;
        assert!(plain.headers.is_empty() && !plain.has_deadline);
    });
}

/// J2: name and headers that are too large are refused with both sizes, and the job is given back.
#[test]
fn headers_that_are_too_large_are_refused() {
    scenario(|| {
        let supervisor = pool();
        let refused = supervisor.enqueue(Job::new(Add(1, 2)).header("k", "v".repeat(40_000)));
        match refused.expect_err("too large") {
            EnqueueError::HeadersTooLarge { job, size, limit } => {
                assert!(size > 40_000 && limit < 40_000, "{size} {limit}");
                assert_eq!(job.into_call(), Add(1, 2));
            }
            other => panic!("{other:?}"),
        }
    });
}

/// J4: a handler's failure comes with kind, message and details, and says who failed at which attempt.
#[test]
fn a_failure_is_structured() {
    scenario(|| {
        let supervisor = pool();
        let fail = Fail { message: String::from("disk full"), details: Some(28) };
        let handle = supervisor.enqueue(fail).expect("accepted");
        let id = handle.id();
        match handle.wait().expect_err("it fails") {
            JobError::Failed { job, call, failure, worker, attempt } => {
                assert_eq!((job, &*call, &*worker, attempt), (id, "fail", "default-0", 1));
                assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Handler, "disk full"));
                assert_eq!(failure.details::<i32>(), Some(Ok(28)));
            }
            other => panic!("{other:?}"),
        }
        let fail = Fail { message: String::from("no more"), details: None };
        let error = supervisor.enqueue(fail).expect("accepted").wait().expect_err("it fails");
        assert!(error.failure().expect("a failure").details::<i32>().is_none());
    });
}

/// J4: a panic is an answer with its message, and leaves the worker up.
#[test]
fn a_panic_is_an_answer_and_the_worker_stays() {
    scenario(|| {
        let supervisor = pool();
        let about = || supervisor.enqueue(About).expect("accepted").wait().expect("answered").data;
        let before = about().pid;
        for message in ["one", "two", "three"] {
            let result = supervisor.enqueue(Panic(message.to_owned())).expect("accepted").wait();
            let error = result.expect_err("it panics");
            let failure = error.failure().expect("a failure");
            assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Panic, message));
        }
        assert_eq!(about().pid, before);
        assert_eq!(supervisor.health().groups[0].restarts, 0);
    });
}

/// J4: a request that is dropped without an answer fails at once, and the worker goes on.
#[test]
fn a_forgotten_answer_fails_at_once() {
    scenario(|| {
        let supervisor = pool();
        let error = supervisor.enqueue(Forget).expect("accepted").wait().expect_err("nobody answers");
        let failure = error.failure().expect("a failure");
        assert_eq!(failure.kind, FailureKind::Dropped);
        assert!(failure.message.contains("\"forget\""), "{failure}");
        assert_eq!(supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("answered").data, 2);
    });
}

/// J4: a call that the worker does not know fails at once and is named.
#[test]
fn an_unknown_call_fails_at_once() {
    scenario(|| {
        let supervisor = pool();
        let error = supervisor.enqueue(Unheard(1)).expect("accepted").wait().expect_err("nobody knows it");
        let failure = error.failure().expect("a failure");
        assert_eq!(failure.kind, FailureKind::UnknownCall);
        assert!(failure.message.contains("\"unheard\""), "{failure}");
        let error =
            supervisor.enqueue_raw("reversed", *b"abc").expect("accepted").wait().expect_err("nor this");
        assert_eq!(error.failure().expect("a failure").kind, FailureKind::UnknownCall);
    });
}

/// J4: an argument that the handler cannot decode is a codec failure that names the type it expected.
#[test]
fn an_argument_that_does_not_decode_is_named() {
    scenario(|| {
        let supervisor = pool();
        let error = supervisor
            .enqueue_raw("add", [1, 2, 3, 4])
            .expect("accepted")
            .wait()
            .expect_err("two bytes over");
        let failure = error.failure().expect("a failure");
        assert_eq!(failure.kind, FailureKind::Codec);
        assert!(failure.message.contains("\"add\"") && failure.message.contains("Add"), "{failure}");
    });
}

/// J8: an answer that is not the call's reply, or is more than it, is a codec error that names the call and both
/// types; the worker goes on.
#[test]
fn an_answer_that_does_not_decode_names_the_call_and_both_types() {
    scenario(|| {
        let supervisor = pool();
        let error = supervisor.enqueue(Misread).expect("accepted").wait().expect_err("no reply");
        match &error {
            JobError::Codec { call, call_type, reply_type, worker, source, .. } => {
                assert_eq!((&**call, &**worker), ("misread", "default-0"));
                assert!(call_type.ends_with("calls::Misread") && reply_type.ends_with("String"));
                assert!(matches!(&**source, CodecError::Decode { length: 4, .. }), "{source}");
            }
            other => panic!("{other:?}"),
        }
        let text = error.to_string();
        assert!(["misread", "calls::Misread", "String"].iter().all(|part| text.contains(part)), "{text}");
        let error = supervisor.enqueue(OneTooMany).expect("accepted").wait().expect_err("one byte too many");
        let JobError::Codec { source, .. } = &error else { panic!("{error:?}") };
        assert!(matches!(&**source, CodecError::LeftOver { length: 2, left: 1, .. }), "{source}");
        assert_eq!(supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("answered").data, 2);
    });
}

/// J15: an acknowledgement is an answer without data; a caller that expects data is told what it got instead.
#[test]
fn an_acknowledgement_is_an_answer_without_data() {
    scenario(|| {
        let supervisor = pool();
        let response = supervisor.enqueue(Acknowledge).expect("accepted").wait().expect("acknowledged");
        assert_eq!((response.data, response.attempt), ((), 1));
        let raw = supervisor.enqueue_raw("acknowledge", []).expect("accepted").wait().expect("acknowledged");
        assert!(raw.data.is_empty());
        let error = supervisor.enqueue(EmptyHanded).expect("accepted").wait().expect_err("no data");
        assert!(matches!(error, JobError::Codec { .. }), "{error:?}");
        assert!(error.to_string().contains("acknowledged without data"), "{error}");
    });
}
