//! Resizing and rolling restarts, again and again, under load: every job is done, and the group never has fewer workers
//! that take jobs than it should.
//!
//! Every quarter of a second the group is asked to grow, to roll, to shrink, to roll, in turns; meanwhile jobs are kept
//! going by several threads. Somebody looks all the time how many workers take jobs, and holds that against the least
//! that has been wanted since all of those had come.
//!
//! ```text
//! cargo run --release -p ganger-tests --bin rolling -- --seconds 60
//! ```

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ganger::{Rollout, RolloutError, RolloutTicket, Supervisor};

use crate::calls::Add;
use crate::harness::{PATIENCE, eventually};
use crate::workers::{online, plain};

const SMALL: usize = 2;
const LARGE: usize = 4;

/// What was done, and seen.
#[derive(Debug, Default)]
pub struct Figures {
    /// Jobs that were answered as they should be.
    pub done: u64,
    /// Jobs that were not.
    pub failed: u64,
    /// Requests for a rollout, those that became one with another included.
    pub asked: u64,
    /// Programs rolled out to their end.
    pub rolled: u32,
    /// How often the group was resized.
    pub resized: u64,
    /// Workers that took over from another, or from nobody.
    pub replaced: u64,
    /// How often it was looked how many workers take jobs.
    pub looks: u64,
    /// How many of those found fewer than there should be.
    pub below: u64,
    /// The most processes at a time, those on their way out included.
    pub most: usize,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "jobs done           {}", self.done)?;
        writeln!(f, "jobs failed         {}", self.failed)?;
        writeln!(f, "rollouts asked for  {}", self.asked)?;
        writeln!(f, "rolled out          {}", self.rolled)?;
        writeln!(f, "resized             {}", self.resized)?;
        writeln!(f, "workers replaced    {}", self.replaced)?;
        writeln!(f, "looks at capacity   {}", self.looks)?;
        writeln!(f, "below the target    {}", self.below)?;
        writeln!(f, "most processes      {}", self.most)?;
        write!(f, "took                {:.1?}", self.took)
    }
}

/// Rolls and resizes for so long, with a step every `step`.
///
/// # Panics
/// When the supervisor refuses something, or is not as it should be at the end.
#[must_use]
pub fn run(time: Duration, step: Duration) -> Figures {
    let supervisor = online(Supervisor::builder(plain()).workers(SMALL));
    let begun = Instant::now();
    let is_over = AtomicBool::new(false);
    let wanted = AtomicU64::new(SMALL as u64);
    let (mut figures, jobs, looks) = thread::scope(|scope| {
        let load: Vec<_> = (0..2).map(|_| scope.spawn(|| keep_busy(&supervisor, &is_over))).collect();
        let watch = scope.spawn(|| watch(&supervisor, &wanted, &is_over));
        let figures = disturb(&supervisor, &wanted, time, step);
        is_over.store(true, Ordering::Relaxed);
        let jobs = load.into_iter().map(|load| load.join().expect("no panic"));
        (
            figures,
            jobs.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)),
            watch.join().expect("no panic"),
        )
    });
    (figures.done, figures.failed) = jobs;
    (figures.looks, figures.below, figures.most) = looks;
    figures.took = begun.elapsed();
    let health = supervisor.health();
    assert!(health.is_healthy(), "{:?}", health.problems);
    (figures.rolled, figures.replaced) = (health.groups[0].edition, health.groups[0].restarts);
    supervisor.soft_kill().wait();
    figures
}

fn disturb(supervisor: &Supervisor, wanted: &AtomicU64, time: Duration, step: Duration) -> Figures {
    let end = Instant::now() + time;
    let mut figures = Figures::default();
    let mut last: Option<RolloutTicket> = None;
    for turn in 0u64.. {
        let next = Instant::now() + step;
        match turn % 4 {
            0 => resize(supervisor, wanted, LARGE, &mut figures),
            2 => resize(supervisor, wanted, SMALL, &mut figures),
            _ => {
                let rollout = Rollout::of("default").min_uptime(Duration::from_millis(10));
                last = Some(supervisor.rollout(rollout).expect("noted"));
                figures.asked += 1;
            }
        }
        if Instant::now() >= end {
            break;
        }
        thread::park_timeout(next.saturating_duration_since(Instant::now()));
    }
    if let Some(ticket) = last {
        let status: Result<_, RolloutError> = ticket.wait_timeout(PATIENCE);
        assert!(status.as_ref().is_ok_and(|status| status.is_over()), "{status:?}");
    }
    figures
}

/// What is wanted counts once it is there, when the group grows, and at once when it shrinks.
fn resize(supervisor: &Supervisor, wanted: &AtomicU64, workers: usize, figures: &mut Figures) {
    if workers == SMALL {
        wanted.store(workers as u64, Ordering::SeqCst);
    }
    supervisor.resize(workers).expect("resized");
    if workers == LARGE {
        // Without a rollout, so that each of them has a slot of its own.
        let is_there = || {
            let group = supervisor.health().groups.swap_remove(0);
            (group.rollout.is_none() && group.ready as usize >= LARGE).then_some(())
        };
        eventually("the group has grown", is_there);
        wanted.store(workers as u64, Ordering::SeqCst);
    }
    figures.resized += 1;
}

/// Gives one job after the other; how many were answered, and how many were not.
fn keep_busy(supervisor: &Supervisor, is_over: &AtomicBool) -> (u64, u64) {
    let endless = (0i64..).take_while(|_| !is_over.load(Ordering::Relaxed));
    let results = supervisor.map(endless.map(|number| Add(number, 1))).in_flight(16);
    let mut counts = (0, 0);
    for (number, result) in (1i64..).zip(results) {
        match result {
            Ok(response) if response.data == number => counts.0 += 1,
            Ok(_) | Err(_) => counts.1 += 1,
        }
    }
    counts
}

/// Looks how many workers take jobs, again and again.
fn watch(supervisor: &Supervisor, wanted: &AtomicU64, is_over: &AtomicBool) -> (u64, u64, usize) {
    let (mut looks, mut below, mut most) = (0, 0, 0);
    while !is_over.load(Ordering::Relaxed) {
        let before = wanted.load(Ordering::SeqCst);
        let health = supervisor.health();
        let least = before.min(wanted.load(Ordering::SeqCst));
        looks += 1;
        below += u64::from(u64::from(health.groups[0].ready) < least);
        most = most.max(health.workers.len());
        thread::park_timeout(Duration::from_millis(1));
    }
    (looks, below, most)
}
