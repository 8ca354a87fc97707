//! What a handler in this process is told besides the argument.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ganger_protocol::{Caller, Time};

use super::Peers;

/// What is known about a call to the primary process besides its argument.
pub struct CallContext {
    pub(super) name: Arc<str>,
    pub(super) caller: Option<Arc<str>>,
    pub(super) deadline: Time,
    pub(super) peers: Peers,
}

impl CallContext {
    /// The call's name.
    #[must_use]
    pub fn call(&self) -> &str {
        &self.name
    }

    /// Who calls: a worker, or this process itself.
    #[must_use]
    pub fn caller(&self) -> Caller<'_> {
        self.caller.as_deref().map_or(Caller::Primary, Caller::Worker)
    }

    /// How long the caller still waits.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.since(Time::now())
    }

    /// When the caller gives up.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.time_left()).unwrap_or(now)
    }

    /// Whether the caller has given up. That it has died is not told.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.time_left().is_zero()
    }

    /// The workers, to be called in turn. A call that comes back to where it began ends by its deadline at the latest.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.peers
    }
}

impl fmt::Debug for CallContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallContext")
            .field("call", &self.name)
            .field("caller", &self.caller())
            .finish_non_exhaustive()
    }
}
