//! Where checks bring what they found.

use std::time::Duration;

use ganger_protocol::Time;

use super::check::{Check, Violation};

/// Timers may be this late, on a machine that is not stopped.
pub(crate) const PRECISION: Duration = Duration::from_millis(10);

/// What was found so far, and what excuses lateness.
#[derive(Debug, Default)]
pub(crate) struct Court {
    found: Vec<Violation>,
    stops: Vec<Stop>,
}

/// A time in which the supervisor did not run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) from: Time,
    pub(crate) to: Time,
    /// By so much every clock and every heartbeat moves, at least.
    pub(crate) forgiven: Duration,
}

impl Court {
    pub(crate) fn accuse(&mut self, check: Check, text: impl FnOnce() -> String) {
        if self.found.len() < 8 {
            self.found.push(Violation { check, text: text() });
        }
    }

    /// Accuses unless `holds`.
    pub(crate) fn demand(&mut self, holds: bool, check: Check, text: impl FnOnce() -> String) {
        if !holds {
            self.accuse(check, text);
        }
    }

    pub(crate) fn is_clear(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn into_found(self) -> Vec<Violation> {
        self.found
    }

    pub(crate) fn note_stop(&mut self, stop: Stop) {
        self.stops.push(stop);
    }

    /// When a clock that runs from `since` and would be due at `due` is due at the earliest.
    pub(crate) fn forgiving(&self, since: Time, due: Time) -> Time {
        let wholly_within = |due: Time, stop: &Stop| {
            if stop.from >= since && stop.from < due { due + stop.forgiven } else { due }
        };
        self.stops.iter().fold(due, wholly_within)
    }

    /// How long the supervisor was stopped in all, in stops that reached beyond `since`.
    pub(crate) fn stopped_since(&self, since: Time) -> Duration {
        self.stops.iter().rev().take_while(|stop| stop.to > since).map(|stop| stop.to.since(stop.from)).sum()
    }

    /// Whether `at` is past by more than the precision, stops since `from` forgiven.
    pub(crate) fn is_overdue(&self, now: Time, at: Time, from: Time) -> bool {
        let late = now.since(at);
        late > PRECISION && late > PRECISION + self.stopped_since(from)
    }
}
