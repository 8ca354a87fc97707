//! What is known about a request besides its argument.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ganger_protocol::{Attachments, Caller, JobId, Time};

use crate::control::Control;
use crate::current::Duty;
use crate::link::Link;
use crate::session::{Called, Started};

/// What is known about a request besides its argument.
///
/// A handler registered with [`Worker::on_call`](crate::Worker::on_call) gets it beside the argument; requests and
/// responders dereference to it.
///
/// ```no_run
/// # use ganger_worker::{Call, Worker};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)] struct Count { to: u64 }
/// # impl Call for Count { const NAME: &'static str = "count"; type Reply = u64; }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut worker = Worker::connect()?;
/// worker.on_call(|count: Count, cx| {
///     let mut counted = 0;
///     while counted < count.to && !cx.cancelled() {
///         counted += 1;
///     }
///     Ok(counted)
/// });
/// worker.serve()?;
/// # Ok(())
/// # }
/// ```
pub struct Context {
    pub(super) link: Arc<Link>,
    pub(super) duty: Duty,
    name: Arc<str>,
    job: JobId,
    attempt: u16,
    enqueued: Time,
    since: Time,
    run_timeout: Option<Duration>,
    headers: Vec<(String, String)>,
    /// The worker that calls, if one does.
    caller: Option<Arc<str>>,
    attachments: Attachments,
}

impl Context {
    /// What is known of the request, and its argument.
    pub(super) fn of(link: Arc<Link>, started: Started) -> (Context, Vec<u8>) {
        let Started { ticket, since, request } = started;
        let context = Context {
            link,
            duty: Duty::Request(ticket),
            name: request.name,
            job: request.job,
            attempt: request.attempt,
            enqueued: request.enqueued,
            since,
            run_timeout: request.run_timeout,
            headers: request.headers,
            caller: None,
            attachments: request.attachments.unwrap_or_default(),
        };
        (context, request.payload)
    }

    /// What is known of a call, and its argument.
    pub(super) fn of_call(link: Arc<Link>, call: Called) -> (Context, Vec<u8>) {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&call.ticket.number().to_be_bytes());
        let context = Context {
            since: link.now(),
            link,
            duty: Duty::Call(call.ticket),
            name: call.name,
            job: JobId::from_bytes(id),
            attempt: 1,
            enqueued: call.received,
            run_timeout: None,
            headers: Vec::new(),
            caller: call.caller,
            attachments: Attachments::NONE,
        };
        let waited = context.since.since(context.enqueued);
        (Context { run_timeout: Some(call.timeout.saturating_sub(waited)), ..context }, call.payload)
    }

    /// On whose behalf the handler was called: a job's owner, or another process that called this worker.
    #[must_use]
    pub fn caller(&self) -> Caller<'_> {
        match (self.duty, &self.caller) {
            (Duty::Request(_), _) => Caller::Job,
            (Duty::Call(_), None) => Caller::Primary,
            (Duty::Call(_), Some(worker)) => Caller::Worker(worker),
        }
    }

    /// The call's name.
    #[must_use]
    pub fn call(&self) -> &str {
        &self.name
    }

    /// The job's id: the same in every attempt. Of a call from another process, the supervisor's number for it.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.job
    }

    /// Which attempt of the job this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u16 {
        self.attempt
    }

    /// How long ago the job was enqueued, by the machine's monotonic clock. Of a call from another process, how long ago
    /// it came.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.link.now().since(self.enqueued)
    }

    /// When the job was enqueued, by the wall clock as it is now.
    #[must_use]
    pub fn created_at(&self) -> SystemTime {
        let now = SystemTime::now();
        now.checked_sub(self.age()).unwrap_or(now)
    }

    /// How long this attempt has been running.
    #[must_use]
    pub fn running_for(&self) -> Duration {
        self.link.now().since(self.since)
    }

    /// When the run timeout ends this attempt, if there is one, or when the caller gives up.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let deadline = self.since + self.run_timeout?;
        let (now, clock) = (Instant::now(), self.link.now());
        if deadline >= clock {
            now.checked_add(deadline.since(clock))
        } else {
            now.checked_sub(clock.since(deadline))
        }
    }

    /// The job's headers, in the order in which they were given.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The first header with this key.
    #[must_use]
    pub fn header(&self, key: &str) -> Option<&str> {
        self.headers().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// What was attached to the job, in the order in which it was given: to be taken. What is not taken is closed when
    /// the request has been answered.
    ///
    /// ```no_run
    /// # use ganger_worker::{Call, Failure, Worker};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)] struct Talk;
    /// # impl Call for Talk { const NAME: &'static str = "talk"; type Reply = (); }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io::Write;
    /// use std::net::TcpStream;
    ///
    /// let mut worker = Worker::connect()?;
    /// worker.on_call(|_: Talk, cx| {
    ///     let visitor = cx.attachments().take().ok_or(Failure::new("nobody came"))?;
    ///     TcpStream::from(visitor).write_all(b"Hello!\n")?;
    ///     Ok(())
    /// });
    /// # worker.serve()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn attachments(&self) -> &Attachments {
        &self.attachments
    }

    /// Whether nobody waits for the answer any more. Turns true within 10 ms of the word of the supervisor,
    /// also while every handler thread is busy. To ask costs one memory access; in a call from another process, a look
    /// at the clock.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        match self.duty {
            Duty::Request(ticket) => self.link.is_cancelled(ticket),
            Duty::Call(_) => self.run_timeout.is_some_and(|timeout| self.running_for() >= timeout),
        }
    }

    /// The worker that handles the request.
    #[must_use]
    pub fn worker(&self) -> Control {
        Control::new(Arc::clone(&self.link))
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("call", &self.call())
            .field("id", &self.job)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
