//! Metrics of one process: what it counts, and how it tells its supervisor.
//!
//! A process declares *instruments* in a [`Registry`] and moves them by atomics; nobody is told then. A worker's
//! [`Reporter`] looks at them now and then and says what was declared and what has changed since it last looked. Counts
//! travel as differences, so that whoever adds them up loses nothing when the process ends and begins anew.

mod instruments;
mod registry;
mod report;
mod rules;
#[cfg(test)]
mod tests;

pub use instruments::{Counter, Gauge, Histogram};
pub use registry::{Metrics, Reading, Registry, Reporter};
pub use report::{Amount, Change, Declaration, MetricsReport, Shape};
pub use rules::{
    HISTOGRAM_SUFFIXES, MAX_BUCKETS, MAX_HELP, MAX_LABEL_VALUE, MAX_LABELS, MAX_METRIC_NAME, MAX_METRICS,
    MetricError,
};
