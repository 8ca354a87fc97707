//! What the scheduler wants done.

use std::sync::Arc;

use ganger_protocol::{Epoch, Generation, Ordinal};

use super::{Edition, Event, GroupIndex, JobKey, Outcome, RolloutStatus, WorkerKey};

/// One thing to do. They are done in order.
#[derive(Debug)]
pub enum Action<T> {
    /// Start a process; answered by `Spawned` or `SpawnFailed`.
    Spawn {
        /// The new worker.
        worker: WorkerKey,
        /// Its group.
        group: GroupIndex,
        /// Its place in the group.
        slot: u32,
        /// Its name.
        name: Arc<str>,
        /// Which of the group's programs it runs.
        edition: Edition,
    },
    /// Append a request to the worker's outbox. The job's ticket is at [`Scheduler::ticket`](super::Scheduler::ticket).
    Send {
        /// The worker.
        worker: WorkerKey,
        /// The job.
        job: JobKey,
        /// The request's ordinal.
        ordinal: Ordinal,
        /// The generation it may be started under.
        generation: Generation,
        /// Which assignment of the job this is.
        epoch: Epoch,
        /// 1 + the retries spent.
        attempt: u16,
    },
    /// A job that had been sent is queued again.
    Requeued(JobKey),
    /// The job's attachments are in the hands of the last worker that gets it: the copies here are of no more use.
    Release(JobKey),
    /// Append a cancel, and ring the worker's bell.
    Cancel {
        /// The worker.
        worker: WorkerKey,
        /// The request.
        ordinal: Ordinal,
        /// Its assignment.
        epoch: Epoch,
    },
    /// Move the page's generation on; answered by `TakenBack` before the next action.
    TakeBack(WorkerKey),
    /// Read the page; answered by `Page` before the next action.
    ReadPage(WorkerKey),
    /// Read memory and vitals; answered by `Sample`.
    Sample(WorkerKey),
    /// Append a drain, and ring the bell: no further request will come.
    Drain(WorkerKey),
    /// Append a hard-kill warning, and ring the bell.
    WarnHardKill(WorkerKey),
    /// SIGTERM, then SIGCONT, to the worker's process group.
    Terminate(WorkerKey),
    /// SIGKILL to the worker's process group.
    Kill(WorkerKey),
    /// Forget the worker: close its link, drop what is left of it.
    Bury(WorkerKey),
    /// Hand a job's outcome to its owner.
    Complete {
        /// The owner's ticket.
        ticket: T,
        /// How the job ended.
        outcome: Outcome,
    },
    /// Refuse, or again accept, jobs for a group, already when they are enqueued.
    Admission {
        /// The group.
        group: GroupIndex,
        /// `Some`: refuse with this reason.
        refuse: Option<Arc<str>>,
    },
    /// Tell the owner of a rollout how far it has come.
    Rollout {
        /// Its group.
        group: GroupIndex,
        /// How far.
        status: RolloutStatus,
    },
    /// Tell the subscribers.
    Tell(Event),
    /// Everything has ended.
    Stopped,
}
