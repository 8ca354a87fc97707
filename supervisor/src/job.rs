//! What a caller asks for: a call and the terms on which it is to be done.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ganger_protocol::{Attachment, Call, CodecError, Time};

use crate::scheduler::{JobOptions, OnTimeout, Order, Priority, RetryOn};
use crate::slot::{Baggage, Held, Spec, Terms};

mod sealed {
    pub trait Sealed {}
    impl<C: ganger_protocol::Call> Sealed for C {}
    impl Sealed for super::Raw {}
}

/// Something that a worker can be asked to do: every [`Call`], and [`Raw`] bytes.
///
/// There is nothing to implement here; implement [`Call`].
pub trait Work: sealed::Sealed + Sized {
    /// What a successful answer holds.
    type Reply;

    /// The name by which the worker finds the handler.
    fn name(&self) -> Cow<'static, str>;

    /// The payload of the request; raw bytes are moved out, not copied.
    ///
    /// # Errors
    /// [`CodecError`] when the value's own `Serialize` refuses.
    #[doc(hidden)]
    fn take_payload(&mut self) -> Result<Vec<u8>, CodecError>;

    /// Undoes `take_payload` when the job was refused.
    #[doc(hidden)]
    fn put_back(&mut self, payload: Vec<u8>);

    /// The value of an answer.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are not a reply, or more than one.
    #[doc(hidden)]
    fn decode(data: Vec<u8>) -> Result<Self::Reply, CodecError>;
}

impl<C: Call> Work for C {
    type Reply = C::Reply;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(C::NAME)
    }

    fn take_payload(&mut self) -> Result<Vec<u8>, CodecError> {
        ganger_protocol::encode(self)
    }

    fn put_back(&mut self, _payload: Vec<u8>) {}

    fn decode(data: Vec<u8>) -> Result<C::Reply, CodecError> {
        ganger_protocol::decode(&data)
    }
}

/// A call without types: a name and bytes, answered with bytes.
///
/// ```
/// use ganger::{Job, Raw};
///
/// let job = Job::new(Raw::new("checksum", *b"some bytes")).retries(1);
/// assert_eq!(job.call().bytes, b"some bytes");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Raw {
    /// The name by which the worker finds the handler.
    pub name: Cow<'static, str>,
    /// The payload, sent as it is.
    pub bytes: Vec<u8>,
}

impl Raw {
    /// Asks the handler called `name`, with these bytes.
    pub fn new(name: impl Into<Cow<'static, str>>, bytes: impl Into<Vec<u8>>) -> Raw {
        Raw { name: name.into(), bytes: bytes.into() }
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Raw({:?}, {} bytes)", self.name, self.bytes.len())
    }
}

impl Work for Raw {
    type Reply = Vec<u8>;

    fn name(&self) -> Cow<'static, str> {
        self.name.clone()
    }

    fn take_payload(&mut self) -> Result<Vec<u8>, CodecError> {
        Ok(std::mem::take(&mut self.bytes))
    }

    fn put_back(&mut self, payload: Vec<u8>) {
        self.bytes = payload;
    }

    fn decode(data: Vec<u8>) -> Result<Vec<u8>, CodecError> {
        Ok(data)
    }
}

/// A call, and the terms on which it is to be done.
///
/// Without any terms the call itself will do wherever a job is asked for. The defaults: no retries, none of the
/// three clocks, no headers, the normal class, no delay, no key, the first group.
///
/// ```
/// use std::time::Duration;
/// use ganger::{Call, Job, Priority};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Render { page: u32 }
/// impl Call for Render { const NAME: &'static str = "render"; type Reply = Vec<u8>; }
///
/// let job = Job::new(Render { page: 1 })
///     .retries(2)
///     .timeout(Duration::from_secs(30))
///     .run_timeout(Duration::from_secs(5))
///     .group("renderers")
///     .priority(Priority::High)
///     .key("book 7") // one page of the book after the other
///     .header("trace", "4bf92f35");
/// let next = job.like(Render { page: 2 }); // the same terms, shared between the two
/// # drop(next);
/// ```
pub struct Job<C> {
    call: C,
    group: Option<Arc<str>>,
    terms: Option<Arc<Terms>>,
    attachments: Option<Box<Baggage>>,
}

impl<C: Work> Job<C> {
    /// A job on default terms.
    #[must_use]
    pub fn new(call: C) -> Job<C> {
        Job { call, group: None, terms: None, attachments: None }
    }

    /// Another call on this job's terms. The two share them, so that a million jobs made alike need the memory of
    /// one set of terms. Attachments are no terms: the other call has none.
    #[must_use]
    pub fn like(&self, call: C) -> Job<C> {
        Job { call, group: self.group.clone(), terms: self.terms.clone(), attachments: None }
    }

