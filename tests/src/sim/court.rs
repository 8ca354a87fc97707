//! Where checks bring what they found.

use ganger_protocol::Time;

use super::check::{Check, Violation};

/// Timers may be this late, on a machine that is not stopped.
pub(crate) const PRECISION: std::time::Duration = std::time::Duration::from_millis(10);

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
}

impl Court {
    pub(crate) fn accuse(&mut self, check: Check, text: impl FnOnce() -> String) {
        if self.found.len() < 8 {
            self.found.push(Violation { check, text: text() });
        }
    }

    /// Accuses unless `holds`.
    pub(crate) fn demand(&mut self, holds: impl Into<Holds>, check: Check, text: impl FnOnce() -> String) {
        match holds.into() {
            Holds::Yes => {}
            Holds::No => self.accuse(check, text),
        }
    }

    pub(crate) fn is_clear(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn into_found(self) -> Vec<Violation> {
        self.found
    }

    pub(crate) fn note_stop(&mut self, from: Time, to: Time) {
        self.stops.push(Stop { from, to });
    }

    /// How long the supervisor was stopped in all, in stops that reached beyond `since`.
    pub(crate) fn stopped_since(&self, since: Time) -> std::time::Duration {
        self.stops.iter().rev().take_while(|stop| stop.to > since).map(|stop| stop.to.since(stop.from)).sum()
    }

    /// Whether `at` is past by more than the precision, stops since `from` forgiven.
    pub(crate) fn is_overdue(&self, now: Time, at: Time, from: Time) -> bool {
        let late = now.since(at);
        late > PRECISION && late > PRECISION + self.stopped_since(from)
    }
}

/// Whether a demand holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    Yes,
    No,
}

impl From<bool> for Holds {
    fn from(holds: bool) -> Holds {
        if holds { Holds::Yes } else { Holds::No }
    }
}
