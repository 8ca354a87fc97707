//! Kills supervisors by SIGKILL under load, and looks whether their workers are gone a second later.
//!
//! One program in three roles: the judge, which is what a person starts; the host with a supervisor in it, which the
//! judge kills; and the workers, of whose handlers some are busy in native code for ever. Exit status 1 if any worker
//! outlives its supervisor by a second.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use ganger::{Job, Program, Supervisor};
use ganger_tests::arg::{count, number, positive};
use ganger_tests::calls::{Add, Spin};
use ganger_tests::harness::{Arrival, Gate, PATIENCE, Watched, arrive, live_descendants};
use ganger_worker::{Failure, Worker};
use rustix::process::{WaitId, WaitIdOptions, getpid, set_child_subreaper, waitid};

/// How long workers may outlive their supervisor. P12.
const LIMIT: Duration = Duration::from_secs(1);

/// Where a worker finds the judge's gate.
const PRESENT_ENV: &str = "GANGER_LEASH_PRESENT";

fn main() -> ExitCode {
    if let Some(worker) = Worker::inherited().expect("a worker or not") {
        return work(worker);
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["host", workers, present, spin] => host(workers.parse().expect("a number"), present, spin.into()),
        _ => judge(&Terms::parse()),
    }
}

fn work(mut worker: Worker) -> ExitCode {
    let control = worker.control();
    let arrival =
        Arrival { pid: std::process::id(), worker: control.name().to_owned(), job: None, attempt: 0 };
    let gate = PathBuf::from(std::env::var_os(PRESENT_ENV).expect("a gate"));
    let _present = arrive(&gate, &arrival).expect("the judge is there");
    worker.concurrency(2);
    worker.on_call(|Add(left, right), _| Ok(left + right));
    worker.on_call(move |spin: Spin, context| -> Result<(), Failure> {
        let _present = arrive(&spin.gate, &Arrival { job: Some(context.id()), ..arrival.clone() })?;
        loop {
            std::hint::spin_loop();
        }
    });
    worker.serve().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// One thread of each worker spins for ever; the others do sums without end, and a line is printed for each hundred.
fn host(workers: usize, present: &str, spin: PathBuf) -> ExitCode {
    let program = Program::this().env(PRESENT_ENV, present);
    let supervisor = Supervisor::builder(program).workers(workers).start().expect("started");
    supervisor.wait_online(PATIENCE).expect("online");
    let job = Job::new(Spin { gate: spin });
    let _spins: Vec<_> =
        (0..workers).map(|_| supervisor.enqueue(job.like(job.call().clone())).expect("accepted")).collect();
    for (number, result) in supervisor.map((0..).map(|number| Add(number, 1))).enumerate() {
        result.expect("answered");
        if number % 100 == 0 {
            println!("{number}");
        }
    }
    unreachable!("there is always one more sum")
}

/// Kills supervisors by SIGKILL under load, and looks whether their workers are gone a second later. Exit status 1 when
/// one is not.
#[derive(Parser)]
#[command(name = "leash", max_term_width = 100)]
struct Terms {
    /// How many supervisors
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = positive)]
    times: u64,
    /// Workers of each
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = count)]
    workers: usize,
    /// The moments are drawn from it
    #[arg(long, default_value_t = 1, value_parser = number)]
    seed: u64,
}

/// What became of one host's workers.
struct Round {
    workers: usize,
    /// From the host's death to the last worker's end.
    took: Duration,
    survivors: usize,
}

fn judge(terms: &Terms) -> ExitCode {
    set_child_subreaper(Some(getpid())).expect("a subreaper");
    let mut random = fastrand::Rng::with_seed(terms.seed);
    let rounds: Vec<Round> = (0..terms.times).map(|_| round(terms.workers, &mut random)).collect();
    let workers: usize = rounds.iter().map(|round| round.workers).sum();
    let survivors: usize = rounds.iter().map(|round| round.survivors).sum();
    let longest = rounds.iter().map(|round| round.took).max().unwrap_or_default();
    println!(
        "{} supervisors killed by SIGKILL under load; {workers} workers, each with a handler busy in native code; \
         {survivors} alive after {LIMIT:?}; the last of a supervisor's was gone after at most {longest:.1?}",
        rounds.len()
    );
    let left = live_descendants();
    if survivors > 0 || !left.is_empty() {
        eprintln!("left: {left:?}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Starts a host, kills it at a moment of the dice's choice, and watches its workers.
fn round(workers: usize, random: &mut fastrand::Rng) -> Round {
    let (present, spin) = (Gate::new(), Gate::new());
    let mut host = Command::new(std::env::current_exe().expect("this program"))
        .arg("host")
        .arg(workers.to_string())
        .args([present.path(), spin.path()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a host");
    let mut watched: Vec<Watched> =
        present.next_many(workers).iter().map(|held| Watched::new(held.pid())).collect();
    let _spinning = spin.next_many(workers);
    read_lines(&mut host, random.usize(1..30));
    host.kill().expect("killed");
    let killed = Instant::now();
    host.wait().expect("its status");
    // Whoever was just being started has come by now, or never will.
    while let Some(late) = present.next_within(Duration::ZERO) {
        watched.push(Watched::new(late.pid()));
    }
    let left = || LIMIT.saturating_sub(killed.elapsed());
    let survivors = watched.iter().filter(|worker| !worker.ends_within(left())).count();
    let round = Round { workers: watched.len(), took: killed.elapsed(), survivors };
    watched.iter().for_each(Watched::kill);
    while waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
        .is_ok_and(|reaped| reaped.is_some())
    {}
    round
}

/// As many hundreds of sums are done.
fn read_lines(host: &mut Child, count: usize) {
    let lines = BufReader::new(host.stdout.take().expect("piped")).lines();
    assert_eq!(lines.take(count).filter(Result::is_ok).count(), count, "the host has ended by itself");
}
