//! What a caller holds of a job that was accepted.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ganger_protocol::{JobId, Time};
use serde::de::DeserializeOwned;

use crate::command::Command;
use crate::progress::{Progress, RawProgress};
use crate::response::{JobResult, read};
use crate::scheduler::Outcome;
use crate::shared::Shared;
use crate::slot::{JobSlot, Stage, Wake};
use crate::{Completions, Work};

/// An accepted job. It settles once, for good: with a [`Response`](crate::Response) or a
/// [`JobError`](crate::JobError).
///
/// Take the result in the way that suits: block in [`wait`](Handle::wait) or [`wait_timeout`](Handle::wait_timeout),
/// look with [`try_result`](Handle::try_result), `.await` it in any async runtime, have it brought with
/// [`then`](Handle::then), or let it join others with [`forward`](Handle::forward). Each of them consumes the
/// handle, and those that can come too early give it back. Dropping the handle forgets the reply, not the job.
///
/// ```no_run
/// # use ganger::{Call, Program, Supervisor};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct Greet { name: String }
/// # impl Call for Greet { const NAME: &'static str = "greet"; type Reply = String; }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let supervisor = Supervisor::builder(Program::beside("greeter")).start()?;
/// use std::time::Duration;
///
/// let mut handle = supervisor.enqueue(Greet { name: "world".into() })?;
/// let response = loop {
///     match handle.wait_timeout(Duration::from_secs(1)) {
///         Ok(result) => break result?,
///         Err(not_yet) => handle = not_yet,
///     }
///     println!("{:?}", handle.status());
/// };
/// println!("{} (by {})", response.data, response.worker);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping a handle forgets the reply; the job is done all the same"]
pub struct Handle<C> {
    slot: JobSlot,
    shared: Arc<Shared>,
    call: PhantomData<fn() -> C>,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobStatus {
    /// It waits for a worker, for the first time or again.
    Queued,
    /// A worker has it: its handler runs, or is about to.
    Sent,
    /// It has ended; its result is here, or has been taken.
    Settled,
}

impl<C> Handle<C> {
    pub(crate) fn new(slot: JobSlot, shared: Arc<Shared>) -> Handle<C> {
        Handle { slot, shared, call: PhantomData }
    }

    pub(crate) fn slot(&self) -> &JobSlot {
        &self.slot
    }

    /// The job's id, the same that its handler sees.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.slot.id()
    }

