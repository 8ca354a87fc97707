//! What a worker hears and says while its handler threads are busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use ganger_protocol::{Answered, Epoch, Kind, Ordinal, Time, encode};

use super::{PATIENCE, Run, echo, until, waiting};
use crate::link::{Alert, Reader};
use crate::testing::{Peer, Said, connected};

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
fn the_sentry_reads_the_rest_of_a_frame_when_the_reader_leaves_to_handle() {
    use std::io::Write;
    let (sender, stash) = channel();
    let mut handler = None;
    let mut run = Run::ready(|worker| {
        handler = Some(waiting(worker, "wait"));
        worker.on_raw("stash", move |request| sender.send(request).expect("the test waits"));
        worker.control().ready_with(2);
    });
    let (in_handler, release) = handler.expect("registered");
    let ordinal = run.peer.request("stash", &[]);
    let held = stash.recv_timeout(PATIENCE).expect("called");
    let control = held.worker();
    control.busy();
    assert_eq!(run.next(), Said::Busy);
    run.peer.request("wait", &[]);
    let cancel = Peer::bytes_of(Kind::Cancel, &ganger_protocol::Cancel { ordinal, epoch: Epoch(1) }, &[]);
    let (half, rest) = cancel.split_at(cancel.len() / 2);
    run.peer.socket.write_all(half).expect("written");
    run.peer.ring();
    until(|| {
        let state = control.link().lock();
        // Reading: the reader was away when the bell rang, and the sentry still waits beside it.
        matches!(state.alert, Alert::Yes | Alert::Reading) && state.reader == Reader::Reading
    });
    control.ready_with(2);
    let request = in_handler.recv_timeout(PATIENCE).expect("called");
    run.peer.socket.write_all(rest).expect("written");
    until(|| held.cancelled());
    held.ack();
    request.ack();
    release.send(()).expect("the handler waits");
    assert!(matches!(run.next(), Said::Ready(_)));
    run.answer();
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
fn the_worker_beats_from_the_start_and_says_what_its_heap_holds() {
    let (peer, worker) = connected();
    until(|| peer.page.vitals().beat > Time::ZERO);
    assert!(peer.page.vitals().heap_used_bytes > 0 || cfg!(not(target_env = "gnu")));
    drop(worker);
}
