//! Calls from and to other processes.

use std::future::Future;
use std::task::{Context, Waker};
use std::time::Duration;

use ganger_protocol::{
    Address, CallAnswered, CallError, Caller, Failure, FailureKind, Kind, Refusal, SupervisorCall,
    SupervisorCallAnswer, encode,
};

use super::{Halve, PATIENCE, Run, echo, waiting};
use crate::callee::CALL_BACKLOG;
use crate::calls::CALLS_IN_FLIGHT;
use crate::testing::{Peer, Said, connected};

/// The supervisor relays a call to the worker.
fn call(peer: &mut Peer, number: u64, name: &str, payload: &[u8]) {
    let hour = 3_600_000_000_000;
    let head = SupervisorCall { call: number, caller: None, timeout_nanos: hour, name: name.into() };
    peer.append(Kind::SupervisorCall, &head, payload);
    peer.flush();
    peer.ring();
}

/// The supervisor answers a call of the worker's.
fn answer(peer: &mut Peer, call: u64, from: Option<&str>, left: u32, answered: CallAnswered, payload: &[u8]) {
    let head = SupervisorCallAnswer { call, from: from.map(Into::into), left, answered };
    peer.append(Kind::SupervisorCallAnswer, &head, payload);
    peer.flush();
    peer.ring();
}

fn expect_answer(said: Said, number: u64, answered: CallAnswered, payload: &[u8]) {
    match said {
        Said::CallAnswer(head, bytes) => {
            assert_eq!((head.call, head.answered, &bytes[..]), (number, answered, payload));
        }
        other => panic!("an answer to call {number}, not {other:?}"),
    }
}

fn expect_call(said: Said) -> u64 {
    match said {
        Said::Call(call, ..) => call,
        other => panic!("a call, not {other:?}"),
    }
}

/// M2: calls have a thread of their own: they are answered while all handler threads are busy and the worker says so,
/// and what cannot be answered is refused at once.
#[test]
fn calls_are_answered_beside_jobs() {
    let mut handler = None;
    let mut control = None;
    let mut run = Run::ready(|worker| {
        handler = Some(waiting(worker, "wait"));
        control = Some(worker.control());
        worker.on_raw("echo", |request| {
            assert_eq!(request.caller(), Caller::Primary);
            assert!(request.deadline().is_some() && !request.cancelled());
            echo(request);
        });
        worker.on_raw("panic", |_| panic!("no such luck"));
    });
    let (in_handler, release) = handler.expect("registered");
    run.peer.request("wait", &[]);
    in_handler.recv_timeout(PATIENCE).expect("called").ack();
    assert!(matches!(run.next(), Said::Answer(..)));
    control.expect("registered").busy();
    assert_eq!(run.next(), Said::Busy);
    call(&mut run.peer, 3, "echo", b"beside");
    expect_answer(run.next(), 3, CallAnswered::Data, b"beside");
    call(&mut run.peer, 4, "nobody", &[]);
    expect_answer(run.next(), 4, CallAnswered::Refused(Refusal::UnknownCall), &[]);
    call(&mut run.peer, 5, "panic", &[]);
    let failure = Failure::of_kind(FailureKind::Panic, "no such luck");
    expect_answer(run.next(), 5, CallAnswered::Failed, &encode(&failure).expect("encodes"));
    release.send(()).expect("the handler waits");
    run.peer.drain();
    // It is busy, and would not leave.
    drop(run);
}

/// M2: what waits for the thread is bounded; the rest is refused while it is at work, and nothing is forgotten.
#[test]
fn calls_beyond_the_backlog_are_refused() {
    let mut handler = None;
    let mut run = Run::ready(|worker| {
        handler = Some(waiting(worker, "wait"));
        worker.on_raw("echo", echo);
    });
    let (in_handler, release) = handler.expect("registered");
    call(&mut run.peer, 1, "wait", &[]);
    let first = in_handler.recv_timeout(PATIENCE).expect("called");
    let backlog = CALL_BACKLOG as u64;
    for number in 2..backlog + 4 {
        call(&mut run.peer, number, "echo", &[]);
    }
    for number in backlog + 2..backlog + 4 {
        expect_answer(run.next(), number, CallAnswered::Refused(Refusal::QueueFull), &[]);
    }
    first.ack();
    expect_answer(run.next(), 1, CallAnswered::Data, &[]);
    release.send(()).expect("the handler waits");
    for number in 2..backlog + 2 {
        expect_answer(run.next(), number, CallAnswered::Data, &[]);
    }
    run.leave();
}

/// M2: a call whose caller has given up by the time that it is its turn is not handled any more.
#[test]
fn a_call_that_has_waited_too_long_is_not_handled() {
    let mut handler = None;
    let mut run = Run::ready(|worker| {
        handler = Some(waiting(worker, "wait"));
        worker.on_raw("never", |_| panic!("it is too late"));
    });
    let (in_handler, release) = handler.expect("registered");
    call(&mut run.peer, 1, "wait", &[]);
    let first = in_handler.recv_timeout(PATIENCE).expect("called");
    let head = SupervisorCall { call: 2, caller: None, timeout_nanos: 0, name: "never".into() };
    run.peer.append(Kind::SupervisorCall, &head, &[]);
    run.peer.flush();
    first.ack();
    expect_answer(run.next(), 1, CallAnswered::Data, &[]);
    release.send(()).expect("the handler waits");
    expect_answer(run.next(), 2, CallAnswered::Refused(Refusal::TimedOut), &[]);
    run.leave();
}

