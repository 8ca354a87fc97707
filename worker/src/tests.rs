//! The worker against a supervisor driven by hand: threads, sockets and clocks are real.

mod accounts;
mod answers;
mod beginnings;
mod calls;
mod endings;
mod freight;
mod hearing;
mod progress;
mod threads;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ganger_protocol::{
    AnswerHead, Answered, Call, Epoch, Failure, MAGIC, Ordinal, SupervisorHello, Time, decode, encode,
};
use serde::{Deserialize, Serialize};

use crate::request::RawRequest;
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
            Said::Answer(AnswerHead { ordinal, epoch: Epoch(1), answered, .. }, payload, _) => {
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
        listeners: Vec::new(),
    }
}
