//! The worker's own levers: readiness, events, and a look at what is in hand.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ganger_protocol::{
    Address, Body, Call, CodecError, JobId, Metrics, Outgoing, Page, Replica, Store, StoreDoor, StoreError,
    Time, encode,
};
use serde::Serialize;

use crate::link::Link;
use crate::session::{Hand, Ticket};

/// A handle on the worker, for any thread: cloned from [`Worker::control`](crate::Worker::control) or taken from
/// a request.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let worker = ganger_worker::Worker::connect()?;
/// let control = worker.control();
/// control.busy();
/// std::thread::spawn(move || {
///     // … load a large model, then:
///     control.ready();
///     control.emit("loaded", &42u64)
/// });
/// worker.serve()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Control {
    link: Arc<Link>,
}

impl Control {
    pub(crate) fn new(link: Arc<Link>) -> Control {
        Control { link }
    }

    #[cfg(test)]
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Says that requests are welcome, as many at once as there are handler threads. Before
    /// [`serve`](crate::Worker::serve) it takes effect there, which is what happens anyway unless
    /// [`busy`](Control::busy) was called.
    pub fn ready(&self) {
        self.link.ready(None);
    }

    /// Says that requests are welcome, at most `capacity` in hand at once: started and not yet answered.
    ///
    /// More than there are handler threads makes sense for handlers that answer later.
    ///
    /// # Panics
    /// When `capacity` is 0 or above 1,020.
    pub fn ready_with(&self, capacity: u32) {
        check_capacity(capacity);
        self.link.ready(Some(capacity));
    }

    /// Says that no request is welcome until [`ready`](Control::ready) is called again, any number of times.
    /// None is started from now on; those in hand go on. A busy worker does not leave: when it is drained it
    /// waits for `ready`, until the supervisor loses patience.
    pub fn busy(&self) {
        self.link.busy();
    }

    /// Sends an event to the supervisor.
    ///
    /// # Errors
    /// [`EmitError`] when the payload cannot be encoded, an event is too large, too much is unwritten because
    /// the supervisor does not read, or the worker has left.
    pub fn emit<T: Serialize + ?Sized>(&self, name: &str, payload: &T) -> Result<(), EmitError> {
        self.emit_raw(name, encode(payload)?)
    }

    /// Sends an event whose payload is bytes.
    ///
    /// # Errors
    /// As [`emit`](Control::emit).
    pub fn emit_raw(&self, name: &str, payload: impl Into<Vec<u8>>) -> Result<(), EmitError> {
        self.link.emit(name, Body::Share(Bytes::from(payload.into())))
    }

    /// Calls another process: the supervisor's, one worker, or all of a group. The call is encoded here and made when it
    /// is waited for, sent, awaited or collected; it waits 5 s unless [`timeout`](Outgoing::timeout) says otherwise.
    ///
    /// It may be made from any thread and at any time, before [`serve`](crate::Worker::serve) and in handlers as well.
    /// Whom it calls answers on a thread of its own, beside its jobs. A worker that calls one that calls it back waits
    /// for as long as the callee's thread is free; a circle through it ends by its deadline. At most 256 calls of a
    /// worker may be in flight.
    ///
    /// ```no_run
    /// use ganger_worker::{Address, Call, Worker};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct NextNumber;
    ///
    /// impl Call for NextNumber {
    ///     const NAME: &'static str = "next-number";
    ///     type Reply = u64;
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let worker = Worker::connect()?;
    /// let number = worker.control().call(Address::Primary, &NextNumber).wait()?;
    /// # let _ = number;
    /// # Ok(())
    /// # }
    /// ```
    pub fn call<C: Call>(&self, to: impl Into<Address>, call: &C) -> Outgoing<C::Reply> {
        Outgoing::typed(Arc::clone(&self.link) as _, to, call)
    }

    /// Calls another process as [`call`](Control::call) does, with bytes for bytes.
    pub fn call_raw(
        &self,
        to: impl Into<Address>,
        name: impl Into<Cow<'static, str>>,
        data: impl Into<Vec<u8>>,
    ) -> Outgoing<Vec<u8>> {
        Outgoing::raw(Arc::clone(&self.link) as _, to, name, data.into())
    }

