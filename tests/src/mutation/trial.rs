//! What came of a mutant.

use std::fmt;
use std::path::Path;
use std::process::Command;

/// What became of a mistake.
#[derive(Debug)]
pub(super) enum Verdict {
    /// A check of the simulator found it.
    Caught {
        violation: Violation,
        schedules: u64,
        is_expected: bool,
    },
    /// A unit test found it.
    CaughtByTest {
        name: String,
    },
    /// The fuzzing driver found it.
    CaughtByFuzzing {
        what: String,
    },
    /// The fuzzing driver did not.
    Unfound {
        seconds: u64,
    },
    /// What fuzzing found is found without the mistake too.
    FoundWithout {
        what: String,
    },
    /// Nobody found it.
    Survived {
        schedules: u64,
    },
    /// The simulator ended badly, without naming a check.
    Unnamed {
        how: String,
    },
    /// What was found is found without the mistake too.
    AlsoWithout {
        violation: Violation,
    },
    /// The patch is out of date.
    DoesNotApply {
        why: String,
    },
    DoesNotCompile {
        why: String,
    },
}

/// The first thing that the simulator found.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) check: String,
    pub(super) seed: u64,
}

impl Verdict {
    pub(super) fn is_caught(&self) -> bool {
        match self {
            Verdict::Caught { .. } | Verdict::CaughtByTest { .. } | Verdict::CaughtByFuzzing { .. } => true,
            Verdict::Unfound { .. }
            | Verdict::FoundWithout { .. }
            | Verdict::Survived { .. }
            | Verdict::Unnamed { .. }
            | Verdict::AlsoWithout { .. }
            | Verdict::DoesNotApply { .. }
            | Verdict::DoesNotCompile { .. } => false,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Caught { violation, schedules, is_expected } => {
                let note = if *is_expected { "" } else { ", which its header does not name" };
                let Violation { check, seed } = violation;
                write!(f, "caught by {check} after {schedules} schedules, seed {seed}{note}")
            }
            Verdict::CaughtByTest { name } => write!(f, "caught by the test {name}"),
            Verdict::CaughtByFuzzing { what } => write!(f, "caught by fuzzing {what}"),
            Verdict::Unfound { seconds } => write!(f, "SURVIVED {seconds} s of fuzzing"),
            Verdict::FoundWithout { what } => {
                write!(f, "BROKEN: fuzzing fails without the mistake too; mend that first: {what}")
            }
            Verdict::Survived { schedules } => write!(f, "SURVIVED {schedules} schedules"),
            Verdict::Unnamed { how } => {
                write!(f, "BROKEN: it ended without a named check: {}", last_lines(how))
            }
            Verdict::AlsoWithout { violation: Violation { check, seed } } => {
                write!(f, "BROKEN: seed {seed} breaks {check} without the mistake too; mend that first")
            }
            Verdict::DoesNotApply { why } => {
                write!(f, "BROKEN: the patch no longer applies; make it anew: {}", last_lines(why))
            }
            Verdict::DoesNotCompile { why } => write!(f, "BROKEN: it does not compile: {}", last_lines(why)),
        }
    }
}

/// What the simulator said.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) violation: Option<Violation>,
    pub(super) schedules: u64,
    pub(super) is_success: bool,
    /// Its last words.
    pub(super) ending: String,
}

/// Runs a simulator until the first violation.
///
/// # Errors
/// That it could not be started.
pub(super) fn simulate(program: &Path, from: u64, seeds: u64) -> Result<Found, String> {
    // A mistake may take all the memory there is: it must not be the machine's.
    let limited = "ulimit -v 4000000 && exec \"$0\" --first --from \"$1\" --seeds \"$2\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited]).arg(program).args([from.to_string(), seeds.to_string()]);
    let output = command.output().map_err(|error| format!("{}: {error}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let violation = said.lines().find_map(violation);
    let counted = said.lines().find_map(|line| line.split_once(" schedules, ")?.0.parse().ok());
    let schedules = counted.unwrap_or_else(|| violation.as_ref().map_or(0, |found| found.seed + 1 - from));
    let ending = format!("{said}{}{}", String::from_utf8_lossy(&output.stderr), output.status);
    Ok(Found { violation, schedules, is_success: output.status.success(), ending })
}

/// `seed 17: SettlesOnce: …`
fn violation(line: &str) -> Option<Violation> {
    let (seed, rest) = line.strip_prefix("seed ")?.split_once(": ")?;
    let (check, _) = rest.split_once(": ")?;
    Some(Violation { check: check.into(), seed: seed.parse().ok()? })
}

fn last_lines(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().rev().filter(|line| !line.is_empty()).take(12).collect();
    lines.reverse();
    lines.join("\n    ")
}
