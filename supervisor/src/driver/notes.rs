//! What the log says about an event.

use log::Level;

use crate::event::Event;
use crate::scheduler::KillCause;

/// The log record for an event, if it is worth one.
pub(super) fn of_event(event: &Event) -> Option<(Level, String)> {
    Some(match event {
        Event::Online => (Level::Info, String::from("all workers are ready")),
        Event::WorkerSpawned { worker, pid } => (Level::Debug, format!("worker {worker} has pid {pid}")),
        Event::SpawnFailed { worker, reason } => (Level::Warn, format!("worker {worker}: {reason}")),
        Event::WorkerReady { worker, capacity } => {
            (Level::Debug, format!("worker {worker} is ready for {capacity} at once"))
        }
        Event::WorkerBusy { .. } | Event::Custom { .. } | Event::Missed(_) => return None,
        Event::WorkerSuspected { worker } => {
            (Level::Warn, format!("worker {worker} has missed heartbeats and gets nothing new for now"))
        }
        Event::WorkerCleared { worker } => {
            (Level::Info, format!("worker {worker} beats again and is given work"))
        }
        Event::WorkerUnhealthy { worker, reason } => {
            (Level::Warn, format!("worker {worker} is not healthy: {reason}"))
        }
        Event::WorkerHealthy { worker } => (Level::Info, format!("worker {worker} is healthy again")),
        Event::CheckFailed { check, reason } => {
            (Level::Warn, format!("health check {check} fails: {reason}"))
        }
        Event::CheckPassed { check } => (Level::Info, format!("health check {check} succeeds again")),
        Event::WorkerKilled { worker, cause } => {
            (level_of(Some(cause), Level::Warn), format!("worker {worker} is killed: {cause}"))
        }
        Event::WorkerExited { report } => (Level::Debug, report.to_string()),
        Event::WorkerCrashed { report } => {
            (level_of(report.killed.as_ref(), Level::Error), report.to_string())
        }
        Event::WorkerUnkillable { report } => {
            (Level::Error, format!("it survived SIGKILL and is written off: {report}"))
        }
        Event::WorkerRecycled { worker, cause } => {
            (Level::Info, format!("worker {worker} leaves, recycled: {cause}"))
        }
        Event::RolloutStarted { group, edition } => {
            (Level::Info, format!("program {edition} is rolled out to group {group}"))
        }
        Event::RolloutDone { group, edition } => {
            (Level::Info, format!("all workers of group {group} run program {edition}"))
        }
        Event::RolloutAborted { group, edition, why } => {
            (Level::Error, format!("program {edition} is not rolled out to group {group}: {why}"))
        }
        Event::WorkerRestarting { group, slot, delay } => {
            (Level::Debug, format!("slot {slot} of group {group} is started again in {delay:.1?}"))
        }
        Event::Degraded { group, reason } => (Level::Error, format!("group {group} is degraded: {reason}")),
        Event::Healed { group } => (Level::Info, format!("group {group} is healthy again")),
        Event::JobPoisoned { job, deaths } => {
            (Level::Error, format!("job {job} was running when {deaths} workers died, and is given up"))
        }
        Event::Draining => (Level::Info, String::from("no more jobs are accepted")),
        Event::Stopped => (Level::Info, String::from("everything has ended")),
    })
}

/// The end of everything is what the owner wanted: the end of each worker is no news then.
fn level_of(cause: Option<&KillCause>, otherwise: Level) -> Level {
    if cause == Some(&KillCause::HardKill) { Level::Debug } else { otherwise }
}
