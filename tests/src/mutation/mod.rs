//! Mutants: mistakes planted in the shipped sources, to see whether the simulator finds them.
//!
//! Each patch in `tests/mutants/` is one mistake that somebody could make, with a header that says what it is, what
//! it breaks and who is expected to find it. The sources are copied below the target directory; there one patch
//! after the other is planted, built and simulated until the first violation, or, as its header says, held against a
//! named unit test or fuzzed. A mutant that nobody finds fails the run, and so does a patch that no longer
//! applies or compiles.
//!
//! ```text
//! patches ─▶ Mutant ─┐
//! sources ─▶ Snapshot ─▶ Lane: plant ─▶ build ─▶ simulate ─▶ Verdict ─▶ table
//! ```
//!
//! The build has no debug assertions and optimises little: a mistake is to be found by those who look from outside,
//! not by the code's own word, and most of the time is the compiler's. What is found is looked for at the same seed
//! without the mistake: a check that speaks there too has found something else.

mod arguments;
mod lane;
mod mutant;
mod snapshot;
mod trial;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

pub use arguments::Arguments;
use lane::Lane;
use mutant::{Catcher, Mutant};
use snapshot::Snapshot;
use trial::Verdict;

/// Runs what was asked for, prints what came of it, and says whether every mutant was caught.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    match try_run(arguments) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(arguments: &Arguments) -> Result<ExitCode, String> {
    let mutants = arguments.choose(mutant::load(&repository().join("tests/mutants"))?)?;
    if arguments.list {
        mutants.iter().for_each(Mutant::print);
        return Ok(ExitCode::SUCCESS);
    }
    let begin = Instant::now();
    let snapshot = Snapshot::take(&repository())?;
    let lanes = (0..arguments.jobs.min(mutants.len())).map(|number| Lane::new(number, &snapshot));
    let lanes = lanes.collect::<Result<Vec<Lane<'_>>, String>>()?;
    let verdicts = try_all(&mutants, lanes, arguments.seeds)?;
    Ok(conclude(&verdicts, begin))
}

/// Each lane takes the next mutant that nobody has taken.
fn try_all(mutants: &[Mutant], lanes: Vec<Lane<'_>>, seeds: u64) -> Result<Vec<Verdict>, String> {
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(Vec::new());
    let work = |mut lane: Lane<'_>| -> Result<(), String> {
        lane.build_original()?;
        if mutants.iter().any(|mutant| matches!(mutant.catcher, Catcher::Fuzz(_))) {
            lane.build_original_fuzz()?;
        }
        while let Some(mutant) = mutants.get(next.fetch_add(1, Relaxed)) {
            let begin = Instant::now();
            let verdict = lane.try_out(mutant, seeds)?;
            println!("{:<44} {verdict} ({:.0} s)", mutant.name, begin.elapsed().as_secs_f64());
            verdicts.lock().map_err(|_| "a lane has panicked")?.push(verdict);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = lanes.into_iter().map(|lane| scope.spawn(|| work(lane))).collect();
        lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| "a lane has panicked")?)
    })?;
    verdicts.into_inner().map_err(|_| String::from("a lane has panicked"))
}

fn conclude(verdicts: &[Verdict], begin: Instant) -> ExitCode {
    let count =
        |is_wanted: fn(&Verdict) -> bool| verdicts.iter().filter(|verdict| is_wanted(verdict)).count();
    let caught = count(Verdict::is_caught);
    let survivors = count(|verdict| matches!(verdict, Verdict::Survived { .. } | Verdict::Unfound { .. }));
    let broken = verdicts.len() - caught - survivors;
    println!(
        "{} mutants, {caught} caught, {survivors} survivors, {broken} broken, {:.0} s",
        verdicts.len(),
        begin.elapsed().as_secs_f64()
    );
    if caught == verdicts.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is a member of the workspace")
        .to_owned()
}

/// Where the program that runs was built, whatever it is called there.
fn target_directory() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| format!("the program's own path: {error}"))?;
    let directory = program.ancestors().find(|directory| directory.join("CACHEDIR.TAG").exists());
    directory
        .map(Path::to_owned)
        .ok_or_else(|| format!("{} is not below a target directory", program.display()))
}
