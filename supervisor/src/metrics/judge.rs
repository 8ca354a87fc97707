//! What a worker may say about its metrics.

use ganger_protocol::{Amount, Change, MAX_METRICS, MetricsReport, Shape};

/// The judge of one worker's reports: it knows what the worker has declared.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    declared: Vec<Kind>,
}

/// What a metric is, as far as changes are concerned.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
    /// With so many bounds, and one bucket more.
    Histogram(usize),
}

impl Judge {
    /// Judges a report, as a whole.
    ///
    /// # Errors
    /// Why the worker may not say it. The library never does.
    pub(crate) fn judge(&mut self, report: &MetricsReport) -> Result<(), String> {
        if self.declared.len() + report.declared.len() > MAX_METRICS {
            return Err(format!("more than {MAX_METRICS} metrics"));
        }
        for declaration in &report.declared {
            declaration.check().map_err(|error| format!("a metric: {error}"))?;
            self.declared.push(Kind::of(&declaration.shape));
        }
        report.changes.iter().try_for_each(|change| self.judge_change(change))
    }

    fn judge_change(&self, change: &Change) -> Result<(), String> {
        let number = change.metric;
        let Some(kind) = self.declared.get(usize::from(number)) else {
            return Err(format!("metric {number} of {}", self.declared.len()));
        };
        match (kind, &change.amount) {
            (Kind::Counter, Amount::Rise(_)) | (Kind::Gauge, Amount::Level(_)) => Ok(()),
            (Kind::Histogram(bounds), Amount::Observed { buckets, sum }) => {
                let is_there = |(bucket, _): &(u8, u64)| usize::from(*bucket) <= *bounds;
                if !sum.is_finite() || !buckets.iter().all(is_there) {
                    return Err(format!("metric {number} has no such buckets, or {sum} is no sum"));
                }
                Ok(())
            }
            (Kind::Counter | Kind::Gauge | Kind::Histogram(_), _) => {
                Err(format!("metric {number} is another kind of metric"))
            }
        }
    }
}

impl Kind {
    fn of(shape: &Shape) -> Kind {
        match shape {
            Shape::Counter => Kind::Counter,
            Shape::Gauge => Kind::Gauge,
            Shape::Histogram(bounds) => Kind::Histogram(bounds.len()),
        }
    }
}
