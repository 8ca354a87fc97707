//! One job at a time with ever larger payloads, echoed or one way: bytes a second, against a raw socket loop and
//! against a mere copy.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ganger::{Raw, Supervisor};
use ganger_benches::{
    Bench, Cores, Floor, Manner, Nothing, Outcome, Peer, Placement, Plan, Printer, Rounds, nothing_fresh,
    online, register, timed,
};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const SIZES: [(usize, &str); 10] = [
    (64, "64B"),
    (KIB, "1KiB"),
    (16 * KIB, "16KiB"),
    (64 * KIB, "64KiB"),
    (256 * KIB, "256KiB"),
    (MIB, "1MiB"),
    (4 * MIB, "4MiB"),
    (16 * MIB, "16MiB"),
    (64 * MIB, "64MiB"),
    (256 * MIB, "256MiB"),
];

/// Shared memory for each way, in the case that goes through it.
const POOL: usize = 8 * MIB;

/// How often, and how long each time; one message at least.
#[derive(Clone, Copy)]
struct Extent {
    rounds: usize,
    round: Duration,
}

fn main() -> ExitCode {
    let bench = Bench {
        name: "payload",
        about: "Measures payload bytes a second, one job at a time: echo and oneway against a raw socket loop, copy (one \
                way) against memcpy",
        worker: register,
        fresh: nothing_fresh,
        measure,
    };
    bench.run()
}

fn measure(_: &Nothing, printer: &mut Printer) -> Outcome<()> {
    let cores = Cores::available()?;
    let extent =
        Extent { rounds: printer.choose(7, 3), round: Duration::from_millis(printer.choose(60, 30)) };
    for (size, name) in SIZES {
        let floor = (size == MIB).then_some(Floor::AtLeast(0.5));
        let plan = Plan::new(format!("echo-{name}"), "MB/s").floor(floor);
        printer.measure(&[plan], || echo(&cores, extent, size, 0))?;
    }
    let plan = Plan::new("echo-1MiB-pool", "MB/s");
    printer.measure(&[plan], || echo(&cores, extent, MIB, POOL))?;
    for (size, name) in SIZES {
        let plans = ["oneway", "copy"].map(|way| Plan::new(format!("{way}-{name}"), "MB/s"));
        printer.measure(&plans, || one_way(&cores, extent, size))?;
    }
    Ok(())
}

/// The bytes of each reply are those of the next request: nothing but ganger itself copies.
fn echo(cores: &Cores, extent: Extent, size: usize, pool: usize) -> Outcome<Vec<Rounds>> {
    let mut peer = peer(cores, size, size)?;
    let supervisor = supervisor(cores, pool)?;
    let (mut ours, mut raw) = (vec![7; size], vec![7; size]);
    let mut rounds = Rounds::default();
    for _ in 0..extent.rounds {
        let limit = speed(extent, size, || timed_trip(|| Ok(peer.round_trip(&mut raw)?)))?;
        let value = speed(extent, size, || {
            timed_trip(|| {
                let job = Raw::new("echo", std::mem::take(&mut ours));
                ours = supervisor.enqueue(job)?.wait()?.data;
                Ok(())
            })
        })?;
        rounds.push(value, limit);
    }
    Ok(vec![rounds])
}

/// A request's bytes are given away; to make them is not measured.
fn one_way(cores: &Cores, extent: Extent, size: usize) -> Outcome<Vec<Rounds>> {
    let mut peer = peer(cores, size, 1)?;
    let supervisor = supervisor(cores, 0)?;
    let source = vec![7; size];
    let mut copy = vec![1; size];
    let (mut against_socket, mut against_copy) = (Rounds::default(), Rounds::default());
    for _ in 0..extent.rounds {
        let socket = speed(extent, size, || timed_trip(|| Ok(peer.deliver(&source)?)))?;
        let memcpy = speed(extent, size, || {
            timed_trip(|| {
                black_box(&mut copy).copy_from_slice(black_box(&source));
                Ok(())
            })
        })?;
        let value = speed(extent, size, || {
            let job = Raw::new("sink", source.clone());
            timed_trip(|| {
                supervisor.enqueue(job)?.wait()?;
                Ok(())
            })
        })?;
        against_socket.push(value, socket);
        against_copy.push(value, memcpy);
    }
    Ok(vec![against_socket, against_copy])
}

fn peer(cores: &Cores, request: usize, answer: usize) -> Outcome<Peer> {
    Ok(Peer::start(cores, Placement::Anywhere, Manner::Answer { request, answer })?)
}

fn supervisor(cores: &Cores, pool: usize) -> Outcome<Supervisor> {
    let program = cores.program(Placement::Anywhere)?;
    online(Supervisor::builder(program).workers(1).payload_limit(256 * MIB).payload_pool(pool))
}

fn timed_trip(trip: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let (seconds, outcome) = timed(trip);
    outcome.map(|()| seconds)
}

/// Megabytes a second; `trip` carries `size` bytes and gives the seconds that count.
fn speed(extent: Extent, size: usize, mut trip: impl FnMut() -> Outcome<f64>) -> Outcome<f64> {
    let begun = Instant::now();
    let (mut bytes, mut seconds) = (0, 0.0);
    while bytes == 0 || begun.elapsed() < extent.round {
        seconds += trip()?;
        bytes += size;
    }
    Ok(bytes as f64 / 1e6 / seconds)
}