    /// `retries` further attempts after the first, if the ending of an attempt is worth one: see
    /// [`retry_on`](Job::retry_on). Default 0: the handler runs at most once.
    #[must_use]
    pub fn retries(self, retries: u16) -> Job<C> {
        self.options(|options| options.retries = retries)
    }

    /// Which endings are worth a retry. By default a worker's death only.
    #[must_use]
    pub fn retry_on(self, retry_on: RetryOn) -> Job<C> {
        self.options(|options| options.retry_on = retry_on)
    }

    /// The delay before the first retry; it doubles with each, up to `most`, and varies by 20 % either way.
    /// Default none.
    #[must_use]
    pub fn retry_backoff(self, first: Duration, most: Duration) -> Job<C> {
        self.options(|options| {
            options.retry_backoff = Some(first);
            options.retry_backoff_max = most;
        })
    }

    /// How long all of it may take, from enqueue (or the end of its [delay](Job::delay)), waiting and retries included.
    /// Default for ever.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Job<C> {
        self.options(|options| options.timeout = Some(timeout))
    }

    /// How long one attempt may take, from the handler's start. Default for ever.
    #[must_use]
    pub fn run_timeout(self, timeout: Duration) -> Job<C> {
        self.options(|options| options.run_timeout = Some(timeout))
    }

    /// How long it may take from enqueue (or the end of its [delay](Job::delay)) until a handler first starts. Default for
    /// ever.
    #[must_use]
    pub fn queue_timeout(self, timeout: Duration) -> Job<C> {
        self.options(|options| options.queue_timeout = Some(timeout))
    }

    /// What happens to a worker that runs the job when a clock runs out. Default [`OnTimeout::Kill`].
    #[must_use]
    pub fn on_timeout(self, on_timeout: OnTimeout) -> Job<C> {
        self.options(|options| options.on_timeout = on_timeout)
    }

    /// The job's class: of the jobs that could be sent, those of a higher class go first, until one of a lower class
    /// has waited for the group's [`ageing`](crate::Group::ageing). Default [`Priority::Normal`].
    ///
    /// Jobs of other classes than the normal one are given to free slots only, and never sent ahead of them: a high one
    /// is not to wait in a worker while another worker is free, and a low one is not to be in the way.
    #[must_use]
    pub fn priority(self, priority: Priority) -> Job<C> {
        self.order(|order| order.priority = priority)
    }

    /// How long after enqueue the job may be sent at the earliest. Default at once.
    ///
    /// Everything else counts from the end of the delay: the clocks [`timeout`](Job::timeout) and
    /// [`queue_timeout`](Job::queue_timeout), its age among other jobs, the queue time in its response. Until then it can
    /// be cancelled, and counts in the queue's limits. A soft kill waits for delayed jobs, up to its own deadline, unless
    /// it settles what is not in flight.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Job<C> {
        self.order(|order| order.delay = Some(delay))
    }

    /// When the job may be sent at the earliest; as [`delay`](Job::delay) in everything else. With both, the later counts.
    /// Time in which the supervisor itself stood still (stopped, suspended) counts for nobody, and moves it.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the caller's instant becomes the scheduler's time")]
    pub fn not_before(self, instant: Instant) -> Job<C> {
        let time = Time::now() + instant.saturating_duration_since(Instant::now());
        self.order(|order| order.not_before = Some(time))
    }

    /// Of the jobs of a group with the same key one is under way at a time, in the order in which they were enqueued (one
    /// with a [delay](Job::delay): at the end of that), whatever their priorities. The next one begins when the job
    /// before it has ended, its retries included, and no handler is at work on it any more. A group may allow more at
    /// once: [`Group::key_limit`](crate::Group::key_limit).
    ///
    /// There may be any number of keys; only those in use take memory. Two keys with the same 64-bit hash count as one.
    /// As jobs of other classes, those with keys are never sent ahead.
    #[must_use]
    pub fn key(self, key: impl Hash) -> Job<C> {
        let key = hash(key);
        self.order(|order| order.key = Some(key))
    }

    /// Jobs with the same key prefer the same worker, in a group that picks by
    /// [`Pick::Affinity`](crate::Pick::Affinity).
    #[must_use]
    pub fn affinity(self, key: impl Hash) -> Job<C> {
        let key = hash(key);
        self.options(|options| options.affinity = Some(key))
    }

    /// A pair that travels with the request and that ganger does not look at, for instance a trace id. All
    /// headers and the name together must stay under 32 KiB.
    #[must_use]
    pub fn header(self, key: impl Into<String>, value: impl Into<String>) -> Job<C> {
        let pair = (key.into(), value.into());
        self.terms(|terms| terms.headers.push(pair))
    }

    /// Gives the handler a file, a socket, a listener, a pipe or the end of a [stream](crate::stream()), in the order of
    /// these calls: up to 16.
    ///
    /// It stays open here until a worker has it that is the last that can get the job, or until the job has ended; a
    /// worker that dies before it began costs nothing. An attempt after the first gets the same open file, with what
    /// the one before did to it: a position, bytes that were read. A job with the end of a stream has no
    /// [`retries`](Job::retries), whatever was said: what was read of it is gone.
    ///
    /// ```no_run
    /// # use ganger::{Call, Job, Program, Supervisor};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)] struct Serve;
    /// # impl Call for Serve { const NAME: &'static str = "serve"; type Reply = (); }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let supervisor = Supervisor::builder(Program::beside("server")).start()?;
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// loop {
    ///     let (visitor, _) = listener.accept()?;
    ///     // The handler takes it by `TcpStream::from(cx.attachments().take().unwrap())`.
    ///     supervisor.enqueue(Job::new(Serve).attach(visitor))?;
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn attach(mut self, attachment: impl Into<Attachment>) -> Job<C> {
        self.attachments.get_or_insert_default().add(attachment.into());
        self
    }

    /// The group whose workers do the job. Default the supervisor's first.
    #[must_use]
    pub fn group(mut self, name: impl Into<Arc<str>>) -> Job<C> {
        self.group = Some(name.into());
        self
    }

    fn order(self, change: impl FnOnce(&mut Order)) -> Job<C> {
        self.options(|options| change(options.order.get_or_insert_default()))
    }

    fn options(self, change: impl FnOnce(&mut JobOptions)) -> Job<C> {
        self.terms(|terms| change(&mut terms.options))
    }

    fn terms(mut self, change: impl FnOnce(&mut Terms)) -> Job<C> {
        let name = self.call.name();
        let terms = self.terms.get_or_insert_with(|| Arc::new(Terms { name, ..Terms::default() }));
        change(Arc::make_mut(terms));
        self
    }

    pub(crate) fn spec(&self) -> Spec {
        match &self.attachments {
            None => self.plain_spec(),
            Some(baggage) => self.laden_spec(baggage),
        }
    }

    fn laden_spec(&self, baggage: &Baggage) -> Spec {
        let held = Held::new(baggage);
        let mut terms = self.terms.as_deref().cloned().unwrap_or_default();
        terms.name = self.call.name();
        terms.options.has_attachments = true;
        if held.streams() > 0 {
            terms.options.retries = 0;
        }
        terms.attachments = Some(held);
        Spec::Rich(Arc::new(terms))
    }

    fn plain_spec(&self) -> Spec {
        match (&self.terms, self.call.name()) {
            (None, Cow::Borrowed(name)) => Spec::Plain(name),
            (Some(terms), name) if terms.name == name => Spec::Rich(Arc::clone(terms)),
            (Some(terms), name) => Spec::Rich(Arc::new(Terms { name, ..Terms::clone(terms) })),
            (None, name) => Spec::Rich(Arc::new(Terms { name, ..Terms::default() })),
        }
    }
}

