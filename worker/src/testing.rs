//! A worker on the test bench: handlers tested without a process.
//!
//! [`Bench`] runs a real worker, threads and all, on the other end of a socket pair in this process. What a
//! handler answers is encoded, framed and decoded as it would be for a supervisor. What a handler can ask about its
//! request is said by [`Terms`]; its time passes faster by [`Bench::advance`].
//!
//! [`Fault`] lets a real worker die at an exact point of a job.

mod calls;
mod faults;
mod peer;
mod terms;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ganger_protocol::{
    Answered, Attachment, Attachments, Call, Failure, FailureKind, Ordinal, Time, decode, encode,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connect;
use crate::link::{Link, OnLoss};
use crate::serve::ServeError;
use crate::worker::Worker;

use calls::Others;
pub use faults::Fault;
pub(crate) use faults::{Faults, Point, write_most};
pub(crate) use peer::{Peer, Said};
pub use terms::Terms;

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
    link: Arc<Link>,
    events: VecDeque<(String, Vec<u8>)>,
    reports: HashMap<Ordinal, VecDeque<Vec<u8>>>,
    answers: HashMap<Ordinal, Answer>,
    others: Others,
}

struct Answer {
    answered: Answered,
    payload: Vec<u8>,
    attachments: Attachments,
}

