//! A figure, how it is printed, and the floor it is held against.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

/// One figure, set against what it could be at best in the same run.
///
/// With `--json` each is a line with exactly these keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    /// The bench's name.
    pub bench: &'static str,
    /// Which of its cases.
    pub case: String,
    /// What was measured.
    pub value: f64,
    /// The unit of `value` and `limit`.
    pub unit: &'static str,
    /// The raw limit, in the same run.
    pub limit: f64,
    /// `value` ÷ `limit`.
    pub ratio: f64,
}

impl Case {
    /// A figure and its limit, in the same unit.
    #[must_use]
    pub fn new(
        bench: &'static str,
        case: impl Into<String>,
        value: f64,
        unit: &'static str,
        limit: f64,
    ) -> Case {
        Case { bench, case: case.into(), value, unit, limit, ratio: value / limit }
    }

    /// The line for programs.
    ///
    /// # Panics
    /// Never: numbers and plain strings are always JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and plain strings are always JSON")
    }

    fn text(&self) -> String {
        let Case { bench, case, value, unit, limit, ratio } = self;
        format!(
            "{bench:<12} {case:<36} {value:>12.2} {unit:<10} limit {limit:>12.2} {unit:<10} ratio {ratio:.3}"
        )
    }
}

/// The arguments that every bench takes.
#[derive(Args, Clone, Copy, Debug)]
pub struct Common {
    /// Print one line of JSON a case, with the keys bench, case, value, unit, limit, ratio
    #[arg(long)]
    pub json: bool,
    /// Measure less often
    #[arg(long)]
    pub quick: bool,
    /// Exit with 1 when a case misses its floor
    #[arg(long)]
    pub check: bool,
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
    fn holds(self, ratio: f64) -> bool {
        match self {
            Floor::AtMost(most) => ratio <= most,
            Floor::AtLeast(least) => ratio >= least,
        }
    }
}

/// Prints cases as they come and remembers which missed their floor.
#[derive(Debug)]
pub struct Printer {
    common: Common,
    missed: usize,
}

impl Printer {
    /// A printer that does what the arguments say.
    #[must_use]
    pub fn new(common: Common) -> Printer {
        Printer { common, missed: 0 }
    }

    /// How often to measure: `usual`, or `quick` times when asked to be quick.
    #[must_use]
    pub fn rounds(&self, usual: usize, quick: usize) -> usize {
        if self.common.quick { quick } else { usual }
    }

    /// Prints a case and holds it against its floor, where it has one.
    pub fn print(&mut self, case: &Case, floor: Option<Floor>) {
        println!("{}", if self.common.json { case.json() } else { case.text() });
        if let Some(floor) = floor.filter(|floor| !floor.holds(case.ratio)) {
            self.missed += 1;
            eprintln!("{} {}: the ratio is {:.3}, the floor is {floor:?}", case.bench, case.case, case.ratio);
        }
    }

    /// Prints something for people: nothing with `--json`.
    pub fn remark(&self, text: &str) {
        if !self.common.json {
            println!("{text}");
        }
    }

    /// With `--check`, failure when a case missed its floor.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        if self.common.check && self.missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_json_has_exactly_the_agreed_keys() {
        let case = Case::new("makespan", "2 workers", 1010.0, "ms", 1000.0);
        let line = r#"{"bench":"makespan","case":"2 workers","value":1010.0,"unit":"ms","limit":1000.0,"ratio":1.01}"#;
        assert_eq!(case.json(), line);
    }

    #[test]
    fn a_missed_floor_counts_only_when_it_is_to_be_checked() {
        let case = Case::new("makespan", "2 workers", 1200.0, "ms", 1000.0);
        for (check, code) in [(true, ExitCode::FAILURE), (false, ExitCode::SUCCESS)] {
            let mut printer = Printer::new(Common { json: true, quick: false, check });
            printer.print(&case, Some(Floor::AtMost(1.1)));
            assert_eq!(printer.exit_code(), code);
        }
    }
}
