//! A token bucket: how much a worker may say unasked, when it is to be read no further for a while, and when it is
//! too much.

use std::time::Duration;

use ganger_protocol::Time;

/// How many seconds' worth may be said faster than the rate, and no pause between.
const PATIENCE_SECONDS: u64 = 2;

/// Allows a tenth of a second's worth at once, and `per_second` units a second from then on.
///
/// What is more is taken all the same, as a debt: whoever pays for the units is to rest until it is paid. One who
/// has taken [`PATIENCE_SECONDS`] worth and was at rest at no time in between is told that it is too much.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u64,
    /// Below 0: a debt.
    units: i64,
    filled: Time,
    /// Units taken since the bucket was last half full.
    in_a_row: u64,
}

/// Faster than the rate, for too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overdrawn;

impl Bucket {
    pub(super) fn new(per_second: u64, now: Time) -> Bucket {
        Bucket { per_second, units: (per_second / 10) as i64, filled: now, in_a_row: 0 }
    }

    /// Takes `units` out.
    pub(super) fn take(&mut self, units: u64, now: Time) -> Result<(), Overdrawn> {
        self.fill(now);
        if self.units >= self.burst() / 2 {
            self.in_a_row = 0;
        }
        self.units = self.units.saturating_sub_unsigned(units);
        self.in_a_row = self.in_a_row.saturating_add(units);
        if self.in_a_row > PATIENCE_SECONDS * self.per_second { Err(Overdrawn) } else { Ok(()) }
    }

    /// Until when to rest, if there is a debt: then what 200 µs earn may be taken again.
    pub(super) fn rest(&self) -> Option<Time> {
        let debt = (self.units < 0).then(|| self.units.unsigned_abs() + self.per_second / 5000)?;
        Some(self.filled + self.time_for(debt))
    }

    fn burst(&self) -> i64 {
        (self.per_second / 10) as i64
    }

    fn time_for(&self, units: u64) -> Duration {
        Duration::from_nanos((u128::from(units) * 1_000_000_000 / u128::from(self.per_second)) as u64)
    }

    /// Adds the whole units of the time gone by; the rest of the time stays on account.
    fn fill(&mut self, now: Time) {
        let nanos = u128::from(now.nanos().saturating_sub(self.filled.nanos()));
        let units = nanos * u128::from(self.per_second) / 1_000_000_000;
        if units == 0 {
            return;
        }
        let missing = self.burst().abs_diff(self.units);
        if units >= u128::from(missing) {
            self.units = self.burst();
            self.filled = now;
            return;
        }
        self.units += units as i64;
        self.filled = self.filled + self.time_for(units as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1,000 units at once; half full at 500.
    const RATE: u64 = 10_000;

    #[test]
    fn a_tenth_of_a_seconds_worth_at_once_then_the_rate() {
        let start = Time::from_nanos(5);
        let mut bucket = Bucket::new(RATE, start);
        bucket.take(RATE / 10, start).expect("the burst");
        assert_eq!(bucket.rest(), None);
        bucket.take(1, start).expect("a debt");
        let rest = bucket.rest().expect("a rest");
        assert_eq!(rest, start + Duration::from_micros(300), "one unit, and 200 µs");
        bucket.take(2, rest).expect("what the rest has earned");
        assert_eq!(bucket.rest(), None);
        bucket.take(1, rest).expect("a debt");
        assert_eq!(bucket.rest(), Some(rest + Duration::from_micros(300)), "nothing was lost to rounding");
    }

    #[test]
    fn two_seconds_at_more_than_the_rate_are_too_much() {
        let mut bucket = Bucket::new(RATE, Time::ZERO);
        let mut now = Time::ZERO;
        while bucket.take(1, now).is_ok() {
            now = bucket.rest().unwrap_or(now);
        }
        let said = 1.9..2.1;
        assert!(said.contains(&now.since(Time::ZERO).as_secs_f64()), "{now:?}");
    }

    #[test]
    fn bursts_with_pauses_are_never_too_much() {
        let mut bucket = Bucket::new(RATE, Time::ZERO);
        for second in 0..100 {
            let now = Time::ZERO + Duration::from_secs(second);
            bucket.take(RATE - RATE / 10, now).expect("as much as a second earns, at once");
        }
    }

    #[test]
    fn a_long_pause_fills_it_and_no_more() {
        let mut bucket = Bucket::new(RATE, Time::ZERO);
        bucket.take(3 * RATE / 2, Time::ZERO).expect("a large debt");
        let later = Time::ZERO + Duration::from_secs(1 << 40);
        bucket.take(RATE / 10, later).expect("full");
        assert_eq!(bucket.rest(), None);
        bucket.take(1, later).expect("a debt");
        assert!(bucket.rest().is_some());
    }
}
