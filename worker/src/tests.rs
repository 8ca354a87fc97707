//! The worker against a supervisor driven by hand: threads, sockets and clocks are real.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ganger_protocol::{
    AnswerHead, Answered, Call, Epoch, Failure, FailureKind, Kind, LARGE_PAYLOAD, Limits, MAGIC, Ordinal,
    Ready, SupervisorHello, Time, VERSION, decode, encode,
};
use serde::{Deserialize, Serialize};

use crate::connect::{self, ConnectError};
use crate::control::EmitError;
use crate::link::OnLoss;
use crate::request::{RawRequest, RawResponder, Request};
use crate::serve::ServeError;
use crate::testing::{Bench, Peer, Said, connected};
use crate::worker::Worker;

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
struct Halve(u32);

impl Call for Halve {
    const NAME: &'static str = "halve";
    type Reply = u32;
}

/// A serving worker and its supervisor's end.
struct Run {
    peer: Peer,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Run {
    fn of(register: impl FnOnce(&mut Worker)) -> Run {
        let (mut peer, mut worker) = connected();
        register(&mut worker);
        let serving = thread::spawn(move || worker.serve());
        assert!(matches!(peer.next(PATIENCE), Said::Hello(_)));
        Run { peer, serving }
    }

    fn ready(register: impl FnOnce(&mut Worker)) -> Run {
        let mut run = Run::of(register);
        assert!(matches!(run.next(), Said::Ready(_)));
        run
    }

    fn next(&mut self) -> Said {
        self.peer.next(PATIENCE)
    }

    fn answer(&mut self) -> (Ordinal, Answered, Vec<u8>) {
        match self.next() {
            Said::Answer(AnswerHead { ordinal, epoch: Epoch(1), answered, .. }, payload) => {
                (ordinal, answered, payload)
            }
            other => panic!("an answer, not {other:?}"),
        }
    }

    fn failure(&mut self) -> Failure {
        let (_, answered, payload) = self.answer();
        assert_eq!(answered, Answered::Failed);
        decode(&payload).expect("a failure")
    }

    fn leave(mut self) {
        self.peer.drain();
        assert_eq!(self.next(), Said::Goodbye);
        assert_eq!(self.next(), Said::Gone);
        self.serving.join().expect("no panic").expect("left in peace");
    }
}

/// A handler that waits until it is let go.
fn waiting(worker: &mut Worker, name: &str) -> (Receiver<RawRequest>, Sender<()>) {
    let (entered, in_handler) = channel();
    let (release, released) = channel::<()>();
    let released = parking_lot::Mutex::new(released);
    worker.on_raw(name, move |request| {
        entered.send(request).expect("the test waits");
        released.lock().recv().expect("the test lets go");
    });
    (in_handler, release)
}

/// Waits for what another thread is about to bring about; the only clock is the patience.
fn until(condition: impl Fn() -> bool) {
    let begun = Time::now();
    while !condition() {
        assert!(Time::now().since(begun) < PATIENCE, "it did not come about");
        thread::yield_now();
    }
}

fn echo(request: RawRequest) {
    let (data, responder) = request.into_parts();
    responder.respond(data);
}

#[test]
fn requests_are_answered_typed_and_raw() {
    let mut run = Run::ready(|worker| {
        worker.on_call(|Halve(number), _cx| Ok(number / 2));
        worker.on_raw("echo", echo);
        worker.on_raw("ack", RawRequest::ack);
    });
    let halve = run.peer.request("halve", &encode(&Halve(12)).expect("encodes"));
    assert_eq!(run.answer(), (halve, Answered::Data, encode(&6u32).expect("encodes")));
    let echo = run.peer.request("echo", b"bytes");
    assert_eq!(run.answer(), (echo, Answered::Data, b"bytes".to_vec()));
    let ack = run.peer.request("ack", &[]);
    assert_eq!(run.answer(), (ack, Answered::Ack, vec![]));
    run.leave();
}

#[test]
fn large_payloads_go_both_ways_while_nobody_reads_for_a_time() {
    let mut run = Run::ready(|worker| {
        worker.on_raw("echo", echo);
    });
    let sizes = [0, 1, LARGE_PAYLOAD - 1, LARGE_PAYLOAD, 3 << 20, 5, 1 << 20];
    for round in 0..3u8 {
        let payloads: Vec<Vec<u8>> = sizes.iter().map(|size| vec![round; *size]).collect();
        let sent: Vec<Ordinal> = payloads.iter().map(|payload| run.peer.request("echo", payload)).collect();
        for (ordinal, payload) in sent.into_iter().zip(payloads) {
            assert_eq!(run.answer(), (ordinal, Answered::Data, payload));
        }
    }
    run.leave();
}

#[test]
fn failures_name_what_went_wrong() {
    let mut run = Run::ready(|worker| {
        worker.on_call(|Halve(number), _cx| match number {
            0 => Err(Failure::new("nothing to halve")),
            number => {
                assert!(number % 2 == 0, "{number} is odd");
                Ok(number / 2)
            }
        });
        worker.on_raw("drop", drop);
    });
    let expected = [
        ("halve", encode(&Halve(0)), FailureKind::Handler, "nothing to halve"),
        ("halve", encode(&Halve(7)), FailureKind::Panic, "7 is odd"),
        (
            "halve",
            Ok(vec![0, 0]),
            FailureKind::Codec,
            "the argument of the call \"halve\": 2 bytes decode as",
        ),
        ("drop", Ok(vec![]), FailureKind::Dropped, "the handler of the call \"drop\" dropped"),
        ("double", Ok(vec![]), FailureKind::UnknownCall, "no handler for the call \"double\""),
    ];
    for (name, argument, kind, message) in expected {
        run.peer.request(name, &argument.expect("encodes"));
        let failure = run.failure();
        assert_eq!(failure.kind, kind);
        assert!(failure.message.contains(message), "{failure}");
    }
    run.leave();
}

#[test]
fn a_panic_after_the_answer_is_no_second_answer() {
    let (sender, stash) = channel::<RawResponder>();
    let mut run = Run::ready(|worker| {
        worker.on_raw("answered", |request| {
            request.ack();
            panic!("after the answer");
        });
        worker.on_raw("moved", move |request| {
            sender.send(request.into_parts().1).expect("the test waits");
            panic!("after moving it away");
        });
        worker.on_raw("echo", echo);
        worker.control().ready_with(2);
    });
    let answered = run.peer.request("answered", &[]);
    assert_eq!(run.answer(), (answered, Answered::Ack, vec![]));
    let moved = run.peer.request("moved", &[]);
    let echo = run.peer.request("echo", &[]);
    assert_eq!(run.answer(), (echo, Answered::Data, vec![]));
    stash.recv().expect("the responder").respond([1]);
    assert_eq!(run.answer(), (moved, Answered::Data, vec![1]));
    run.leave();
}

#[test]
fn answers_come_later_and_from_any_thread() {
    let (sender, stash) = channel::<Request<Halve>>();
    let mut run = Run::ready(|worker| {
        worker.on_request(move |request: Request<Halve>| sender.send(request).expect("the test waits"));
        worker.control().ready_with(3);
    });
    let sent: Vec<Ordinal> =
        (0..4).map(|index| run.peer.request("halve", &encode(&Halve(2 * index)).expect("encodes"))).collect();
    let mut held: Vec<Request<Halve>> = (0..3).map(|_| stash.recv().expect("three at once")).collect();
    assert!(stash.try_recv().is_err(), "the fourth is over the capacity");
    let last = held.pop().expect("three");
    last.respond(&2);
    assert_eq!(run.answer().0, sent[2]);
    let fourth = stash.recv().expect("there is room for the fourth");
    assert_eq!((fourth.data().0, fourth.attempt(), fourth.worker().requests().len()), (6, 1, 3));
    let panicking = held.pop().expect("two");
    let result = thread::spawn(move || {
        let _held = panicking;
        panic!("with a request in hand");
    });
    assert!(result.join().is_err());
    assert_eq!(run.failure().kind, FailureKind::Panic);
    drop((held, fourth));
    assert_eq!(run.failure().kind, FailureKind::Dropped);
    assert_eq!(run.failure().kind, FailureKind::Dropped);
    run.leave();
}

#[test]
fn a_busy_handler_thread_does_not_keep_the_worker_from_hearing() {
    let (heard, events) = channel::<u32>();
    let (killed, hard_kill) = channel::<()>();
    let mut handler = None;
    let mut control = None;
    let mut run = Run::ready(|worker| {
        handler = Some(waiting(worker, "wait"));
        worker.on_event("number", move |number: u32| heard.send(number).expect("the test waits"));
        worker.on_hard_kill(move || killed.send(()).expect("the test waits"));
        control = Some(worker.control());
    });
    let (in_handler, release) = handler.expect("registered");
    let ordinal = run.peer.request("wait", &[]);
    let request = in_handler.recv_timeout(PATIENCE).expect("called");
    run.peer.event("number", &encode(&7u32).expect("encodes"));
    assert_eq!(events.recv_timeout(PATIENCE), Ok(7));
    assert!(!request.cancelled());
    run.peer.cancel(ordinal);
    until(|| request.cancelled());
    assert!(control.expect("registered").requests()[0].cancelled());
    run.peer.hard_kill();
    hard_kill.recv_timeout(PATIENCE).expect("the hook has run");
    request.ack();
    assert_eq!(run.answer(), (ordinal, Answered::Ack, vec![]));
    release.send(()).expect("the handler waits");
    run.leave();
}

#[test]
fn an_urgent_frame_in_pieces_is_heard_while_all_are_busy() {
    let mut handler = None;
    let mut run = Run::ready(|worker| handler = Some(waiting(worker, "wait")));
    let (in_handler, release) = handler.expect("registered");
    let ordinal = run.peer.request("wait", &[]);
    let request = in_handler.recv_timeout(PATIENCE).expect("called");
    let cancel = ganger_protocol::Cancel { ordinal, epoch: Epoch(1) };
    for byte in Peer::bytes_of(Kind::Cancel, &cancel, &[]) {
        use std::io::Write;
        run.peer.socket.write_all(&[byte]).expect("written");
        run.peer.ring();
        thread::yield_now();
    }
    until(|| request.cancelled());
    request.ack();
    release.send(()).expect("the handler waits");
    run.answer();
    run.leave();
}

#[test]
fn a_finished_answer_does_not_wait_for_a_long_handler() {
    let mut handler = None;
    let mut run = Run::ready(|worker| {
        handler = Some(waiting(worker, "wait"));
        worker.on_raw("echo", echo);
    });
    let (in_handler, release) = handler.expect("registered");
    // In one write, so that the echo's answer is left unwritten in the hope of company.
    for name in ["echo", "wait"] {
        let head = run.peer.head(name);
        run.peer.append(Kind::Request, &head, &[]);
    }
    run.peer.flush();
    let request = in_handler.recv_timeout(PATIENCE).expect("called");
    assert_eq!(run.answer().0, Ordinal(1));
    request.ack();
    release.send(()).expect("the handler waits");
    assert_eq!(run.answer().0, Ordinal(2));
    run.leave();
}

#[test]
fn an_answer_in_the_middle_of_a_handler_is_written_at_once() {
    let (in_handler, entered) = channel();
    let (release, released) = channel::<()>();
    let released = parking_lot::Mutex::new(released);
    let mut run = Run::ready(|worker| {
        worker.on_raw("early", move |request| {
            request.ack();
            in_handler.send(()).expect("the test waits");
            released.lock().recv().expect("the test lets go");
        });
    });
    let sent: Vec<Ordinal> = (0..2).map(|_| run.peer.request("early", &[])).collect();
    for ordinal in sent {
        entered.recv_timeout(PATIENCE).expect("called");
        assert_eq!(run.answer().0, ordinal);
        release.send(()).expect("the handler waits");
    }
    run.leave();
}

#[test]
fn a_lost_supervisor_ends_serving_even_before_it_has_begun() {
    let mut handler = None;
    let run = Run::ready(|worker| handler = Some(waiting(worker, "wait")));
    let Run { mut peer, serving } = run;
    let (in_handler, release) = handler.expect("registered");
    peer.request("wait", &[]);
    let request = in_handler.recv_timeout(PATIENCE).expect("called");
    let control = request.worker();
    drop(peer);
    // The sentry sees it while the only handler thread is busy; here it only notes it.
    until(|| control.emit("late", &()) == Err(EmitError::Left));
    release.send(()).expect("the handler waits");
    assert!(matches!(serving.join().expect("no panic"), Err(ServeError::SupervisorGone)));

    let (peer, worker) = connected();
    drop(peer);
    assert!(matches!(worker.serve(), Err(ServeError::SupervisorGone)));
}

#[test]
fn garbage_ends_serving_with_the_reason() {
    use std::io::Write;
    let mut run = Run::ready(|_| {});
    run.peer.socket.write_all(&[0xff; 64]).expect("written");
    let error = run.serving.join().expect("no panic").expect_err("garbage");
    assert_eq!(error.to_string(), "the supervisor broke the protocol: unknown frame kind 0xff");
    assert_eq!(format!("{error:?}"), error.to_string());
}

#[test]
fn what_was_taken_back_from_a_busy_worker_is_not_handled() {
    let handled = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&handled);
    let mut handler = None;
    let mut run = Run::ready(|worker| {
        handler = Some(waiting(worker, "wait"));
        worker.on_raw("count", move |request| {
            counter.fetch_add(1, Ordering::Relaxed);
            request.ack();
        });
    });
    let (in_handler, release) = handler.expect("registered");
    run.peer.request("wait", &[]);
    for _ in 0..10 {
        run.peer.request("count", &[]);
    }
    let request = in_handler.recv_timeout(PATIENCE).expect("called");
    assert_eq!(run.peer.take_back().started, Ordinal(1));
    let again = run.peer.request("count", &[]);
    assert_eq!(again, Ordinal(2));
    request.ack();
    release.send(()).expect("the handler waits");
    assert_eq!(run.answer().0, Ordinal(1));
    assert_eq!(run.answer().0, Ordinal(2));
    run.leave();
    assert_eq!(handled.load(Ordering::Relaxed), 1);
}

