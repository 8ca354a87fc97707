//! The scheduler's own clock: the machine's, without the times in which the supervisor stood still.
//!
//! A supervisor that was stopped for a minute would find every deadline passed and every worker silent. Nobody is
//! judged for that: when it wakes more than a second after it meant to, the gap is left out, and every deadline moves
//! by it.

use std::time::Duration;

use ganger_protocol::Time;

/// A longer oversleep is a gap.
const GAP: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub(super) struct InsideClock {
    /// The machine's clock when it was read last.
    raw: Time,
    /// The sum of all gaps.
    skipped: Duration,
    /// When the last gap ended, on the machine's clock, and how long it was.
    last_gap: (Time, Duration),
}

impl InsideClock {
    pub(super) fn new(now: Time) -> InsideClock {
        InsideClock { raw: now, skipped: Duration::ZERO, last_gap: (Time::ZERO, Duration::ZERO) }
    }

    /// Moves on to `now` on the machine's clock and says what that is inside. `due` is when something was to be done
    /// next, inside.
    pub(super) fn advance(&mut self, now: Time, due: Option<Time>) -> Time {
        let now = now.max(self.raw);
        if now.since(self.raw) > GAP
            && let Some(due) = due
        {
            // What was overdue before the gap stays overdue: the inside clock does not go back.
            let late = (now - self.skipped).since(due.max(self.raw - self.skipped));
            if late > GAP {
                self.skipped += late;
                self.last_gap = (now, late);
            }
        }
        self.raw = now;
        now - self.skipped
    }

    /// A time on the machine's clock, inside. Times before the last gap lost less than later ones.
    pub(super) fn inside(&self, raw: Time) -> Time {
        let (ended, length) = self.last_gap;
        if raw < ended {
            (raw - (self.skipped - length)).min(ended - self.skipped)
        } else {
            raw - self.skipped
        }
    }

    /// A time inside, on the machine's clock.
    pub(super) fn outside(&self, inside: Time) -> Time {
        inside + self.skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_minute_of_standing_still_counts_for_nobody() {
        let mut clock = InsideClock::new(at(100));
        assert_eq!(clock.advance(at(101), Some(at(101))), at(101));
        assert_eq!(clock.advance(at(162), Some(at(102))), at(102));
        assert_eq!(clock.inside(at(101)), at(101));
        assert_eq!(clock.inside(at(150)), at(102));
        assert_eq!(clock.inside(at(163)), at(103));
        assert_eq!(clock.outside(at(103)), at(163));
    }

    /// What was overdue when the gap began took the clock back, and a request was sent later than now.
    #[test]
    fn a_gap_does_not_take_the_clock_back() {
        let mut clock = InsideClock::new(at(100));
        assert_eq!(clock.advance(at(160), Some(at(95))), at(100));
        assert_eq!(clock.advance(at(161), Some(at(95))), at(101));
    }

    #[test]
    fn sleeping_until_the_next_timer_is_no_gap() {
        let mut clock = InsideClock::new(at(100));
        assert_eq!(clock.advance(at(160), Some(at(160))), at(160));
        assert_eq!(clock.advance(at(500), None), at(500));
    }
}
