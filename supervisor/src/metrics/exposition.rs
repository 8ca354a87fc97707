//! The text that Prometheus reads, format 0.0.4.
//!
//! ```text
//! # HELP name what it is
//! # TYPE name counter
//! name{label="value"} 1
//! ```

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// A label: its name and its value.
pub(crate) type Label<'a> = (&'a str, &'a str);

/// What a family is called in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The text being made; families come out in the order of their names.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    families: BTreeMap<String, Family>,
}

#[derive(Debug)]
struct Family {
    help: String,
    kind: Kind,
    samples: String,
}

/// A number, as the format wants it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    Count(u64),
    Float(f64),
}

impl From<u64> for Number {
    fn from(count: u64) -> Number {
        Number::Count(count)
    }
}

impl From<f64> for Number {
    fn from(float: f64) -> Number {
        Number::Float(float)
    }
}

/// A histogram's figures.
pub(crate) struct Observed<'a> {
    /// Upper bounds, and how many were observed up to each of them.
    pub(crate) buckets: &'a mut dyn Iterator<Item = (f64, u64)>,
    pub(crate) sum: f64,
    pub(crate) count: u64,
}

impl Exposition {
    /// One sample of a counter or gauge.
    pub(crate) fn sample(
        &mut self,
        family: (&str, &str, Kind),
        labels: &[Label<'_>],
        value: impl Into<Number>,
    ) {
        let (name, help, kind) = family;
        let samples = self.family(name, help, kind);
        line(samples, name, "", labels, None, value.into());
    }

    /// One histogram.
    pub(crate) fn histogram(&mut self, name: &str, help: &str, labels: &[Label<'_>], observed: Observed<'_>) {
        let Observed { buckets, sum, count } = observed;
        let samples = self.family(name, help, Kind::Histogram);
        for (bound, up_to) in buckets {
            line(samples, name, "_bucket", labels, Some(bound), up_to.into());
        }
        line(samples, name, "_bucket", labels, Some(f64::INFINITY), count.into());
        line(samples, name, "_sum", labels, None, sum.into());
        line(samples, name, "_count", labels, None, count.into());
    }

    fn family(&mut self, name: &str, help: &str, kind: Kind) -> &mut String {
        let make = || Family { help: help.to_owned(), kind, samples: String::new() };
        &mut self.families.entry(name.to_owned()).or_insert_with(make).samples
    }
}

impl fmt::Display for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, Family { help, kind, samples }) in &self.families {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            if !help.is_empty() {
                writeln!(f, "# HELP {name} {}", escaped(help, &['\\', '\n']))?;
            }
            writeln!(f, "# TYPE {name} {kind}")?;
            f.write_str(samples)?;
        }
        Ok(())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Number::Count(count) => write!(f, "{count}"),
            Number::Float(float) if float.is_nan() => f.write_str("NaN"),
            Number::Float(float) if float.is_infinite() => {
                f.write_str(if float > 0.0 { "+Inf" } else { "-Inf" })
            }
            Number::Float(float) if float != 0.0 && !(1e-7..1e15).contains(&float.abs()) => {
                write!(f, "{float:e}")
            }
            Number::Float(float) => write!(f, "{float}"),
        }
    }
}

fn line(
    text: &mut String,
    name: &str,
    suffix: &str,
    labels: &[Label<'_>],
    bound: Option<f64>,
    value: Number,
) {
    text.push_str(name);
    text.push_str(suffix);
    let mut before = '{';
    for (label, value) in labels {
        let _ = write!(text, "{before}{label}=\"{}\"", escaped(value, &['\\', '\n', '"']));
        before = ',';
    }
    if let Some(bound) = bound {
        let _ = write!(text, "{before}le=\"{}\"", Number::Float(bound));
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

fn escaped(text: &str, special: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' if special.contains(&'\n') => escaped.push_str("\\n"),
            other => {
                if special.contains(&other) {
                    escaped.push('\\');
                }
                escaped.push(other);
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// M8: the format, character by character.
    #[test]
    fn the_text_is_what_the_format_says() {
        let mut text = Exposition::default();
        text.sample(("b_total", "two\nlines, a \\ and a \"", Kind::Counter), &[], 3u64);
        text.sample(("a", "", Kind::Gauge), &[("path", "C:\\\n\"x\""), ("slot", "0")], f64::NAN);
        text.sample(("a", "", Kind::Gauge), &[("slot", "1")], -0.5);
        for value in [f64::INFINITY, f64::NEG_INFINITY, 1e300, 0.0, 1e-300, 123_456_789.25] {
            text.sample(("c", "", Kind::Gauge), &[], value);
        }
        let observed = Observed { buckets: &mut [(0.5, 1), (2.0, 3)].into_iter(), sum: 7.5, count: 4 };
        text.histogram("d", "sizes", &[("k", "v")], observed);
        let expected = r#"# TYPE a gauge
a{path="C:\\\n\"x\"",slot="0"} NaN
a{slot="1"} -0.5
# HELP b_total two\nlines, a \\ and a "
# TYPE b_total counter
b_total 3
# TYPE c gauge
c +Inf
c -Inf
c 1e300
c 0
c 1e-300
c 123456789.25
# HELP d sizes
# TYPE d histogram
d_bucket{k="v",le="0.5"} 1
d_bucket{k="v",le="2"} 3
d_bucket{k="v",le="+Inf"} 4
d_sum{k="v"} 7.5
d_count{k="v"} 4
"#;
        assert_eq!(text.to_string(), expected);
    }
}
