//! What it costs to look at a worker's memory, against a bare read of the same file.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use ganger::{Program, Supervisor};
use ganger_benches::{
    Bench, Floor, Nothing, Outcome, Plan, Printer, Rounds, nothing_fresh, online, own_cpu_time, register,
    timed,
};

const WORKERS: [usize; 2] = [16, 128];
const EVERY: Duration = Duration::from_millis(1);
const SELDOM: Duration = Duration::from_secs(3600);
/// 5 us where a bare read takes 1.25 us.
const FLOOR: Floor = Floor::AtMost(4.0);
/// Bare reads a round.
const READS: usize = 20_000;

fn main() -> ExitCode {
    let bench = Bench {
        name: "sampling",
        about: "Measures the processor time of one sample of one worker's memory, its share of waking up included, against \
                a bare pread of /proc/PID/statm",
        worker: register,
        fresh: nothing_fresh,
        measure,
    };
    bench.run()
}

fn measure(_: &Nothing, printer: &mut Printer) -> Outcome<()> {
    let rounds = printer.choose(5, 2);
    let span = Duration::from_millis(printer.choose(1000, 500));
    for workers in WORKERS {
        let floor = (workers == 128).then_some(FLOOR);
        let plan = Plan::new(format!("w{workers}"), "us").floor(floor);
        printer.measure(&[plan], || samples(workers, rounds, span))?;
    }
    Ok(())
}

/// What an idle supervisor used in a while.
struct Used {
    cpu_seconds: f64,
    /// Reads: one a sample, and a few.
    reads: f64,
    /// The seconds that a bare read of one of the files takes.
    bare_seconds: f64,
}

/// A supervisor that samples often, against one that never does: both are otherwise idle.
fn samples(workers: usize, rounds: usize, span: Duration) -> Outcome<Vec<Rounds>> {
    let mut measured = Rounds::default();
    for _ in 0..rounds {
        let (often, seldom) = (idle(workers, EVERY, span)?, idle(workers, SELDOM, span)?);
        let cost = (often.cpu_seconds - seldom.cpu_seconds) / (often.reads - seldom.reads);
        measured.push(cost * 1e6, often.bare_seconds * 1e6);
    }
    Ok(vec![measured])
}

fn idle(workers: usize, sample_every: Duration, span: Duration) -> Outcome<Used> {
    let builder = Supervisor::builder(Program::this()).workers(workers).sample_every(sample_every);
    let supervisor = online(builder)?;
    let (cpu_before, reads_before) = (own_cpu_time(), own_reads()?);
    // Nothing is waited for: time is what is measured.
    thread::sleep(span);
    let (cpu, reads) = (own_cpu_time() - cpu_before, own_reads()? - reads_before);
    let pids = supervisor.health().workers.into_iter().filter_map(|worker| worker.pid);
    let files = pids.map(|pid| File::open(format!("/proc/{pid}/statm"))).collect::<Result<Vec<_>, _>>()?;
    Ok(Used { cpu_seconds: cpu.as_secs_f64(), reads, bare_seconds: bare_read(&files)? })
}

/// The reads that this process has made so far, as the kernel counts them.
fn own_reads() -> Outcome<f64> {
    let text = fs::read_to_string("/proc/self/io")?;
    let count = text.lines().find_map(|line| line.strip_prefix("syscr: "));
    Ok(count.ok_or("/proc/self/io does not count reads")?.parse()?)
}

fn bare_read(files: &[File]) -> Outcome<f64> {
    let (seconds, outcome) = timed(|| {
        files.iter().cycle().take(READS).try_for_each(|file| file.read_at(&mut [0; 128], 0).map(drop))
    });
    outcome?;
    Ok(seconds / READS as f64)
}
