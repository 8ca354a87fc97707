//! Workers that misuse the store: they are ended, and nobody else is harmed.

use ganger::{KillCause, Supervisor};
use ganger_protocol::{Header, Kind, Origin, StoreOp, StoreOpHead};
use ganger_tests::harness::{Scratch, scenario};
use ganger_tests::raw::{Step, frame, life, service};
use ganger_tests::workers::{online_with_feed, raw, tireless};

fn op(id: u64, op: StoreOp<'_>, payload: &[u8]) -> Vec<u8> {
    frame(Kind::StoreOp, &StoreOpHead { id, op }, payload)
}

/// The first worker writes this, is ended for it, and its replacement does the job; the store is as it was. Says why.
fn is_ended_for(bytes: Vec<u8>) -> String {
    let scratch = Scratch::new();
    let lives = [life([Step::Take, Step::Write(bytes), Step::Hang]), service()];
    let builder = Supervisor::builder(raw(&scratch, lives)).workers(1).restart(tireless());
    let (supervisor, mut feed) = online_with_feed(builder);
    let store = supervisor.store();
    store.set("kept", &7u8).expect("set");
    let response = supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
    assert_eq!((&response.data[..], response.attempt), (&b"abc"[..], 1));
    assert_eq!(store.get::<u8>("kept").expect("read").map(|found| found.value), Some(7));
    match feed.crashed().killed.clone() {
        Some(KillCause::Violation(reason)) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Fault: a worker floods the store and reads no answer. It has its window; beyond that it is ended.
#[test]
fn a_worker_that_floods_the_store_is_ended() {
    scenario(|| {
        let one = op(1, StoreOp::Increment { key: "n".into(), by: 1 }, &[]);
        assert!(is_ended_for(one.repeat(1000)).contains("more than 256 operations"));
    });
}

/// Fault: a worker asks for more of a watch than it may, or of one that is not there.
#[test]
fn a_worker_that_asks_for_pieces_out_of_turn_is_ended() {
    scenario(|| {
        let next = || op(0, StoreOp::Next { watch: 3 }, &[]);
        assert!(is_ended_for(next()).contains("the next piece of watch 3"));
        let watch = op(1, StoreOp::Watch { watch: 3, prefix: "".into(), origin: Origin::Now }, &[]);
        assert!(is_ended_for([watch, next()].concat()).contains("the next piece of watch 3"));
    });
}

/// Fault: a worker asks the store for what is no operation.
#[test]
fn a_worker_that_asks_garbage_of_the_store_is_ended() {
    scenario(|| {
        assert!(is_ended_for(op(1, StoreOp::Revision, b"stray")).contains("5 bytes behind"));
        assert!(is_ended_for(frame(Kind::StoreOp, &(1u8, 200u8), &[])).contains("does not decode"));
        let announced = Header { kind: Kind::StoreOp, fds: 0, head: 4, payload: 4 << 20 };
        assert!(is_ended_for(announced.to_bytes().to_vec()).contains("over the limit"));
        assert!(is_ended_for(frame(Kind::StoreReply, &(1u8, 1u8), &[])).contains("StoreReply"));
    });
}