#[test]
fn busy_before_serving_is_said_at_once_and_ready_any_number_of_times() {
    let (mut peer, mut worker) = connected();
    let control = worker.control();
    worker.on_raw("echo", echo).on_hard_kill(|| {});
    control.busy();
    assert!(matches!(peer.next(PATIENCE), Said::Hello(_)));
    assert_eq!(peer.next(PATIENCE), Said::Busy);
    let serving = thread::spawn(move || worker.serve());
    let mut run = Run { peer, serving };
    let ordinal = run.peer.request("echo", &[]);
    let ready = Said::Ready(Ready { capacity: 5, wants_hard_kill: true });
    control.ready_with(5);
    assert_eq!(run.next(), ready);
    assert_eq!(run.answer().0, ordinal);
    control.busy();
    assert_eq!(run.next(), Said::Busy);
    let last = run.peer.request("echo", &[]);
    run.peer.drain();
    control.ready_with(5);
    assert_eq!(run.next(), ready);
    assert_eq!(run.answer().0, last, "it was sent, and not taken back");
    assert_eq!(run.next(), Said::Goodbye);
    run.serving.join().expect("no panic").expect("left in peace");
}

#[test]
fn the_soft_kill_hook_runs_behind_earlier_events_and_holds_the_worker_until_done() {
    let (told, order) = channel();
    let told_by_event = told.clone();
    let mut run = Run::ready(|worker| {
        worker.on_event("last", move |(): ()| told_by_event.send(None).expect("the test waits"));
        worker.on_soft_kill(move |done| told.send(Some(done)).expect("the test waits"));
    });
    run.peer.event("last", &[]);
    run.peer.drain();
    assert!(order.recv_timeout(PATIENCE).expect("the event").is_none());
    let done = order.recv_timeout(PATIENCE).expect("the hook").expect("with its token");
    run.peer.event("nobody waits for this", &[]);
    done.done();
    assert_eq!(run.next(), Said::Goodbye);
    run.serving.join().expect("no panic").expect("left in peace");
}

