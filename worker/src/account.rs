//! What the worker says about itself now and then: how its metrics have changed, and what its health check finds.
//!
//! Metrics are told by the sentry, about once a [`REPORT_EVERY`], and by whoever says goodbye. The health check is the
//! user's code and may hang: it has a thread of its own, and the sentry tells when it has not returned in time. Neither
//! costs a worker anything that has no metrics and no check.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ganger_protocol::{MAX_HEALTH_REASON, Metrics, Time, ring};
use parking_lot::MutexGuard;

use crate::link::{Link, State};
use crate::serve::message_of;

/// How often changed metrics are told.
pub(crate) const REPORT_EVERY: Duration = Duration::from_secs(1);

/// A report may be so much early, to go with a heartbeat: one wake for both.
pub(crate) const REPORT_SLACK: Duration = Duration::from_millis(250);

/// The user's check: why the worker is not healthy, or that it is.
pub(crate) type Probe = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// A health check and its clock.
pub(crate) struct Check {
    pub(crate) probe: Option<Probe>,
    /// From the end of one run to the begin of the next.
    pub(crate) every: Duration,
    /// A run that has not returned by then is a failure.
    pub(crate) patience: Duration,
}

impl Default for Check {
    fn default() -> Check {
        Check { probe: None, every: Duration::from_secs(5), patience: Duration::from_secs(5) }
    }
}

/// What the health check is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Checking {
    /// Nothing: it waits for its next run, or there is none.
    #[default]
    No,
    /// It runs.
    Yes {
        /// When it should have returned.
        until: Time,
        /// How long it had.
        patience: Duration,
    },
    /// It runs, and should have returned; that has been told.
    TooLong,
}

impl Check {
    /// Starts the check's thread, if there is a check. It ends when the link is over, and its last run with it.
    pub(crate) fn start(self, link: &Arc<Link>) -> io::Result<()> {
        let Check { probe: Some(probe), every, patience } = self else { return Ok(()) };
        link.has_account();
        let link = Arc::clone(link);
        let thread = thread::Builder::new().name(String::from("ganger-health"));
        thread.spawn(move || {
            let mut state = link.lock();
            while !state.is_over() {
                state.checking = Checking::Yes { until: Time::now() + patience, patience };
                let failure = MutexGuard::unlocked(&mut state, || run(&probe));
                state.checking = Checking::No;
                link.tell_health(&mut state, failure);
                link.pause(&mut state, every);
            }
        })?;
        Ok(())
    }
}

/// Why the worker is not healthy, if it is not.
fn run(probe: &Probe) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(probe)) {
        Ok(Ok(())) => None,
        Ok(Err(reason)) => Some(shortened(reason)),
        Err(panic) => Some(shortened(format!(
            "the health check panicked: {}",
            message_of(&*panic as &(dyn Any + Send))
        ))),
    }
}

fn shortened(mut reason: String) -> String {
    let most = reason.len().min(MAX_HEALTH_REASON);
    let end = (0..=most).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    reason.truncate(end);
    reason
}

impl Link {
    /// Where the worker's metrics are declared.
    pub(crate) fn metrics(&self) -> Metrics {
        self.has_account();
        self.metrics.clone()
    }

    /// From now on the sentry has something to look after besides the heart.
    fn has_account(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.has_account, true) {
            let _ = ring(&self.rouse);
        }
    }

    /// Tells what has changed in the metrics since they were told last.
    pub(crate) fn tell_metrics(&self, state: &mut State) {
        if state.has_account && !state.is_over() {
            state.session.metrics(self.metrics.registry());
        }
    }

    /// Tells what the check says, if it says something else than before.
    fn tell_health(&self, state: &mut State, failure: Option<String>) {
        if !state.is_over() {
            state.session.health(failure);
            self.flush_and_watch(state);
        }
    }

    /// Looks whether the check should have returned by now.
    pub(crate) fn watch_check(&self, state: &mut State, now: Time) {
        match state.checking {
            Checking::Yes { until, patience } if until <= now => {
                state.checking = Checking::TooLong;
                self.tell_health(state, Some(format!("the health check has not returned for {patience:?}")));
            }
            Checking::Yes { .. } | Checking::No | Checking::TooLong => {}
        }
    }
}
