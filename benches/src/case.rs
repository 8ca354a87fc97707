//! A figure, the limit beside it, and the floor that it is held against.

use std::fmt;

use serde::Serialize;

use crate::{Rounds, median};

/// What is to be measured: a name, a unit, and a floor where there is one.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) case: String,
    pub(crate) unit: &'static str,
    pub(crate) floor: Option<Floor>,
}

impl Plan {
    /// A case without a floor; `unit` is that of the figure and of its limit.
    #[must_use]
    pub fn new(case: impl Into<String>, unit: &'static str) -> Plan {
        Plan { case: case.into(), unit, floor: None }
    }

    /// The same case, to be held against a floor, if there is one.
    #[must_use]
    pub fn floor(self, floor: impl Into<Option<Floor>>) -> Plan {
        Plan { floor: floor.into(), ..self }
    }
}

/// The side of a floor on which a ratio must lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Floor {
    /// For what should be small, such as times.
    AtMost(f64),
    /// For what should be large, such as rates.
    AtLeast(f64),
}

impl Floor {
    pub(crate) fn holds(self, ratio: f64) -> bool {
        match self {
            Floor::AtMost(most) => ratio <= most,
            Floor::AtLeast(least) => ratio >= least,
        }
    }

    /// The best of our rounds ÷ the best of the limit's. What else happens on the machine only ever slows down, so
    /// that the best of each is nearest to what they are.
    pub(crate) fn best_ratio(self, rounds: &Rounds) -> f64 {
        let best = |values: &[f64]| match self {
            Floor::AtMost(_) => values.iter().copied().fold(f64::INFINITY, f64::min),
            Floor::AtLeast(_) => values.iter().copied().fold(0.0, f64::max),
        };
        best(rounds.values()) / best(rounds.limits())
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Floor::AtMost(most) => write!(f, "at most {most}"),
            Floor::AtLeast(least) => write!(f, "at least {least}"),
        }
    }
}

/// One figure, set against what it could be at best in the same run.
///
/// With `--json` each is a line with exactly these keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    /// The bench's name.
    pub bench: &'static str,
    /// Which of its cases.
    pub case: String,
    /// What was measured: the median of the rounds.
    pub value: f64,
    /// The unit of `value` and `limit`.
    pub unit: &'static str,
    /// The raw limit in the same run: the median of the rounds.
    pub limit: f64,
    /// `value` ÷ `limit`.
    pub ratio: f64,
    /// With `--ranges`, the lowest and the highest of the rounds' own ratios.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
}

impl Case {
    /// The medians of the rounds, with the range of their ratios.
    ///
    /// # Panics
    /// When there are no rounds.
    #[must_use]
    pub fn new(bench: &'static str, plan: &Plan, rounds: &Rounds) -> Case {
        let (value, limit) = (median(rounds.values()), median(rounds.limits()));
        let Plan { case, unit, .. } = plan.clone();
        Case { bench, case, value, unit, limit, ratio: value / limit, range: Some(rounds.range()) }
    }

    /// The line for programs.
    ///
    /// # Panics
    /// Never: numbers and plain strings are always JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and plain strings are always JSON")
    }

    /// The line for people.
    #[must_use]
    pub fn text(&self) -> String {
        let Case { bench, case, value, unit, limit, ratio, range } = self;
        let range = range.map_or(String::new(), |[low, high]| format!(" ({low:.3} to {high:.3})"));
        format!(
            "{bench:<10} {case:<28} {value:>14.2} {unit:<9} limit {limit:>14.2} {unit:<9} ratio {ratio:.3}{range}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds() -> Rounds {
        [(1010.0, 1000.0), (1200.0, 1000.0), (1005.0, 1000.0)].into_iter().collect()
    }

    #[test]
    fn a_line_of_json_has_exactly_the_agreed_keys() {
        let mut case = Case::new("makespan", &Plan::new("2 workers", "ms"), &rounds());
        case.range = None;
        let line = r#"{"bench":"makespan","case":"2 workers","value":1010.0,"unit":"ms","limit":1000.0,"ratio":1.01}"#;
        assert_eq!(case.json(), line);
    }

    #[test]
    fn a_floor_looks_at_the_best_of_each_side() {
        let rounds = [(10.0, 5.0), (8.0, 4.0), (30.0, 5.0)].into_iter().collect();
        assert_eq!(Floor::AtMost(0.0).best_ratio(&rounds), 2.0);
        assert_eq!(Floor::AtLeast(0.0).best_ratio(&rounds), 6.0);
    }
}
