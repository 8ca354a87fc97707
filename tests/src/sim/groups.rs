//! The reference model of a group: how many workers it should have, and how often they may be replaced.

use std::time::Duration;

use ganger::internals::{GroupConfig, RecyclePolicy, Revive, RolloutTerms};
use ganger_protocol::Time;

use super::court::{Court, PRECISION};
use super::revival::Rest;
use super::rollouts::RollModel;

/// What is known of a group.
#[derive(Debug)]
pub(crate) struct GroupModel {
    pub(crate) wanted: u32,
    pub(crate) was_resized: bool,
    /// Callers are refused.
    pub(crate) refuses: bool,
    pub(crate) degraded: Option<Time>,
    /// What it was degraded for: its program could not be run, or its places were used up.
    was_hopeless: bool,
    was_out_of_places: bool,
    /// When its program was last found not to run, or to speak another version.
    hopeless_since: Option<Time>,
    /// Processes that were given up, and of those the ones whose death was not read in the same turn.
    pub(crate) written_off: u32,
    pub(crate) surely_written_off: u32,
    /// Unexpected exits: those that certainly count, and those that may.
    exits_sure: Vec<Time>,
    exits_maybe: Vec<Time>,
    /// Deaths with a job running since a job was last answered.
    job_deaths: u32,
    pub(crate) slots: Vec<SlotModel>,
    last_probe: Option<Time>,
    probe_free_at: Option<Time>,
    /// Since when somebody idles while another holds requests ahead.
    pub(crate) held_back_since: Option<Time>,
    /// Since when a job waits by rank while another that comes after it is held ahead.
    pub(crate) overtaken_since: Option<Time>,
    /// When the last thing happened that moves the time of a replacement.
    pub(crate) changed: Time,
    limit: Option<u32>,
    window: Duration,
    backoff: Duration,
    pub(crate) backoff_max: Duration,
    jitter: f64,
    pub(crate) healthy_after: Duration,
    most_job_deaths: u32,
    is_by_command: bool,
    pub(crate) recycle: RecyclePolicy,
    pub(crate) edition: u32,
    pub(crate) roll: Option<RollModel>,
    /// Rollouts that are not over.
    pub(crate) asked: Vec<(u32, RolloutTerms)>,
    /// When the last rollout ended or turned back.
    pub(crate) ended_roll: Option<Time>,
    /// Slots that were sent to rest.
    pub(crate) rests: Vec<u32>,
    pub(crate) unhindered_since: Time,
}

/// What is known of a worker's place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SlotModel {
    /// Unexpected exits in a row that certainly count.
    failures: u32,
    /// Those that may count, since one of its workers certainly was healthy.
    most_failures: u32,
    last_end: Option<Time>,
    rest: Rest,
}

/// Whose fault a worker's end was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Certainly the worker's own.
    Own,
    /// A job was running, and we did not kill it.
    Job,
    /// It may count, and need not.
    Maybe,
    Nobody,
}

impl GroupModel {
    pub(crate) fn new(config: &GroupConfig, now: Time) -> GroupModel {
        let policy = &config.restart;
        GroupModel {
            wanted: config.workers,
            was_resized: false,
            refuses: false,
            degraded: None,
            was_hopeless: false,
            was_out_of_places: false,
            hopeless_since: None,
            written_off: 0,
            surely_written_off: 0,
            exits_sure: Vec::new(),
            exits_maybe: Vec::new(),
            job_deaths: 0,
            slots: Vec::new(),
            last_probe: None,
            probe_free_at: None,
            held_back_since: None,
            overtaken_since: None,
            changed: now,
            limit: policy.limit,
            window: policy.window,
            backoff: policy.backoff,
            backoff_max: policy.backoff_max,
            jitter: policy.jitter,
            healthy_after: policy.healthy_after,
            most_job_deaths: policy.job_deaths,
            is_by_command: config.revive == Revive::ByCommand,
            recycle: config.recycle.clone(),
            edition: 0,
            roll: None,
            asked: Vec::new(),
            ended_roll: None,
            rests: Vec::new(),
            unhindered_since: now,
        }
    }

    /// Whether it may have workers of several programs.
    pub(crate) fn has_ever_rolled(&self) -> bool {
        self.edition > 0 || self.roll.is_some() || self.ended_roll.is_some()
    }

    pub(crate) fn resize(&mut self, workers: u32, now: Time) {
        let (before, grown) = (self.wanted as usize, workers as usize);
        for slot in before..grown {
            self.slot(slot as u32).rest = Rest::Unsure;
        }
        self.wanted = workers;
        self.was_resized = true;
        self.changed = now;
        for slot in self.slots.iter_mut().skip(workers as usize) {
            *slot = SlotModel::default();
        }
    }

    /// Its workers are called back, when they have been gone, or are about to be.
    pub(crate) fn revive(&mut self, slot: u32, rest: Rest, now: Time) {
        let place = self.slot(slot);
        (place.rest, place.last_end) = (rest, None);
        // A command cuts a back-off, and the wait for a probe's time, short.
        self.probe_free_at = Some(now);
        self.changed = now;
    }

    /// The slot's worker has ended, and is not replaced.
    pub(crate) fn lay_down(&mut self, slot: u32, is_certain: bool) {
        let place = self.slot(slot);
        place.rest = match place.rest {
            Rest::Sure if is_certain => Rest::Down,
            Rest::Sure | Rest::Unsure => Rest::Unsure,
            Rest::Down => Rest::Down,
        };
    }

    pub(crate) fn rest(&mut self, slot: u32) -> Rest {
        self.slot(slot).rest
    }

    fn slot(&mut self, slot: u32) -> &mut SlotModel {
        let index = slot as usize;
        if self.slots.len() <= index {
            self.slots.resize(index + 1, SlotModel::default());
        }
        &mut self.slots[index]
    }

