//! All metrics of a process, and what is to be said about them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Amount, Change, Counter, Declaration, Gauge, Histogram, MAX_METRICS, MetricError, MetricsReport, Shape,
};

/// A report goes on in the next one when it has so many bytes: a head holds twice as many.
const REPORT_BYTES: usize = 16 * 1024;

/// All metrics of a process.
#[derive(Debug, Default)]
pub struct Registry {
    entries: Mutex<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    declaration: Declaration,
    instrument: Instrument,
}

#[derive(Clone, Debug)]
enum Instrument {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// What a metric shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// A counter's count.
    Count(u64),
    /// A gauge's value.
    Level(f64),
    /// A histogram's buckets, not cumulative, and the sum of what was observed.
    Observed {
        /// How many are in each bucket.
        counts: Vec<u64>,
        /// The sum.
        sum: f64,
    },
}

impl Registry {
    /// Every metric with what it shows now.
    #[must_use]
    pub fn readings(&self) -> Vec<(Declaration, Reading)> {
        let entries = self.lock();
        entries.iter().map(|entry| (entry.declaration.clone(), entry.instrument.read())).collect()
    }

    /// Whether nothing was declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The instrument of this declaration: the one that is there, or a new one.
    fn declare(&self, declaration: Declaration) -> Result<Instrument, MetricError> {
        declaration.check()?;
        let mut entries = self.lock();
        if let Some(other) = entries.iter().find(|other| declaration.clashes_with(&other.declaration)) {
            let declared = other.declaration.shape.described();
            return Err(MetricError::Taken { name: declaration.name, declared });
        }
        let is_same = |entry: &&Entry| {
            entry.declaration.name == declaration.name && entry.declaration.labels == declaration.labels
        };
        if let Some(entry) = entries.iter().find(is_same) {
            return Ok(entry.instrument.clone());
        }
        if entries.len() == MAX_METRICS {
            return Err(MetricError::TooMany { name: declaration.name });
        }
        let instrument = Instrument::new(&declaration.shape);
        entries.push(Entry { declaration, instrument: instrument.clone() });
        Ok(instrument)
    }

    /// Nothing can be half done when a thread panics with the lock.
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Instrument {
    fn new(shape: &Shape) -> Instrument {
        match shape {
            Shape::Counter => Instrument::Counter(Counter::default()),
            Shape::Gauge => Instrument::Gauge(Gauge::default()),
            Shape::Histogram(bounds) => Instrument::Histogram(Histogram::new(bounds)),
        }
    }

    fn read(&self) -> Reading {
        match self {
            Instrument::Counter(counter) => Reading::Count(counter.value()),
            Instrument::Gauge(gauge) => Reading::Level(gauge.value()),
            Instrument::Histogram(histogram) => {
                Reading::Observed { counts: histogram.counts(), sum: histogram.sum() }
            }
        }
    }
}

/// Where metrics are declared, with labels that all of them get. Clones declare in the same place, from any thread.
///
/// A metric that was declared before, with the same labels, is given out again: it is counted in one place.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Arc<Registry>,
    labels: Vec<(String, String)>,
}

impl Metrics {
    /// The same place, with one label more. It tells what is declared through it from others of the same name; it is
    /// looked at when something is declared.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Metrics {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// Declares a counter. By custom its name ends in `_total`.
    ///
    /// # Errors
    /// [`MetricError`], which says what is wrong.
    pub fn counter(&self, name: &str, help: &str) -> Result<Counter, MetricError> {
        match self.declare(name, help, Shape::Counter)? {
            Instrument::Counter(counter) => Ok(counter),
            Instrument::Gauge(_) | Instrument::Histogram(_) => unreachable!("the shapes were compared"),
        }
    }

    /// Declares a gauge. It is 0 until it is set.
    ///
    /// # Errors
    /// [`MetricError`], which says what is wrong.
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge, MetricError> {
        match self.declare(name, help, Shape::Gauge)? {
            Instrument::Gauge(gauge) => Ok(gauge),
            Instrument::Counter(_) | Instrument::Histogram(_) => unreachable!("the shapes were compared"),
        }
    }

