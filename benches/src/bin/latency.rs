//! One worker, one caller, one job at a time: a sequential round trip against a raw socket pair's ping-pong.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use ganger::Supervisor;
use ganger_benches::{Case, Common, Cores, Echo, Floor, Placement, Printer, median, quantile, run};
use ganger_worker::Worker;

const PAYLOAD: usize = 64;
/// Round trips of each kind in one round; the two kinds take turns.
const TRIPS: usize = 2_000;

/// Measures sequential round trips through a supervisor and one worker, against a raw ping-pong in the same run.
#[derive(Parser)]
#[command(name = "latency", max_term_width = 100)]
struct Options {
    #[command(flatten)]
    common: Common,
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
    for placement in cores.pinned() {
        measure(&cores, placement, &mut printer)?;
    }
    Ok(printer.exit_code())
}

fn measure(cores: &Cores, placement: Placement, printer: &mut Printer) -> Result<(), Box<dyn Error>> {
    let mut echo = Echo::start(cores, placement)?;
    let supervisor = Supervisor::builder(cores.program(placement)?).workers(1).start()?;
    supervisor.wait_online(Duration::from_secs(30))?;
    let (mut ours, mut raws) = (Vec::new(), Vec::new());
    for _ in 0..printer.rounds(15, 3) {
        raws.push(trips(|| Ok(echo.round_trip(&mut [7; PAYLOAD])?))?);
        ours.push(trips(|| {
            supervisor.enqueue_raw("echo", [7; PAYLOAD])?.wait()?;
            Ok(())
        })?);
    }
    for (share, name) in [(0.5, "p50"), (0.99, "p99")] {
        let middle = |rounds: &[Vec<f64>]| {
            median(&rounds.iter().map(|round| quantile(round, share)).collect::<Vec<f64>>())
        };
        let case = Case::new("latency", format!("{placement}, {name}"), middle(&ours), "us", middle(&raws));
        printer.print(&case, floor(placement, share));
    }
    supervisor.soft_kill().wait();
    Ok(())
}

/// How long each of many round trips takes, in microseconds.
fn trips(mut trip: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<Vec<f64>, Box<dyn Error>> {
    let timed = |_| {
        let begun = Instant::now();
        trip()?;
        Ok(begun.elapsed().as_secs_f64() * 1e6)
    };
    (0..TRIPS).map(timed).collect()
}

fn floor(placement: Placement, share: f64) -> Option<Floor> {
    match placement {
        Placement::SameCore if share == 0.5 => Some(Floor::AtMost(2.5)),
        Placement::SameCore | Placement::CrossCore | Placement::Anywhere => None,
    }
}
