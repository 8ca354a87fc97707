//! Whether all is well, and the numbers behind the verdict.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::scheduler::{DownWorker, GroupSnapshot, Snapshot, Unrouted, WorkerSnapshot, WorkerStatus};

mod table;

/// A supervisor at one moment; made by [`Supervisor::health`](crate::Supervisor::health).
///
/// It prints as a table for people:
///
/// ```no_run
/// # use ganger::{Program, Supervisor};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let supervisor = Supervisor::builder(Program::beside("resizer")).start()?;
/// let health = supervisor.health();
/// println!("{health}");
/// for problem in &health.problems {
///     eprintln!("{problem}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// Whether it runs at all.
    pub phase: Phase,
    /// What is wrong; empty when all is well.
    pub problems: Vec<Problem>,
    /// The groups, in the order in which they were given.
    pub groups: Vec<GroupSnapshot>,
    /// All workers that are not gone.
    pub workers: Vec<WorkerSnapshot>,
}

/// How far a supervisor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Jobs are accepted.
    Running,
    /// No more jobs are accepted; what was accepted is being ended.
    ShuttingDown,
    /// Nothing runs any more.
    Stopped,
}

/// Something that makes a supervisor unhealthy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A worker is not as a worker should be.
    Worker {
        /// Its name.
        worker: Arc<str>,
        /// What it is doing.
        status: WorkerStatus,
        /// Why it gets no new requests, if it does not.
        unrouted: Option<Unrouted>,
    },
    /// A worker has ended and is revived by command only.
    Down {
        /// Its name.
        worker: Arc<str>,
        /// How it ended.
        end: Arc<str>,
    },
    /// A worker's own health check fails.
    Unhealthy {
        /// The worker's name.
        worker: Arc<str>,
        /// What the check says.
        reason: Arc<str>,
    },
    /// A group has fewer workers, those starting included, than it should.
    Missing {
        /// The group.
        group: Arc<str>,
        /// How many there are.
        present: u32,
        /// How many there should be.
        wanted: u32,
    },
    /// A group's workers exit too often, or its program cannot run.
    Degraded {
        /// The group.
        group: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// Jobs of a group wait for long, and none was answered lately.
    QueueStuck {
        /// The group.
        group: Arc<str>,
        /// How many wait.
        queued: usize,
        /// How long the oldest has waited.
        oldest: Duration,
    },
    /// A health check of the supervisor's own process fails.
    Check {
        /// Its name.
        check: Arc<str>,
        /// What it says.
        reason: Arc<str>,
    },
    /// The supervisor has stopped.
    Stopped,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Worker { worker, status, unrouted: None } => write!(f, "worker {worker} is {status:?}"),
            Problem::Worker { worker, status, unrouted: Some(why) } => {
                write!(f, "worker {worker} is {status:?} but gets no requests: {why:?}, {}", meaning(*why))
            }
            Problem::Down { worker, end } => {
                write!(f, "worker {worker} is down until it is revived: {end}")
            }
            Problem::Unhealthy { worker, reason } => write!(f, "worker {worker} is not healthy: {reason}"),
            Problem::Missing { group, present, wanted } => {
                write!(f, "group {group} has {present} of {wanted} workers")
            }
            Problem::Degraded { group, reason } => write!(f, "group {group} is degraded: {reason}"),
            Problem::QueueStuck { group, queued, oldest } => write!(
                f,
                "the queue of group {group} is stuck: {queued} jobs wait, the oldest for {oldest:.1?}, and none was \
                 answered in the last ten seconds"
            ),
            Problem::Check { check, reason } => write!(f, "health check {check} fails: {reason}"),
            Problem::Stopped => f.write_str("the supervisor has stopped"),
        }
    }
}

fn meaning(why: Unrouted) -> &'static str {
    match why {
        Unrouted::Tainted => "a job of it ran out of time or was cancelled, and its handler has not ended",
        Unrouted::Suspected => "its heartbeat is overdue",
        Unrouted::Isolated => "it is kept for a job with which a worker died",
        Unrouted::Unhealthy => "its own health check fails",
    }
}

