//! Many schedules, over all cores, with a summary.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::Parser;

use crate::arg::{number, positive};
use crate::sim::{self, Options, Report};

/// How many lines of a failed schedule are printed.
const TAIL: usize = 80;

/// A schedule takes a millisecond; one that takes this long never ends.
const ENDLESS: Duration = Duration::from_secs(20);

/// After so many failed schedules no more are begun, unless it is asked otherwise.
const ENOUGH: usize = 20;

/// Runs the shipped scheduler, codec and worker's half through schedules under a virtual clock: each schedule is a
/// seed. Exit status 1 when a check is violated.
#[derive(Clone, Debug, Parser)]
#[command(name = "simulate", max_term_width = 100)]
pub struct Arguments {
    /// How many schedules
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = number)]
    pub seeds: u64,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 0, value_parser = number)]
    pub from: u64,
    /// Happenings in each before faults stop
    #[arg(long, value_name = "N", default_value_t = Options::default().steps, value_parser = number)]
    pub steps: u64,
    /// On how many threads
    #[arg(long, value_name = "N", default_value_t = cores(), value_parser = positive)]
    pub threads: u64,
    /// Print every line of every schedule
    #[arg(long)]
    pub trace: bool,
    /// Run each schedule twice and compare
    #[arg(long)]
    pub check_determinism: bool,
    /// Begin no more schedules after the first that fails
    #[arg(long)]
    pub first: bool,
}

fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
}

impl Arguments {
    /// After so many failed schedules no more are begun.
    fn enough(&self) -> usize {
        if self.first { 1 } else { ENOUGH }
    }

    fn options(&self) -> Options {
        Options { steps: self.steps, keep_lines: if self.trace { usize::MAX } else { 0 } }
    }
}

#[derive(Default)]
struct Tally {
    schedules: AtomicU64,
    events: AtomicU64,
    jobs: AtomicU64,
    next: AtomicU64,
    failed: Mutex<Vec<Report>>,
    finished: AtomicBool,
}

/// Runs the schedules, prints what came of them, and says whether all is well.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    if !arguments.trace {
        // Panics are reported as violations, with their seeds.
        std::panic::set_hook(Box::new(|_| {}));
    }
    let begin = Instant::now();
    let tally = Tally::default();
    let current: Vec<Current> = (0..arguments.threads).map(|_| Current::default()).collect();
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            current.iter().map(|current| scope.spawn(|| work(arguments, &tally, current))).collect();
        let watchdog = scope.spawn(|| watch(&tally, &current));
        for worker in workers {
            let _ = worker.join();
        }
        tally.finished.store(true, Relaxed);
        watchdog.thread().unpark();
    });
    let mut failed = tally.failed.into_inner().unwrap_or_default();
    failed.sort_by_key(|report| report.seed);
    for report in failed.iter().take(3) {
        explain(report, arguments);
    }
    for report in &failed {
        for violation in report.violations.iter().take(1) {
            println!("seed {}: {violation}", report.seed);
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let (schedules, events) = (tally.schedules.into_inner(), tally.events.into_inner());
    println!(
        "{schedules} schedules, {} jobs, {events} events, {} violations, {:.1} s, {:.2} M events/s",
        tally.jobs.into_inner(),
        failed.len(),
        seconds,
        events as f64 / seconds / 1e6
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Which schedule a thread runs, and how many it has run.
#[derive(Default)]
struct Current {
    seed: AtomicU64,
    count: AtomicU64,
}

/// Ends the program when a schedule does not: nothing inside it can say so any more.
fn watch(tally: &Tally, current: &[Current]) {
    let counts = || current.iter().map(|one| one.count.load(Relaxed)).collect::<Vec<u64>>();
    let (mut before, mut since) = (counts(), Instant::now());
    while !tally.finished.load(Relaxed) {
        std::thread::park_timeout(Duration::from_secs(1));
        let now = counts();
        if now != before {
            (before, since) = (now, Instant::now());
        } else if since.elapsed() > ENDLESS && !tally.finished.load(Relaxed) {
            let seeds: Vec<u64> = current.iter().map(|one| one.seed.load(Relaxed)).collect();
            println!(
                "seed {}: {}: a turn never ends (among the seeds {seeds:?})",
                seeds[0],
                sim::Check::LoopNeverSpins
            );
            std::process::exit(1);
        }
    }
}

fn work(arguments: &Arguments, tally: &Tally, current: &Current) {
    loop {
        let index = tally.next.fetch_add(1, Relaxed);
        if index >= arguments.seeds || is_enough(arguments, tally) {
            return;
        }
        current.seed.store(arguments.from + index, Relaxed);
        current.count.fetch_add(1, Relaxed);
        let report = run_one(arguments, arguments.from + index);
        tally.schedules.fetch_add(1, Relaxed);
        tally.events.fetch_add(report.events, Relaxed);
        tally.jobs.fetch_add(report.jobs, Relaxed);
        if arguments.trace {
            report.lines.iter().for_each(|line| println!("{line}"));
        }
        if !report.violations.is_empty()
            && let Ok(mut failed) = tally.failed.lock()
        {
            failed.push(report);
        }
    }
}

fn is_enough(arguments: &Arguments, tally: &Tally) -> bool {
    tally.failed.lock().is_ok_and(|failed| failed.len() >= arguments.enough())
}

fn run_one(arguments: &Arguments, seed: u64) -> Report {
    let mut report = sim::run(seed, arguments.options());
    if arguments.check_determinism {
        let again = sim::run(seed, arguments.options());
        if again.hash != report.hash {
            let text = format!("hashes {:016x} and {:016x}", report.hash, again.hash);
            report.violations.push(sim::Violation { check: sim::Check::SameSeedSameEvents, text });
        }
    }
    report
}

/// A failed schedule, run once more with its last lines.
fn explain(report: &Report, arguments: &Arguments) {
    let again = sim::run(report.seed, Options { steps: arguments.steps, keep_lines: TAIL });
    println!("──── seed {} ────", report.seed);
    if !arguments.trace {
        again.lines.iter().for_each(|line| println!("{line}"));
    }
    for violation in &report.violations {
        println!("  ✗ {violation}");
    }
    println!("replay: simulate --from {} --seeds 1 --steps {} --trace", report.seed, arguments.steps);
}
