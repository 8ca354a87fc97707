//! Many jobs' results in one place, as they come.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

use ganger_protocol::JobId;
use parking_lot::Mutex;

use crate::response::{JobResult, read};
use crate::scheduler::Outcome;
use crate::slot::JobSlot;
use crate::{Handle, Work};

/// Outcomes that have come and were not yet fetched, and the threads that wait for one.
#[derive(Default)]
pub(crate) struct Arrivals {
    state: Mutex<Arrived>,
}

#[derive(Default)]
struct Arrived {
    outcomes: VecDeque<(JobSlot, Outcome)>,
    waiting: Vec<Thread>,
    /// Jobs forwarded here and not yet fetched.
    outstanding: usize,
}

/// What there was to fetch.
enum Fetched {
    Outcome(Box<(JobSlot, Outcome)>),
    NotYet,
    NothingToCome,
}

impl Arrivals {
    /// Adds an outcome, and names a thread that is to be woken for it.
    pub(crate) fn push(&self, slot: JobSlot, outcome: Outcome) -> Option<Thread> {
        let mut state = self.state.lock();
        state.outcomes.push_back((slot, outcome));
        state.waiting.pop()
    }

    #[cfg(test)]
    pub(crate) fn arrived(&self) -> usize {
        self.state.lock().outcomes.len()
    }

    fn expect_one(&self) {
        self.state.lock().outstanding += 1;
    }

    fn outstanding(&self) -> usize {
        self.state.lock().outstanding
    }

    fn fetch(&self) -> Fetched {
        let mut state = self.state.lock();
        match state.outcomes.pop_front() {
            Some(arrived) => {
                state.outstanding -= 1;
                if state.outstanding == 0 {
                    // Whoever else waits here waits for nothing now.
                    state.waiting.drain(..).for_each(|thread| thread.unpark());
                }
                Fetched::Outcome(Box::new(arrived))
            }
            None if state.outstanding == 0 => Fetched::NothingToCome,
            None => Fetched::NotYet,
        }
    }

    /// Joins the waiting threads unless there is a reason not to wait.
    fn enlist(&self) -> bool {
        let mut state = self.state.lock();
        let must_wait = state.outcomes.is_empty() && state.outstanding > 0;
        if must_wait {
            state.waiting.push(std::thread::current());
        }
        must_wait
    }

    fn leave(&self) {
        let me = std::thread::current().id();
        self.state.lock().waiting.retain(|thread| thread.id() != me);
    }

    fn fetch_before(&self, deadline: Option<Instant>) -> Fetched {
        loop {
            match self.fetch() {
                Fetched::NotYet => {}
                fetched => return fetched,
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Fetched::NotYet;
            }
            if self.enlist() {
                left.map_or_else(std::thread::park, std::thread::park_timeout);
                self.leave();
            }
        }
    }
}

/// A place where the results of many jobs arrive, in the order in which they are ready.
///
/// Made by [`Completions::new`], filled by [`Handle::forward`] or
/// [`Supervisor::enqueue_to`](crate::Supervisor::enqueue_to). Clones share the results: each is fetched once, by
/// whichever thread comes first. Iterating ends when every job that was forwarded here has been fetched.
///
/// ```no_run
/// # use ganger::{Call, Completions, Program, Supervisor};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct Resize { path: String }
/// # impl Call for Resize { const NAME: &'static str = "resize"; type Reply = u64; }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let supervisor = Supervisor::builder(Program::beside("resizer")).start()?;
/// let done = Completions::new();
/// for path in ["a.png", "b.png"] {
///     supervisor.enqueue_to(Resize { path: path.into() }, &done)?;
/// }
/// for (id, result) in &done {
///     match result {
///         Ok(response) => println!("{id}: {} bytes", response.data),
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Completions<C> {
    arrivals: Arc<Arrivals>,
    call: PhantomData<fn() -> C>,
}

impl<C: Work> Completions<C> {
    /// A place where nothing has arrived and nothing is expected.
    #[must_use]
    pub fn new() -> Completions<C> {
        Completions { arrivals: Arc::default(), call: PhantomData }
    }

    pub(crate) fn accept(&self, handle: &Handle<C>) {
        self.arrivals.expect_one();
        handle.slot().forward(&self.arrivals);
    }

    /// How many jobs' results were forwarded here and have not been fetched.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.arrivals.outstanding()
    }

    /// Waits for the next result; `None` when no job is outstanding.
    #[must_use]
    pub fn recv(&self) -> Option<(JobId, JobResult<C>)> {
        self.read(self.arrivals.fetch_before(None))
    }

    /// Waits for the next result, but not longer than `timeout`; `None` also when no job is outstanding.
    #[must_use]
    pub fn recv_timeout(&self, timeout: Duration) -> Option<(JobId, JobResult<C>)> {
        self.read(self.arrivals.fetch_before(Instant::now().checked_add(timeout)))
    }

    /// The next result, if one has arrived.
    #[must_use]
    pub fn try_recv(&self) -> Option<(JobId, JobResult<C>)> {
        self.read(self.arrivals.fetch())
    }

    fn read(&self, fetched: Fetched) -> Option<(JobId, JobResult<C>)> {
        match fetched {
            Fetched::Outcome(arrived) => {
                let (slot, outcome) = *arrived;
                Some((slot.id(), read::<C>(&slot, outcome)))
            }
            Fetched::NotYet | Fetched::NothingToCome => None,
        }
    }
}

impl<C: Work> Default for Completions<C> {
    fn default() -> Completions<C> {
        Completions::new()
    }
}

impl<C> Clone for Completions<C> {
    fn clone(&self) -> Completions<C> {
        Completions { arrivals: Arc::clone(&self.arrivals), call: PhantomData }
    }
}

impl<C> fmt::Debug for Completions<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completions")
            .field("outstanding", &self.arrivals.outstanding())
            .finish_non_exhaustive()
    }
}

/// Waits for each next result until no job is outstanding.
#[derive(Debug)]
pub struct Results<'a, C> {
    completions: &'a Completions<C>,
}

impl<C: Work> Iterator for Results<'_, C> {
    type Item = (JobId, JobResult<C>);

    fn next(&mut self) -> Option<(JobId, JobResult<C>)> {
        self.completions.recv()
    }
}

impl<'a, C: Work> IntoIterator for &'a Completions<C> {
    type Item = (JobId, JobResult<C>);
    type IntoIter = Results<'a, C>;

    fn into_iter(self) -> Results<'a, C> {
        Results { completions: self }
    }
}

#[cfg(test)]
mod tests;
