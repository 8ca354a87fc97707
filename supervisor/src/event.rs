//! What a supervisor tells its subscribers.

use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::JobId;

use crate::scheduler::{CrashReport, KillCause, RecycleCause, RolloutAbort};

/// Something that happened to a supervisor or one of its workers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// All first workers of all groups have said ready.
    Online,
    /// A worker process was started.
    WorkerSpawned {
        /// The worker's name.
        worker: Arc<str>,
        /// Its process id.
        pid: u32,
    },
    /// A worker process could not be started.
    SpawnFailed {
        /// The worker's name.
        worker: Arc<str>,
        /// Why not.
        reason: Arc<str>,
    },
    /// A worker takes requests.
    WorkerReady {
        /// The worker's name.
        worker: Arc<str>,
        /// How many at once.
        capacity: u32,
    },
    /// A worker takes no requests for now.
    WorkerBusy {
        /// The worker's name.
        worker: Arc<str>,
    },
    /// A worker missed heartbeats and gets nothing new until it beats again.
    WorkerSuspected {
        /// The worker's name.
        worker: Arc<str>,
    },
    /// A worker that was suspected beats again.
    WorkerCleared {
        /// The worker's name.
        worker: Arc<str>,
    },
    /// A worker's own health check fails, or fails for another reason.
    WorkerUnhealthy {
        /// The worker's name.
        worker: Arc<str>,
        /// What the check says.
        reason: Arc<str>,
    },
    /// A worker's own health check succeeds again.
    WorkerHealthy {
        /// The worker's name.
        worker: Arc<str>,
    },
    /// A health check of the supervisor's own process fails, or fails for another reason.
    CheckFailed {
        /// The check's name.
        check: Arc<str>,
        /// What it says.
        reason: Arc<str>,
    },
    /// A health check of the supervisor's own process succeeds again.
    CheckPassed {
        /// The check's name.
        check: Arc<str>,
    },
    /// The supervisor is ending a worker against its will.
    WorkerKilled {
        /// The worker's name.
        worker: Arc<str>,
        /// Why.
        cause: KillCause,
    },
    /// A worker exited, as it was asked to.
    WorkerExited {
        /// The worker's end.
        report: Arc<CrashReport>,
    },
    /// A worker died, or was killed.
    WorkerCrashed {
        /// The worker's end.
        report: Arc<CrashReport>,
    },
    /// A worker survived SIGKILL and is written off.
    WorkerUnkillable {
        /// The worker's end, as far as it is known.
        report: Arc<CrashReport>,
    },
    /// A worker that was well was replaced, or sent away: it finishes what it holds and leaves. One that is killed for its
    /// memory is a [`WorkerKilled`](Event::WorkerKilled).
    WorkerRecycled {
        /// The worker's name.
        worker: Arc<str>,
        /// Why.
        cause: RecycleCause,
    },
    /// A rollout has begun.
    RolloutStarted {
        /// The group.
        group: Arc<str>,
        /// The number of the program that is rolled out.
        edition: u32,
    },
    /// Every worker of a group runs the program that was rolled out, and no other worker is left.
    RolloutDone {
        /// The group.
        group: Arc<str>,
        /// The program's number.
        edition: u32,
    },
    /// A rollout is given up: whatever it replaced gets the former program again.
    RolloutAborted {
        /// The group.
        group: Arc<str>,
        /// The number of the program that is not rolled out.
        edition: u32,
        /// Why not.
        why: RolloutAbort,
    },
    /// A replacement will be started.
    WorkerRestarting {
        /// The new worker's group.
        group: Arc<str>,
        /// Its place in the group.
        slot: u32,
        /// How long until then.
        delay: Duration,
    },
    /// Too many workers of a group exited unexpectedly, or its program cannot run: no more replacements but for a
    /// probe now and then.
    Degraded {
        /// The group.
        group: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// A degraded group has a healthy worker again.
    Healed {
        /// The group.
        group: Arc<str>,
    },
    /// A job was running at too many workers' deaths.
    JobPoisoned {
        /// The job.
        job: JobId,
        /// How many workers died with it.
        deaths: u8,
    },
    /// No more jobs are accepted; what is accepted is worked off.
    Draining,
    /// Everything has ended.
    Stopped,
    /// A worker emitted an event of its own.
    Custom {
        /// The worker's name.
        worker: Arc<str>,
        /// The event's name.
        name: Arc<str>,
        /// Its payload.
        payload: Arc<[u8]>,
    },
    /// This subscriber was too slow and missed so many events.
    Missed(u64),
}
