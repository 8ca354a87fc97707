//! What the workers' metrics add up to, by slot.
//!
//! Counters and histograms of all workers that a slot has had are one series: what a worker counted stays when it is
//! gone. A gauge is shown while the worker lives that set it; while two share a slot, because one replaces the other,
//! the younger one's word counts. A snapshot shares the series with the ledger; what changes is copied then, a slot at a
//! time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ganger_protocol::{Amount, Change, Declaration, HISTOGRAM_SUFFIXES, MAX_METRICS, MetricsReport, Shape};

use crate::scheduler::{GroupIndex, WorkerKey};

/// Series of all slots together; further ones are refused.
pub(crate) const MAX_SERIES: usize = 100_000;

/// A slot of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seat {
    pub(crate) group: GroupIndex,
    pub(crate) slot: u32,
}

/// What is the same for all series of a name.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) help: String,
    pub(crate) shape: Shape,
}

pub(crate) type Families = BTreeMap<Arc<str>, Family>;
type Labels = Arc<[(String, String)]>;

/// One metric of one slot.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: Arc<str>,
    pub(crate) labels: Labels,
    pub(crate) value: Value,
}

/// What a series shows.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Counter(u64),
    /// `None` when nobody lives who set it.
    Gauge(Option<Level>),
    /// The buckets, not cumulative, and the sum of what was observed.
    Histogram(Vec<u64>, f64),
}

/// A gauge's value, and which worker said so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    pub(crate) value: f64,
    teller: u64,
}

/// What the workers' metrics add up to.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    families: Arc<Families>,
    slots: BTreeMap<Seat, Slot>,
    tellers: HashMap<WorkerKey, Teller>,
    series: usize,
    /// Workers that have told anything, so that the younger of two is known.
    told: u64,
}

#[derive(Debug, Default)]
struct Slot {
    series: Arc<Vec<Series>>,
    places: BTreeMap<(Arc<str>, Labels), usize>,
    refused: u64,
}

/// A worker that has metrics.
#[derive(Debug)]
struct Teller {
    seat: Seat,
    serial: u64,
    /// Where its metrics are in its slot, by their numbers; `None` for those that were refused.
    places: Vec<Option<usize>>,
}

/// The ledger at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tallies {
    pub(crate) families: Arc<Families>,
    pub(crate) slots: Vec<Tally>,
}

/// A slot at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) seat: Seat,
    pub(crate) series: Arc<Vec<Series>>,
    /// Metrics that were declared and are not kept.
    pub(crate) refused: u64,
}

impl Ledger {
    /// Takes in what a worker says. It was judged: its numbers are right.
    pub(crate) fn hear(&mut self, worker: WorkerKey, seat: Seat, report: MetricsReport) {
        let mut teller = self.tellers.remove(&worker).unwrap_or_else(|| self.welcome(seat));
        for declaration in report.declared {
            let place = self.declare(teller.seat, declaration);
            teller.places.push(place);
        }
        for change in report.changes {
            self.change(&teller, change);
        }
        self.tellers.insert(worker, teller);
    }

    /// A worker is gone: what it counted stays, what it measured does not.
    pub(crate) fn forget(&mut self, worker: WorkerKey) {
        let Some(Teller { seat, serial, .. }) = self.tellers.remove(&worker) else { return };
        let Some(slot) = self.slots.get_mut(&seat) else { return };
        let is_its_own =
            |series: &Series| matches!(series.value, Value::Gauge(Some(level)) if level.teller == serial);
        if !slot.series.iter().any(is_its_own) {
            return;
        }
        for series in Arc::make_mut(&mut slot.series).iter_mut().filter(|series| is_its_own(series)) {
            series.value = Value::Gauge(None);
        }
    }

    /// How things are. Costs time in proportion to the slots with metrics, whatever they hold.
    pub(crate) fn tallies(&self) -> Tallies {
        let slots = self.slots.iter().map(|(seat, slot)| Tally {
            seat: *seat,
            series: Arc::clone(&slot.series),
            refused: slot.refused,
        });
        Tallies { families: Arc::clone(&self.families), slots: slots.collect() }
    }

