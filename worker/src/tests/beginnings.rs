//! The Hello, and what is said before serving.

use std::thread;

use ganger_protocol::{Kind, Limits, Ready, SupervisorHello, VERSION};

use super::{PATIENCE, Run, echo, hello};
use crate::connect::{self, ConnectError};
use crate::link::OnLoss;
use crate::testing::{Peer, Said, connected};
use crate::worker::Worker;

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