/// Fixed keys: the same value means the same worker, or line, in every run of the same build.
fn hash(key: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

impl<C> Job<C> {
    /// What is to be done.
    pub fn call(&self) -> &C {
        &self.call
    }

    /// What was to be done, without the terms.
    pub fn into_call(self) -> C {
        self.call
    }

    /// How many attachments there are, when they are more than there may be.
    pub(crate) fn excess_baggage(&self) -> Option<usize> {
        self.attachments.as_ref().filter(|baggage| baggage.is_too_much()).map(|baggage| baggage.len())
    }

    pub(crate) fn call_mut(&mut self) -> &mut C {
        &mut self.call
    }

    pub(crate) fn group_name(&self) -> Option<&str> {
        self.group.as_deref()
    }
}

impl<C: Work> From<C> for Job<C> {
    fn from(call: C) -> Job<C> {
        Job::new(call)
    }
}

/// The same call on the same terms, with the same attachments: each job gives its worker the same open files.
impl<C: Clone> Clone for Job<C> {
    fn clone(&self) -> Job<C> {
        Job {
            call: self.call.clone(),
            group: self.group.clone(),
            terms: self.terms.clone(),
            attachments: self.attachments.clone(),
        }
    }
}

impl<C> fmt::Debug for Job<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("call", &std::any::type_name::<C>())
            .field("group", &self.group)
            .field("terms", &self.terms)
            .field("attachments", &self.attachments)
            .finish()
    }
}
