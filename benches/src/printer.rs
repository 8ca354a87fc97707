//! What every bench is asked, and how it answers.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use crate::{Case, Floor, Outcome, Plan, Rounds};

/// How often a case that misses its floor is measured, all in all, before that counts.
const ATTEMPTS: usize = 3;
/// A quick run begins nothing that would end later.
const QUICK: Duration = Duration::from_secs(27);

/// The arguments that every bench takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Common {
    /// Print one line of JSON a case, with the keys bench, case, value, unit, limit, ratio
    #[arg(long)]
    pub json: bool,
    /// With --json, add the key range: the lowest and the highest of the rounds' ratios
    #[arg(long, requires = "json")]
    pub ranges: bool,
    /// Measure less often: ends within 30 s
    #[arg(long)]
    pub quick: bool,
    /// Measure only what has a floor, and exit with 1 when the best of several rounds misses it three times
    #[arg(long)]
    pub check: bool,
    /// Measure only cases whose name contains this text
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
}

/// Measures cases, prints them as they come and remembers which missed their floor.
#[derive(Debug)]
pub struct Printer {
    bench: &'static str,
    common: Common,
    begun: Instant,
    missed: usize,
}

impl Printer {
    /// A printer that does what the arguments say.
    #[must_use]
    pub fn new(bench: &'static str, common: Common) -> Printer {
        Printer { bench, common, begun: Instant::now(), missed: 0 }
    }

    /// What to use: `usual`, or `quick` when asked to be quick.
    #[must_use]
    pub fn choose<T>(&self, usual: T, quick: T) -> T {
        if self.common.quick { quick } else { usual }
    }

    /// Whether something that takes so long should be begun at all: always, unless asked to be quick.
    #[must_use]
    pub fn has_time_for(&self, duration: Duration) -> bool {
        !self.common.quick || self.begun.elapsed() + duration < QUICK
    }

    /// Measures some cases at once and prints them: `attempt` gives the rounds of each, in the order of the plans. It
    /// is not called when none of them was asked for, and called again when one misses its floor and is checked.
    ///
    /// # Errors
    /// What `attempt` says.
    pub fn measure(
        &mut self,
        plans: &[Plan],
        mut attempt: impl FnMut() -> Outcome<Vec<Rounds>>,
    ) -> Outcome<()> {
        if !plans.iter().any(|plan| self.wants(plan)) {
            return Ok(());
        }
        let mut rounds = attempt()?;
        for _ in 1..ATTEMPTS {
            if !self.common.check || self.missed_of(plans, &rounds).is_empty() {
                break;
            }
            self.complain(plans, &rounds, "once more");
            rounds = attempt()?;
        }
        self.print(plans, &rounds);
        if self.common.check {
            self.missed += self.missed_of(plans, &rounds).len();
            self.complain(plans, &rounds, "missed");
        }
        Ok(())
    }

    /// Prints something for people: nothing with `--json`.
    pub fn remark(&self, text: &str) {
        if !self.common.json {
            println!("{:<10} {text}", self.bench);
        }
    }

    /// Says that something asked for cannot be measured here, and why.
    pub fn skip(&self, case: &str, why: &str) {
        eprintln!("{} {case}: left out, {why}", self.bench);
    }

    /// With `--check`, failure when a case missed its floor.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        if self.missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn wants(&self, plan: &Plan) -> bool {
        let is_named = self.common.only.as_ref().is_none_or(|text| plan.case.contains(text));
        is_named && (!self.common.check || plan.floor.is_some())
    }

    fn missed_of(&self, plans: &[Plan], rounds: &[Rounds]) -> Vec<(String, f64, Floor)> {
        let missed = |(plan, rounds): (&Plan, &Rounds)| {
            let floor = plan.floor.filter(|_| self.wants(plan))?;
            let ratio = floor.best_ratio(rounds);
            (!floor.holds(ratio)).then(|| (plan.case.clone(), ratio, floor))
        };
        plans.iter().zip(rounds).filter_map(missed).collect()
    }

    fn complain(&self, plans: &[Plan], rounds: &[Rounds], what: &str) {
        for (case, ratio, floor) in self.missed_of(plans, rounds) {
            eprintln!("{} {case}: {what}: the best ratio is {ratio:.3}, the floor {floor}", self.bench);
        }
    }

    fn print(&self, plans: &[Plan], rounds: &[Rounds]) {
        for (plan, rounds) in plans.iter().zip(rounds).filter(|(plan, _)| self.wants(plan)) {
            let mut case = Case::new(self.bench, plan, rounds);
            if self.common.json && !self.common.ranges {
                case.range = None;
            }
            println!("{}", if self.common.json { case.json() } else { case.text() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printer(check: bool) -> Printer {
        Printer::new("makespan", Common { json: true, check, ..Common::default() })
    }

    fn attempts(printer: &mut Printer, ratios: &[f64]) -> usize {
        let plan = Plan::new("2 workers", "ms").floor(Floor::AtMost(1.1));
        let mut count = 0;
        let attempt = || {
            count += 1;
            Ok(vec![[(ratios[count - 1], 1.0)].into_iter().collect()])
        };
        printer.measure(&[plan], attempt).expect("nothing fails here");
        count
    }

    #[test]
    fn a_case_that_misses_its_floor_is_tried_three_times() {
        let mut printer = printer(true);
        assert_eq!(attempts(&mut printer, &[1.2, 1.3, 1.05]), 3);
        assert_eq!(printer.exit_code(), ExitCode::SUCCESS);
        assert_eq!(attempts(&mut printer, &[1.2, 1.3, 1.2]), 3);
        assert_eq!(printer.exit_code(), ExitCode::FAILURE);
    }

    #[test]
    fn a_missed_floor_counts_only_when_it_is_to_be_checked() {
        let mut printer = printer(false);
        assert_eq!(attempts(&mut printer, &[1.2]), 1);
        assert_eq!(printer.exit_code(), ExitCode::SUCCESS);
    }

    #[test]
    fn what_was_not_asked_for_is_not_measured() {
        let common = Common { only: Some("4 workers".into()), ..Common::default() };
        assert_eq!(attempts(&mut Printer::new("makespan", common), &[]), 0);
        let mut printer = printer(true);
        let without_floor = [Plan::new("2 workers", "ms")];
        printer.measure(&without_floor, || panic!("it has no floor")).expect("nothing fails here");
    }
}
