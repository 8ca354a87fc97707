//! A patch and what its header says.
//!
//! ```text
//! Mistake: a take-back takes one request too few.
//! Breaks: P4, J10
//! Caught by: ProofBeforeResend, AttemptsNeverOverlap
//!
//! --- a/supervisor/src/scheduler/hand.rs
//! …
//! ```
//!
//! `Caught by` names checks of the simulator, or `test PACKAGE NAME` for a unit test, or `fuzz TARGET`; several judges
//! stand between semicolons, and each is asked by itself.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fuzz::Target;
use crate::sim::Check;

/// One mistake, and one who is expected to find it.
#[derive(Debug)]
pub(super) struct Mutant {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) mistake: String,
    pub(super) breaks: String,
    pub(super) catcher: Catcher,
}

/// Who is expected to find it.
#[derive(Debug)]
pub(super) enum Catcher {
    /// One of these checks of the simulator.
    Simulator(Vec<Check>),
    /// A unit test.
    Test { package: String, name: String },
    /// The fuzzing driver, within this target's share of the minute in CI.
    Fuzz(Target),
}

/// All mutants, by name: as often as they have judges.
pub(super) fn load(directory: &Path) -> Result<Vec<Mutant>, String> {
    let entries = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "patch")).collect();
    paths.sort();
    let read: Vec<Vec<Mutant>> = paths.iter().map(|path| Mutant::read(path)).collect::<Result<_, _>>()?;
    Ok(read.into_iter().flatten().collect())
}

impl Mutant {
    fn read(path: &Path) -> Result<Vec<Mutant>, String> {
        let complain = |what: String| format!("{}: {what}", path.display());
        let text = fs::read_to_string(path).map_err(|error| complain(error.to_string()))?;
        let header = text.split("\n--- ").next().unwrap_or_default();
        let field = |name: &str| {
            let found = header.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            found.map(String::from).ok_or_else(|| complain(format!("its header has no line {name}")))
        };
        let (mistake, breaks) = (field("Mistake")?, field("Breaks")?);
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mutant = |judge: &str| {
            let catcher = Catcher::parse(judge).map_err(complain)?;
            let (name, path) = (name.clone(), path.to_owned());
            Ok(Mutant { name, path, mistake: mistake.clone(), breaks: breaks.clone(), catcher })
        };
        field("Caught by")?.split("; ").map(mutant).collect()
    }

    pub(super) fn print(&self) {
        println!(
            "{}\n    {}\n    breaks {}, caught by {}",
            self.name,
            self.mistake,
            self.breaks,
            self.catcher.text()
        );
    }
}

impl Catcher {
    fn parse(text: &str) -> Result<Catcher, String> {
        if let Some(test) = text.strip_prefix("test ") {
            let (package, name) =
                test.split_once(' ').ok_or(format!("{text:?} is not: test PACKAGE NAME"))?;
            return Ok(Catcher::Test { package: package.into(), name: name.into() });
        }
        if let Some(name) = text.strip_prefix("fuzz ") {
            let target = Target::ALL.into_iter().find(|target| target.name() == name);
            return target.map(Catcher::Fuzz).ok_or(format!("there is no target called {name}"));
        }
        let find = |name: &str| Check::ALL.iter().copied().find(|check| check.to_string() == name);
        let named = text.split(", ").map(|name| find(name).ok_or(format!("there is no check called {name}")));
        Ok(Catcher::Simulator(named.collect::<Result<_, _>>()?))
    }

    fn text(&self) -> String {
        match self {
            Catcher::Simulator(checks) => checks.iter().map(Check::to_string).collect::<Vec<_>>().join(", "),
            Catcher::Test { package, name } => format!("{name} of {package}"),
            Catcher::Fuzz(target) => format!("fuzzing {}", target.name()),
        }
    }
}
