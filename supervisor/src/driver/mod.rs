//! The engine room: one thread that owns all state, the processes, and the two threads that help it.
//!
//! | thread | does |
//! | --- | --- |
//! | loop | owns the scheduler, every link, page and pidfd; never blocks but in its poll; lends all that to a sole caller |
//! | spawner | starts processes, which blocks until the program is executed |
//! | courier | calls completion callbacks, writes log records and workers' output lines |
//!
//! Whatever happens to the loop, every handle settles: see [`Guard`].

mod act;
mod bucket;
mod config;
mod courier;
mod ear;
mod editions;
mod executable;
mod first;
mod guard;
mod intake;
mod link;
mod notes;
mod oom;
mod orders;
mod output;
mod process;
mod relay;
mod reports;
mod restrain;
mod sample;
mod signals;
mod solitude;
mod spawn;
mod spawn_error;
mod stdio;
mod store;
mod subscriber;
mod turn;
mod worker;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, bounded, unbounded};
use ganger_protocol::{Spin, Time};
use mio::Poll;

pub(crate) use self::config::{
    DriverConfig, Environment, EnvironmentBase, GroupProgram, OnSignals, SlotValues, Terms,
};
pub(crate) use self::courier::Courier;
#[cfg(feature = "internals")]
pub use self::ear::{Ear, Heard, Said, StoreRequest};
pub(crate) use self::executable::Executable;
pub(crate) use self::relay::CallTicket;
pub(crate) use self::spawn::Birth;
pub(crate) use self::subscriber::Subscriber;
pub(crate) use self::turn::Turn;

use self::editions::Editions;
use self::first::FirstSpawns;
use self::guard::Guard;
use self::oom::OomCounter;
use self::reports::Reports;
use self::signals::Signals;
use self::solitude::Solitude;
use self::spawn::{Blueprint, SpawnRequest};
use self::stdio::occupy_stdio;
use self::store::Counter;
use self::turn::{BELL, SIGNALS, Settled, System};
use self::worker::Workers;
use crate::StartError;
use crate::calls::Desk;
use crate::metrics::Ledger;
use crate::relay::{Relay, RelayConfig};
use crate::scheduler::{Config, GroupIndex, Scheduler};
use crate::shared::{Admission, Shared};

/// A supervisor's engine, running.
pub(crate) struct Started {
    /// What it is reached through.
    pub(crate) shared: Arc<Shared>,
}

/// Why the first processes could not be started.
#[derive(Clone, Debug)]
pub(crate) enum StartFailure {
    /// A program cannot be executed.
    Program {
        /// The group whose program it is.
        group: GroupIndex,
        /// What the spawner said.
        reason: Arc<str>,
    },
}

/// Starts the threads and the first processes, and returns when these have executed their programs.
///
/// # Errors
/// When the system refuses what the loop needs, or a group's program cannot be executed. Nothing is left behind.
pub(crate) fn start(config: DriverConfig, scheduler: Config) -> Result<Started, StartError> {
    let names: Vec<Arc<str>> = scheduler.groups.iter().map(|group| group.name.clone()).collect();
    let programs: Vec<_> = config.groups.iter().map(|group| group.program.clone()).collect();
    let (told, first) = bounded(1);
    let shared = start_threads(config, scheduler, FirstSpawns::new(told))?;
    match first.recv() {
        Ok(Ok(())) => Ok(Started { shared }),
        Ok(Err(StartFailure::Program { group, reason })) => {
            tear_down(&shared);
            let index = usize::from(group.0);
            let reason = without_path(&reason, &programs[index]);
            Err(StartError::Program { group: names[index].clone(), program: programs[index].clone(), reason })
        }
        Err(_) => {
            tear_down(&shared);
            Err(system("run its loop", io::Error::other("it ended at once; the log says why")))
        }
    }
}

fn tear_down(shared: &Shared) {
    shared.hard_kill();
    shared.wait_stopped(None);
}

fn start_threads(
    mut config: DriverConfig,
    scheduler: Config,
    first: FirstSpawns,
) -> Result<Arc<Shared>, StartError> {
    let plugs = occupy_stdio().map_err(|error| system("open /dev/null", error))?;
    let poll = Poll::new().map_err(|error| system("make a poll", error))?;
    let bell = mio::Waker::new(poll.registry(), BELL).map_err(|error| system("make a bell", error))?;
    let system_files = System::new(poll);
    let signals = listen(&system_files, &config).map_err(|error| system("handle signals", error))?;
    drop(plugs);
    let oom = config.oom_events.take().map_or_else(OomCounter::of_system, OomCounter::of_file);
    let admission = Admission::new(config.groups.len(), config.queue, config.payloads.payload);
    let desk = Desk::new(std::mem::take(&mut config.handlers), config.call_threads);
    let shared = Arc::new(Shared::new(bell, admission, Courier::new(), desk));
    let limits = config.payloads;
    let blueprints: Vec<Blueprint> = std::mem::take(&mut config.groups)
        .into_iter()
        .zip(&scheduler.groups)
        .map(|(program, group)| Blueprint::new(program, group, limits))
        .collect();
    let (spawner, requests) = unbounded();
    let now = Time::now();
    let relay = RelayConfig::new(scheduler.groups.iter().map(|group| Arc::clone(&group.name)).collect());
    let guard = Guard::new(Turn {
        now,
        shared: shared.clone(),
        scheduler: Scheduler::new(scheduler, fastrand::u64(..), now),
        relay: Relay::new(relay, now),
        workers: Workers::default(),
        system: system_files,
        spawner,
        editions: Editions::new(blueprints),
        subscribers: config.subscribers,
        events_missed: 0,
        metrics: Ledger::default(),
        settled: Settled::default(),
        reports: Reports::default(),
        dirty: Vec::new(),
        written_off: Vec::new(),
        held: None,
        known_jobs: 0,
        first,
        signals,
        oom,
        limits,
        is_stopped: false,
        spin: Spin::new(),
        peer: None,
        solitude: Solitude::default(),
        counter: Counter::new(config.store),
        store_ops_per_second: config.store.ops_per_second,
    });
    start_courier(&shared)?;
    start_spawner(&shared, requests)?;
    // From here on the guard tells the courier and the spawner to end when the loop does, or cannot begin.
    spawn_thread("ganger-loop", move || guard.run())?;
    Ok(shared)
}

fn listen(system: &System, config: &DriverConfig) -> io::Result<Option<Signals>> {
    let Some(on_signals) = config.on_signals else { return Ok(None) };
    let signals = Signals::new(on_signals)?;
    system.watch(signals.raw_fd(), SIGNALS)?;
    Ok(Some(signals))
}

fn start_courier(shared: &Arc<Shared>) -> Result<(), StartError> {
    let shared = shared.clone();
    spawn_thread("ganger-courier", move || {
        shared.courier.run();
        shared.stopped.courier_ended();
    })
}

fn start_spawner(shared: &Arc<Shared>, requests: Receiver<SpawnRequest>) -> Result<(), StartError> {
    let shared = shared.clone();
    spawn_thread("ganger-spawner", move || spawn::run(&requests, &shared))
}

fn spawn_thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    let thread = thread::Builder::new().name(name.into()).spawn(body);
    thread.map(drop).map_err(|error| system("start its threads", error))
}

fn system(action: &'static str, source: io::Error) -> StartError {
    StartError::System { action, source }
}

/// The spawner's sentence names the program for the log; the error has it in a field.
fn without_path(reason: &str, program: &Path) -> String {
    let prefix = format!("cannot run {}: ", program.display());
    reason.strip_prefix(&prefix).unwrap_or(reason).into()
}
