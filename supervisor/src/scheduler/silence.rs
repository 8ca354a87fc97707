//! Whether a worker still beats.

use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::Vitals;

use super::ladder::Step;
use super::worker::State;
use super::{Event, KillCause, Scheduler, Ticket, WorkerKey};

impl<T: Ticket> Scheduler<T> {
    /// What a look at the worker showed: memory, and whether it still beats.
    pub(super) fn on_sample(&mut self, key: WorkerKey, rss_bytes: Option<u64>, vitals: Vitals) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        if rss_bytes.is_some() {
            worker.rss_bytes = rss_bytes;
        }
        let (index, known) = (worker.group, worker.rss_bytes);
        self.lower_floor(index, known);
        let Some(worker) = self.workers.get_mut(key) else { return };
        if vitals.beat != worker.vitals.beat {
            worker.beat_seen = now;
        }
        worker.vitals = vitals;
        self.judge_wear(key, rss_bytes);
        let Some(worker) = self.workers.get_mut(key) else { return };
        let config = &self.config.groups[usize::from(worker.group.0)];
        let silent = now.since(worker.beat_seen);
        let healthy = worker.ready_since.is_some_and(|at| now.since(at) >= config.restart.healthy_after);
        let (suspect_after, missing_after) = (config.suspect_after, config.missing_after);
        if worker.is_serving() && healthy && silent < suspect_after {
            self.note_healthy(key);
        }
        self.note_silence(key, silent, suspect_after, missing_after);
    }

    fn note_silence(
        &mut self,
        key: WorkerKey,
        silent: Duration,
        suspect_after: Duration,
        missing_after: Duration,
    ) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        let judged = match worker.state {
            State::Ready | State::Busy | State::Draining { .. } => worker.is_connected(),
            State::Spawning | State::Starting | State::Stopping(_) => false,
        };
        if !judged {
            return;
        }
        let name = Arc::clone(&worker.name);
        if silent >= missing_after {
            return self.stop(key, KillCause::Silent, Step::Terminate);
        }
        let is_suspect = silent >= suspect_after;
        if is_suspect == worker.is_suspected {
            return;
        }
        worker.is_suspected = is_suspect;
        if is_suspect {
            self.tell(Event::WorkerSuspected { worker: name });
            self.take_back(key);
        } else {
            self.tell(Event::WorkerCleared { worker: name });
        }
    }
}