    /// A worker of the slot has shown that it works.
    pub(crate) fn note_health(&mut self, slot: u32) {
        self.slot(slot).failures = 0;
    }

    fn note_certain_health(&mut self, slot: u32) {
        self.slot(slot).failures = 0;
        self.slot(slot).most_failures = 0;
    }

    pub(crate) fn note_answer(&mut self, slot: u32) {
        self.job_deaths = 0;
        self.note_certain_health(slot);
    }

    /// A worker of the slot is gone.
    pub(crate) fn note_end(&mut self, slot: u32, fault: Fault, was_running: bool, now: Time) {
        self.changed = now;
        self.job_deaths += u32::from(was_running);
        let fault = match fault {
            Fault::Job if self.job_deaths > self.most_job_deaths => Fault::Maybe,
            Fault::Job => Fault::Nobody,
            Fault::Own | Fault::Maybe | Fault::Nobody => fault,
        };
        // A replacement for one that we ended ourselves need not wait for a probe's time.
        if matches!(fault, Fault::Nobody | Fault::Maybe) {
            self.probe_free_at = Some(now);
        }
        if slot >= self.wanted {
            self.exits_maybe.push(now);
            return;
        }
        let place = self.slot(slot);
        place.last_end = None;
        match fault {
            Fault::Own => {
                place.last_end = Some(now);
                place.failures += 1;
                place.most_failures += 1;
                self.exits_sure.push(now);
                self.exits_maybe.push(now);
            }
            Fault::Maybe => {
                place.most_failures += 1;
                self.exits_maybe.push(now);
            }
            Fault::Job | Fault::Nobody => {}
        }
    }

    /// A process that was written off has ended after all.
    pub(crate) fn note_leftover_ended(&mut self, now: Time) {
        self.written_off -= 1;
        self.surely_written_off -= 1;
        self.changed = now;
    }

    pub(crate) fn note_hopeless(&mut self, now: Time) {
        self.hopeless_since = Some(now);
    }

    pub(crate) fn degrade(&mut self, now: Time) {
        self.degraded.get_or_insert(now);
        self.was_hopeless = self.hopeless_since.is_some();
        self.was_out_of_places = self.written_off > self.wanted;
        self.last_probe = None;
        self.changed = now;
    }

    /// Whether a probe that says ready is enough.
    pub(crate) fn heals_when_ready(&self) -> bool {
        self.was_hopeless || self.is_by_command
    }

    /// Whether it lacked places, and has them again.
    pub(crate) fn has_its_places_back(&self) -> bool {
        self.was_out_of_places && self.surely_written_off <= self.wanted
    }

    pub(crate) fn heal(&mut self, now: Time) {
        self.degraded = None;
        // What was found in this turn may have been found after the cure.
        self.hopeless_since = self.hopeless_since.filter(|at| *at == now);
        self.exits_sure.clear();
        self.changed = now;
        for slot in &mut self.slots {
            slot.last_end = None;
        }
    }

    /// Why a worker must not be started in the slot yet; notes that it is.
    pub(crate) fn start(&mut self, slot: u32, now: Time) -> Result<(), String> {
        let least = 1.0 - self.jitter - 0.001;
        let probe_pause = self.backoff_max.mul_f64(least);
        let (backoff, cap) = (self.backoff, self.backoff_max);
        self.changed = now;
        self.slot(slot).rest = Rest::Sure;
        if self.is_by_command && self.degraded.is_some() {
            // Who is called does not wait for a probe's time.
            return Ok(());
        }
        if let Some(degraded) = self.degraded {
            let since = self.last_probe.replace(now).unwrap_or(degraded);
            let is_free = self.probe_free_at.take().is_some_and(|at| at >= since);
            if now.since(since) < probe_pause && !is_free {
                return Err(format!("a degraded group is probed {:?} after the last time", now.since(since)));
            }
            return Ok(());
        }
        let place = *self.slot(slot);
        let (Some(doublings), Some(end)) = (place.failures.checked_sub(2), place.last_end) else {
            return Ok(());
        };
        let delay = backoff.saturating_mul(1 << doublings.min(20)).min(cap).mul_f64(least);
        if now.since(end) >= delay {
            return Ok(());
        }
        Err(format!(
            "slot {slot} is filled {:?} after its exit number {} in a row",
            now.since(end),
            place.failures
        ))
    }

    /// Whether so many exits allow it to degrade.
    pub(crate) fn may_degrade(&self, now: Time, court: &Court) -> bool {
        if self.written_off > self.wanted {
            return true;
        }
        let Some(limit) = self.limit else { return self.hopeless_since.is_some() };
        let in_a_row = self.slots.iter().any(|slot| slot.most_failures > limit);
        if in_a_row {
            return true;
        }
        let recent = count_since(&self.exits_maybe, now, self.window + court.stopped_since(Time::ZERO));
        self.hopeless_since.is_some()
            || self.was_resized
            || recent > limit as usize * self.wanted.max(1) as usize
    }

    /// Whether so many exits demand that it is degraded.
    pub(crate) fn must_degrade(&self, now: Time) -> bool {
        let Some(limit) = self.limit else { return false };
        let recent = count_since(&self.exits_sure, now, self.window);
        recent > limit as usize * self.wanted.max(5) as usize
            || (!self.was_resized && recent > limit as usize * self.wanted.max(1) as usize)
    }

    /// How long a missing worker may be missing.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.backoff_max.mul_f64(1.001 + self.jitter) + PRECISION
    }
}

fn count_since(times: &[Time], now: Time, window: Duration) -> usize {
    times.iter().rev().take_while(|at| now.since(**at) <= window).count()
}