/// M3: the only handler thread waits for the primary, and hears its answer.
#[test]
fn an_answer_is_heard_while_all_handler_threads_wait_for_it() {
    let mut run = Run::ready(|worker| {
        worker
            .on_call(|Halve(number), cx| Ok(cx.worker().call(Address::Primary, &Halve(number)).wait()? + 1));
    });
    run.peer.request("halve", &encode(&Halve(20)).expect("encodes"));
    let number = expect_call(run.next());
    // To another call of its, which does not exist, and to a call that it did not make last.
    answer(&mut run.peer, number + 1, None, 0, CallAnswered::Data, &[9]);
    answer(&mut run.peer, number, None, 0, CallAnswered::Data, &encode(&10u32).expect("encodes"));
    assert_eq!(run.answer().2, encode(&11u32).expect("encodes"));
    // Doubled: nobody waits for it.
    answer(&mut run.peer, number, None, 0, CallAnswered::Data, &[9]);
    run.leave();
}

/// M3: a worker may ask the primary for what it needs before it serves; what else comes meanwhile is kept.
#[test]
fn a_call_before_serving_is_answered() {
    let (mut peer, mut worker) = connected();
    let control = worker.control();
    assert!(matches!(peer.next(PATIENCE), Said::Hello(_)));
    let asked = std::thread::spawn(move || control.call(Address::Primary, &Halve(4)).wait());
    let number = expect_call(peer.next(PATIENCE));
    let (told, heard) = std::sync::mpsc::channel();
    worker.on_event("early", move |event: u32| told.send(event).expect("the test waits"));
    peer.event("early", &encode(&5u32).expect("encodes"));
    answer(&mut peer, number, None, 0, CallAnswered::Data, &encode(&2u32).expect("encodes"));
    assert_eq!(asked.join().expect("no panic"), Ok(2));
    let serving = std::thread::spawn(move || worker.serve());
    assert!(matches!(peer.next(PATIENCE), Said::Ready(_)));
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(5));
    Run { peer, serving }.leave();
}

/// M4: what came of a call to many is told by name, replies, failures and refusals alike.
#[test]
fn what_comes_of_a_call_to_many_is_named() {
    let mut control = None;
    let mut run = Run::ready(|worker| control = Some(worker.control()));
    let control = control.expect("registered");
    let asked = std::thread::spawn(move || control.call(Address::all(), &Halve(4)).collect());
    let number = expect_call(run.next());
    let failure = encode(&Failure::new("odd").with_details(&28i32)).expect("encodes");
    answer(&mut run.peer, number, Some("a-0"), 2, CallAnswered::Data, &encode(&2u32).expect("encodes"));
    answer(&mut run.peer, number, Some("a-1"), 1, CallAnswered::Failed, &failure);
    answer(&mut run.peer, number, Some("a-2"), 0, CallAnswered::Refused(Refusal::TimedOut), &[]);
    let collected = asked.join().expect("no panic").expect("it could be made");
    assert_eq!(collected.replies().collect::<Vec<_>>(), [("a-0", &2)]);
    let errors: Vec<_> = collected.errors().collect();
    assert!(matches!(errors[0], ("a-1", CallError::Failed { failure, .. })
        if failure.details::<i32>() == Some(Ok(28))));
    assert!(
        matches!(errors[1], ("a-2", CallError::TimedOut { target, .. }) if *target == Address::worker("a-2"))
    );
    assert!(!collected.is_complete());
    run.leave();
}

/// M2: a worker's own calls are bounded, and all of them end when the worker does.
#[test]
fn calls_in_flight_are_bounded_and_end_with_the_worker() {
    let mut control = None;
    let mut run = Run::ready(|worker| control = Some(worker.control()));
    let control = control.expect("registered");
    let call = || control.call(Address::worker("b-0"), &Halve(4)).timeout(Duration::from_secs(3600)).send();
    let mut calls: Vec<_> = (0..CALLS_IN_FLIGHT).map(|_| call()).collect();
    assert!(matches!(call().wait(), Err(CallError::TooMany { .. })));
    for _ in 0..CALLS_IN_FLIGHT {
        expect_call(run.next());
    }
    let mut context = Context::from_waker(Waker::noop());
    let last = calls.last_mut().expect("there are some");
    assert!(std::pin::Pin::new(last).poll(&mut context).is_pending());
    run.leave();
    for call in calls {
        assert!(matches!(call.wait(), Err(CallError::ShuttingDown { .. })));
    }
    assert!(matches!(call().wait(), Err(CallError::ShuttingDown { .. })));
}
