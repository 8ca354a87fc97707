//! Jobs that sleep, enqueued as one burst: how long all of them take, against ⌈jobs ÷ workers⌉ × one.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use ganger::{Call, Program, Supervisor};
use ganger_benches::{Case, Common, Floor, Printer, median, run};
use ganger_worker::{Failure, Worker};
use serde::{Deserialize, Serialize};

const FLOOR: Floor = Floor::AtMost(1.1);

/// Measures the makespan of a burst of jobs that sleep, against ⌈jobs ÷ workers⌉ × millis.
#[derive(Parser)]
#[command(name = "makespan", max_term_width = 100)]
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
    #[command(flatten)]
    common: Common,
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
    run(register, bench)
}

fn register(worker: &mut Worker) {
    worker.on_call(|nap: Nap, _cx| -> Result<(), Failure> {
        thread::sleep(Duration::from_millis(nap.millis.into()));
        Ok(())
    });
}

fn bench() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse();
    let mut printer = Printer::new(options.common);
    for &workers in &options.workers {
        measure(&options, workers, &mut printer)?;
    }
    Ok(printer.exit_code())
}

fn measure(options: &Options, workers: usize, printer: &mut Printer) -> Result<(), Box<dyn Error>> {
    let supervisor = Supervisor::builder(Program::this()).workers(workers).start()?;
    supervisor.wait_online(Duration::from_secs(30))?;
    let mut spans = Vec::new();
    let mut splits = Vec::new();
    for _ in 0..printer.rounds(3, 1) {
        let (span, split) = burst(&supervisor, options)?;
        spans.push(span.as_secs_f64() * 1e3);
        splits.push(split);
    }
    let ideal = f64::from(options.jobs.div_ceil(workers as u32) * options.millis);
    let case = format!("{workers} workers, {} jobs of {} ms", options.jobs, options.millis);
    printer.print(&Case::new("makespan", case, median(&spans), "ms", ideal), Some(FLOOR));
    for split in &splits {
        printer.remark(&format!("{:>12} {}", "split", shown(split)));
    }
    supervisor.soft_kill().wait();
    Ok(())
}

/// Enqueues all jobs and waits for all of them.
fn burst(supervisor: &Supervisor, options: &Options) -> Result<(Duration, Split), Box<dyn Error>> {
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
