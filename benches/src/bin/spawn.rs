//! How long a worker takes from its start to its first ready, from a small supervisor and from one that holds 2 GiB,
//! against a bare start of the same binary to its first byte.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ganger::{Event, Events, Program, Supervisor};
use ganger_benches::{
    Bench, Cores, Manner, Nothing, Outcome, Peer, Placement, Plan, Printer, Rounds, available_bytes,
    in_fresh_process, median, register, timed,
};

/// The bytes that a large supervisor holds.
const LARGE: usize = 2 << 30;

fn main() -> ExitCode {
    let bench = Bench {
        name: "spawn",
        about: "Measures the start of a worker up to its first ready, against a bare posix_spawn of the same binary up to \
                its first byte; from a parent of 2 GiB, too, also against the small one",
        worker: register,
        fresh,
        measure,
    };
    bench.run()
}

fn measure(_: &Nothing, printer: &mut Printer) -> Outcome<()> {
    let starts = printer.choose(100, 20);
    printer.measure(&[Plan::new("small", "us")], || Ok(vec![starts_of(0, starts)?]))?;
    if available_bytes()? < 2 * LARGE as u64 {
        printer.skip("2GiB", "the machine has too little memory");
        return Ok(());
    }
    printer.measure(&[Plan::new("2GiB", "us"), Plan::new("2GiB-over-small", "us")], || {
        let (small, large) = (starts_of(0, starts)?, starts_of(LARGE, starts)?);
        let over_small = large.values().iter().copied().zip(small.values().iter().copied()).collect();
        Ok(vec![large, over_small])
    })
}

/// Starts in a process of their own that holds so much memory.
fn starts_of(ballast: usize, starts: usize) -> Outcome<Rounds> {
    let figures = in_fresh_process(&format!("{ballast} {starts}"))?;
    Ok(figures.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// Ours and a bare start in turns, in microseconds. A round is the median of five each.
fn fresh(words: &[&str]) -> Outcome<Vec<f64>> {
    let [ballast, starts] = words else { return Err("a size and a number, please".into()) };
    let ballast = vec![1_u8; ballast.parse()?];
    let starts: usize = starts.parse()?;
    let cores = Cores::available()?;
    let (supervisor, events) = Supervisor::builder(Program::this()).workers(1).start_with_events()?;
    wait_for(&events, is_ready)?;
    let mut figures = Vec::new();
    for _ in 0..starts.div_ceil(5) {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            bare.push(bare_start(&cores)?);
            ours.push(start(&supervisor, &events)?);
        }
        figures.extend([median(&ours), median(&bare)]);
    }
    black_box(&ballast);
    Ok(figures)
}

fn bare_start(cores: &Cores) -> Outcome<f64> {
    let start = || {
        let mut peer = Peer::start(cores, Placement::Anywhere, Manner::Hello)?;
        peer.first_byte()?;
        Ok::<_, std::io::Error>(peer)
    };
    let (seconds, peer) = timed(start);
    peer?;
    Ok(seconds * 1e6)
}

/// One more worker, and away with it again.
fn start(supervisor: &Supervisor, events: &Events) -> Outcome<f64> {
    let begun = Instant::now();
    supervisor.resize(2)?;
    wait_for(events, is_ready)?;
    let seconds = begun.elapsed().as_secs_f64();
    supervisor.resize(1)?;
    wait_for(events, |event| matches!(event, Event::WorkerExited { .. } | Event::WorkerCrashed { .. }))?;
    Ok(seconds * 1e6)
}

fn is_ready(event: &Event) -> bool {
    matches!(event, Event::WorkerReady { .. })
}

fn wait_for(events: &Events, is_it: fn(&Event) -> bool) -> Outcome<()> {
    while !is_it(&events.recv_timeout(Duration::from_secs(30))?) {}
    Ok(())
}