#[test]
fn a_panicking_event_handler_leaves_the_next_one_running() {
    let (heard, events) = channel();
    let run = &mut Run::ready(|worker| {
        worker.on_event("e", |number: u8| assert_ne!(number, 1, "planted"));
        worker.on_event("e", move |number: u8| heard.send(number).expect("the test waits"));
    });
    for payload in [&[1][..], &[], &[2]] {
        run.peer.event("e", payload);
    }
    assert_eq!(events.recv_timeout(PATIENCE), Ok(1));
    assert_eq!(events.recv_timeout(PATIENCE), Ok(2));
}

#[test]
fn events_reach_a_supervisor_that_did_not_read_for_a_time() {
    let mut run = Run::ready(|worker| {
        worker.on_raw("emit", |request| {
            for index in 0..100u32 {
                let mut payload = index.to_le_bytes().to_vec();
                payload.resize(64 * 1024, 0);
                request.worker().emit_raw("big", payload).expect("there is room");
            }
            request.ack();
        });
    });
    run.peer.request("emit", &[]);
    for index in 0..100u32 {
        match run.next() {
            Said::Event(name, payload) => {
                assert_eq!((name.as_str(), &payload[..4]), ("big", &index.to_le_bytes()[..]));
            }
            other => panic!("event {index}, not {other:?}"),
        }
    }
    run.answer();
    run.leave();
}

