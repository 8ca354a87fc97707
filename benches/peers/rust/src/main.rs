//! The same work on ganger, ipc-channel and procspawn: `ganger-peers PEER WORK WORKERS AMOUNT IN_FLIGHT` prints one
//! number. The amount is milliseconds, or jobs where a queue is filled. `benches/peers/run` starts it.

mod channel;
mod ours;
mod pool;
mod spawned;

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use ganger_benches::Outcome;
use pool::Pool;

fn main() -> ExitCode {
    spawned::become_worker_if_told();
    act().map_or_else(|error| complain(&*error), |()| ExitCode::SUCCESS)
}

fn complain(error: &dyn Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

fn act() -> Outcome<()> {
    if ours::serve_if_told()? || channel::serve_if_told()? {
        return Ok(());
    }
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [peer, work, workers, amount, in_flight] = words[..] else {
        return Err("PEER WORK WORKERS AMOUNT IN_FLIGHT, please".into());
    };
    let (workers, amount, in_flight) = (workers.parse()?, amount.parse()?, in_flight.parse()?);
    println!("{}", measure(peer, work, workers, amount, in_flight)?);
    Ok(())
}

fn measure(peer: &str, work: &str, workers: usize, amount: usize, in_flight: usize) -> Outcome<f64> {
    let duration = Duration::from_millis(amount as u64);
    match (peer, work) {
        ("ganger", "bytes") => ours::Ganger::start(workers)?.bytes_a_job(amount),
        ("ganger", _) => timed_work(&mut ours::Ganger::start(workers)?, work, duration, in_flight),
        ("ipc-channel", _) => timed_work(&mut channel::Channels::start(workers)?, work, duration, in_flight),
        ("procspawn", _) => timed_work(&mut spawned::Spawned::start(workers)?, work, duration, in_flight),
        _ => Err(format!("there is no peer called {peer}").into()),
    }
}

fn timed_work(pool: &mut impl Pool, work: &str, duration: Duration, in_flight: usize) -> Outcome<f64> {
    match work {
        "sequential" => pool::sequential(pool, duration),
        "rate" => pool::rate(pool, duration, in_flight),
        "echo" => pool::echo(pool, duration),
        _ => Err(format!("there is no work called {work}, or not for this peer").into()),
    }
}
