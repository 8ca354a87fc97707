//! Descriptors passed there and back, again and again, and what is lost or left open: nothing.
//!
//! Each job takes four eventfds with it, each with a number of its own in it, and the worker gives them back with its
//! answer, in the opposite order. The caller reads each number. In the end both ends have as many descriptors open as
//! before. By choice workers are killed all the while, whatever they hold.
//!
//! ```text
//! cargo run --release -p ganger-tests --bin passing -- --count 100000 [--kill-every-ms 20]
//! ```

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use ganger::{Job, PoisonPolicy, Supervisor, WorkerStatus};
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Pid, Signal, kill_process};

use crate::freight::{CountOpen, Return, open_descriptors};
use crate::harness::PATIENCE;
use crate::workers::{online, plain, tireless};

/// Attachments of one job.
const EACH: u64 = 4;

/// Jobs on their way at once.
const IN_FLIGHT: usize = 16;

/// How it is done.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// So many descriptors go to workers, and as many come back.
    pub count: u64,
    /// How many workers there are.
    pub workers: usize,
    /// How often one of them is killed.
    pub kill_every: Option<Duration>,
}

/// What became of the descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Descriptors that were passed there and came back.
    pub passed: u64,
    /// Descriptors that did not come back, or came back as another.
    pub lost: u64,
    /// Attempts beyond the first of each job.
    pub retried: u64,
    /// Workers that were killed.
    pub killed: u64,
    /// Descriptors that the supervisor's process had open afterwards and not before.
    pub left_here: u64,
    /// The same in the workers, all together.
    pub left_there: u64,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Whether nothing was lost and nothing is left.
    #[must_use]
    pub fn is_well(&self) -> bool {
        (self.lost, self.left_here, self.left_there) == (0, 0, 0)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { passed, lost, retried, killed, left_here, left_there, took } = self;
        write!(
            f,
            "{passed} descriptors there and back in {took:.1?}: {lost} lost, {left_here} left open in the supervisor, \
             {left_there} in the workers; {killed} workers killed, {retried} attempts repeated"
        )
    }
}

/// Passes descriptors.
///
/// # Panics
/// When a supervisor cannot be started, or a descriptor not be made.
#[must_use]
pub fn run(setting: Setting) -> Outcome {
    let builder = Supervisor::builder(plain())
        .workers(setting.workers)
        .restart(tireless())
        .poison(PoisonPolicy { deaths: u8::MAX, losses: u8::MAX });
    let supervisor = online(builder);
    let (here, there) = (open_descriptors(), open_there(&supervisor, setting.workers));
    let (done, killed) = (AtomicBool::new(false), AtomicU64::new(0));
    let begin = Instant::now();
    let mut outcome = thread::scope(|scope| {
        if let Some(every) = setting.kill_every {
            let (supervisor, done, killed) = (&supervisor, &done, &killed);
            scope.spawn(move || kill_some(supervisor, every, done, killed));
        }
        let outcome = pass(&supervisor, setting.count / EACH);
        done.store(true, SeqCst);
        outcome
    });
    outcome.took = begin.elapsed();
    outcome.killed = killed.into_inner();
    outcome.left_there = at_rest(|| open_there(&supervisor, setting.workers).saturating_sub(there));
    outcome.left_here = at_rest(|| open_descriptors().saturating_sub(here));
    supervisor.soft_kill().wait();
    outcome
}

fn pass(supervisor: &Supervisor, jobs: u64) -> Outcome {
    let mut outcome = Outcome::default();
    let laden = (0..jobs).map(|job| {
        (0..EACH).fold(Job::new(Return).retries(u16::MAX), |laden, place| {
            laden.attach(numbered(job * EACH + place))
        })
    });
    for (job, result) in supervisor.map(laden).in_flight(IN_FLIGHT).enumerate() {
        let Ok(response) = result else {
            outcome.lost += EACH;
            continue;
        };
        outcome.retried += u64::from(response.attempt) - 1;
        let numbers = response.attachments.into_iter().map(|fd| number_of(&fd));
        let expected = (0..EACH).rev().map(|place| job as u64 * EACH + place);
        let right = numbers.zip(expected).filter(|(found, expected)| found == expected).count() as u64;
        outcome.passed += right;
        outcome.lost += EACH - right;
    }
    outcome
}

/// How many there are when the workers that were killed last have been replaced, or after a while.
fn at_rest(mut left: impl FnMut() -> usize) -> u64 {
    let begin = Instant::now();
    loop {
        let now = left();
        if now == 0 || begin.elapsed() > PATIENCE {
            return now as u64;
        }
        thread::park_timeout(Duration::from_millis(1));
    }
}

fn numbered(number: u64) -> OwnedFd {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let fd = eventfd(0, flags).expect("a descriptor");
    rustix::io::write(&fd, &(number + 1).to_ne_bytes()).expect("numbered");
    fd
}

/// What is in it, less one; something that cannot be when there is nothing.
fn number_of(fd: &OwnedFd) -> u64 {
    let mut bytes = [0; 8];
    debug_assert!(fd.as_raw_fd() > 2);
    match rustix::io::read(fd, &mut bytes) {
        Ok(8) => u64::from_ne_bytes(bytes) - 1,
        Ok(_) | Err(_) => u64::MAX,
    }
}

/// How many descriptors the workers have open together: as many as the one that has most, each.
fn open_there(supervisor: &Supervisor, workers: usize) -> usize {
    let counts = (0..workers * 4).map(|_| supervisor.enqueue(CountOpen).expect("accepted"));
    let handles: Vec<_> = counts.collect();
    let most = handles.into_iter().map(|handle| handle.wait().expect("counted").data).max();
    most.unwrap_or(0) * workers
}

fn kill_some(supervisor: &Supervisor, every: Duration, done: &AtomicBool, killed: &AtomicU64) {
    let mut random = fastrand::Rng::with_seed(7);
    while !done.load(SeqCst) {
        thread::park_timeout(every);
        let health = supervisor.health();
        let Some(worker) = random.choice(&health.workers) else { continue };
        let Some(pid) = worker.pid.and_then(|pid| Pid::from_raw(pid as i32)) else { continue };
        if worker.status == WorkerStatus::Ready && kill_process(pid, Signal::KILL).is_ok() {
            killed.fetch_add(1, SeqCst);
        }
    }
}
