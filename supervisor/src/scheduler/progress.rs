//! Who may report progress: the worker that works on the job, and for the attempt that its owner waits for.

use ganger_protocol::{Epoch, Ordinal};

use super::job::Phase;
use super::{JobKey, Scheduler, Ticket, WorkerKey};

impl<T: Ticket> Scheduler<T> {
    /// The job that a worker works on under these numbers, and which attempt of it that is; `None` when nobody waits for
    /// what comes of it.
    #[must_use]
    pub fn working_on(&self, worker: WorkerKey, ordinal: Ordinal, epoch: Epoch) -> Option<(JobKey, u16)> {
        let request = self.workers.get(worker)?.hand.get(ordinal)?;
        let key = request.job.filter(|_| request.epoch == epoch && request.pending.is_none())?;
        let job = self.jobs.get(key)?;
        matches!(job.phase, Phase::Assigned { .. }).then(|| (key, job.retries.saturating_add(1)))
    }
}
