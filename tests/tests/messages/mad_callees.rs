//! Workers that do wrong in, around and after a call: M2, at exact marks.

use std::time::Duration;

use ganger::{Address, Builder, CallError, Group, Supervisor};
use ganger_protocol::{CallAnswered, Kind, WorkerCall, WorkerCallAnswer};
use ganger_tests::calls::Add;
use ganger_tests::harness::{Gate, PATIENCE, Scratch, eventually, scenario};
use ganger_tests::raw::{Awaited, Step, frame, life};
use ganger_tests::workers::{online, online_with_feed, plain, raw, tireless};

const SOON: Duration = Duration::from_millis(200);

/// One raw worker, and a sane one in a group of its own.
fn pool(scratch: &Scratch, lives: Vec<Vec<Step>>) -> Builder {
    Supervisor::builder(raw(scratch, lives))
        .workers(1)
        .restart(tireless())
        .group(Group::new("b", plain()).workers(1))
}

/// The bytes of an answer to a call: the first in a supervisor's life is number 1.
fn answer(call: u64, payload: &[u8]) -> Vec<u8> {
    frame(Kind::WorkerCallAnswer, &WorkerCallAnswer { call, answered: CallAnswered::Data }, payload)
}

fn call_of(call: u64, to: Address) -> Vec<u8> {
    let head = WorkerCall { call, to, timeout_nanos: 60_000_000_000, name: "add".into() };
    frame(Kind::WorkerCall, &head, &[2, 4])
}

fn raw_call(supervisor: &Supervisor, name: &str) -> Result<Vec<u8>, CallError> {
    supervisor.call_raw(Address::worker(name), "anything", *b"x").timeout(PATIENCE).wait()
}

/// M2: the target dies after every byte of its answer: short of the last the call is lost, with the last it is
/// answered.
#[test]
fn an_answer_counts_from_its_last_byte_on() {
    scenario(|| {
        let scratch = Scratch::new();
        let reply = [7; 20];
        let length = answer(1, &reply).len();
        let dies = |bytes: usize| {
            // The call's number is the number of lives before it and one.
            let mut whole = answer(bytes as u64 + 1, &reply);
            whole.truncate(bytes);
            life([Step::Await(Awaited::Call), Step::Write(whole), Step::Signal(9)])
        };
        let (supervisor, mut feed) = online_with_feed(pool(&scratch, (0..=length).map(dies).collect()));
        (0..2).for_each(|_| drop(feed.ready()));
        for bytes in 0..=length {
            match raw_call(&supervisor, "default-0") {
                Ok(data) => assert_eq!((bytes, &data[..]), (length, &reply[..])),
                Err(CallError::TargetLost { .. }) => {
                    assert_ne!(bytes, length, "a whole answer is thrown away");
                }
                Err(other) => panic!("{bytes} bytes: {other:?}"),
            }
            feed.crashed();
            feed.ready();
        }
    });
}

/// M2: a mad worker answers the calls of others, and calls that never were, and its own twice: none of it is believed,
/// all of it is counted, and the one who holds the call is.
#[test]
fn nobody_answers_for_another() {
    scenario(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let lies = [2, 3, 77, u64::MAX].map(|call| Step::Write(answer(call, &[66])));
        let twice = [Step::Write(answer(1, &[1])), Step::Write(answer(1, &[2]))];
        let steps = [Step::Await(Awaited::Call), Step::Gate(gate.path())];
        let steps =
            steps.into_iter().chain(lies).chain(twice).chain([Step::Present(gate.path()), Step::Serve]);
        let supervisor = online(pool(&scratch, vec![life(steps)]));
        let mine = supervisor.call_raw(Address::worker("default-0"), "x", *b"").timeout(PATIENCE).send();
        let mad = gate.next();
        let held = Gate::new();
        let hold = ganger_tests::calls::Hold { gate: held.path() };
        let others = supervisor.call(Address::worker("b-0"), &hold).timeout(PATIENCE).send();
        let waits = held.next();
        mad.release();
        assert_eq!(mine.wait(), Ok(vec![1]));
        let _present = gate.next();
        eventually("its lies are counted", || {
            (supervisor.call_counts().expect("it runs").strays == 5).then_some(())
        });
        waits.release();
        assert_eq!(others.wait(), Ok(String::from("b-0")));
    });
}

/// M2: a worker that never answers is given no more than its hold has room for; others do not suffer, and its death frees
/// everything.
#[test]
fn a_worker_that_never_answers_fills_its_own_hold_only() {
    scenario(|| {
        let scratch = Scratch::new();
        let supervisor = online(pool(&scratch, vec![life([Step::Serve])]));
        let call = || supervisor.call_raw(Address::worker("default-0"), "x", *b"").timeout(PATIENCE).send();
        let open: Vec<_> = (0..1024).map(|_| call()).collect();
        assert!(matches!(call().wait(), Err(CallError::QueueFull { .. })));
        assert_eq!(supervisor.call(Address::worker("b-0"), &Add(1, 2)).wait(), Ok(3));
        supervisor.shutdown_worker("default-0", Duration::ZERO).expect("there is one");
        for call in open {
            assert!(matches!(call.wait(), Err(CallError::TargetLost { .. })));
        }
        eventually("nothing is held", || {
            (supervisor.call_counts().expect("it runs").held == 0).then_some(())
        });
    });
}

/// M2, P13: numbers that do not grow, more calls in flight than there may be, bytes behind a refusal: offences, after
/// which nothing is left of the worker's calls.
#[test]
fn callers_that_break_the_rules_are_ended() {
    scenario(|| {
        let scratch = Scratch::new();
        let repeats = [call_of(5, Address::worker("b-0")), call_of(5, Address::Primary)].concat();
        let many = (1..=257).flat_map(|call| call_of(call, Address::worker("b-0"))).collect();
        let refused = CallAnswered::Refused(ganger_protocol::Refusal::Lost);
        let chatty = frame(Kind::WorkerCallAnswer, &WorkerCallAnswer { call: 1, answered: refused }, b"!");
        let lives = [repeats, many, chatty].map(|bytes| life([Step::Write(bytes), Step::Serve]));
        let (supervisor, mut feed) = online_with_feed(pool(&scratch, lives.to_vec()));
        for _ in 0..3 {
            let report = feed.crashed();
            assert!(report.to_string().contains("protocol"), "{report}");
        }
        assert_eq!(supervisor.call(Address::worker("b-0"), &Add(1, 2)).wait(), Ok(3));
        eventually("its calls are over", || {
            (supervisor.call_counts().expect("it runs").in_flight == 0).then_some(())
        });
    });
}

/// M2: a caller that never reads is read no further; nobody else suffers.
#[test]
fn a_caller_that_does_not_read_gets_no_further() {
    scenario(|| {
        let scratch = Scratch::new();
        let calls = (1..=200).flat_map(|call| call_of(call, Address::worker("b-0"))).collect();
        let supervisor = online(pool(&scratch, vec![life([Step::Write(calls), Step::Hang])]));
        for round in 0..50 {
            assert_eq!(supervisor.call(Address::worker("b-0"), &Add(1, round)).wait(), Ok(1 + round));
        }
        eventually("its calls are answered", || {
            (supervisor.call_counts().expect("it runs").in_flight == 0).then_some(())
        });
        let late = supervisor.call_raw(Address::worker("default-0"), "x", *b"").timeout(SOON).wait();
        assert!(matches!(late, Err(CallError::TimedOut { .. })));
    });
}
