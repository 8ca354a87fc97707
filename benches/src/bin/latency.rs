//! One caller, one job at a time: a sequential round trip against a raw socket pair's ping-pong.

use std::process::ExitCode;
use std::time::Instant;

use ganger::{Program, Supervisor};
use ganger_benches::{
    Bench, Cores, Floor, Manner, Nothing, Outcome, PAYLOAD, Peer, Placement, Plan, Printer, Rounds,
    nothing_fresh, online, quantile, register, round_trip,
};

/// Round trips of each kind in one round; the two kinds take turns.
const TRIPS: usize = 2_000;
/// Of round trips in turns, the median and one in a hundred.
const SHARES: [(f64, &str); 2] = [(0.5, ""), (0.99, "-p99")];
const CROWD: usize = 512;

fn main() -> ExitCode {
    let bench = Bench {
        name: "latency",
        about: "Measures sequential round trips, against a raw socket pair's ping-pong (same-core, cross-core, free), \
                and beside idle workers, against one worker (idle-512)",
        worker: register,
        fresh: nothing_fresh,
        measure,
    };
    bench.run()
}

fn measure(_: &Nothing, printer: &mut Printer) -> Outcome<()> {
    let cores = Cores::available()?;
    for placement in cores.pinned().into_iter().chain([Placement::Anywhere]) {
        let plans = plans(&placement.to_string(), floor(placement));
        let rounds = printer.choose(15, 5);
        printer.measure(&plans, || against_raw(&cores, placement, rounds))?;
    }
    let plans = plans(&format!("idle-{CROWD}"), Some(Floor::AtMost(2.0)));
    let rounds = printer.choose(9, 3);
    printer.measure(&plans, || in_a_crowd(&cores, rounds))
}

fn plans(case: &str, floor: Option<Floor>) -> Vec<Plan> {
    vec![Plan::new(case, "us").floor(floor), Plan::new(format!("{case}-p99"), "us")]
}

fn floor(placement: Placement) -> Option<Floor> {
    match placement {
        Placement::SameCore => Some(Floor::AtMost(2.5)),
        Placement::CrossCore => Some(Floor::AtMost(1.0)),
        Placement::Anywhere => None,
    }
}

fn against_raw(cores: &Cores, placement: Placement, rounds: usize) -> Outcome<Vec<Rounds>> {
    let mut peer = Peer::start(cores, placement, Manner::Echo)?;
    let supervisor = online(Supervisor::builder(cores.program(placement)?).workers(1))?;
    in_turns(rounds, || round_trip(&supervisor), || Ok(peer.round_trip(&mut [7; PAYLOAD])?))
}

/// All on one processor, where one worker or another makes no difference but by our own work.
fn in_a_crowd(cores: &Cores, rounds: usize) -> Outcome<Vec<Rounds>> {
    let program: Program = cores.program(Placement::SameCore)?;
    let alone = online(Supervisor::builder(program.clone()).workers(1))?;
    let crowd = online(Supervisor::builder(program).workers(CROWD))?;
    in_turns(rounds, || round_trip(&crowd), || round_trip(&alone))
}

/// Rounds of our trips and of the limit's, by quantile.
fn in_turns(
    rounds: usize,
    mut ours: impl FnMut() -> Outcome<()>,
    mut limit: impl FnMut() -> Outcome<()>,
) -> Outcome<Vec<Rounds>> {
    let mut measured = vec![Rounds::default(); SHARES.len()];
    for _ in 0..rounds {
        let limits = trips(&mut limit)?;
        let values = trips(&mut ours)?;
        for ((share, _), rounds) in SHARES.iter().zip(&mut measured) {
            rounds.push(quantile(&values, *share), quantile(&limits, *share));
        }
    }
    Ok(measured)
}

/// How long each of many round trips takes, in microseconds.
fn trips(mut trip: impl FnMut() -> Outcome<()>) -> Outcome<Vec<f64>> {
    let timed = |_| {
        let begun = Instant::now();
        trip()?;
        Ok(begun.elapsed().as_secs_f64() * 1e6)
    };
    (0..TRIPS).map(timed).collect()
}