    /// Where this worker's metrics are declared: counters, gauges and histograms, for any thread.
    ///
    /// The supervisor adds up what the workers of a slot have counted, dead ones included, and shows it with the labels
    /// `group` and `slot`; a gauge is shown while its worker lives. What has changed is told once a second, and before the
    /// worker leaves: when it is killed, what it counted in its last second is lost.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let worker = ganger_worker::Worker::connect()?;
    /// let metrics = worker.control().metrics();
    /// let jpegs = metrics.clone().label("format", "jpeg").counter("thumbnails_total", "Thumbnails made")?;
    /// let sizes = metrics.histogram("thumbnail_bytes", "Their sizes", &[1e3, 1e4, 1e5, 1e6])?;
    /// jpegs.inc();
    /// sizes.observe(48_213.0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.link.metrics()
    }

    /// The store that the supervisor and all its workers share. It may be used from any thread and at any time, before
    /// [`serve`](crate::Worker::serve) and in handlers as well: its answers are heard while all handler threads are busy.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let worker = ganger_worker::Worker::connect()?;
    /// let store = worker.control().store();
    /// let seen = store.increment("seen", 1)?;
    /// let size = store.get::<u32>("config/size")?.map_or(640, |found| found.value);
    /// # let _ = (seen, size);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(Arc::clone(&self.link) as Arc<dyn StoreDoor>)
    }

    /// A copy of the store's keys that begin with `prefix`, kept in this process and kept up to date: reading it costs
    /// no way to the supervisor. Waits until the copy is whole. The same as [`Store::replica`].
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let worker = ganger_worker::Worker::connect()?;
    /// let config = worker.control().replica("config/")?;
    /// // … in a handler, as often as you like:
    /// let size = config.get::<u32>("config/size")?.map_or(640, |found| found.value);
    /// # let _ = size;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Limits; [`StoreError::Unanswered`], [`StoreError::Gone`].
    pub fn replica(&self, prefix: &str) -> Result<Replica, StoreError> {
        self.store().replica(prefix)
    }

    /// The requests in hand: started and not yet answered.
    #[must_use]
    pub fn requests(&self) -> Vec<InHand> {
        let hands = self.link.hands();
        hands.into_iter().map(|hand| InHand::new(hand, Arc::clone(&self.link))).collect()
    }

    /// The worker's name, unique in its supervisor.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.link.identity.name
    }

    /// The name of the worker's group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.link.identity.group
    }

    /// The worker's place in its group, from 0. A replacement inherits it.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.link.identity.slot
    }

    /// Whether the supervisor has asked this worker to leave: no further request comes, and the process ends when
    /// what it has in hand is done and the [soft-kill hooks](crate::Worker::on_soft_kill) are, too. For work that comes
    /// from elsewhere, such as from a [listener](crate::Worker::listener).
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.link.lock().session.is_draining()
    }

    /// How many events from the supervisor were dropped because 1,024 were already waiting for their handlers.
    #[must_use]
    pub fn missed_events(&self) -> u64 {
        self.link.lock().missed_events
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// What a worker says about a request in hand, to anybody in its process.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let worker = ganger_worker::Worker::connect()?;
/// for request in worker.control().requests() {
///     println!("{} {} for {:?}", request.call(), request.id(), request.running_for());
/// }
/// # Ok(())
/// # }
/// ```
pub struct InHand {
    link: Arc<Link>,
    ticket: Ticket,
    name: Arc<str>,
    job: JobId,
    attempt: u16,
    since: Time,
}

impl InHand {
    fn new(hand: Hand, link: Arc<Link>) -> InHand {
        let Hand { ticket, job, attempt, name, since } = hand;
        InHand { link, ticket, name, job, attempt, since }
    }

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.job
    }

    /// The call's name.
    #[must_use]
    pub fn call(&self) -> &str {
        &self.name
    }

    /// Which attempt of the job it is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u16 {
        self.attempt
    }

    /// How long it has been in hand.
    #[must_use]
    pub fn running_for(&self) -> Duration {
        Time::now().since(self.since)
    }

    /// Whether nobody waits for its answer any more.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.link.is_cancelled(self.ticket)
    }
}

impl fmt::Debug for InHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InHand")
            .field("call", &self.call())
            .field("id", &self.job)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// An event that was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The payload cannot be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The payload is over the limit for events.
    #[error(
        "an event of {length} bytes is over the limit of {limit}; send less, or raise Builder::event_limit"
    )]
    TooLarge {
        /// The payload's length in bytes.
        length: usize,
        /// The supervisor's limit in bytes.
        limit: usize,
    },
    /// The name is too long.
    #[error("an event's name of {length} bytes is over the limit of {limit}; put the data into the payload")]
    NameTooLong {
        /// The name's length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The supervisor does not read as fast as this worker writes.
    #[error(
        "the event was not sent: {pending_bytes} bytes still wait to be read by the supervisor, and with {limit_bytes} \
         nothing is added; emit less often"
    )]
    Full {
        /// Unwritten bytes.
        pending_bytes: usize,
        /// With so many no event is accepted.
        limit_bytes: usize,
    },
    /// The worker has said goodbye, or lost its supervisor.
    #[error("the event was not sent: the worker has left its supervisor")]
    Left,
}

pub(crate) fn check_capacity(capacity: u32) {
    assert!(
        (1..=Page::SLOTS as u32).contains(&capacity),
        "a worker has from 1 to {} requests in hand, not {capacity}",
        Page::SLOTS
    );
}
