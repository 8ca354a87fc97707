//! How a supervisor is ended, and how its end is waited for.

use std::time::Duration;

use super::Supervisor;
use crate::scheduler::Backlog;

/// How a supervisor is to end well.
///
/// ```
/// use std::time::Duration;
/// use ganger::{Backlog, SoftKill};
///
/// let quick = SoftKill::new().deadline(Duration::from_secs(3)).backlog(Backlog::Settle);
/// # drop(quick);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SoftKill {
    deadline: Option<Duration>,
    backlog: Backlog,
}

impl SoftKill {
    /// Work everything off, within the supervisor's own deadline.
    #[must_use]
    pub fn new() -> SoftKill {
        SoftKill::default()
    }

    /// How long it may take before every handle settles and the workers get the kill ladder. Default
    /// [`Builder::soft_kill_deadline`](crate::Builder::soft_kill_deadline).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> SoftKill {
        self.deadline = Some(deadline);
        self
    }

    /// What becomes of accepted jobs that are not in flight. Default [`Backlog::WorkOff`].
    #[must_use]
    pub fn backlog(mut self, backlog: Backlog) -> SoftKill {
        self.backlog = backlog;
        self
    }
}

/// A shutdown that has begun. It keeps the supervisor alive until it is dropped, so that the shutdown is not cut
/// short by the drop of the last clone.
#[derive(Clone, Debug)]
#[must_use = "the shutdown is cut short when the last clone of the supervisor goes; wait for it"]
pub struct Ticket {
    supervisor: Supervisor,
}

impl Ticket {
    /// Blocks until the supervisor has stopped: every handle has settled, no worker runs.
    pub fn wait(&self) {
        self.supervisor.join();
    }

    /// As [`wait`](Ticket::wait), but not longer than `timeout`; says whether the supervisor has stopped.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.supervisor.inner.shared.wait_stopped(Some(timeout))
    }
}

/// The end.
impl Supervisor {
    /// Ends well: nothing is accepted from now on, all accepted jobs are worked off, retries included, then the
    /// workers leave. After the [deadline](crate::Builder::soft_kill_deadline) every handle settles, and
    /// workers that are still there get SIGTERM, the term grace, and SIGKILL. Calling it again
    /// changes nothing but the deadline, to a sooner one.
    pub fn soft_kill(&self) -> Ticket {
        self.soft_kill_with(SoftKill::new())
    }

    /// As [`soft_kill`](Supervisor::soft_kill), on other terms.
    pub fn soft_kill_with(&self, terms: SoftKill) -> Ticket {
        let deadline = terms.deadline.unwrap_or(self.inner.settings.soft_kill_deadline);
        self.shared().soft_kill(deadline, terms.backlog);
        Ticket { supervisor: self.clone() }
    }

    /// Ends now: workers that asked for a warning get 100 ms, all others SIGKILL at once, and every handle
    /// settles. Returns when this has begun; the ticket tells the end.
    pub fn hard_kill(&self) -> Ticket {
        self.shared().hard_kill();
        Ticket { supervisor: self.clone() }
    }

    /// Blocks until the supervisor has stopped, by whatever cause: every handle has settled, no worker runs, and
    /// all callbacks have returned. Called in a callback it waits for all but the callbacks.
    pub fn join(&self) {
        self.shared().wait_stopped(None);
    }

    /// As [`join`](Supervisor::join), but not longer than `timeout`; says whether the supervisor has stopped.
    #[must_use]
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        self.shared().wait_stopped(Some(timeout))
    }
}
