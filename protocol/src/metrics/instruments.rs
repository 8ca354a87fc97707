//! Counters, gauges and histograms: cells that any thread moves without waiting.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A count that only rises. Clones count into the same place, from any thread; each step is one atomic addition.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    cell: Arc<AtomicU64>,
}

impl Counter {
    /// Counts one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `more`.
    pub fn add(&self, more: u64) {
        self.cell.fetch_add(more, Relaxed);
    }

    /// What this process has counted.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.cell.load(Relaxed)
    }
}

/// A number that goes up and down. Clones are the same number, for any thread.
#[derive(Clone, Debug, Default)]
pub struct Gauge {
    cell: Arc<Float>,
}

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: f64) {
        self.cell.0.store(value.to_bits(), Relaxed);
    }

    /// Adds to it; subtracts what is negative.
    pub fn add(&self, more: f64) {
        self.cell.update(|value| value + more);
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.cell.value()
    }
}

/// Observations counted by size. Clones count into the same buckets, from any thread; each observation is two atomic
/// steps.
#[derive(Clone, Debug)]
pub struct Histogram {
    cells: Arc<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    bounds: Box<[f64]>,
    /// One more than there are bounds.
    counts: Box<[AtomicU64]>,
    sum: Float,
}

impl Histogram {
    /// Bounds, in seconds, for what takes from 5 ms to 10 s.
    pub const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

    pub(super) fn new(bounds: &[f64]) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { cells: Arc::new(Buckets { bounds: bounds.into(), counts, sum: Float::default() }) }
    }

    /// Counts `value` in the first bucket whose bound is not below it. What is not a finite number is not counted.
    pub fn observe(&self, value: f64) {
        if !value.is_finite() {
            return;
        }
        let Buckets { bounds, counts, sum } = &*self.cells;
        let bucket = bounds.partition_point(|bound| *bound < value);
        counts[bucket].fetch_add(1, Relaxed);
        // Without an end, so that what is sent stays a number.
        sum.update(|sum| (sum + value).clamp(f64::MIN, f64::MAX));
    }

    /// Counts a duration, in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// How many were observed in this process.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts().iter().sum()
    }

    pub(super) fn counts(&self) -> Vec<u64> {
        self.cells.counts.iter().map(|count| count.load(Relaxed)).collect()
    }

    pub(super) fn sum(&self) -> f64 {
        self.cells.sum.value()
    }
}

/// An atomic `f64`.
#[derive(Debug, Default)]
struct Float(AtomicU64);

impl Float {
    fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }

    fn update(&self, change: impl Fn(f64) -> f64) {
        let next = |bits| Some(change(f64::from_bits(bits)).to_bits());
        let _ = self.0.fetch_update(Relaxed, Relaxed, next);
    }
}
