//! Jobs that do nothing, many on their way at a time: how many a second, against what a raw socket pair does with as
//! many frames on their way.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use ganger::{Raw, Supervisor};
use ganger_benches::{Case, Common, Cores, Echo, Floor, Placement, Printer, median, run};
use ganger_worker::Worker;

const PAYLOAD: usize = 64;
/// How many requests are sent ahead to a worker in the pipelined cases.
const PREFETCH: u32 = 256;

/// Measures jobs a second, with several numbers of them on their way, against raw frames a second in the same run.
#[derive(Parser)]
#[command(name = "throughput", max_term_width = 100)]
struct Options {
    /// How many jobs a round has
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    jobs: u32,
    #[command(flatten)]
    common: Common,
}

/// What is measured, and against what.
#[derive(Clone, Copy)]
struct Setting {
    workers: usize,
    prefetch: u32,
    in_flight: usize,
    placement: Placement,
}

fn main() -> ExitCode {
    run(register, bench)
}

fn register(worker: &mut Worker) {
    worker.on_raw("echo", |request| {
        let (bytes, responder) = request.into_parts();
        responder.respond(bytes);
    });
}

fn bench() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse();
    let mut printer = Printer::new(options.common);
    let cores = Cores::available()?;
    one_slot(&options, &cores, &mut printer)?;
    pipelined(&options, &cores, &mut printer)?;
    Ok(printer.exit_code())
}

/// Nothing is sent ahead: each job is a round trip between supervisor and worker, as a ping-pong is.
fn one_slot(options: &Options, cores: &Cores, printer: &mut Printer) -> Result<(), Box<dyn Error>> {
    for placement in cores.pinned() {
        let setting = Setting { workers: 1, prefetch: 0, in_flight: PREFETCH as usize, placement };
        let (ours, raw) = compare(options, cores, setting, 1, printer)?;
        let case = format!("1 worker, prefetch 0, {placement}");
        printer.print(&Case::new("throughput", case, ours, "jobs/s", raw), Some(Floor::AtLeast(0.4)));
    }
    Ok(())
}

fn pipelined(options: &Options, cores: &Cores, printer: &mut Printer) -> Result<(), Box<dyn Error>> {
    let placement = Placement::Anywhere;
    let mut alone = 0.0;
    for in_flight in [1, 16, 256, 4096] {
        let setting = Setting { workers: 1, prefetch: PREFETCH, in_flight, placement };
        let (ours, raw) = compare(options, cores, setting, in_flight.min(PREFETCH as usize), printer)?;
        let case = format!("1 worker, prefetch {PREFETCH}, {in_flight} in flight");
        printer.print(&Case::new("throughput", case, ours, "jobs/s", raw), None);
        alone = ours;
    }
    let setting = Setting { workers: 2, prefetch: PREFETCH, in_flight: 4096, placement };
    let (ours, _) = compare(options, cores, setting, 1, printer)?;
    let case = Case::new("throughput", "2 workers ÷ 1 worker, 4096 in flight", ours, "jobs/s", alone);
    printer.print(&case, Some(Floor::AtLeast(0.7)));
    Ok(())
}

/// Jobs a second, and raw frames a second with `batch` of them on their way, in turns.
fn compare(
    options: &Options,
    cores: &Cores,
    setting: Setting,
    batch: usize,
    printer: &Printer,
) -> Result<(f64, f64), Box<dyn Error>> {
    let mut echo = Echo::start(cores, setting.placement)?;
    let program = cores.program(setting.placement)?;
    let supervisor =
        Supervisor::builder(program).workers(setting.workers).prefetch(setting.prefetch).start()?;
    supervisor.wait_online(Duration::from_secs(30))?;
    let jobs =
        if setting.in_flight == 1 || setting.prefetch == 0 { options.jobs / 10 } else { options.jobs }.max(1);
    let (mut ours, mut raws) = (Vec::new(), Vec::new());
    for _ in 0..printer.rounds(7, 2) {
        raws.push(raw_rate(&mut echo, jobs, batch)?);
        ours.push(rate(&supervisor, jobs, setting.in_flight)?);
    }
    supervisor.soft_kill().wait();
    Ok((median(&ours), median(&raws)))
}

fn rate(supervisor: &Supervisor, jobs: u32, in_flight: usize) -> Result<f64, Box<dyn Error>> {
    let begun = Instant::now();
    let calls = (0..jobs).map(|_| Raw::new("echo", [7; PAYLOAD]));
    for result in supervisor.map(calls).in_flight(in_flight) {
        result.map_err(|error| error.to_string())?;
    }
    Ok(f64::from(jobs) / begun.elapsed().as_secs_f64())
}

fn raw_rate(echo: &mut Echo, frames: u32, batch: usize) -> Result<f64, Box<dyn Error>> {
    let mut bytes = vec![7; PAYLOAD * batch];
    let rounds = (frames as usize).div_ceil(batch);
    let begun = Instant::now();
    for _ in 0..rounds {
        echo.round_trip(&mut bytes)?;
    }
    Ok((rounds * batch) as f64 / begun.elapsed().as_secs_f64())
}
