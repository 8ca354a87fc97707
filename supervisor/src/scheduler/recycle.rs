//! Recycling: workers are replaced before they do harm, for what they have grown to, done, or lived.
//!
//! Each look at a worker (every [`Config::sample_every`](super::Config::sample_every)) is held against limits of its own,
//! drawn at its birth somewhat below those of the policy, so that workers that were born together do not leave together.
//! A worker over one of them is *worn*: it goes on as it is until its successor has shown that it works (`replace.rs`).
//! Only one that is over [`kill_above_bytes`](RecyclePolicy::kill_above_bytes) is killed at once.

use std::fmt;
use std::time::Duration;

use ganger_protocol::Time;

use super::ladder::Step;
use super::worker::Worker;
use super::{KillCause, RecyclePolicy, Scheduler, Ticket, WorkerKey};

/// Why a worker was replaced, or sent away, although it was well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecycleCause {
    /// Several looks in a row found it too large.
    Memory {
        /// Its resident memory, in bytes.
        rss_bytes: u64,
        /// Its own limit, in bytes.
        limit_bytes: u64,
    },
    /// It has answered so many requests.
    Jobs(u64),
    /// It has lived so long.
    Age(Duration),
    /// Its group had more idle workers than it needed for so long.
    Idle(Duration),
}

impl fmt::Display for RecycleCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecycleCause::Memory { rss_bytes, limit_bytes } => {
                write!(f, "it uses {rss_bytes} bytes of memory, and its limit is {limit_bytes}")
            }
            RecycleCause::Jobs(jobs) => write!(f, "it has answered {jobs} requests"),
            RecycleCause::Age(age) => write!(f, "it is {age:.1?} old"),
            RecycleCause::Idle(idle) => write!(f, "the group had no use for it for {idle:.1?}"),
        }
    }
}

/// How many workers of a group were recycled, by cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Recycled {
    /// For their memory.
    pub memory: u64,
    /// Killed for their memory.
    pub killed: u64,
    /// For the number of their answers.
    pub jobs: u64,
    /// For their age.
    pub age: u64,
    /// Sent away because the group was idle.
    pub idle: u64,
}

impl Recycled {
    pub(super) fn count(&mut self, cause: RecycleCause) {
        *match cause {
            RecycleCause::Memory { .. } => &mut self.memory,
            RecycleCause::Jobs(_) => &mut self.jobs,
            RecycleCause::Age(_) => &mut self.age,
            RecycleCause::Idle(_) => &mut self.idle,
        } += 1;
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.memory + self.killed + self.jobs + self.age + self.idle
    }
}

/// One worker's own limits, and how near to them it has come.
#[derive(Debug)]
pub(super) struct Wear {
    above_bytes: u64,
    kill_above_bytes: u64,
    jobs: u64,
    until: Time,
    /// Looks in a row that found it too large.
    strikes: u32,
    pub(super) worn: Option<RecycleCause>,
}

impl Wear {
    /// The limits of a worker born now; none if the policy has none.
    pub(super) fn draw(policy: &RecyclePolicy, now: Time, random: &mut fastrand::Rng) -> Option<Box<Wear>> {
        if !policy.wears() && policy.kill_above_bytes.is_none() {
            return None;
        }
        let mut lower = |limit: u64| limit - (limit as f64 * policy.jitter * random.f64()) as u64;
        let age = |age: Duration| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        let mut draw = |limit: Option<u64>| limit.map_or(u64::MAX, &mut lower);
        Some(Box::new(Wear {
            above_bytes: draw(policy.above_bytes),
            kill_above_bytes: policy.kill_above_bytes.unwrap_or(u64::MAX),
            jobs: draw(policy.max_jobs).max(1),
            until: now + Duration::from_nanos(draw(policy.max_age.map(age))),
            strikes: 0,
            worn: None,
        }))
    }
}

impl Worker {
    /// Whether it is to be replaced.
    pub(super) fn is_worn(&self) -> bool {
        self.wear.as_ref().is_some_and(|wear| wear.worn.is_some())
    }

    /// Takes note of what a look at it showed. Once worn, always worn.
    fn note_wear(&mut self, rss_bytes: Option<u64>, samples: u32, now: Time) {
        let (answered, age, is_healthy) = (self.done + self.failed, now.since(self.born), self.is_healthy);
        let Some(wear) = &mut self.wear else { return };
        match rss_bytes {
            Some(rss_bytes) if rss_bytes > wear.above_bytes => wear.strikes = wear.strikes.saturating_add(1),
            Some(_) => wear.strikes = 0,
            None => {}
        }
        let too_large = rss_bytes.filter(|_| wear.strikes >= samples);
        let memory =
            too_large.map(|rss_bytes| RecycleCause::Memory { rss_bytes, limit_bytes: wear.above_bytes });
        let jobs = (answered >= wear.jobs).then_some(RecycleCause::Jobs(answered));
        // One that is too old before it has shown that it works would never be anything else.
        let age = (is_healthy && now >= wear.until).then_some(RecycleCause::Age(age));
        wear.worn = wear.worn.or(memory).or(jobs).or(age);
    }
}

impl<T: Ticket> Scheduler<T> {
    /// What a look at a worker says about its wear.
    pub(super) fn judge_wear(&mut self, key: WorkerKey, rss_bytes: Option<u64>) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(key) else { return };
        let Some(limit_bytes) = worker.wear.as_ref().map(|wear| wear.kill_above_bytes) else { return };
        let index = worker.group;
        worker.note_wear(rss_bytes, self.config.groups[usize::from(index.0)].recycle.samples, now);
        if let Some(rss_bytes) = rss_bytes.filter(|rss_bytes| *rss_bytes > limit_bytes)
            && !worker.is_stopping()
            && worker.ended.is_none()
        {
            self.groups[usize::from(index.0)].recycled.killed += 1;
            self.stop(key, KillCause::OverMemory { rss_bytes, limit_bytes }, Step::Kill);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// W10: limits vary from worker to worker, and are never above what was asked for.
    #[test]
    fn limits_are_drawn_below_those_of_the_policy() {
        let policy = RecyclePolicy { max_jobs: Some(1000), jitter: 0.2, ..RecyclePolicy::default() };
        let mut random = fastrand::Rng::with_seed(1);
        let mut draw =
            || Wear::draw(&policy, Time::ZERO, &mut random).map(|wear| wear.jobs).unwrap_or_default();
        let drawn: Vec<u64> = (0..100).map(|_| draw()).collect();
        assert!(drawn.iter().all(|jobs| (800..=1000).contains(jobs)), "{drawn:?}");
        assert!(drawn.iter().any(|jobs| *jobs < 850) && drawn.iter().any(|jobs| *jobs > 950), "{drawn:?}");
        assert!(Wear::draw(&RecyclePolicy::default(), Time::ZERO, &mut random).is_none());
    }
}
