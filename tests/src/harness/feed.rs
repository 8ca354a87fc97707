//! A supervisor's events, as a test reads them.

use std::sync::Arc;
use std::time::Instant;

use ganger::{CrashReport, Event, Events};

use super::PATIENCE;

/// A subscription that remembers what it has seen.
#[derive(Debug)]
pub struct Feed {
    events: Events,
    seen: Vec<Event>,
}

impl Feed {
    /// Reads a subscription.
    #[must_use]
    pub fn new(events: Events) -> Feed {
        Feed { events, seen: Vec::new() }
    }

    /// Everything read so far.
    #[must_use]
    pub fn seen(&self) -> &[Event] {
        &self.seen
    }

    /// Waits for the next event for which `pick` gives something.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait_for<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => {
                    let picked = pick(&event);
                    self.seen.push(event);
                    if let Some(picked) = picked {
                        return picked;
                    }
                }
                Err(error) => panic!("no {what} ({error}); seen: {:#?}", self.seen),
            }
        }
    }

    /// Waits until a worker has said ready, and gives its name.
    ///
    /// # Panics
    /// When none does.
    pub fn ready(&mut self) -> Arc<str> {
        self.wait_for("worker is ready", |event| match event {
            Event::WorkerReady { worker, .. } => Some(Arc::clone(worker)),
            _ => None,
        })
    }

    /// Waits until a worker process was started, and gives its number.
    ///
    /// # Panics
    /// When none is.
    pub fn spawned(&mut self) -> u32 {
        self.wait_for("worker is spawned", |event| match event {
            Event::WorkerSpawned { pid, .. } => Some(*pid),
            _ => None,
        })
    }

    /// Waits until a worker has crashed.
    ///
    /// # Panics
    /// When none does.
    pub fn crashed(&mut self) -> Arc<CrashReport> {
        self.wait_for("worker has crashed", |event| match event {
            Event::WorkerCrashed { report } => Some(Arc::clone(report)),
            _ => None,
        })
    }

    /// Waits until a worker has left as it was asked to.
    ///
    /// # Panics
    /// When none does.
    pub fn exited(&mut self) -> Arc<CrashReport> {
        self.wait_for("worker has exited", |event| match event {
            Event::WorkerExited { report } => Some(Arc::clone(report)),
            _ => None,
        })
    }

    /// Waits until a group is degraded, and gives the reason.
    ///
    /// # Panics
    /// When none is.
    pub fn degraded(&mut self) -> Arc<str> {
        self.wait_for("group is degraded", |event| match event {
            Event::Degraded { reason, .. } => Some(Arc::clone(reason)),
            _ => None,
        })
    }

    /// Reads to the end of the subscription and gives everything that was seen.
    #[must_use]
    pub fn finish(mut self) -> Vec<Event> {
        self.seen.extend(self.events);
        self.seen
    }
}