/// A call that was sent to a worker on the bench.
#[derive(Debug)]
#[must_use = "its answer is not waited for"]
pub struct Sent<C> {
    ordinal: Ordinal,
    call: PhantomData<fn() -> C>,
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
        let link = Arc::clone(worker.link());
        let serving = thread::spawn(move || worker.serve());
        Bench {
            peer,
            serving,
            link,
            events: VecDeque::new(),
            reports: HashMap::new(),
            answers: HashMap::new(),
            others: Others::default(),
        }
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
        self.call_on(&Terms::new(), call)
    }

    /// Makes a call on these terms and waits for its answer.
    ///
    /// # Errors
    /// As [`call`](Bench::call).
    ///
    /// # Panics
    /// As [`call`](Bench::call).
    pub fn call_on<C: Call>(&mut self, terms: &Terms, call: &C) -> Result<C::Reply, Failure> {
        let sent = self.send(terms, call)?;
        self.wait(sent)
    }

    /// Makes a call on these terms and does not wait: to [`cancel`](Bench::cancel) it, or to have several in hand.
    ///
    /// # Errors
    /// A [`Failure`] of kind [`Codec`](FailureKind::Codec) when the call cannot be encoded.
    pub fn send<C: Call>(&mut self, terms: &Terms, call: &C) -> Result<Sent<C>, Failure> {
        let data = encode(call).map_err(codec)?;
        let ordinal = self.peer.request_on(terms, C::NAME, &data, Arc::new([]));
        Ok(Sent { ordinal, call: PhantomData })
    }

    /// As [`send`](Bench::send), with attachments: up to 16.
    ///
    /// # Errors
    /// As [`send`](Bench::send).
    pub fn send_with<C, I>(&mut self, terms: &Terms, call: &C, attachments: I) -> Result<Sent<C>, Failure>
    where
        C: Call,
        I: IntoIterator<Item: Into<Attachment>>,
    {
        let data = encode(call).map_err(codec)?;
        let fds = attachments.into_iter().map(|one| Arc::new(one.into().into_fd())).collect();
        let ordinal = self.peer.request_on(terms, C::NAME, &data, fds);
        Ok(Sent { ordinal, call: PhantomData })
    }

    /// Makes a call whose argument is bytes and does not wait for its answer, which is lost.
    pub fn send_raw(&mut self, name: &str, data: &[u8]) {
        self.peer.request(name, data);
    }

    /// Waits for the answer to a call.
    ///
    /// # Errors
    /// As [`call`](Bench::call).
    ///
    /// # Panics
    /// As [`call`](Bench::call).
    #[allow(clippy::needless_pass_by_value, reason = "an answer can be waited for once")]
    pub fn wait<C: Call>(&mut self, sent: Sent<C>) -> Result<C::Reply, Failure> {
        let (reply, _) = self.reply_to(sent.ordinal)?;
        decode(&reply).map_err(codec)
    }

    /// As [`wait`](Bench::wait), with what was attached to the answer.
    ///
    /// # Errors
    /// As [`call`](Bench::call).
    ///
    /// # Panics
    /// As [`call`](Bench::call).
    #[allow(clippy::needless_pass_by_value, reason = "an answer can be waited for once")]
    pub fn wait_with<C: Call>(&mut self, sent: Sent<C>) -> Result<(C::Reply, Attachments), Failure> {
        let (reply, attachments) = self.reply_to(sent.ordinal)?;
        Ok((decode(&reply).map_err(codec)?, attachments))
    }

    /// Waits until the handler of a call is about to be called.
    ///
    /// # Panics
    /// When it is not called within a minute.
    pub fn wait_started<C>(&self, sent: &Sent<C>) {
        let patience = Time::now() + PATIENCE;
        // The mark is a word in memory: nothing tells when it moves.
        while !sent.ordinal.is_started(self.peer.page.mark().started) {
            assert!(Time::now() < patience, "the call was not started for {PATIENCE:?}");
            thread::yield_now();
        }
    }

    /// Tells the worker that nobody waits for the answer to a call any more, once its handler was called: a supervisor
    /// takes back what was not started.
    ///
    /// # Panics
    /// As [`wait_started`](Bench::wait_started).
    pub fn cancel<C>(&mut self, sent: &Sent<C>) {
        self.wait_started(sent);
        self.peer.cancel(sent.ordinal);
    }

    /// Moves the time on that handlers are told: the age of their requests, how long they have been running, their
    /// deadlines. Handlers that are not yet called see nothing of it: [wait](Bench::wait_started) for that. Neither the
    /// machine's clock nor the worker's own threads are any the wiser.
    pub fn advance(&self, time: Duration) {
        self.link.advance(time);
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
        self.reply_to(ordinal).map(|(reply, _)| reply)
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
            self.keep_next();
        }
    }

    /// What the handler of a call [reports](crate::Context::progress) next; `None` when it has answered and reported
    /// nothing more.
    ///
    /// # Panics
    /// When the report is not a `T`, or the worker has ended or says nothing within a minute.
    pub fn next_progress<T: DeserializeOwned, C>(&mut self, sent: &Sent<C>) -> Option<T> {
        loop {
            if let Some(report) = self.reports.get_mut(&sent.ordinal).and_then(VecDeque::pop_front) {
                return Some(decode(&report).expect("the report is of that type"));
            }
            if self.answers.contains_key(&sent.ordinal) {
                return None;
            }
            self.keep_next();
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

    /// Waits until the worker has ended by itself: by a [`Fault`], or because a handler ended it.
    ///
    /// # Errors
    /// What [`Worker::serve`] returned.
    ///
    /// # Panics
    /// When the worker does not end within a minute.
    pub fn wait_end(mut self) -> Result<(), ServeError> {
        while self.peer.next(PATIENCE) != Said::Gone {}
        self.serving.join().expect("serve does not panic")
    }

    fn reply_to(&mut self, ordinal: Ordinal) -> Result<(Vec<u8>, Attachments), Failure> {
        let Answer { answered, payload, attachments } = self.answer_to(ordinal);
        match answered {
            Answered::Data | Answered::Ack => Ok((payload, attachments)),
            Answered::Failed => Err(decode(&payload).unwrap_or_else(codec)),
        }
    }

    fn answer_to(&mut self, ordinal: Ordinal) -> Answer {
        loop {
            if let Some(answer) = self.answers.remove(&ordinal) {
                return answer;
            }
            self.keep_next();
        }
    }

    /// Waits for what the worker says next, and keeps it for whoever asks for it.
    fn keep_next(&mut self) {
        match self.next() {
            Said::Event(name, payload) => self.events.push_back((name, payload)),
            Said::Progress(head, payload) => {
                self.reports.entry(head.ordinal).or_default().push_back(payload);
            }
            Said::Answer(head, payload, attachments) => {
                let answer = Answer { answered: head.answered, payload, attachments };
                self.answers.insert(head.ordinal, answer);
            }
            Said::Hello(_)
            | Said::Ready(_)
            | Said::Busy
            | Said::Taken(_)
            | Said::Goodbye
            | Said::Gone
            | Said::Call(..)
            | Said::CallAnswer(..)
            | Said::Metrics(_)
            | Said::Health(_) => {}
        }
    }

    fn next(&mut self) -> Said {
        loop {
            match self.peer.next(PATIENCE) {
                Said::Gone => panic!("the worker has ended"),
                Said::Call(call, to, name, payload) => {
                    self.others.answer(&mut self.peer, call, &to, &name, &payload);
                }
                said => return said,
            }
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
