//! A load-balancing job-queue supervisor of worker processes.

mod event;
mod scheduler;

pub use event::Event;

/// The scheduler and its parts, for the simulator; outside semantic versioning.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub use crate::scheduler::*;
}
