//! Handlers that compute for 10 µs, 100 µs or 1 ms, on as many workers as there are processors: the share of the
//! machine that reaches them, against threads that do nothing but the same work.

use std::hint::black_box;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ganger::{Call, Program, Supervisor};
use ganger_benches::{
    AHEAD, Bench, Cores, Nothing, Outcome, Plan, Printer, Rounds, nothing_fresh, online, timed,
};
use ganger_worker::{Failure, Worker};
use serde::{Deserialize, Serialize};

const COSTS: [(u64, &str); 3] = [(10, "10us"), (100, "100us"), (1000, "1ms")];
const IN_FLIGHT: usize = 256;

/// Work of so many steps.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Toil {
    steps: u64,
}

impl Call for Toil {
    const NAME: &'static str = "toil";
    type Reply = u64;
}

impl Toil {
    fn work(self) -> u64 {
        let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
        for _ in 0..self.steps {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        black_box(state)
    }

    /// As many steps as take about so long on an idle processor.
    fn lasting(micros: u64) -> Toil {
        let sample = Toil { steps: 100_000 };
        let fastest = (0..20).map(|_| timed(|| sample.work()).0).fold(f64::INFINITY, f64::min);
        Toil { steps: (sample.steps as f64 * micros as f64 / 1e6 / fastest) as u64 }
    }
}

fn main() -> ExitCode {
    let bench = Bench {
        name: "busy",
        about: "Measures jobs a second whose handlers compute for 10 us, 100 us or 1 ms, on a worker a processor, against \
                as many threads that do the same work and nothing else",
        worker: register,
        fresh: nothing_fresh,
        measure,
    };
    bench.run()
}

fn register(worker: &mut Worker) {
    worker.on_call(|toil: Toil, _cx| Ok::<_, Failure>(toil.work()));
}

fn measure(_: &Nothing, printer: &mut Printer) -> Outcome<()> {
    let workers = Cores::available()?.count();
    let rounds = printer.choose(7, 3);
    let round = Duration::from_millis(printer.choose(300, 200));
    for (micros, name) in COSTS {
        printer.measure(&[Plan::new(name, "jobs/s")], || {
            let supervisor = online(Supervisor::builder(Program::this()).workers(workers).prefetch(AHEAD))?;
            let toil = Toil::lasting(micros);
            let mut measured = Rounds::default();
            for _ in 0..rounds {
                let limit = rate_of_threads(toil, workers, round);
                measured.push(rate(&supervisor, toil, round)?, limit);
            }
            Ok(vec![measured])
        })?;
    }
    Ok(())
}

fn rate_of_threads(toil: Toil, threads: usize, round: Duration) -> f64 {
    let work = || {
        let begun = Instant::now();
        let mut count = 0.0;
        while begun.elapsed() < round {
            toil.work();
            count += 1.0;
        }
        count / begun.elapsed().as_secs_f64()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it only computes")).sum()
    })
}

fn rate(supervisor: &Supervisor, toil: Toil, round: Duration) -> Outcome<f64> {
    let begun = Instant::now();
    let jobs = (0..).take_while(|_: &u64| begun.elapsed() < round).map(|_| toil);
    let mut count = 0.0;
    for result in supervisor.map(jobs).in_flight(IN_FLIGHT) {
        result.map_err(|error| error.to_string())?;
        count += 1.0;
    }
    Ok(count / begun.elapsed().as_secs_f64())
}
