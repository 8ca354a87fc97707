//! An eye on the workers while the work goes on.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ganger::{CrashReport, Event, Events, NoEvent};

/// What the events say.
pub(crate) struct Watch {
    events: Events,
    wanted: usize,
    ready: HashSet<Arc<str>>,
    /// How many workers have died.
    pub(crate) deaths: usize,
    is_shutting_down: bool,
}

impl Watch {
    pub(crate) fn new(events: Events, wanted: usize) -> Watch {
        Watch { events, wanted, ready: HashSet::new(), deaths: 0, is_shutting_down: false }
    }

    /// The deaths since the last look.
    pub(crate) fn new_deaths(&mut self) -> Vec<Arc<CrashReport>> {
        let mut deaths = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            deaths.extend(self.take(event));
        }
        deaths
    }

    /// Waits until all workers are ready, in vain if they are not by `patience` or the supervisor shuts down.
    pub(crate) fn wait_complete(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        self.new_deaths();
        while self.ready.len() < self.wanted && !self.is_shutting_down {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) => drop(self.take(event)),
                Err(NoEvent::NotYet | NoEvent::Ended | _) => return,
            }
        }
    }

    fn take(&mut self, event: Event) -> Option<Arc<CrashReport>> {
        match event {
            Event::WorkerReady { worker, .. } => {
                self.ready.insert(worker);
            }
            Event::WorkerExited { report } => {
                self.ready.remove(&report.worker);
            }
            Event::WorkerCrashed { report } => {
                self.ready.remove(&report.worker);
                self.deaths += 1;
                return Some(report);
            }
            Event::Draining => self.is_shutting_down = true,
            _ => {}
        }
        None
    }
}
