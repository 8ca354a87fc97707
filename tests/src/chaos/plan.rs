//! What a job looks like: drawn from the seed.

use std::time::Duration;

use fastrand::Rng;
use ganger::{Job, Raw, RetryOn};

use super::errand::{Errand, HEADER, LONGEST, Task};
use super::ledger::{Asked, Clocks};
use super::worker::CALL;

/// The largest payload.
const LARGEST: usize = 1 << 20;

/// One job to come.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) payload_bytes: usize,
    /// None: the job has neither a header nor any terms.
    pub(crate) errand: Option<Errand>,
    pub(crate) retries: u16,
    pub(crate) retries_failures: bool,
    pub(crate) clocks: Clocks,
    pub(crate) way: Way,
    /// So long after it was accepted it is cancelled.
    pub(crate) cancel_after: Option<Duration>,
    /// The place of its group in the list of groups.
    pub(crate) group: usize,
}

/// How its outcome is come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Completions,
    Callback,
    Polling,
    Waiting,
    Nobody,
}

impl Plan {
    pub(crate) fn draw(random: &mut Rng, groups: usize) -> Plan {
        let errand = (random.u32(0..8) > 0).then(|| errand(random));
        let has_terms = errand.is_some();
        let task = errand.map(|errand| errand.task);
        let mut clocks = if has_terms { clocks(random) } else { Clocks::default() };
        if task == Some(Task::Ignore) {
            clocks.run = Some(Duration::from_millis(2));
        }
        Plan {
            payload_bytes: payload_bytes(random),
            errand,
            retries: if has_terms { retries(random, task) } else { 0 },
            retries_failures: random.bool(),
            clocks,
            way: way(random),
            cancel_after: (random.u32(0..16) == 0).then(|| cancel_after(random)),
            group: random.usize(0..groups),
        }
    }

    pub(crate) fn job(&self, payload: Vec<u8>, group: &str) -> Job<Raw> {
        let mut job = Job::new(Raw::new(CALL, payload)).group(group);
        let Some(errand) = self.errand else { return job };
        job = job.header(HEADER, errand.to_header()).retries(self.retries);
        job = job.retry_on(RetryOn {
            failure: self.retries_failures,
            run_timeout: self.retries_failures,
            ..RetryOn::default()
        });
        let Clocks { queue, run, total } = self.clocks;
        job = queue.into_iter().fold(job, Job::queue_timeout);
        job = run.into_iter().fold(job, Job::run_timeout);
        total.into_iter().fold(job, Job::timeout)
    }

    pub(crate) fn asked(&self) -> Asked {
        match self.errand.map(|errand| errand.task) {
            None | Some(Task::Spin | Task::Rest | Task::Ignore) => Asked::Reply,
            Some(Task::Fail | Task::Panic) => Asked::Fail,
            Some(Task::Die) => Asked::Die,
        }
    }
}

fn errand(random: &mut Rng) -> Errand {
    let task = match random.u32(0..4000) {
        0..4 => Task::Ignore,
        4..6 => Task::Die,
        6..100 => Task::Panic,
        100..300 => Task::Fail,
        300..1300 => Task::Spin,
        _ => Task::Rest,
    };
    let work = match task {
        Task::Ignore => Duration::from_millis(40),
        _ => LONGEST.mul_f64(random.f64()),
    };
    Errand { task, work, reply_bytes: payload_bytes(random) / 2 }
}

/// Mostly small; one in a hundred may be as large as it gets.
fn payload_bytes(random: &mut Rng) -> usize {
    match random.u32(0..100) {
        0..10 => 0,
        10..94 => random.usize(1..2048),
        94..99 => random.usize(2048..=65_536),
        _ => random.usize(65_536..=LARGEST),
    }
}

fn retries(random: &mut Rng, task: Option<Task>) -> u16 {
    if task == Some(Task::Die) {
        return random.u16(0..6);
    }
    match random.u32(0..8) {
        0..3 => 0,
        3..5 => 1,
        5..7 => 3,
        _ => 8,
    }
}

fn clocks(random: &mut Rng) -> Clocks {
    let mut maybe = |one_in: u32, longest_micros: u64| {
        let draw = random.u32(0..one_in) == 0;
        draw.then(|| Duration::from_micros(random.u64(50..longest_micros)))
    };
    Clocks { queue: maybe(20, 200_000), run: maybe(20, 4_000), total: maybe(20, 300_000) }
}

fn way(random: &mut Rng) -> Way {
    match random.u32(0..100) {
        0..80 => Way::Completions,
        80..90 => Way::Callback,
        90..95 => Way::Polling,
        95..96 => Way::Waiting,
        _ => Way::Nobody,
    }
}

fn cancel_after(random: &mut Rng) -> Duration {
    match random.u32(0..4) {
        0 => Duration::ZERO,
        1 => Duration::from_micros(random.u64(0..2_000)),
        _ => Duration::from_micros(random.u64(0..100_000)),
    }
}
