//! What a worker says about its metrics.

use serde::{Deserialize, Serialize};

/// The head of a [`Kind::Metrics`](crate::Kind::Metrics) frame: what is new, then what has changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricsReport {
    /// Metrics not spoken of before. They are numbered from 0 on, in the order in which they are declared.
    pub declared: Vec<Declaration>,
    /// What has changed since the last report.
    pub changes: Vec<Change>,
}

/// A metric, without a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Declaration {
    /// Its name.
    pub name: String,
    /// What it is about, for people.
    pub help: String,
    /// Names and values that tell it from others of its name.
    pub labels: Vec<(String, String)>,
    /// What it is.
    pub shape: Shape,
}

/// What a metric is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Shape {
    /// A count that only rises.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Observations counted by size; with the upper bounds of all buckets but the last, which has none.
    Histogram(Vec<f64>),
}

impl Shape {
    /// Its name, with an article.
    #[must_use]
    pub const fn described(&self) -> &'static str {
        match self {
            Shape::Counter => "a counter",
            Shape::Gauge => "a gauge",
            Shape::Histogram(_) => "a histogram",
        }
    }
}

/// A metric that has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Its number.
    pub metric: u16,
    /// By how much, or to what.
    pub amount: Amount,
}

/// How a metric has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Amount {
    /// A counter has risen by so much.
    Rise(u64),
    /// A gauge has this value now.
    Level(f64),
    /// A histogram has observed more.
    Observed {
        /// How many more, by the bucket's number; buckets without any are left out.
        buckets: Vec<(u8, u64)>,
        /// The sum of what was observed.
        sum: f64,
    },
}

/// A number of at most 64 bits, or a length, as it travels.
const MOST_VARINT: usize = 10;

impl Declaration {
    /// Bytes that it takes at most on its way.
    pub(super) fn most_bytes(&self) -> usize {
        let text = |text: &str| text.len() + MOST_VARINT;
        let labels: usize = self.labels.iter().map(|(name, value)| text(name) + text(value)).sum();
        let bounds = match &self.shape {
            Shape::Counter | Shape::Gauge => 0,
            Shape::Histogram(bounds) => bounds.len() * size_of::<f64>() + MOST_VARINT,
        };
        text(&self.name) + text(&self.help) + MOST_VARINT + labels + 1 + bounds
    }
}

impl Change {
    /// Bytes that it takes at most on its way.
    pub(super) fn most_bytes(&self) -> usize {
        let amount = match &self.amount {
            Amount::Rise(_) | Amount::Level(_) => MOST_VARINT,
            Amount::Observed { buckets, .. } => (buckets.len() + 2) * (1 + MOST_VARINT),
        };
        MOST_VARINT + 1 + amount
    }
}
