//! A stand-in for the loop: it settles jobs as a test says, without any process.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use ganger_protocol::JobId;

use crate::calls::{Desk, Registry};
use crate::command::Command;
use crate::driver::Courier;
use crate::scheduler::{AttemptInfo, GroupIndex, Outcome, Started};
use crate::shared::{Admission, QueueLimits, Shared};
use crate::slot::{JobSlot, Spec, Wake};
use crate::supervisor::Settings;
use ganger_protocol::Time;

use crate::{Supervisor, encode};

/// What callers share with a loop that is not there.
pub(crate) fn shared(limits: QueueLimits) -> Arc<Shared> {
    let poll = mio::Poll::new().expect("a poll");
    let bell = mio::Waker::new(poll.registry(), mio::Token(0)).expect("a bell");
    Arc::new(Shared::new(
        bell,
        Admission::new(1, limits, 1 << 20),
        Courier::new(),
        Desk::new(Registry::default(), 4),
    ))
}

/// A slot with default terms.
pub(crate) fn slot() -> JobSlot {
    JobSlot::new(JobId::random(), Spec::Plain("test"), GroupIndex(0), vec![1, 2, 3], Time::ZERO)
}

/// A handler's answer from worker "fake-0".
pub(crate) fn replied(data: Vec<u8>) -> Outcome {
    let attempt = AttemptInfo {
        worker: "fake-0".into(),
        attempt: 1,
        queued: std::time::Duration::from_micros(7),
        ran: std::time::Duration::from_micros(8),
    };
    Outcome::Replied { data, attachments: ganger_protocol::Attachments::NONE, attempt }
}

/// A handler's answer that encodes `value`.
pub(crate) fn answered<T: serde::Serialize>(value: &T) -> Outcome {
    replied(encode(value).expect("it encodes"))
}

/// An end without a reply.
pub(crate) fn cancelled() -> Outcome {
    Outcome::Cancelled { started: Started::No, worker: None }
}

/// Rouses as the loop would; the fake's own thread is its courier.
pub(crate) fn rouse(wake: Wake) {
    match wake {
        Wake::Thread(thread) => thread.unpark(),
        Wake::Task(waker) => waker.wake(),
        Wake::Callback(callback) => callback(),
    }
}

/// A supervisor whose loop is `serve`, which is given every command until the hard kill.
pub(crate) fn supervisor(
    limits: QueueLimits,
    mut serve: impl FnMut(&Shared, Command) + Send + 'static,
) -> (Supervisor, JoinHandle<()>) {
    let shared = shared(limits);
    let supervisor = Supervisor::new(Arc::clone(&shared), ["default".into()].into(), Settings::default());
    let fake = thread::spawn(move || {
        while let Ok(command) = shared.arrivals().recv() {
            match command {
                Command::HardKill => break,
                other => serve(&shared, other),
            }
        }
        shared.end();
        shared.stopped.loop_ended();
        shared.stopped.courier_ended();
    });
    (supervisor, fake)
}

/// Settles a job and gives its room back.
pub(crate) fn finish(shared: &Shared, slot: &JobSlot, outcome: Outcome) {
    shared.admission.release(1, slot.charge());
    if let Some(wake) = slot.settle(outcome) {
        rouse(wake);
    }
}
