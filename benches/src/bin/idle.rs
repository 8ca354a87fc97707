//! What a supervisor and its workers use while there is nothing to do, right after there was: processor time, against
//! the time that passes.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use ganger::{Program, Supervisor};
use ganger_benches::{
    AHEAD, Bench, Floor, Nothing, Outcome, Plan, Printer, Rounds, cpu_time, nothing_fresh, online,
    own_cpu_time, rate, register,
};

const WORKERS: [usize; 2] = [4, 64];

fn main() -> ExitCode {
    let bench = Bench {
        name: "idle",
        about: "Measures the processor time of an idle supervisor, and of all its idle workers together, over 10 s right \
                after a burst of jobs, against the time that passes: the ratio is the share of one processor",
        worker: register,
        fresh: nothing_fresh,
        measure,
    };
    bench.run()
}

fn measure(_: &Nothing, printer: &mut Printer) -> Outcome<()> {
    let span = Duration::from_secs(printer.choose(10, 4));
    for workers in WORKERS {
        // Beats and samples a second there are with either number; what spins uses a hundred times as much.
        let most = 0.003 + 0.0002 * workers as f64;
        let plans = ["supervisor", "workers"]
            .map(|who| Plan::new(format!("{who}-w{workers}"), "ms").floor(Floor::AtMost(most)));
        printer.measure(&plans, || rest(workers, span))?;
    }
    Ok(())
}

fn rest(workers: usize, span: Duration) -> Outcome<Vec<Rounds>> {
    let supervisor = online(Supervisor::builder(Program::this()).workers(workers).prefetch(AHEAD))?;
    rate(&supervisor, Duration::from_millis(200), 256)?;
    let pids: Vec<u32> = supervisor.health().workers.iter().filter_map(|worker| worker.pid).collect();
    let of_workers = || pids.iter().map(|pid| cpu_time(*pid)).sum::<Result<Duration, _>>();
    let (before, workers_before) = (own_cpu_time(), of_workers()?);
    // Nothing is waited for: time is what is measured.
    thread::sleep(span);
    let used = own_cpu_time() - before;
    let used_by_workers = of_workers()? - workers_before;
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    Ok([used, used_by_workers].map(|used| [(millis(used), millis(span))].into_iter().collect()).into())
}
