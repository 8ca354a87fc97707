//! How serving ends.

use std::sync::mpsc::channel;

use ganger_protocol::{EventHead, Kind};

use super::{PATIENCE, Run, until, waiting};
use crate::control::EmitError;
use crate::serve::ServeError;
use crate::testing::{Said, connected};

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
    until(|| control.link().lock().is_over());
    assert_eq!(control.emit("late", &()), Err(EmitError::Left));
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
    assert!(
        error.to_string().starts_with("the supervisor broke the protocol: unknown frame kind 0xff"),
        "{error}"
    );
    assert_eq!(format!("{error:?}"), error.to_string());
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
fn goodbye_is_not_said_while_a_handler_runs_that_has_answered() {
    let (entered, in_handler) = channel();
    let (release, released) = channel::<()>();
    let released = parking_lot::Mutex::new(released);
    let mut run = Run::ready(|worker| {
        worker.concurrency(2).on_raw("early", move |request| {
            request.ack();
            entered.send(()).expect("the test waits");
            released.lock().recv().expect("the test lets go");
        });
        let control = worker.control();
        worker.on_event("ping", move |(): ()| control.emit("pong", &()).expect("it has not left"));
    });
    run.peer.request("early", &[]);
    in_handler.recv_timeout(PATIENCE).expect("called");
    run.answer();
    run.peer.append(Kind::Drain, &(), &[]);
    // Without the bell, so that it is the other handler thread that reads. When it reads the second event it has
    // long made up its mind about the drain.
    for _ in 0..2 {
        run.peer.append(Kind::SupervisorEvent, &EventHead { name: "ping".into() }, &[]);
        run.peer.flush();
        assert_eq!(run.next(), Said::Event(String::from("pong"), vec![]));
    }
    release.send(()).expect("the handler waits");
    assert_eq!(run.next(), Said::Goodbye);
    run.serving.join().expect("no panic").expect("left in peace");
}
