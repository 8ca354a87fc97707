//! What a caller gets back, made from what the loop left in the slot.

use std::any::type_name;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ganger_protocol::{Attachments, CodecError, JobId, Time};

use crate::scheduler::{AttemptInfo, Clock, Outcome, WorkerLost};
use crate::slot::JobSlot;
use crate::{JobError, Work};

/// How a job ended: what its handle gives.
pub type JobResult<C> = Result<Response<<C as Work>::Reply>, JobError>;

/// A handler's answer, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response<R> {
    /// The reply.
    pub data: R,
    /// What the handler attached to its answer, to be taken.
    pub attachments: Attachments,
    /// The job.
    pub id: JobId,
    /// The name of the worker that answered.
    pub worker: Arc<str>,
    /// Which attempt it was: 1 + the retries spent.
    pub attempt: u16,
    /// From enqueue until the request was sent to that worker, earlier attempts included.
    pub queue_time: Duration,
    /// The handler's time in this attempt, as the worker measured it.
    pub run_time: Duration,
    /// On the monotonic clock, which no change of the wall clock moves.
    enqueued: Time,
}

impl<R> Response<R> {
    /// When the job was enqueued, on the wall clock as it is set now: reckoned back from now by the time that has
    /// passed on the monotonic clock.
    #[must_use]
    pub fn created_at(&self) -> SystemTime {
        let now = SystemTime::now();
        now.checked_sub(Time::now().since(self.enqueued)).unwrap_or(now)
    }

    /// The same response with the data made into something else.
    pub fn map<S>(self, change: impl FnOnce(R) -> S) -> Response<S> {
        Response {
            data: change(self.data),
            attachments: self.attachments,
            id: self.id,
            worker: self.worker,
            attempt: self.attempt,
            queue_time: self.queue_time,
            run_time: self.run_time,
            enqueued: self.enqueued,
        }
    }
}

/// Reads an outcome as the call's reply.
pub(crate) fn read<C: Work>(slot: &JobSlot, outcome: Outcome) -> JobResult<C> {
    let job = slot.id();
    let call = || slot.spec().owned_name();
    Err(match outcome {
        Outcome::Replied { data, attachments, attempt } => {
            return read_reply::<C>(slot, data, attachments, attempt);
        }
        Outcome::Failed { failure, attempt } => {
            JobError::Failed { job, call: call(), failure, worker: attempt.worker, attempt: attempt.attempt }
        }
        Outcome::TimedOut { clock, started, worker } => {
            JobError::TimedOut { job, call: call(), clock, limit: limit_of(slot, clock), started, worker }
        }
        Outcome::Cancelled { started, worker } => JobError::Cancelled { job, call: call(), started, worker },
        Outcome::WorkerLost(WorkerLost { report, because }) => {
            JobError::WorkerLost { job, call: call(), report, because, streams: slot.streams() }
        }
        Outcome::Poisoned { reports, started } => JobError::Poisoned { job, call: call(), reports, started },
        Outcome::ShuttingDown { started, worker } => {
            JobError::ShuttingDown { job, call: call(), started, worker }
        }
        Outcome::NoWorkers { group, reason, started } => {
            JobError::NoWorkers { job, call: call(), group, reason, started }
        }
    })
}

fn limit_of(slot: &JobSlot, clock: Clock) -> Duration {
    let options = slot.options();
    let limit = match clock {
        Clock::Queue => options.queue_timeout,
        Clock::Run => options.run_timeout,
        Clock::Total => options.timeout,
    };
    limit.unwrap_or_default()
}

fn read_reply<C: Work>(
    slot: &JobSlot,
    data: Vec<u8>,
    attachments: Attachments,
    attempt: AttemptInfo,
) -> JobResult<C> {
    let AttemptInfo { worker, attempt, queued, ran } = attempt;
    match C::decode(data) {
        Ok(data) => Ok(Response {
            data,
            attachments,
            id: slot.id(),
            worker,
            attempt,
            queue_time: queued,
            run_time: ran,
            enqueued: slot.enqueued(),
        }),
        Err(error) => Err(unreadable::<C>(slot, worker, error)),
    }
}

fn unreadable<C: Work>(slot: &JobSlot, worker: Arc<str>, error: CodecError) -> JobError {
    JobError::Codec {
        job: slot.id(),
        call: slot.spec().owned_name(),
        call_type: type_name::<C>(),
        reply_type: type_name::<C::Reply>(),
        worker,
        source: Box::new(error),
    }
}
