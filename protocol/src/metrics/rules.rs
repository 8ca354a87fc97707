//! What may be declared: names, labels, buckets, and how much of each.

use super::{Declaration, Shape};

/// How many metrics one process may declare; one name with other labels is another metric.
pub const MAX_METRICS: usize = 256;
/// The longest name of a metric or a label, in bytes.
pub const MAX_METRIC_NAME: usize = 128;
/// The longest help text, in bytes.
pub const MAX_HELP: usize = 512;
/// How many labels a metric may have.
pub const MAX_LABELS: usize = 8;
/// The longest value of a label, in bytes.
pub const MAX_LABEL_VALUE: usize = 128;
/// How many buckets a histogram may have, the last one, without bound, not counted.
pub const MAX_BUCKETS: usize = 64;

/// What the library's own metrics begin with.
const OWN_PREFIX: &str = "ganger_";
/// Labels that are set by others: who it is by the supervisor, the bucket by the format.
const OWN_LABELS: [&str; 4] = ["group", "slot", "le", "quantile"];
/// What the format appends to a histogram's name.
pub const HISTOGRAM_SUFFIXES: [&str; 3] = ["_bucket", "_count", "_sum"];

/// A metric that was not declared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// The metric's name is none.
    #[error("{name:?} cannot be a metric's name: {reason}")]
    Name {
        /// The name, or its beginning.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The help text is too long.
    #[error("the help of metric {name} has {length} bytes, over the limit of {MAX_HELP}")]
    HelpTooLong {
        /// The metric.
        name: String,
        /// The text's length in bytes.
        length: usize,
    },
    /// A label cannot be one.
    #[error("metric {name} cannot have a label {label:?}: {reason}")]
    Label {
        /// The metric.
        name: String,
        /// The label's name, or its beginning.
        label: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The metric has too many labels.
    #[error("metric {name} has {count} labels, over the limit of {MAX_LABELS}")]
    TooManyLabels {
        /// The metric.
        name: String,
        /// How many.
        count: usize,
    },
    /// A histogram's buckets make no sense.
    #[error("the buckets of metric {name} make no sense: {reason}")]
    Buckets {
        /// The metric.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// The name is taken by a metric of another kind, or by a histogram with other buckets.
    #[error("metric {name} is declared already, as {declared}; give one of the two another name")]
    Taken {
        /// The metric.
        name: String,
        /// What it is.
        declared: &'static str,
    },
    /// The process has declared as many metrics as it may.
    #[error("metric {name} is one too many: a process may declare {MAX_METRICS}, each set of labels counted")]
    TooMany {
        /// The metric.
        name: String,
    },
}

impl Declaration {
    /// Whether it may be declared, as far as can be seen without the others.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self) -> Result<(), MetricError> {
        let Declaration { name, help, labels, shape } = self;
        check_name(name)?;
        if help.len() > MAX_HELP {
            return Err(MetricError::HelpTooLong { name: name.clone(), length: help.len() });
        }
        if labels.len() > MAX_LABELS {
            return Err(MetricError::TooManyLabels { name: name.clone(), count: labels.len() });
        }
        for (place, (label, value)) in labels.iter().enumerate() {
            let is_second = labels[..place].iter().any(|(other, _)| other == label);
            if let Some(reason) = label_fault(label, value, is_second) {
                return Err(MetricError::Label { name: name.clone(), label: beginning(label), reason });
            }
        }
        match shape {
            Shape::Counter | Shape::Gauge => Ok(()),
            Shape::Histogram(bounds) => check_buckets(name, bounds),
        }
    }

    /// Whether the two cannot both be shown: they say different things under one name.
    #[must_use]
    pub fn clashes_with(&self, other: &Declaration) -> bool {
        if self.name == other.name {
            return self.shape != other.shape;
        }
        is_within(&self.name, other) || is_within(&other.name, self)
    }
}

/// Whether the name is one that the format makes for a histogram.
fn is_within(name: &str, histogram: &Declaration) -> bool {
    let suffix = name.strip_prefix(histogram.name.as_str());
    matches!(histogram.shape, Shape::Histogram(_))
        && suffix.is_some_and(|it| HISTOGRAM_SUFFIXES.contains(&it))
}

fn check_name(name: &str) -> Result<(), MetricError> {
    let reason = if name.len() > MAX_METRIC_NAME {
        "it has more than 128 bytes"
    } else if !is_word(name, |byte| byte == b':') {
        "it must be letters, digits, _ and :, and not begin with a digit"
    } else if name.starts_with(OWN_PREFIX) {
        "what begins with ganger_ is the library's own"
    } else {
        return Ok(());
    };
    Err(MetricError::Name { name: beginning(name), reason })
}

fn label_fault(label: &str, value: &str, is_second: bool) -> Option<&'static str> {
    if label.len() > MAX_METRIC_NAME {
        Some("its name has more than 128 bytes")
    } else if !is_word(label, |_| false) || label.starts_with("__") {
        Some("its name must be letters, digits and _, and begin neither with a digit nor with __")
    } else if OWN_LABELS.contains(&label) {
        Some("the supervisor sets it")
    } else if value.len() > MAX_LABEL_VALUE {
        Some("its value has more than 128 bytes")
    } else if is_second {
        Some("the metric has it twice")
    } else {
        None
    }
}

fn is_word(word: &str, also: impl Fn(u8) -> bool) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || also(byte);
    !word.is_empty() && !word.starts_with(|first: char| first.is_ascii_digit()) && word.bytes().all(is_fit)
}

fn check_buckets(name: &str, bounds: &[f64]) -> Result<(), MetricError> {
    let reason = if bounds.is_empty() {
        "there are none"
    } else if bounds.len() > MAX_BUCKETS {
        "there are more than 64"
    } else if !bounds.iter().all(|bound| bound.is_finite()) {
        "a bound is not a finite number; the last bucket, without bound, is always there"
    } else if !bounds.is_sorted_by(|lower, upper| lower < upper) {
        "the bounds do not rise"
    } else {
        return Ok(());
    };
    Err(MetricError::Buckets { name: name.to_owned(), reason })
}

/// Enough of a name to know it by.
fn beginning(name: &str) -> String {
    name.chars().take(MAX_METRIC_NAME).collect()
}
