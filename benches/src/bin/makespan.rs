//! Jobs that sleep, enqueued as one burst: how long all of them take, against ⌈jobs ÷ workers⌉ × one.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::RangedU64ValueParser;
use ganger::{Call, Program, Supervisor};
use ganger_benches::{Bench, Floor, Outcome, Plan, Printer, Rounds, nothing_fresh, online};
use ganger_worker::{Failure, Worker};
use serde::{Deserialize, Serialize};

const FLOOR: Floor = Floor::AtMost(1.1);

#[derive(Args)]
struct Options {
    /// How many workers; several numbers make several cases
    #[arg(long, value_delimiter = ',', num_args = 1.., default_values_t = [2, 4, 8],
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
    workers: Vec<usize>,
    /// How many jobs
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    jobs: u32,
    /// How long each sleeps
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    millis: u32,
}

#[derive(Serialize, Deserialize)]
struct Nap {
    millis: u32,
}

impl Call for Nap {
    const NAME: &'static str = "nap";
    type Reply = ();
}

/// How many jobs each worker did.
type Split = BTreeMap<Arc<str>, u32>;

fn main() -> ExitCode {
    let bench = Bench {
        name: "makespan",
        about: "Measures the makespan of a burst of jobs that sleep, against ⌈jobs ÷ workers⌉ × millis",
        worker: register,
        fresh: nothing_fresh,
        measure,
    };
    bench.run()
}

fn register(worker: &mut Worker) {
    worker.on_call(|nap: Nap, _cx| -> Result<(), Failure> {
        thread::sleep(Duration::from_millis(nap.millis.into()));
        Ok(())
    });
}

fn measure(options: &Options, printer: &mut Printer) -> Outcome<()> {
    let rounds = printer.choose(3, 1);
    for &workers in &options.workers {
        let case = format!("{workers} workers, {} jobs of {} ms", options.jobs, options.millis);
        let mut splits = Vec::new();
        printer.measure(&[Plan::new(case, "ms").floor(FLOOR)], || {
            splits.clear();
            bursts(options, workers, rounds, &mut splits)
        })?;
        splits.iter().for_each(|split| printer.remark(&format!("split {}", shown(split))));
    }
    Ok(())
}

fn bursts(options: &Options, workers: usize, rounds: usize, splits: &mut Vec<Split>) -> Outcome<Vec<Rounds>> {
    let supervisor = online(Supervisor::builder(Program::this()).workers(workers))?;
    let ideal = f64::from(options.jobs.div_ceil(workers as u32) * options.millis);
    let mut measured = Rounds::default();
    for _ in 0..rounds {
        let (span, split) = burst(&supervisor, options)?;
        measured.push(span.as_secs_f64() * 1e3, ideal);
        splits.push(split);
    }
    Ok(vec![measured])
}

/// Enqueues all jobs and waits for all of them.
fn burst(supervisor: &Supervisor, options: &Options) -> Outcome<(Duration, Split)> {
    let begun = Instant::now();
    let handles = (0..options.jobs)
        .map(|_| supervisor.enqueue(Nap { millis: options.millis }))
        .collect::<Result<Vec<_>, _>>()?;
    let mut split = Split::new();
    for handle in handles {
        *split.entry(handle.wait()?.worker).or_default() += 1;
    }
    Ok((begun.elapsed(), split))
}

fn shown(split: &Split) -> String {
    let parts: Vec<String> = split.iter().map(|(worker, jobs)| format!("{worker}: {jobs}")).collect();
    parts.join("  ")
}
