//! A run: all witnesses at work, then the verdict.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ganger::{Builder, Group, PoisonPolicy, Program, RestartPolicy, Supervisor};

use super::arguments::Arguments;
use super::breach::Breach;
use super::checker::check;
use super::journal::Journal;
use super::ledger::Ledger;
use super::reaper::{self, Record, Terms};
use super::roller::{self, Rolls};
use super::submitter::{self, Errands, Notes, ON_THE_WAY};
use super::sums::{Sums, grouped};

/// How many threads give jobs.
const SUBMITTERS: usize = 2;

/// How long an orderly end may take.
const LAST_PATIENCE: Duration = Duration::from_secs(60);

/// How often the state of things is told on standard error.
const WORD_EVERY: Duration = Duration::from_secs(10);

/// How many breaches are printed in full.
const PRINTED: usize = 40;

/// What was written down, and by how much of the run.
struct Outcome {
    ledger: Ledger,
    notes: Vec<Notes>,
    record: Record,
    rolls: Rolls,
    took: Duration,
    has_stopped: bool,
}

/// Runs, judges and prints; the sums come last.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    eprintln!("seed {}", arguments.seed);
    let outcome = witness(arguments)?;
    let breaches = check(&outcome.ledger);
    let troubles = troubles(arguments, &outcome);
    print_breaches(&breaches);
    troubles.iter().for_each(|trouble| println!("TROUBLE: {trouble}"));
    print_sums(arguments, &outcome, &breaches);
    Ok(if breaches.is_empty() && troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn witness(arguments: &Arguments) -> Result<Outcome, Box<dyn Error>> {
    let begin = Instant::now();
    let journal = Journal::new()?;
    let groups = groups(arguments);
    let (supervisor, events) = builder(arguments, &groups, &journal).start_with_events()?;
    let is_over = AtomicBool::new(false);
    let terms = Terms { kill_every: arguments.kill_every, stops: arguments.stops(), seed: arguments.seed };
    let (notes, rolls, has_stopped, record) = thread::scope(|scope| {
        let reaper = scope.spawn(|| reaper::reap(terms, &events, &is_over));
        let (notes, rolls) = give_and_roll(arguments, &supervisor, &groups, begin);
        is_over.store(true, Ordering::Relaxed);
        let has_stopped = end(supervisor);
        (notes, rolls, has_stopped, reaper.join().expect("the reaper has not panicked"))
    });
    let ledger = ledger(&notes, &record, &journal)?;
    Ok(Outcome { ledger, notes, record, rolls, took: begin.elapsed(), has_stopped })
}

/// The names of the groups, and at how many deaths each gives up a job. One gives up as early as it does by
/// default, the other nearly never; which one, the seed decides.
fn groups(arguments: &Arguments) -> Vec<(&'static str, u8)> {
    let [narrow, wide] = if arguments.seed.is_multiple_of(2) { [3, 255] } else { [255, 3] };
    let all = [("narrow", narrow), ("wide", wide)];
    all[..arguments.workers.min(2)].to_vec()
}

/// Half of the workers have one thread and get nothing ahead; the other half have two and a window.
fn builder(arguments: &Arguments, groups: &[(&'static str, u8)], journal: &Journal) -> Builder {
    let half = arguments.workers / groups.len();
    let make = |at: usize, threads: usize, prefetch: u32, workers: usize| {
        let (name, deaths) = groups[at];
        let program = Program::this().arg(journal.path()).arg(threads.to_string());
        let poison = PoisonPolicy { deaths, losses: if deaths == 255 { 255 } else { 8 } };
        let group = Group::new(name, program).workers(workers).prefetch(prefetch).poison(poison);
        let is_recycled = !arguments.roll_every.is_zero();
        unhurried(if is_recycled { group.max_age(Duration::from_millis(300)) } else { group })
    };
    let builder = Supervisor::builder(make(0, 1, 0, arguments.workers - half * (groups.len() - 1)))
        // What one submitter has on its way, so that it is full now and then.
        .queue_limit(ON_THE_WAY)
        .event_backlog(1 << 20)
        .soft_kill_deadline(LAST_PATIENCE / 2);
    if groups.len() > 1 { builder.group(make(1, 2, 16, half)) } else { builder }
}

/// Policies that go on through a storm of kills, and that reach their limits within a run.
fn unhurried(group: Group) -> Group {
    let restart = RestartPolicy {
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_millis(20),
        ..RestartPolicy::unlimited()
    };
    group
        .restart(restart)
        .cancel_grace(Duration::from_millis(4))
        .bystander_grace(Duration::from_millis(4))
        .term_grace(Duration::from_millis(100))
        .heartbeat(Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(4))
}

fn give_and_roll(
    arguments: &Arguments,
    supervisor: &Supervisor,
    groups: &[(&'static str, u8)],
    begin: Instant,
) -> (Vec<Notes>, Rolls) {
    if arguments.roll_every.is_zero() {
        return (give_all(arguments, supervisor, groups, begin), Rolls::default());
    }
    let (working, is_over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let roller = scope.spawn(move || roller::roll(supervisor, groups, arguments.roll_every, &is_over));
        let notes = give_all(arguments, supervisor, groups, begin);
        drop(working);
        (notes, roller.join().expect("the roller has not panicked"))
    })
}

fn give_all(
    arguments: &Arguments,
    supervisor: &Supervisor,
    groups: &[(&'static str, u8)],
    begin: Instant,
) -> Vec<Notes> {
    let (left, settled) = (AtomicU64::new(arguments.jobs), AtomicU64::new(0));
    let noise = noise(arguments.seed);
    let errands = Errands {
        supervisor,
        groups,
        left: &left,
        settled: &settled,
        until: begin + arguments.longest,
        noise: &noise,
    };
    let (done, all_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let submitters: Vec<_> = (0..SUBMITTERS as u64)
            .map(|number| {
                let (errands, done) = (&errands, done.clone());
                let seed = arguments.seed.wrapping_mul(SUBMITTERS as u64).wrapping_add(number);
                scope.spawn(move || {
                    let notes = submitter::submit(errands, seed);
                    drop(done);
                    notes
                })
            })
            .collect();
        drop(done);
        while all_done.recv_timeout(WORD_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
            let settled = settled.load(Ordering::Relaxed);
            eprintln!("{:>5.0?}: {} settled", begin.elapsed(), grouped(settled));
        }
        submitters.into_iter().map(|one| one.join().expect("no submitter has panicked")).collect()
    })
}

fn noise(seed: u64) -> Vec<u8> {
    let mut noise = vec![0; 2 << 20];
    Rng::with_seed(seed).fill(&mut noise);
    noise
}

/// Ends well if it can be; the last clone of the supervisor goes with it.
fn end(supervisor: Supervisor) -> bool {
    let has_stopped = supervisor.soft_kill().wait_timeout(LAST_PATIENCE);
    drop(supervisor);
    has_stopped
}

fn ledger(notes: &[Notes], record: &Record, journal: &Journal) -> Result<Ledger, Box<dyn Error>> {
    Ok(Ledger {
        accepted: notes.iter().flat_map(|notes| notes.accepted.clone()).collect(),
        settled: notes.iter().flat_map(|notes| notes.settled.clone()).collect(),
        marks: journal.read()?,
        processes: record.processes.clone(),
    })
}

/// What is no breach of a promise and yet makes a run worthless, or should not have happened.
fn troubles(arguments: &Arguments, outcome: &Outcome) -> Vec<String> {
    let Outcome { record, notes, has_stopped, .. } = outcome;
    let mut troubles = record.alarms.clone();
    troubles
        .extend(notes.iter().flat_map(|notes| &notes.turned_away).map(|why| format!("turned away: {why}")));
    if record.missed > 0 {
        troubles.push(format!("the reaper has missed {} events", record.missed));
    }
    if record.kills < arguments.least_kills {
        troubles.push(format!("{} kills; fewer than {} prove nothing", record.kills, arguments.least_kills));
    }
    if !has_stopped {
        troubles.push(format!("the supervisor has not stopped within {LAST_PATIENCE:?}"));
    }
    troubles
}

fn print_breaches(breaches: &[Breach]) {
    breaches.iter().take(PRINTED).for_each(|breach| println!("BREACH: {breach}"));
    let mut kinds = BTreeMap::new();
    for breach in breaches {
        let text = breach.to_string();
        let kind = text.split(' ').next().unwrap_or_default().to_owned();
        *kinds.entry(kind).or_insert(0) += 1;
    }
    kinds.iter().for_each(|(kind, count)| println!("{count} × {kind}"));
}

fn print_sums(arguments: &Arguments, outcome: &Outcome, breaches: &[Breach]) {
    let Outcome { ledger, notes, record, took, .. } = outcome;
    let rate = ledger.settled.len() as f64 / took.as_secs_f64();
    let refusals: u64 = notes.iter().map(|notes| notes.refusals).sum();
    println!("{}", Sums::of(ledger));
    println!(
        "{:>10}: {} kills, {} of them while booting, {} stops; by the supervisor: {:?}",
        "reaper",
        grouped(record.kills),
        grouped(record.kills_while_booting),
        grouped(record.stops),
        record.kills_by_supervisor
    );
    if !arguments.roll_every.is_zero() {
        println!("{:>10}: {}", "roller", outcome.rolls);
    }
    println!("{:>10}: {} times the queue was full", "submitters", grouped(refusals));
    println!(
        "seed {}: {} breaches in {} jobs, {:.0?}, {:.0} jobs/s",
        arguments.seed,
        breaches.len(),
        grouped(ledger.accepted.len() as u64),
        took,
        rate
    );
}