#[test]
fn four_threads_handle_ten_thousand_requests_once_each_and_four_at_a_time() {
    const REQUESTS: usize = 10_000;
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let seen_all = Arc::new(AtomicBool::new(false));
    let (counts, tops, all) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&seen_all));
    let mut run = Run::ready(|worker| {
        worker.concurrency(4).on_raw("work", move |request| {
            let now = counts.fetch_add(1, Ordering::SeqCst) + 1;
            tops.fetch_max(now, Ordering::SeqCst);
            if now == 4 {
                all.store(true, Ordering::SeqCst);
            }
            // The first ones wait for each other: proof that four run at once.
            until(|| all.load(Ordering::SeqCst));
            counts.fetch_sub(1, Ordering::SeqCst);
            echo(request);
        });
    });
    let mut answered = vec![0; REQUESTS + 1];
    let mut count = 0;
    let mut sent = 0;
    while count < REQUESTS {
        while sent < REQUESTS && sent - count < 256 {
            sent += 1;
            let head = run.peer.head("work");
            run.peer.append(Kind::Request, &head, &(sent as u32).to_le_bytes());
        }
        run.peer.flush();
        let (ordinal, _, payload) = run.answer();
        assert_eq!(payload, ordinal.0.to_le_bytes());
        answered[ordinal.0 as usize] += 1;
        count += 1;
    }
    assert!(answered[1..].iter().all(|times| *times == 1));
    assert_eq!(most.load(Ordering::SeqCst), 4);
    run.leave();
}

