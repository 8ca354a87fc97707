//! What a handler is told about a request besides its argument.

use std::time::Duration;

/// What a handler is told about a request on the [`Bench`](super::Bench): by default its first attempt, enqueued just
/// now, without a run timeout and without headers.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use ganger_worker::testing::{Bench, Terms};
/// use ganger_worker::Call;
/// use serde::{Deserialize, Serialize};
///
/// /// Counts until told to stop, or until its time is over; gives its attempt.
/// #[derive(Serialize, Deserialize)]
/// struct Count;
///
/// impl Call for Count {
///     const NAME: &'static str = "count";
///     type Reply = u16;
/// }
///
/// let mut bench = Bench::start(|worker| {
///     worker.on_call(|Count, cx| {
///         let is_late = || cx.deadline().is_some_and(|deadline| Instant::now() >= deadline);
///         while !cx.cancelled() && !is_late() {
///             std::thread::yield_now();
///         }
///         Ok(cx.attempt())
///     });
/// });
/// // Nobody waits for it any more: it notices.
/// let sent = bench.send(&Terms::new().attempt(2), &Count).unwrap();
/// bench.cancel(&sent);
/// assert_eq!(bench.wait(sent), Ok(2));
/// // An hour is over, and no test has waited for it.
/// let sent = bench.send(&Terms::new().run_timeout(Duration::from_secs(3600)), &Count).unwrap();
/// bench.wait_started(&sent);
/// bench.advance(Duration::from_secs(3600));
/// assert_eq!(bench.wait(sent), Ok(1));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub(super) attempt: u16,
    pub(super) age: Duration,
    pub(super) run_timeout: Option<Duration>,
    pub(super) headers: Vec<(String, String)>,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms { attempt: 1, age: Duration::ZERO, run_timeout: None, headers: Vec::new() }
    }
}

impl Terms {
    /// The defaults.
    #[must_use]
    pub fn new() -> Terms {
        Terms::default()
    }

    /// Which attempt of the job it is, from 1.
    #[must_use]
    pub fn attempt(self, attempt: u16) -> Terms {
        Terms { attempt, ..self }
    }

    /// How long ago the job was enqueued.
    #[must_use]
    pub fn age(self, age: Duration) -> Terms {
        Terms { age, ..self }
    }

    /// How long the handler may run. Nothing ends it on the bench: it sees its deadline.
    #[must_use]
    pub fn run_timeout(self, timeout: Duration) -> Terms {
        Terms { run_timeout: Some(timeout), ..self }
    }

    /// One header more.
    #[must_use]
    pub fn header(mut self, key: impl Into<String>, value: impl Into<String>) -> Terms {
        self.headers.push((key.into(), value.into()));
        self
    }
}
