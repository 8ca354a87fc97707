//! A token bucket: how much a worker may say unasked.

use std::time::Duration;

use ganger_protocol::Time;

/// Allows `per_second` units a second, and twice as many at once after a pause.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u64,
    units: u64,
    filled: Time,
}

/// More than is allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overdrawn;

impl Bucket {
    pub(super) fn new(per_second: u64, now: Time) -> Bucket {
        Bucket { per_second, units: 2 * per_second, filled: now }
    }

    /// Takes `units` out.
    pub(super) fn take(&mut self, units: u64, now: Time) -> Result<(), Overdrawn> {
        self.fill(now);
        self.units = self.units.checked_sub(units).ok_or(Overdrawn)?;
        Ok(())
    }

    /// Adds the whole units of the time gone by; the rest of the time stays on account.
    fn fill(&mut self, now: Time) {
        let nanos = u128::from(now.nanos().saturating_sub(self.filled.nanos()));
        let units = nanos * u128::from(self.per_second) / 1_000_000_000;
        if units == 0 {
            return;
        }
        let capacity = 2 * self.per_second;
        let missing = capacity - self.units;
        if units >= u128::from(missing) {
            self.units = capacity;
            self.filled = now;
            return;
        }
        self.units += units as u64;
        self.filled =
            self.filled + Duration::from_nanos((units * 1_000_000_000 / u128::from(self.per_second)) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_a_seconds_worth_at_once_then_the_rate() {
        let start = Time::from_nanos(5);
        let mut bucket = Bucket::new(10, start);
        for _ in 0..20 {
            bucket.take(1, start).expect("the burst");
        }
        assert_eq!(bucket.take(1, start + Duration::from_millis(99)), Err(Overdrawn));
        bucket.take(1, start + Duration::from_millis(100)).expect("a tenth of a second, one unit");
        assert_eq!(bucket.take(1, start + Duration::from_millis(199)), Err(Overdrawn));
        bucket.take(1, start + Duration::from_millis(200)).expect("nothing was lost to rounding");
    }

    #[test]
    fn a_long_pause_fills_it_and_no_more() {
        let mut bucket = Bucket::new(10, Time::ZERO);
        let later = Time::ZERO + Duration::from_secs(1 << 40);
        bucket.take(20, later).expect("full");
        assert_eq!(bucket.take(1, later), Err(Overdrawn));
    }
}
