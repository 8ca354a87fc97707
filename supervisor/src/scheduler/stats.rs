//! Counts and latencies.

use std::fmt;
use std::time::Duration;

use ganger_protocol::Time;

/// Buckets per power of two: values are known to a quarter.
const SUB: usize = 4;
const BUCKETS: usize = 64 * SUB;

/// How long something took: a histogram whose buckets are a quarter of a power of two wide, in nanoseconds.
#[derive(Clone)]
pub struct Latency {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    sum_nanos: u64,
    max: Duration,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { counts: Box::new([0; BUCKETS]), count: 0, sum_nanos: 0, max: Duration::ZERO }
    }
}

impl Latency {
    pub(super) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.count += 1;
        self.sum_nanos = self.sum_nanos.saturating_add(nanos);
        self.max = self.max.max(duration);
    }

    /// How many were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos)
    }

    /// How many were not longer than each power of two of nanoseconds, from 1 µs to 69 s; exactly, as far as the bound is a
    /// nanosecond less.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let mut up_to: u64 = self.counts[..first_of(STEPS.start)].iter().sum();
        STEPS.map(move |power| {
            let reached = (Duration::from_nanos((1 << power) - 1), up_to);
            up_to += self.counts[first_of(power)..first_of(power + 1)].iter().sum::<u64>();
            reached
        })
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The value below which this share of all lies, to within a quarter; zero when nothing was recorded.
    ///
    /// `share` is from 0.0 to 1.0: 0.5 is the median, 0.99 the 99th percentile.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = (self.count as f64 * share.clamp(0.0, 1.0)).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return Duration::from_nanos(upper(index)).min(self.max);
            }
        }
        Duration::ZERO
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, high) = (self.quantile(0.5), self.quantile(0.99));
        write!(f, "{} × (p50 {median:?}, p99 {high:?}, max {:?})", self.count, self.max)
    }
}

/// Powers of two that are shown as steps.
const STEPS: std::ops::Range<u32> = 10..37;

/// The bucket that begins with a power of two.
const fn first_of(power: u32) -> usize {
    (power as usize - 1) * SUB
}

fn bucket(nanos: u64) -> usize {
    if nanos < SUB as u64 {
        return nanos as usize;
    }
    let power = nanos.ilog2() as usize;
    let sub = (nanos >> (power - 2)) as usize % SUB;
    (power - 1) * SUB + sub
}

/// The highest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < SUB {
        return bucket as u64;
    }
    let power = (bucket / SUB + 1) as u32;
    let width = 1u64 << (power - 2);
    (1u64 << power) + (bucket % SUB) as u64 * width + (width - 1)
}

const SECONDS: usize = 10;

/// Events a second, over the last ten seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    counts: [u32; SECONDS],
    second: u64,
    since: Time,
}

impl Rate {
    pub(super) fn new(now: Time) -> Rate {
        Rate { counts: [0; SECONDS], second: second_of(now), since: now }
    }

    pub(super) fn record(&mut self, now: Time) {
        self.turn(now);
        self.counts[self.second as usize % SECONDS] += 1;
    }

    pub(super) fn per_second(&self, now: Time) -> f64 {
        let mut at = self.clone();
        at.turn(now);
        let span = now.since(self.since).as_secs_f64().clamp(1.0, SECONDS as f64);
        at.counts.iter().sum::<u32>() as f64 / span
    }

    fn turn(&mut self, now: Time) {
        let second = second_of(now);
        let passed = second.saturating_sub(self.second).min(SECONDS as u64);
        for ahead in 1..=passed {
            self.counts[(self.second + ahead) as usize % SECONDS] = 0;
        }
        self.second = self.second.max(second);
    }
}

fn second_of(now: Time) -> u64 {
    now.nanos() / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_its_bucket_and_buckets_are_a_quarter_wide() {
        for nanos in (0..70).chain([1 << 20, (1 << 20) + 1, u64::MAX / 3, u64::MAX]) {
            let bucket = bucket(nanos);
            assert!(nanos <= upper(bucket), "{nanos}");
            assert!(bucket == 0 || nanos > upper(bucket - 1), "{nanos}");
        }
    }

    #[test]
    fn quantiles_are_right_to_within_a_quarter() {
        let mut latency = Latency::default();
        for micros in 1..=1000 {
            latency.record(Duration::from_micros(micros));
        }
        let median = latency.quantile(0.5).as_micros();
        assert!((500..=625).contains(&median), "{median}");
        assert_eq!(latency.quantile(1.0), Duration::from_millis(1));
        assert_eq!(Latency::default().quantile(0.5), Duration::ZERO);
    }

    /// M8: the steps are what was recorded, and the last one may have less than all.
    #[test]
    fn steps_count_what_is_not_longer() {
        let mut latency = Latency::default();
        for nanos in [1, 1023, 1024, 5_000, 80_000_000_000] {
            latency.record(Duration::from_nanos(nanos));
        }
        let steps: Vec<(u128, u64)> =
            latency.steps().map(|(bound, count)| (bound.as_nanos(), count)).collect();
        assert_eq!(steps[..4], [(1023, 2), (2047, 3), (4095, 3), (8191, 4)]);
        assert_eq!(steps.last(), Some(&((1 << 36) - 1, 4)));
        assert_eq!(latency.sum(), Duration::from_nanos(80_000_007_048));
    }

    #[test]
    fn a_rate_forgets_what_is_older_than_ten_seconds() {
        let at = |second: u64| Time::from_nanos(second * 1_000_000_000);
        let mut rate = Rate::new(at(100));
        (0..50).for_each(|_| rate.record(at(105)));
        assert!((rate.per_second(at(110)) - 5.0).abs() < 1e-9);
        assert!(rate.per_second(at(130)) < 1e-9);
    }
}