    /// Where the job is. It may be elsewhere a moment later.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        let stage = self.slot.stage();
        self.leave_unless_settled(stage);
        match stage {
            Stage::Queued => JobStatus::Queued,
            Stage::Sent => JobStatus::Sent,
            Stage::Settled => JobStatus::Settled,
        }
    }

    /// Whoever does anything with a handle but wait leaves the job to the loop.
    fn leave_unless_settled(&self, stage: Stage) {
        if stage != Stage::Settled {
            self.shared.leave_to_loop();
        }
    }

    /// Asks for the job to be cancelled. A job that waits is then never run. Of one that runs, the handle settles
    /// at once, the handler's `cancelled()` turns true, and after the group's cancel grace its worker is killed.
    /// A job that has ended is left as it ended.
    ///
    /// The handle settles as [`Cancelled`](crate::JobError::Cancelled), or with the result that was quicker.
    pub fn cancel(&self) {
        cancel(&self.slot, &self.shared);
    }

    /// What the job's handlers report before they answer (by the worker's `Context::progress`), from the first report on, as
    /// far as it is still kept: at most 256 reports and 1 MiB of a job, and of the last 1,024 that have ended. It may be read
    /// by another thread than the one that waits for the result. Whoever asks last reads.
    #[must_use]
    pub fn progress<T: DeserializeOwned>(&self) -> Progress<T> {
        Progress::new(self.progress_raw())
    }

    /// As [`progress`](Handle::progress), of handlers that report bytes.
    #[must_use]
    pub fn progress_raw(&self) -> RawProgress {
        let (progress, feeder) = RawProgress::new(Arc::clone(&self.shared));
        self.shared.send(Command::Feed(self.slot.clone(), feeder));
        progress
    }

    /// Something that can cancel the job without holding its handle.
    pub fn canceller(&self) -> Canceller {
        Canceller { slot: self.slot.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<C: Work> Handle<C> {
    /// Blocks until the job has ended.
    ///
    /// A job whose handler never ends and that has no clock is never over: see [`Job::timeout`](crate::Job::timeout).
    /// Must not be called in the callback of another job while this one's result comes by a callback, too: callbacks
    /// share one thread.
    ///
    /// # Errors
    /// [`JobError`](crate::JobError) when it ended in any other way than with a reply.
    ///
    /// # Panics
    /// When the handle was polled and was ready then: its result has been taken.
    pub fn wait(self) -> JobResult<C> {
        let outcome = self
            .shared
            .wait_for(&self.slot, None)
            .expect("without a deadline only the outcome ends the wait");
        self.read(outcome)
    }

    /// Blocks until the job has ended, but not longer than `timeout`; zero only looks.
    ///
    /// # Errors
    /// The handle, when the job has not ended by then.
    ///
    /// # Panics
    /// As [`wait`](Handle::wait).
    pub fn wait_timeout(self, timeout: Duration) -> Result<JobResult<C>, Handle<C>> {
        match self.shared.wait_for(&self.slot, Some(Time::now() + timeout)) {
            Some(outcome) => Ok(self.read(outcome)),
            None => Err(self),
        }
    }

    /// The result, if the job has ended.
    ///
    /// # Errors
    /// The handle, when the job has not ended.
    pub fn try_result(self) -> Result<JobResult<C>, Handle<C>> {
        match self.slot.take() {
            Some(outcome) => Ok(self.read(outcome)),
            None => {
                self.leave_unless_settled(self.slot.stage());
                Err(self)
            }
        }
    }

    /// Has `callback` called with the result, on the supervisor's courier thread, one callback at a time.
    ///
    /// A callback that blocks delays all others, and log output; it never delays jobs. When it panics, the panic
    /// is logged and ends there.
    pub fn then(self, callback: impl FnOnce(JobResult<C>) + Send + 'static) {
        let slot = self.slot.clone();
        let callback = Box::new(move |outcome| callback(read::<C>(&slot, outcome)));
        if let Some((callback, outcome)) = self.slot.call_back(callback) {
            self.shared.rouse(Wake::Callback(Box::new(move || callback(outcome))));
        }
    }

    /// Lets the result join those of other jobs.
    pub fn forward(self, completions: &Completions<C>) {
        completions.accept(&self);
    }

    fn read(&self, outcome: Outcome) -> JobResult<C> {
        read::<C>(&self.slot, outcome)
    }
}

/// Ready when the job has ended. May be polled from one task, then from another.
///
/// # Panics
/// When it is polled again after it was ready.
impl<C: Work> Future for Handle<C> {
    type Output = JobResult<C>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<JobResult<C>> {
        match self.slot.poll(context) {
            Poll::Ready(outcome) => Poll::Ready(self.read(outcome)),
            Poll::Pending => {
                self.leave_unless_settled(self.slot.stage());
                Poll::Pending
            }
        }
    }
}

impl<C> Drop for Handle<C> {
    fn drop(&mut self) {
        self.slot.stop_waiting();
        self.leave_unless_settled(self.slot.stage());
    }
}

impl<C> fmt::Debug for Handle<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("job", &self.id())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// Cancels a job from anywhere, as often as one likes; made by [`Handle::canceller`].
///
/// ```no_run
/// # use ganger::{Program, Raw, Supervisor};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let supervisor = Supervisor::builder(Program::beside("cruncher")).start()?;
/// let handle = supervisor.enqueue_raw("crunch", *b"numbers")?;
/// let canceller = handle.canceller();
/// std::thread::spawn(move || canceller.cancel());
/// println!("{:?}", handle.wait());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Canceller {
    slot: JobSlot,
    shared: Arc<Shared>,
}

impl Canceller {
    /// As [`Handle::cancel`].
    pub fn cancel(&self) {
        cancel(&self.slot, &self.shared);
    }

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.slot.id()
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").field("job", &self.id()).finish_non_exhaustive()
    }
}

fn cancel(slot: &JobSlot, shared: &Shared) {
    if slot.stage() != Stage::Settled {
        shared.send(Command::Cancel(slot.clone()));
    }
}

#[cfg(test)]
mod tests;
