//! What can happen: the scheduler's only source of knowledge.

use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{Attachments, Epoch, Failure, JobId, Mark, Ordinal, Slot, Vitals};

use super::{Edition, Exit, GroupIndex, JobKey, JobOptions, WorkerKey};

/// What the scheduler carries for a job's owner and gives back when the job ends.
pub trait Ticket {
    /// The job's name for the outside.
    fn id(&self) -> JobId;
    /// What the owner asked for.
    fn options(&self) -> &JobOptions;
}

/// One thing that happened.
#[derive(Debug)]
pub enum Input {
    /// The owner cancels a job; one that has ended is left alone.
    Cancel(JobKey),
    /// The owner wants a group of another size.
    Resize {
        /// The group.
        group: GroupIndex,
        /// How many workers it shall have.
        workers: u32,
    },
    /// The owner wants a worker that has ended to be there again.
    Revive {
        /// Its group.
        group: GroupIndex,
        /// Its place.
        slot: u32,
    },
    /// The owner wants a rollout no longer; one that is over is left alone.
    CancelRollout {
        /// Its group.
        group: GroupIndex,
        /// Its number.
        edition: Edition,
    },
    /// The owner wants one worker to leave: drained for `grace`, then the kill ladder. It is replaced if its group
    /// replaces its workers.
    ShutdownWorker {
        /// The worker.
        worker: WorkerKey,
        /// How long it has to finish what it holds.
        grace: Duration,
    },
    /// The owner wants everything to end well.
    SoftKill {
        /// How long it may take before it becomes a hard kill.
        deadline: Duration,
        /// What becomes of jobs that are not in flight.
        backlog: Backlog,
    },
    /// The owner wants everything to end now.
    HardKill,
    /// A process was started for a worker.
    Spawned {
        /// The worker.
        worker: WorkerKey,
        /// Its process id.
        pid: u32,
    },
    /// No process could be started.
    SpawnFailed {
        /// The worker.
        worker: WorkerKey,
        /// Why not.
        error: SpawnFailure,
    },
    /// A worker introduced itself and speaks our protocol.
    Hello(WorkerKey),
    /// A worker introduced itself and speaks another version of the protocol.
    WrongVersion {
        /// The worker.
        worker: WorkerKey,
        /// Its version.
        version: u16,
    },
    /// A worker takes requests.
    Ready {
        /// The worker.
        worker: WorkerKey,
        /// How many at once; the driver has checked that it is within the protocol's bounds.
        capacity: u32,
        /// Whether it wants a moment's warning before a hard kill.
        wants_hard_kill: bool,
    },
    /// A worker takes no requests for now.
    Busy(WorkerKey),
    /// A worker answered a request.
    Answer {
        /// The worker.
        worker: WorkerKey,
        /// Which of its requests.
        ordinal: Ordinal,
        /// Which assignment of the job.
        epoch: Epoch,
        /// The handler's time, as the worker measured it.
        ran: Duration,
        /// The answer.
        reply: Reply,
    },
    /// A worker has started a request and has its attachments in its hands.
    Taken {
        /// The worker.
        worker: WorkerKey,
        /// Which of its requests.
        ordinal: Ordinal,
        /// Which assignment of the job.
        epoch: Epoch,
        /// The page's start mark, as it was read when this was heard.
        started: Ordinal,
    },
    /// A worker leaves because it was asked to.
    Goodbye(WorkerKey),
    /// A worker broke the protocol.
    Violation {
        /// The worker.
        worker: WorkerKey,
        /// How.
        reason: String,
    },
    /// A worker's link was read to its end.
    LinkEnded(WorkerKey),
    /// A worker's process ended and was reaped. Its page is final.
    ProcessEnded {
        /// The worker.
        worker: WorkerKey,
        /// How it ended.
        exit: Exit,
        /// The page's start mark.
        started: Ordinal,
        /// The page's slots.
        running: Vec<Slot>,
    },
    /// What a page said: the answer to [`Action::ReadPage`](super::Action::ReadPage).
    Page {
        /// The worker.
        worker: WorkerKey,
        /// The start mark's ordinal.
        started: Ordinal,
        /// The slots.
        running: Vec<Slot>,
    },
    /// Unstarted requests were taken back: the answer to [`Action::TakeBack`](super::Action::TakeBack).
    TakenBack {
        /// The worker.
        worker: WorkerKey,
        /// The mark after it.
        mark: Mark,
    },
    /// A worker's own health check says something else than before.
    Health {
        /// The worker.
        worker: WorkerKey,
        /// Why it is not healthy; `None` when it is.
        failure: Option<Arc<str>>,
    },
    /// A process that had been written off has ended after all, or was never started.
    LeftoverEnded(GroupIndex),
    /// A look at a worker: the answer to [`Action::Sample`](super::Action::Sample).
    Sample {
        /// The worker.
        worker: WorkerKey,
        /// Its resident memory, in bytes; `None` when it could not be read.
        rss_bytes: Option<u64>,
        /// What it said about itself last.
        vitals: Vitals,
    },
}

/// A worker's answer to a request.
#[derive(Debug)]
pub enum Reply {
    /// The handler's reply; empty for a plain acknowledgement.
    Data(Vec<u8>),
    /// The handler's reply, and what came with it.
    Attached(Box<(Vec<u8>, Attachments)>),
    /// The handler's failure.
    Failed(Failure),
}

/// What becomes of accepted jobs that are not in flight when a soft kill begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Backlog {
    /// They are worked off, retries included.
    #[default]
    WorkOff,
    /// They settle as shutting down; only what is in flight is waited for.
    Settle,
}

/// Why no process could be started.
#[derive(Clone, Debug)]
pub enum SpawnFailure {
    /// The program itself: trying again soon is of no use.
    Permanent(Arc<str>),
    /// The machine, for now.
    Temporary(Arc<str>),
}
