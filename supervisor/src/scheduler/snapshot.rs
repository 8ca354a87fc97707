//! What the scheduler shows of itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::stats::Latency;
use super::{Recycled, RolloutStatus};

/// The whole supervisor at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The groups, in their order.
    pub groups: Vec<GroupSnapshot>,
    /// All workers that are not gone.
    pub workers: Vec<WorkerSnapshot>,
    /// Whether a soft or hard kill has begun.
    pub is_shutting_down: bool,
}

/// One group at one moment.
#[derive(Clone, Debug)]
pub struct GroupSnapshot {
    /// Its name.
    pub name: Arc<str>,
    /// How many workers are wanted.
    pub wanted: u32,
    /// How many take requests now.
    pub ready: u32,
    /// Jobs that wait: for a worker, for a retry, for the end of their delay, or behind others of their key.
    pub queued: usize,
    /// How many of them no worker could help: all but those that wait for a worker.
    pub waiting: usize,
    /// The age of the oldest job that waits for a worker; of a job with a delay it counts from the end of that.
    pub oldest: Option<Duration>,
    /// Requests sent and not yet answered.
    pub in_flight: usize,
    /// Jobs answered with data since the start.
    pub done: u64,
    /// Jobs that ended in any other way.
    pub failed: u64,
    /// The same, by how they ended.
    pub ends: JobEnds,
    /// Workers ended against their will, by a word for the cause.
    pub kills: BTreeMap<&'static str, u64>,
    /// Answers that no job waited for.
    pub stale_answers: u64,
    /// Workers replaced.
    pub restarts: u64,
    /// Workers that are not needed for now, of those wanted.
    pub resting: u32,
    /// Workers replaced, or sent away, although they were well.
    pub recycled: Recycled,
    /// Which program its workers run: 0 at first; each rollout that goes through has a higher one.
    pub edition: u32,
    /// The rollout that is on its way, as it was told last.
    pub rollout: Option<RolloutStatus>,
    /// Jobs answered a second, over the last ten.
    pub rate: f64,
    /// From enqueue to send.
    pub queue_time: Latency,
    /// The handlers' time.
    pub run_time: Latency,
    /// Why the group is degraded, if it is.
    pub degraded: Option<Arc<str>>,
    /// Its workers that have ended and are revived by command only.
    pub down: Vec<DownWorker>,
}

/// A worker that has ended and is revived by command only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownWorker {
    /// Its name.
    pub name: Arc<str>,
    /// Its place in the group.
    pub slot: u32,
    /// How it ended.
    pub end: Arc<str>,
}

/// Jobs that ended otherwise than with a reply, by how. Each is one of the [`JobError`](crate::JobError)s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobEnds {
    /// The handler failed.
    pub failed: u64,
    /// A clock ran out.
    pub timed_out: u64,
    /// Their owners cancelled them.
    pub cancelled: u64,
    /// The worker died while they ran.
    pub worker_lost: u64,
    /// Too many workers died with them.
    pub poisoned: u64,
    /// The supervisor ended first.
    pub shutting_down: u64,
    /// Their group had no worker and got none.
    pub no_workers: u64,
}

impl JobEnds {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let JobEnds { failed, timed_out, cancelled, worker_lost, poisoned, shutting_down, no_workers } =
            *self;
        failed + timed_out + cancelled + worker_lost + poisoned + shutting_down + no_workers
    }
}

/// One worker at one moment.
#[derive(Clone, Debug)]
pub struct WorkerSnapshot {
    /// Its name.
    pub name: Arc<str>,
    /// Its group.
    pub group: Arc<str>,
    /// Its place in the group.
    pub slot: u32,
    /// Which of the group's programs it runs.
    pub edition: u32,
    /// Its process id, once it has one.
    pub pid: Option<u32>,
    /// What it is doing.
    pub status: WorkerStatus,
    /// Whether it gets no new requests although it is ready, and why.
    pub unrouted: Option<Unrouted>,
    /// How many requests it takes at once.
    pub capacity: u32,
    /// Requests sent and not yet answered.
    pub in_flight: u32,
    /// Resident memory in bytes, when it could be read.
    pub rss_bytes: Option<u64>,
    /// Bytes its allocator holds; 0 when it has not said.
    pub heap_total_bytes: u64,
    /// Bytes of them in use.
    pub heap_used_bytes: u64,
    /// Why it is not healthy, by its own health check.
    pub unhealthy: Option<Arc<str>>,
    /// Requests it answered with data.
    pub done: u64,
    /// Requests it answered with a failure.
    pub failed: u64,
    /// How often its slot was restarted.
    pub restarts: u64,
    /// Since its start.
    pub uptime: Duration,
    /// The last failure it answered, or the last end of its slot.
    pub last_error: Option<Arc<str>>,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkerStatus {
    /// Its process is being started, or it has not yet said ready.
    Starting,
    /// It takes requests.
    Ready,
    /// It said it takes none for now.
    Busy,
    /// It finishes what it holds and leaves.
    Draining,
    /// It is being killed.
    Stopping,
    /// Its process has ended.
    Exited,
    /// It could not be started, or could not be killed.
    Failed,
}

/// Why a ready worker gets no new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unrouted {
    /// A request of its ran out of time or was cancelled, and is not over.
    Tainted,
    /// It missed heartbeats.
    Suspected,
    /// It is kept free for a suspect job, or runs one.
    Isolated,
    /// Its own health check fails, and the group's policy is to give it nothing meanwhile.
    Unhealthy,
}