    /// Declares a histogram with these upper bounds, which rise; [`Histogram::SECONDS`] are usual ones. One more bucket,
    /// without bound, is always there. By custom its name ends in its unit, a base unit: `_seconds`, `_bytes`.
    ///
    /// # Errors
    /// [`MetricError`], which says what is wrong.
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Result<Histogram, MetricError> {
        match self.declare(name, help, Shape::Histogram(bounds.to_vec()))? {
            Instrument::Histogram(histogram) => Ok(histogram),
            Instrument::Counter(_) | Instrument::Gauge(_) => unreachable!("the shapes were compared"),
        }
    }

    /// All that is declared.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    fn declare(&self, name: &str, help: &str, shape: Shape) -> Result<Instrument, MetricError> {
        let (name, help, mut labels) = (name.to_owned(), help.to_owned(), self.labels.clone());
        // Their order tells nothing apart.
        labels.sort_unstable();
        self.registry.declare(Declaration { name, help, labels, shape })
    }
}

/// What was said about a process's metrics so far.
#[derive(Debug, Default)]
pub struct Reporter {
    told: Vec<Reading>,
}

impl Reporter {
    /// What is to be said now, in as many reports as it takes; none when nothing is new.
    pub fn reports(&mut self, registry: &Registry) -> Vec<MetricsReport> {
        let mut reports = Reports::default();
        for (number, entry) in registry.lock().iter().enumerate() {
            if number == self.told.len() {
                reports.declare(&entry.declaration);
                self.told.push(Reading::nothing(&entry.declaration.shape));
            }
            let reading = entry.instrument.read();
            if let Some(amount) = reading.since(&self.told[number]) {
                reports.change(Change { metric: number as u16, amount });
                self.told[number] = reading;
            }
        }
        reports.done
    }
}

impl Reading {
    /// Of a metric that has not moved.
    fn nothing(shape: &Shape) -> Reading {
        match shape {
            Shape::Counter => Reading::Count(0),
            // No level is nothing: whatever it shows is news. A level that is no number is told as long as it is none.
            Shape::Gauge => Reading::Level(f64::from_bits(u64::MAX)),
            Shape::Histogram(bounds) => Reading::Observed { counts: vec![0; bounds.len() + 1], sum: 0.0 },
        }
    }

    /// What has changed since.
    fn since(&self, before: &Reading) -> Option<Amount> {
        match (self, before) {
            (Reading::Count(now), Reading::Count(then)) => {
                (now != then).then(|| Amount::Rise(now.wrapping_sub(*then)))
            }
            (Reading::Level(now), Reading::Level(then)) => {
                (now.to_bits() != then.to_bits()).then_some(Amount::Level(*now))
            }
            (Reading::Observed { counts, sum }, Reading::Observed { counts: old, sum: old_sum }) => {
                let rise = |(now, then): (&u64, &u64)| now.wrapping_sub(*then);
                let rises = counts.iter().zip(old).map(rise).enumerate().filter(|(_, rise)| *rise > 0);
                let buckets: Vec<(u8, u64)> = rises.map(|(bucket, rise)| (bucket as u8, rise)).collect();
                let sum = (sum - old_sum).clamp(f64::MIN, f64::MAX);
                (!buckets.is_empty() || sum != 0.0).then_some(Amount::Observed { buckets, sum })
            }
            (Reading::Count(_) | Reading::Level(_) | Reading::Observed { .. }, _) => {
                unreachable!("a metric stays what it is")
            }
        }
    }
}

/// Reports being filled.
#[derive(Default)]
struct Reports {
    done: Vec<MetricsReport>,
    /// Bytes of the last one, at most.
    bytes: usize,
}

impl Reports {
    fn declare(&mut self, declaration: &Declaration) {
        self.with_room(declaration.most_bytes()).declared.push(declaration.clone());
    }

    fn change(&mut self, change: Change) {
        self.with_room(change.most_bytes()).changes.push(change);
    }

    fn with_room(&mut self, bytes: usize) -> &mut MetricsReport {
        if self.done.is_empty() || self.bytes > REPORT_BYTES {
            self.done.push(MetricsReport::default());
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.done.last_mut().expect("there is one")
    }
}
