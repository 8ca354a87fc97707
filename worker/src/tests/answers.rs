//! Requests, and how they are answered.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use ganger_protocol::{Answered, Failure, FailureKind, LARGE_PAYLOAD, Ordinal, encode};

use super::{Halve, PATIENCE, Run, echo, until};
use crate::link::Reader;
use crate::request::{RawRequest, RawResponder, Request};
use crate::testing::connected;

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
    until(|| held[0].worker().link().lock().reader == Reader::Reading);
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