#[test]
fn four_threads_that_idle_between_requests_lose_none() {
    let mut run = Run::ready(|worker| {
        worker.concurrency(4).on_raw("echo", echo);
    });
    for round in 0..3000usize {
        let sent = 1 + round % 5;
        for _ in 0..sent {
            run.peer.request("echo", &[]);
        }
        for _ in 0..sent {
            run.answer();
        }
    }
    run.leave();
}

#[test]
fn the_worker_beats_from_the_start_and_says_what_its_heap_holds() {
    let (peer, worker) = connected();
    until(|| peer.page.vitals().beat > Time::ZERO);
    assert!(peer.page.vitals().heap_used_bytes > 0 || cfg!(not(target_env = "gnu")));
    drop(worker);
}

#[test]
fn a_supervisor_of_another_version_is_told_ours() {
    let hello = hello(VERSION + 1);
    let (mut peer, leash) = Peer::saying(&hello);
    let error = connect::greet(leash, OnLoss::Return).err().expect("another version");
    assert!(matches!(error, ConnectError::Version { theirs } if theirs == VERSION + 1), "{error}");
    match peer.next(PATIENCE) {
        Said::Hello(hello) => assert_eq!(hello.version, VERSION),
        other => panic!("a Hello, not {other:?}"),
    }
}