impl Health {
    /// Whether nothing is wrong: every worker is starting, ready, busy by its own word, or leaving as it was asked
    /// to, and healthy by its own check if it has one; every group is complete; no queue is stuck; the supervisor has not
    /// stopped.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.problems.is_empty()
    }

    pub(crate) fn of(snapshot: Snapshot, stuck_after: Duration) -> Health {
        let Snapshot { groups, workers, is_shutting_down } = snapshot;
        let phase = if is_shutting_down { Phase::ShuttingDown } else { Phase::Running };
        let mut problems: Vec<Problem> = workers.iter().filter_map(worker_problem).collect();
        problems.extend(workers.iter().filter_map(unhealthy));
        for group in &groups {
            problems.extend(degraded(group));
            problems.extend(stuck(group, stuck_after));
            if phase == Phase::Running {
                problems.extend(group.down.iter().map(down));
                problems.extend(missing(group, &workers));
            }
        }
        Health { phase, problems, groups, workers }
    }

    /// The same, with more problems.
    pub(crate) fn with(mut self, more: Vec<Problem>) -> Health {
        self.problems.extend(more);
        self
    }

    /// Of a supervisor that is no more, with what it was like at its end.
    pub(crate) fn ended(snapshot: Snapshot) -> Health {
        Health { groups: snapshot.groups, ..Health::stopped() }
    }

    /// Of a supervisor that is no more.
    pub(crate) fn stopped() -> Health {
        let problems = vec![Problem::Stopped];
        Health { phase: Phase::Stopped, problems, groups: Vec::new(), workers: Vec::new() }
    }
}

fn worker_problem(worker: &WorkerSnapshot) -> Option<Problem> {
    let is_normal = match worker.status {
        WorkerStatus::Starting | WorkerStatus::Ready | WorkerStatus::Busy | WorkerStatus::Draining => true,
        WorkerStatus::Stopping | WorkerStatus::Exited | WorkerStatus::Failed => false,
    };
    let is_routed = match worker.unrouted {
        // Said of its own.
        Some(Unrouted::Unhealthy) |
        // Kept free for one job on purpose.
        None | Some(Unrouted::Isolated) => true,
        Some(Unrouted::Tainted | Unrouted::Suspected) => false,
    };
    (!is_normal || !is_routed).then(|| Problem::Worker {
        worker: Arc::clone(&worker.name),
        status: worker.status,
        unrouted: worker.unrouted,
    })
}

fn down(worker: &DownWorker) -> Problem {
    Problem::Down { worker: Arc::clone(&worker.name), end: Arc::clone(&worker.end) }
}

fn unhealthy(worker: &WorkerSnapshot) -> Option<Problem> {
    let reason = Arc::clone(worker.unhealthy.as_ref()?);
    Some(Problem::Unhealthy { worker: Arc::clone(&worker.name), reason })
}

fn degraded(group: &GroupSnapshot) -> Option<Problem> {
    let reason = Arc::clone(group.degraded.as_ref()?);
    Some(Problem::Degraded { group: Arc::clone(&group.name), reason })
}

fn stuck(group: &GroupSnapshot, stuck_after: Duration) -> Option<Problem> {
    let oldest = group.oldest.filter(|oldest| *oldest >= stuck_after && group.rate == 0.0)?;
    Some(Problem::QueueStuck { group: Arc::clone(&group.name), queued: group.queued, oldest })
}

fn missing(group: &GroupSnapshot, workers: &[WorkerSnapshot]) -> Option<Problem> {
    let is_present = |worker: &&WorkerSnapshot| worker.group == group.name && will_serve(worker.status);
    let present = workers.iter().filter(is_present).count() as u32;
    let wanted = group.wanted.saturating_sub(group.down.len() as u32 + group.resting);
    (present < wanted).then(|| Problem::Missing { group: Arc::clone(&group.name), present, wanted })
}

fn will_serve(status: WorkerStatus) -> bool {
    match status {
        WorkerStatus::Starting | WorkerStatus::Ready | WorkerStatus::Busy => true,
        WorkerStatus::Draining | WorkerStatus::Stopping | WorkerStatus::Exited | WorkerStatus::Failed => {
            false
        }
    }
}

#[cfg(test)]
mod tests;
