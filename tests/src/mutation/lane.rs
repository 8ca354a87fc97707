//! A copy of the sources in which one mistake after the other is planted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::mutant::{Catcher, Mutant};
use super::snapshot::Snapshot;
use super::trial::{self, Verdict};
use crate::fuzz::Target;

/// Little optimisation, no debug information, incremental: the compiler has more to do than the simulator.
const PROFILE: [(&str, &str); 5] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "64"),
    ("CARGO_INCREMENTAL", "1"),
    // A mistake may leave something unused.
    ("RUSTFLAGS", "--cap-lints allow"),
];

/// A target's share of the minute that CI fuzzes.
const FUZZ_SECONDS: u64 = 15;

/// A copy, with a target directory of its own.
#[derive(Debug)]
pub(super) struct Lane<'a> {
    snapshot: &'a Snapshot,
    tree: PathBuf,
    target: PathBuf,
    /// The simulator without a mistake.
    original: PathBuf,
    /// The fuzzing driver without a mistake; built when it is first wanted.
    original_fuzz: PathBuf,
}

impl<'a> Lane<'a> {
    /// Copies the sources.
    ///
    /// # Errors
    /// What could not be written.
    pub(super) fn new(number: usize, snapshot: &'a Snapshot) -> Result<Lane<'a>, String> {
        let home = super::target_directory()?.join(format!("mutants/{number}"));
        let lane = Lane {
            snapshot,
            tree: home.join("tree"),
            target: home.join("target"),
            original: home.join("simulate-without-mistake"),
            original_fuzz: home.join("fuzz-without-mistake"),
        };
        snapshot.lay_out(&lane.tree)?;
        Ok(lane)
    }

    /// Builds the simulator without a mistake.
    ///
    /// # Errors
    /// That it does not compile.
    pub(super) fn build_original(&self) -> Result<(), String> {
        let built = self.build_simulator()?;
        if !built.status.success() {
            return Err(format!("without a mistake it does not compile:\n{}", text(&built.stderr)));
        }
        fs::copy(self.simulator(), &self.original).map_err(|error| format!("simulate: {error}"))?;
        Ok(())
    }

    /// Builds the fuzzing driver without a mistake.
    ///
    /// # Errors
    /// That it does not compile.
    pub(super) fn build_original_fuzz(&self) -> Result<(), String> {
        self.snapshot.lay_out_fuzzing(&self.tree)?;
        let built = self.build_fuzz()?;
        if !built.status.success() {
            return Err(format!("without a mistake it does not compile:\n{}", text(&built.stderr)));
        }
        fs::copy(self.fuzz_driver(), &self.original_fuzz).map_err(|error| format!("fuzz: {error}"))?;
        self.snapshot.lay_out(&self.tree)
    }

    /// Plants the mistake, has it looked for, and takes it out again.
    ///
    /// # Errors
    /// What keeps anything from being tried out at all.
    pub(super) fn try_out(&mut self, mutant: &Mutant, seeds: u64) -> Result<Verdict, String> {
        let planted = self.plant(&mutant.path)?;
        let verdict = match &mutant.catcher {
            _ if !planted.status.success() => Ok(Verdict::DoesNotApply { why: text(&planted.stderr) }),
            Catcher::Simulator(expected) => self.simulate(expected, seeds),
            Catcher::Test { package, name } => self.test(package, name),
            Catcher::Fuzz(target) => self.fuzz(*target),
        };
        self.snapshot.lay_out(&self.tree)?;
        verdict
    }

    /// Were the tree part of a repository, `git apply` would pass over files outside of it without a word.
    fn plant(&self, patch: &Path) -> Result<Output, String> {
        let mut git = Command::new("git");
        git.current_dir(&self.tree).arg("apply").arg(patch);
        git.env("GIT_CEILING_DIRECTORIES", self.tree.parent().unwrap_or(&self.tree));
        output(&mut git)
    }

    fn simulate(&self, expected: &[crate::sim::Check], seeds: u64) -> Result<Verdict, String> {
        let built = self.build_simulator()?;
        if !built.status.success() {
            return Ok(Verdict::DoesNotCompile { why: text(&built.stderr) });
        }
        let found = trial::simulate(&self.simulator(), 0, seeds)?;
        match found.violation {
            None if found.is_success => Ok(Verdict::Survived { schedules: found.schedules }),
            None => Ok(Verdict::Unnamed { how: found.ending }),
            Some(violation) => {
                let original = trial::simulate(&self.original, violation.seed, 1)?;
                Ok(match original.violation {
                    Some(_) => Verdict::AlsoWithout { violation },
                    None => Verdict::Caught {
                        is_expected: expected.iter().any(|check| check.to_string() == violation.check),
                        violation,
                        schedules: found.schedules,
                    },
                })
            }
        }
    }

    fn test(&self, package: &str, name: &str) -> Result<Verdict, String> {
        let target = self.cargo(&["test", "--lib", "-p", package, "--no-run"])?;
        if !target.status.success() {
            return Ok(Verdict::DoesNotCompile { why: text(&target.stderr) });
        }
        let tested = self.cargo(&["test", "--lib", "-p", package, name])?;
        let (said, name) = (text(&tested.stdout), String::from(name));
        if tested.status.success() {
            return Ok(Verdict::Survived { schedules: 0 });
        }
        let is_caught = said.lines().any(|line| line.contains(&name) && line.ends_with("FAILED"));
        Ok(if is_caught { Verdict::CaughtByTest { name } } else { Verdict::Unnamed { how: said } })
    }

    fn fuzz(&self, target: Target) -> Result<Verdict, String> {
        self.snapshot.lay_out_fuzzing(&self.tree)?;
        let built = self.build_fuzz()?;
        if !built.status.success() {
            return Ok(Verdict::DoesNotCompile { why: text(&built.stderr) });
        }
        let mut driver = Command::new(self.fuzz_driver());
        driver.args(["--target", target.name(), "--seconds", &FUZZ_SECONDS.to_string(), "--seed", "1"]);
        let ran = output(&mut driver)?;
        let said = text(&ran.stdout);
        if ran.status.success() {
            return Ok(Verdict::Unfound { seconds: FUZZ_SECONDS });
        }
        let Some(input) = said.lines().find_map(|line| line.trim().strip_prefix("replay: fuzz --replay "))
        else {
            return Ok(Verdict::Unnamed { how: format!("{said}{}", text(&ran.stderr)) });
        };
        let replayed = output(Command::new(&self.original_fuzz).args(["--replay", input]))?;
        let what = said.lines().next().unwrap_or_default().to_owned();
        Ok(if replayed.status.success() {
            Verdict::CaughtByFuzzing { what }
        } else {
            Verdict::FoundWithout { what }
        })
    }

    fn fuzz_driver(&self) -> PathBuf {
        self.target.join("release/fuzz")
    }

    fn build_fuzz(&self) -> Result<Output, String> {
        self.cargo(&["build", "--release", "-p", "ganger-tests", "--bin", "fuzz"])
    }

    fn simulator(&self) -> PathBuf {
        self.target.join("release/simulate")
    }

    fn build_simulator(&self) -> Result<Output, String> {
        self.cargo(&["build", "--release", "-p", "ganger-tests", "--bin", "simulate"])
    }

    fn cargo(&self, words: &[&str]) -> Result<Output, String> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.tree).args(words).args(["--quiet", "--offline"]);
        cargo.env("CARGO_TARGET_DIR", &self.target).envs(PROFILE);
        output(&mut cargo)
    }
}

fn output(command: &mut Command) -> Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.output().map_err(|error| format!("{name} could not be started: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