    fn welcome(&mut self, seat: Seat) -> Teller {
        self.told += 1;
        Teller { seat, serial: self.told, places: Vec::new() }
    }

    /// The metric's place in its slot; `None` when it is not kept, which is counted.
    fn declare(&mut self, seat: Seat, declaration: Declaration) -> Option<usize> {
        let is_known = self.families.contains_key(declaration.name.as_str());
        let is_refused = self.clashes(&declaration);
        let Ledger { families, slots, series: count, .. } = self;
        let slot = slots.entry(seat).or_default();
        if is_refused {
            slot.refused += 1;
            return None;
        }
        let Declaration { name, help, mut labels, shape } = declaration;
        labels.sort_unstable();
        let name =
            families.get_key_value(name.as_str()).map_or_else(|| name.into(), |(name, _)| Arc::clone(name));
        let key = (Arc::clone(&name), Labels::from(labels));
        if let Some(place) = slot.places.get(&key) {
            return Some(*place);
        }
        // A slot whose workers declare other metrics in each life would grow without end.
        if slot.series.len() == MAX_METRICS || *count == MAX_SERIES {
            slot.refused += 1;
            return None;
        }
        *count += 1;
        let (place, labels) = (slot.series.len(), Arc::clone(&key.1));
        Arc::make_mut(&mut slot.series).push(Series {
            name: Arc::clone(&name),
            labels,
            value: Value::nothing(&shape),
        });
        slot.places.insert(key, place);
        if !is_known {
            Arc::make_mut(families).insert(name, Family { help, shape });
        }
        Some(place)
    }

    /// Whether it cannot be shown beside what other workers have declared. The first one stays.
    fn clashes(&self, declaration: &Declaration) -> bool {
        let Declaration { name, shape, .. } = declaration;
        let shape_of = |name: &str| self.families.get(name).map(|family| &family.shape);
        let is_histogram = |shape: &Shape| matches!(shape, Shape::Histogram(_));
        let base_is_histogram =
            |suffix: &&str| name.strip_suffix(*suffix).and_then(shape_of).is_some_and(is_histogram);
        shape_of(name).is_some_and(|other| other != shape)
            || HISTOGRAM_SUFFIXES.iter().any(base_is_histogram)
            || (is_histogram(shape)
                && HISTOGRAM_SUFFIXES.iter().any(|suffix| shape_of(&format!("{name}{suffix}")).is_some()))
    }

    fn change(&mut self, teller: &Teller, change: Change) {
        let Some(Some(place)) = teller.places.get(usize::from(change.metric)) else { return };
        let Some(slot) = self.slots.get_mut(&teller.seat) else { return };
        if let Some(series) = Arc::make_mut(&mut slot.series).get_mut(*place) {
            series.value.change(change.amount, teller.serial);
        }
    }
}

impl Value {
    fn nothing(shape: &Shape) -> Value {
        match shape {
            Shape::Counter => Value::Counter(0),
            Shape::Gauge => Value::Gauge(None),
            Shape::Histogram(bounds) => Value::Histogram(vec![0; bounds.len() + 1], 0.0),
        }
    }

    /// Counts stop at the most that there is: what only rises must not begin anew.
    fn change(&mut self, amount: Amount, teller: u64) {
        match (self, amount) {
            (Value::Counter(count), Amount::Rise(more)) => *count = count.saturating_add(more),
            (Value::Gauge(level), Amount::Level(value)) => {
                if level.is_none_or(|level| level.teller <= teller) {
                    *level = Some(Level { value, teller });
                }
            }
            (Value::Histogram(counts, sum), Amount::Observed { buckets, sum: more }) => {
                for (bucket, more) in buckets {
                    if let Some(count) = counts.get_mut(usize::from(bucket)) {
                        *count = count.saturating_add(more);
                    }
                }
                *sum = (*sum + more).clamp(f64::MIN, f64::MAX);
            }
            (Value::Counter(_) | Value::Gauge(_) | Value::Histogram(..), _) => {
                debug_assert!(false, "the judge has compared the two");
            }
        }
    }
}
