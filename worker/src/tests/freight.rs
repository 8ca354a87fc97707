//! What comes with requests and goes with answers, on the bench.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use ganger_protocol::{Call, FailureKind, StreamReader, stream};
use serde::{Deserialize, Serialize};

use crate::Request;
use crate::testing::{Bench, Terms};

/// Gives back what was attached, and says how much that was.
#[derive(Serialize, Deserialize)]
struct Return;

impl Call for Return {
    const NAME: &'static str = "return";
    type Reply = usize;
}

/// Answers with so many sockets.
#[derive(Serialize, Deserialize)]
struct Give(usize);

impl Call for Give {
    const NAME: &'static str = "give";
    type Reply = ();
}

/// Reads a stream.
#[derive(Serialize, Deserialize)]
struct Drink;

impl Call for Drink {
    const NAME: &'static str = "drink";
    type Reply = Result<String, String>;
}

fn bench() -> Bench {
    Bench::start(|worker| {
        worker.on_request(|request: Request<Return>| {
            let all: Vec<OwnedFd> = request.attachments().clone().into_iter().collect();
            request.respond_with(&all.len(), all);
        });
        worker.on_request(|request: Request<Give>| {
            let one = |_| UnixStream::pair().expect("a pair").0;
            let all: Vec<UnixStream> = (0..request.data().0).map(one).collect();
            request.respond_with(&(), all);
        });
        worker.on_call(|_: Drink, cx| {
            let mut text = String::new();
            let read = cx
                .attachments()
                .take_reader()
                .map(|mut reader: StreamReader| reader.read_to_string(&mut text));
            Ok(read.expect("a stream").map(|_| text).map_err(|error| error.to_string()))
        });
    })
}

/// J14: handlers of sockets are tested without a process.
#[test]
fn attachments_go_there_and_back() {
    let mut bench = bench();
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    let sent = bench.send_with(&Terms::new(), &Return, [theirs]).expect("sent");
    let (count, back) = bench.wait_with(sent).expect("answered");
    assert_eq!((count, back.len()), (1, 1));
    let mut theirs = UnixStream::from(back.take().expect("a socket"));
    theirs.write_all(b"hello").expect("written");
    drop(theirs);
    let mut text = String::new();
    ours.read_to_string(&mut text).expect("read to the end, because nobody else has it");
    assert_eq!(text, "hello");
    assert_eq!(bench.call(&Return), Ok(0));
    bench.soft_kill().expect("served");
}

/// J14.
#[test]
fn an_answer_with_too_many_attachments_is_a_failure() {
    let mut bench = bench();
    let sent = bench.send(&Terms::new(), &Give(16)).expect("sent");
    assert_eq!(bench.wait_with(sent).expect("answered").1.len(), 16);
    let failure = bench.call(&Give(17)).expect_err("one too many");
    assert_eq!(failure.kind, FailureKind::Attachments);
    bench.soft_kill().expect("served");
}

/// J13.
#[test]
fn a_handler_of_a_stream_sees_how_it_ended() {
    let mut bench = bench();
    for is_finished in [true, false] {
        let (mut writer, reader) = stream().expect("a stream");
        let sent = bench.send_with(&Terms::new(), &Drink, [reader]).expect("sent");
        writer.write_all(b"hello").expect("written");
        if is_finished {
            writer.finish().expect("finished");
        } else {
            drop(writer);
        }
        match bench.wait(sent).expect("answered") {
            Ok(text) => assert!(is_finished && text == "hello", "{text}"),
            Err(error) => assert!(!is_finished && error.contains("was cut"), "{error}"),
        }
    }
    bench.soft_kill().expect("served");
}
