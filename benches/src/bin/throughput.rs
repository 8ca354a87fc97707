//! Jobs that do nothing, many on their way at a time: how many a second, against what a raw socket pair does with as
//! many frames on their way.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ganger::{Program, Supervisor};
use ganger_benches::{
    AHEAD, Bench, Cores, Floor, Manner, Nothing, Outcome, PAYLOAD, Peer, Placement, Plan, Printer, Rounds,
    nothing_fresh, online, rate, register,
};

const WINDOWS: [usize; 6] = [1, 4, 16, 64, 256, 1024];
/// Two thirds of a million jobs a second where a socket carries six and a half million frames: what a noisy machine reaches
/// surely that reaches a million by itself.
const AT_256: Floor = Floor::AtLeast(0.1);
const CALLERS: [usize; 2] = [2, 8];
/// How many workers, and the floor of their rate ÷ that of one.
const WORKERS: [(usize, Option<f64>); 5] =
    [(2, Some(0.7)), (8, None), (32, Some(0.2)), (128, Some(0.1)), (512, Some(0.04))];
/// How many jobs are on their way where workers are compared.
const WIDE: usize = 1024;

/// What is measured, and against what.
#[derive(Clone, Copy)]
struct Setting {
    workers: usize,
    ahead: u32,
    in_flight: usize,
    callers: usize,
    /// How many raw frames are on their way.
    frames: usize,
    placement: Placement,
}

/// How often, and how long each time.
#[derive(Clone, Copy)]
struct Extent {
    rounds: usize,
    round: Duration,
}

fn main() -> ExitCode {
    let bench = Bench {
        name: "throughput",
        about: "Measures jobs a second that do nothing, by workers (w), jobs on their way (in) and callers (c), \
                against raw frames a second with as many on their way; more workers also against one (over-w1)",
        worker: register,
        fresh: nothing_fresh,
        measure,
    };
    bench.run()
}

fn measure(_: &Nothing, printer: &mut Printer) -> Outcome<()> {
    let cores = Cores::available()?;
    let extent =
        Extent { rounds: printer.choose(7, 3), round: Duration::from_millis(printer.choose(150, 100)) };
    one_slot(&cores, extent, printer)?;
    for in_flight in WINDOWS {
        let floor = (in_flight == 256).then_some(AT_256);
        let plan = Plan::new(format!("w1-in{in_flight}"), "jobs/s").floor(floor);
        against_raw(&cores, extent, plan, Setting::wide(1, in_flight, 1), printer)?;
    }
    for callers in CALLERS {
        let plan = Plan::new(format!("w1-in256-c{callers}"), "jobs/s");
        against_raw(&cores, extent, plan, Setting::wide(1, 256, callers), printer)?;
    }
    against_raw(&cores, extent, Plan::new("w2-in256", "jobs/s"), Setting::wide(2, 256, 1), printer)?;
    for (workers, floor) in WORKERS {
        let scaled = Plan::new(format!("w{workers}-over-w1"), "jobs/s").floor(floor.map(Floor::AtLeast));
        let plans = [Plan::new(format!("w{workers}-in{WIDE}"), "jobs/s"), scaled];
        printer.measure(&plans, || crowd(&cores, extent, workers))?;
    }
    Ok(())
}

impl Setting {
    /// As many on their way as the window says, wherever the system runs them.
    fn wide(workers: usize, in_flight: usize, callers: usize) -> Setting {
        let placement = Placement::Anywhere;
        Setting { workers, ahead: AHEAD, in_flight, callers, frames: in_flight, placement }
    }

    fn start(&self, program: Program) -> Outcome<Supervisor> {
        online(Supervisor::builder(program).workers(self.workers).prefetch(self.ahead))
    }
}

/// Nothing is sent ahead: each job is a round trip between supervisor and worker, as a ping-pong is.
fn one_slot(cores: &Cores, extent: Extent, printer: &mut Printer) -> Outcome<()> {
    for placement in cores.pinned() {
        let setting = Setting { workers: 1, ahead: 0, in_flight: 256, callers: 1, frames: 1, placement };
        let plan = Plan::new(format!("one-slot-{placement}"), "jobs/s").floor(Floor::AtLeast(0.4));
        against_raw(cores, extent, plan, setting, printer)?;
    }
    Ok(())
}

fn against_raw(
    cores: &Cores,
    extent: Extent,
    plan: Plan,
    setting: Setting,
    printer: &mut Printer,
) -> Outcome<()> {
    printer.measure(&[plan], || {
        let mut peer = Peer::start(cores, setting.placement, Manner::Echo)?;
        let supervisor = setting.start(cores.program(setting.placement)?)?;
        let mut rounds = Rounds::default();
        for _ in 0..extent.rounds {
            let limit = raw_rate(&mut peer, extent.round, setting.frames)?;
            rounds.push(rate_of_all(&supervisor, extent.round, setting)?, limit);
        }
        Ok(vec![rounds])
    })
}

/// Many workers against the raw socket pair, and against one worker.
fn crowd(cores: &Cores, extent: Extent, workers: usize) -> Outcome<Vec<Rounds>> {
    let mut peer = Peer::start(cores, Placement::Anywhere, Manner::Echo)?;
    let program = cores.program(Placement::Anywhere)?;
    let [one, many] = [1, workers].map(|workers| Setting::wide(workers, WIDE, 1));
    let (alone, crowd) = (one.start(program.clone())?, many.start(program)?);
    let (mut against_raw, mut against_one) = (Rounds::default(), Rounds::default());
    for _ in 0..extent.rounds {
        let raw = raw_rate(&mut peer, extent.round, WIDE)?;
        let of_one = rate_of_all(&alone, extent.round, one)?;
        let of_many = rate_of_all(&crowd, extent.round, many)?;
        against_raw.push(of_many, raw);
        against_one.push(of_many, of_one);
    }
    Ok(vec![against_raw, against_one])
}

/// The rates of all callers together, each with its share of the jobs on their way.
fn rate_of_all(supervisor: &Supervisor, duration: Duration, setting: Setting) -> Outcome<f64> {
    let share = setting.in_flight.div_ceil(setting.callers);
    if setting.callers == 1 {
        return rate(supervisor, duration, share);
    }
    let caller = || rate(supervisor, duration, share).map_err(|error| error.to_string());
    thread::scope(|scope| {
        let callers: Vec<_> = (0..setting.callers).map(|_| scope.spawn(caller)).collect();
        let rates = callers.into_iter().map(|caller| caller.join().map_err(|_| "a caller panicked")?);
        Ok(rates.sum::<Result<f64, String>>()?)
    })
}

/// Raw frames a second, sent and received back so many at a time.
fn raw_rate(peer: &mut Peer, duration: Duration, frames: usize) -> Outcome<f64> {
    let mut bytes = vec![7; PAYLOAD * frames];
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < duration {
        peer.round_trip(&mut bytes)?;
        count += frames;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}