#[test]
fn a_program_run_by_hand_says_what_it_is() {
    let error = Worker::connect().expect_err("a test is no worker");
    assert!(
        error.to_string().starts_with("this program is a ganger worker: it is started by its supervisor")
    );
    assert!(Worker::inherited().expect("no error").is_none());
}

#[test]
fn what_comes_right_behind_the_hello_is_read_under_its_limits() {
    let (mut peer, leash) = Peer::saying(&SupervisorHello { payload_limit: 100 << 20, ..hello(VERSION) });
    let head = peer.head("echo");
    peer.append(Kind::Request, &head, b"early");
    peer.flush();
    let mut worker = Worker::new(connect::greet(leash, OnLoss::Return).expect("in order"));
    worker.on_raw("length", |request| {
        let length = request.data().len() as u64;
        request.respond(length.to_le_bytes());
    });
    worker.on_raw("echo", echo);
    let serving = thread::spawn(move || worker.serve());
    let mut run = Run { peer, serving };
    assert!(matches!(run.next(), Said::Hello(_)));
    assert!(matches!(run.next(), Said::Ready(_)));
    assert_eq!(run.answer().2, b"early");
    let over_default = Limits::default().payload + 1;
    run.peer.request("length", &vec![0; over_default]);
    assert_eq!(run.answer().2, (over_default as u64).to_le_bytes());
    run.leave();
}

#[test]
fn a_context_tells_what_the_job_came_with() {
    let mut run = Run::ready(|worker| {
        worker.on_call(|Halve(_), cx| {
            assert_eq!((cx.call(), cx.attempt(), cx.header("trace")), ("halve", 3, Some("abc")));
            assert_eq!(cx.headers().count(), 1);
            assert!(
                cx.age() >= Duration::from_secs(5) && cx.created_at().elapsed()? >= Duration::from_secs(5)
            );
            let left = cx.deadline().expect("there is one") - std::time::Instant::now();
            assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(60), "{left:?}");
            assert_eq!((cx.worker().group(), cx.worker().slot()), ("bench", 0));
            Ok(1)
        });
    });
    let head = ganger_protocol::RequestHead {
        attempt: 3,
        age_nanos: 5_000_000_000,
        run_timeout_nanos: Some(60_000_000_000),
        headers: vec![("trace".into(), "abc".into())],
        ..run.peer.head("halve")
    };
    run.peer.request_with(&head, &encode(&Halve(2)).expect("encodes"));
    assert_eq!(run.answer().1, Answered::Data);
    run.leave();
}

#[test]
#[should_panic = "the call \"halve\" has a handler already"]
fn two_handlers_of_one_call_are_a_mistake() {
    let (_peer, mut worker) = connected();
    worker.on_call(|Halve(number), _cx| Ok(number));
    worker.on_call(|Halve(number), _cx| Ok(number));
}

#[test]
fn the_bench_speaks_for_a_supervisor() {
    let mut bench = Bench::start(|worker| {
        worker.on_any(|request| {
            request.worker().emit("saw", request.call()).expect("there is room");
            echo(request);
        });
        let control = worker.control();
        worker.on_event("ping", move |text: String| control.emit("pong", &text).expect("there is room"));
    });
    assert_eq!(bench.call_raw("anything", b"x"), Ok(b"x".to_vec()));
    assert_eq!(bench.next_event(), (String::from("saw"), encode("anything").expect("encodes")));
    bench.broadcast("ping", "hey");
    assert_eq!(bench.next_event(), (String::from("pong"), encode("hey").expect("encodes")));
    bench.soft_kill().expect("left in peace");
}

fn hello(version: u16) -> SupervisorHello {
    SupervisorHello {
        magic: MAGIC,
        version,
        supervisor: std::process::id(),
        worker: String::from("w"),
        group: String::from("g"),
        slot: 0,
        payload_limit: 1 << 20,
        event_limit: 1 << 20,
        heartbeat_millis: 1000,
    }
}
