//! Metrics of all processes, in one text.
//!
//! Workers tell how their metrics have changed; the loop adds that up in a [`Ledger`], which knows nothing but numbers.
//! The text is made on the thread of whoever asks for it, from a snapshot.

use std::fmt;

use ganger_protocol::{Counter, Gauge, Histogram, MetricError};

use crate::Supervisor;

mod exposition;
mod judge;
mod ledger;
mod own;
#[cfg(test)]
mod tests;
mod text;
mod users;

pub(crate) use judge::Judge;
pub(crate) use ledger::{Ledger, Seat, Tallies};
pub(crate) use text::Figures;

/// Metrics of the supervisor and all its workers; made by [`Supervisor::metrics`](crate::Supervisor::metrics).
///
/// What is declared here counts in this process; workers declare theirs by `Control::metrics` of `ganger-worker`. The
/// supervisor has metrics of its own, whose names begin with `ganger_`. All of them come out as one text:
///
/// ```no_run
/// # use ganger::{Program, Supervisor};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let supervisor = Supervisor::builder(Program::beside("resizer")).start()?;
/// let uploads = supervisor.metrics().counter("uploads_total", "Pictures that were sent to us")?;
/// uploads.inc();
/// println!("{}", supervisor.metrics().prometheus());
/// # Ok(())
/// # }
/// ```
///
/// To have it read by Prometheus, answer `GET /metrics` with that text and the content type
/// [`CONTENT_TYPE`](Metrics::CONTENT_TYPE), in whatever HTTP server your program has.
///
/// It holds the supervisor as a clone of it does; counters and the like do not.
#[derive(Clone)]
pub struct Metrics {
    supervisor: Supervisor,
    instruments: ganger_protocol::Metrics,
}

impl Metrics {
    /// What HTTP calls the text's format.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    pub(crate) fn new(supervisor: Supervisor, instruments: ganger_protocol::Metrics) -> Metrics {
        Metrics { supervisor, instruments }
    }

    /// The same, with one label more on what is declared through it.
    #[must_use]
    pub fn label(self, name: impl Into<String>, value: impl Into<String>) -> Metrics {
        Metrics { instruments: self.instruments.label(name, value), ..self }
    }

    /// Declares a counter of this process; one that is declared already is given again. By custom its name ends in
    /// `_total`.
    ///
    /// # Errors
    /// [`MetricError`], which says what is wrong.
    pub fn counter(&self, name: &str, help: &str) -> Result<Counter, MetricError> {
        self.instruments.counter(name, help)
    }

    /// Declares a gauge of this process; one that is declared already is given again.
    ///
    /// # Errors
    /// [`MetricError`], which says what is wrong.
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge, MetricError> {
        self.instruments.gauge(name, help)
    }

    /// Declares a histogram of this process, with these upper bounds; one that is declared already is given again.
    ///
    /// # Errors
    /// [`MetricError`], which says what is wrong.
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Result<Histogram, MetricError> {
        self.instruments.histogram(name, help, bounds)
    }

    /// All metrics, as Prometheus reads them: text format 0.0.4. What workers did in the last second may be missing.
    ///
    /// Every metric of a worker has the labels `group` and `slot`, and none its process id: a slot's next worker goes on
    /// counting where the last one ended. When the supervisor has stopped it is as it was at its end.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let own = self.instruments.registry().readings();
        let (health, figures) = self.supervisor.figures();
        text::write(&own, &health, &figures, self.supervisor.group_names())
    }

    /// What all counters, or all gauges, of this name add up to, in this process and all workers; of histograms, how
    /// many were observed. `None` when nobody has declared it. The supervisor's own are not among them.
    #[must_use]
    pub fn total(&self, name: &str) -> Option<f64> {
        let (_, figures) = self.supervisor.figures();
        users::total(name, &self.instruments.registry().readings(), &figures.tallies)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("supervisor", &self.supervisor).finish_non_exhaustive()
    }
}
