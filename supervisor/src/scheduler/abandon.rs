//! What is left to do when whoever drives the scheduler cannot go on.

use super::{Action, Scheduler};

impl<T> Scheduler<T> {
    /// Gives back what the owners of all jobs gave along that have not been told how they ended.
    pub fn abandon(&mut self) -> Vec<T> {
        let untold = self.actions.drain(..).filter_map(|action| match action {
            Action::Complete { ticket, .. } => Some(ticket),
            _ => None,
        });
        let mut tickets: Vec<T> = untold.collect();
        for key in self.jobs.keys() {
            tickets.extend(self.jobs.remove(key).map(|job| job.ticket));
        }
        tickets
    }
}
