//! Workers whose own health check fails.
//!
//! What the check says is shown and told; by the group's policy the worker is also given nothing meanwhile. It is never
//! ended for it: a check that is wrong must not take a service down.

use std::sync::Arc;

use super::{Event, OnUnhealthy, Scheduler, Ticket, WorkerKey};

impl<T: Ticket> Scheduler<T> {
    /// The worker's check says something else than before: why it is not healthy, or that it is.
    pub(super) fn on_health(&mut self, key: WorkerKey, failure: Option<Arc<str>>) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        if worker.is_stopping() || worker.unhealthy == failure {
            return;
        }
        let policy = self.config.groups[usize::from(worker.group.0)].on_unhealthy;
        worker.is_set_aside = failure.is_some() && policy == OnUnhealthy::Unroute;
        worker.unhealthy.clone_from(&failure);
        let (name, is_set_aside) = (Arc::clone(&worker.name), worker.is_set_aside);
        self.tell(match failure {
            Some(reason) => Event::WorkerUnhealthy { worker: name, reason },
            None => Event::WorkerHealthy { worker: name },
        });
        if is_set_aside {
            self.take_back(key);
        }
    }
}
