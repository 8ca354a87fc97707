//! A worker on the test bench: handlers tested without a process.
//!
//! [`Bench`] runs a real worker, threads and all, on the other end of a socket pair in this process. What a
//! handler answers is encoded, framed and decoded as it would be for a supervisor.

mod peer;

use std::collections::VecDeque;
use std::fmt;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ganger_protocol::{AnswerHead, Answered, Call, Failure, FailureKind, Ordinal, decode, encode};
use serde::Serialize;

use crate::connect;
use crate::link::OnLoss;
use crate::serve::ServeError;
use crate::worker::Worker;

pub(crate) use peer::{Peer, Said};

/// How long the bench waits for the worker.
const PATIENCE: Duration = Duration::from_secs(60);

/// A worker in this process, and the end of its leash.
///
/// ```
/// use ganger_worker::testing::Bench;
/// use ganger_worker::{Call, FailureKind};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Halve(u32);
///
/// impl Call for Halve {
///     const NAME: &'static str = "halve";
///     type Reply = u32;
/// }
///
/// let mut bench = Bench::start(|worker| {
///     worker.on_call(|Halve(number), _cx| {
///         assert!(number % 2 == 0, "{number} is odd");
///         Ok(number / 2)
///     });
/// });
/// assert_eq!(bench.call(&Halve(12)), Ok(6));
/// let failure = bench.call(&Halve(7)).unwrap_err();
/// assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Panic, "7 is odd"));
/// bench.soft_kill().unwrap();
/// ```
pub struct Bench {
    peer: Peer,
    serving: JoinHandle<Result<(), ServeError>>,
    events: VecDeque<(String, Vec<u8>)>,
}

impl Bench {
    /// Starts a worker with the handlers that `register` registers.
    ///
    /// # Panics
    /// When the system refuses the sockets or threads it takes.
    #[must_use]
    pub fn start(register: impl FnOnce(&mut Worker)) -> Bench {
        let (peer, mut worker) = connected();
        register(&mut worker);
        let serving = thread::spawn(move || worker.serve());
        Bench { peer, serving, events: VecDeque::new() }
    }

    /// Makes a call and waits for its answer.
    ///
    /// # Errors
    /// The handler's [`Failure`], or one of kind [`Codec`](FailureKind::Codec) when the call cannot be encoded or
    /// the answer is not a `C::Reply`.
    ///
    /// # Panics
    /// When the worker has ended or does not answer within a minute.
    pub fn call<C: Call>(&mut self, call: &C) -> Result<C::Reply, Failure> {
        let data = encode(call).map_err(codec)?;
        let reply = self.call_raw(C::NAME, &data)?;
        decode(&reply).map_err(codec)
    }

    /// Makes a call whose argument and reply are bytes; one that is only acknowledged replies no bytes.
    ///
    /// # Errors
    /// The handler's [`Failure`].
    ///
    /// # Panics
    /// When the worker has ended or does not answer within a minute.
    pub fn call_raw(&mut self, name: &str, data: &[u8]) -> Result<Vec<u8>, Failure> {
        let ordinal = self.peer.request(name, data);
        let (answered, payload) = self.answer_to(ordinal);
        match answered {
            Answered::Data | Answered::Ack => Ok(payload),
            Answered::Failed => Err(decode(&payload).unwrap_or_else(codec)),
        }
    }

    /// Sends an event to the worker.
    ///
    /// # Panics
    /// When the payload cannot be encoded.
    pub fn broadcast<T: Serialize + ?Sized>(&mut self, name: &str, payload: &T) {
        self.peer.event(name, &encode(payload).expect("the payload of an event encodes"));
    }

    /// The next event that the worker emits: its name and its payload.
    ///
    /// # Panics
    /// When the worker has ended or emits none within a minute.
    pub fn next_event(&mut self) -> (String, Vec<u8>) {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            if let Said::Event(name, payload) = self.next() {
                self.events.push_back((name, payload));
            }
        }
    }

    /// Ends the worker as a supervisor would that needs it no longer, and waits until it has left.
    ///
    /// # Errors
    /// What [`Worker::serve`] returned.
    ///
    /// # Panics
    /// When the worker does not leave within a minute, or has ended before.
    pub fn soft_kill(mut self) -> Result<(), ServeError> {
        self.peer.drain();
        while self.next() != Said::Goodbye {}
        self.serving.join().expect("serve does not panic")
    }

    fn answer_to(&mut self, ordinal: Ordinal) -> (Answered, Vec<u8>) {
        loop {
            match self.next() {
                Said::Answer(AnswerHead { ordinal: found, answered, .. }, payload) if found == ordinal => {
                    return (answered, payload);
                }
                Said::Event(name, payload) => self.events.push_back((name, payload)),
                Said::Answer(..)
                | Said::Hello(_)
                | Said::Ready(_)
                | Said::Busy
                | Said::Goodbye
                | Said::Gone => {}
            }
        }
    }

    fn next(&mut self) -> Said {
        match self.peer.next(PATIENCE) {
            Said::Gone => panic!("the worker has ended"),
            said => said,
        }
    }
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench").finish_non_exhaustive()
    }
}

/// A worker that has said its Hello, and its supervisor's end.
pub(crate) fn connected() -> (Peer, Worker) {
    let (peer, leash) = Peer::new();
    let link = connect::greet(leash, OnLoss::Return).expect("the peer's Hello is in order");
    (peer, Worker::new(link))
}

fn codec(error: impl fmt::Display) -> Failure {
    Failure::of_kind(FailureKind::Codec, error.to_string())
}
