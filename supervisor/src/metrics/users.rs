//! Metrics that users declared, in this process and in the workers.

use std::sync::Arc;

use ganger_protocol::{Declaration, Reading, Shape};

use super::exposition::{Exposition, Kind, Label, Number, Observed};
use super::ledger::{Family, Tallies, Tally, Value};

/// Writes the metrics of this process, then those of the workers that do not contradict them.
pub(super) fn write(
    text: &mut Exposition,
    own: &[(Declaration, Reading)],
    tallies: &Tallies,
    groups: &[Arc<str>],
) {
    for (declaration, reading) in own {
        let labels: Vec<Label<'_>> = pairs(&declaration.labels).collect();
        write_reading(text, declaration, &labels, reading);
    }
    let mut slots = tallies.slots.iter().filter_map(|tally| {
        let group = groups.get(usize::from(tally.seat.group.0))?;
        Some((tally, group, tally.seat.slot.to_string()))
    });
    slots.by_ref().for_each(|(tally, group, slot)| write_tally(text, own, tallies, tally, [group, &*slot]));
}

fn write_tally(
    text: &mut Exposition,
    own: &[(Declaration, Reading)],
    tallies: &Tallies,
    tally: &Tally,
    [group, slot]: [&str; 2],
) {
    let who = [("group", group), ("slot", slot)];
    let refused = (
        "ganger_metrics_refused_total",
        "Metrics that workers declared and that are not kept",
        Kind::Counter,
    );
    text.sample(refused, &who, tally.refused);
    for series in tally.series.iter() {
        let Some(family) = tallies.families.get(&series.name) else { continue };
        if own.iter().any(|(declaration, _)| contradicts(declaration, &series.name, family)) {
            continue;
        }
        let labels: Vec<Label<'_>> = who.into_iter().chain(pairs(&series.labels)).collect();
        match &series.value {
            Value::Counter(count) => {
                text.sample((&series.name, &family.help, Kind::Counter), &labels, *count);
            }
            Value::Gauge(Some(level)) => {
                text.sample((&series.name, &family.help, Kind::Gauge), &labels, level.value);
            }
            Value::Gauge(None) => {}
            Value::Histogram(counts, sum) => {
                write_histogram(text, (&series.name, &family.help), &labels, &family.shape, (counts, *sum));
            }
        }
    }
}

fn write_reading(text: &mut Exposition, declaration: &Declaration, labels: &[Label<'_>], reading: &Reading) {
    let Declaration { name, help, shape, .. } = declaration;
    match reading {
        Reading::Count(count) => text.sample((name, help, Kind::Counter), labels, *count),
        Reading::Level(level) => text.sample((name, help, Kind::Gauge), labels, Number::Float(*level)),
        Reading::Observed { counts, sum } => {
            write_histogram(text, (name, help), labels, shape, (counts, *sum));
        }
    }
}

fn write_histogram(
    text: &mut Exposition,
    (name, help): (&str, &str),
    labels: &[Label<'_>],
    shape: &Shape,
    (counts, sum): (&[u64], f64),
) {
    let Shape::Histogram(bounds) = shape else { return };
    let up_to = counts.iter().scan(0u64, |total, count| {
        *total = total.saturating_add(*count);
        Some(*total)
    });
    let count = up_to.clone().last().unwrap_or(0);
    let mut buckets = bounds.iter().copied().zip(up_to);
    text.histogram(name, help, labels, Observed { buckets: &mut buckets, sum, count });
}

fn pairs(labels: &[(String, String)]) -> impl Iterator<Item = Label<'_>> {
    labels.iter().map(|(name, value)| (&**name, &**value))
}

/// Whether the two cannot both be shown.
fn contradicts(own: &Declaration, name: &str, family: &Family) -> bool {
    let theirs = Declaration {
        name: name.to_owned(),
        help: String::new(),
        labels: Vec::new(),
        shape: family.shape.clone(),
    };
    own.clashes_with(&theirs)
}

/// What the counters, or the gauges, of this name add up to; of histograms, how many were observed.
pub(super) fn total(name: &str, own: &[(Declaration, Reading)], tallies: &Tallies) -> Option<f64> {
    let own =
        own.iter().filter(|(declaration, _)| declaration.name == name).map(|(_, reading)| match reading {
            Reading::Count(count) => *count as f64,
            Reading::Level(level) => *level,
            Reading::Observed { counts, .. } => counts.iter().sum::<u64>() as f64,
        });
    let series =
        tallies.slots.iter().flat_map(|tally| tally.series.iter()).filter(|series| *series.name == *name);
    let theirs = series.filter_map(|series| match &series.value {
        Value::Counter(count) => Some(*count as f64),
        Value::Gauge(level) => level.map(|level| level.value),
        Value::Histogram(counts, _) => Some(counts.iter().map(|count| *count as f64).sum()),
    });
    own.chain(theirs).reduce(|sum, value| sum + value)
}
