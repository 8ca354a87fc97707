//! How serving ends.

use std::sync::mpsc::channel;

use super::{PATIENCE, Run, until, waiting};
use crate::control::EmitError;
use crate::serve::ServeError;
use crate::testing::Said;
use crate::testing::connected;

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
