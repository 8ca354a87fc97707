//! A group: its queue, its slots, and how it is doing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ganger_protocol::Time;

use super::idle::Lull;
use super::order::Aside;
use super::queue::Queue;
use super::replace::Succession;
use super::rollout::Roll;
use super::stats::{Latency, Rate};
use super::timers::TimerId;
use super::{Edition, JobEnds, JobKey, Outcome, Recycled, RolloutTerms, WorkerKey};

#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: Arc<str>,
    /// How many workers are wanted.
    pub(super) wanted: u32,
    /// How many of them are not needed for now.
    pub(super) resting: u32,
    pub(super) lull: Option<Lull>,
    /// The program that its workers run, but for a rollout that is on its way.
    pub(super) edition: Edition,
    /// The last one that there was a request for.
    pub(super) last_edition: Edition,
    pub(super) roll: Option<Box<Roll>>,
    /// The rollout after that.
    pub(super) next_roll: Option<(Edition, RolloutTerms)>,
    pub(super) slots: Vec<Place>,
    /// Its workers, those on their way out included.
    pub(super) members: Vec<WorkerKey>,
    pub(super) queue: Queue<JobKey>,
    /// Its jobs of other classes than the normal one, and with keys, once there were any.
    pub(super) aside: Option<Box<Aside>>,
    /// Jobs that must run alone, by age.
    pub(super) suspects: BTreeMap<u64, JobKey>,
    /// Jobs that wait for their back-off, or until their delay is over.
    pub(super) waiting: usize,
    /// Unexpected exits within the restart window.
    pub(super) exits: VecDeque<Time>,
    /// Deaths charged to jobs since a job was last answered.
    pub(super) job_deaths: u32,
    pub(super) degraded: Option<Degraded>,
    /// Why callers are refused, if they are.
    pub(super) refused: Option<Arc<str>>,
    /// Processes that could not be killed and still are there.
    pub(super) written_off: u32,
    /// For the next empty slot.
    pub(super) timer: TimerId,
    /// For the next look at requests stuck behind a slow one.
    pub(super) window_timer: TimerId,
    /// Something happened since the last pass that dispatching may depend on.
    pub(super) is_dirty: bool,
    /// Something happened since the last pass to its workers, or to what is wanted of them.
    pub(super) is_unsettled: bool,
    /// Some of its workers may hold requests ahead.
    pub(super) sends_ahead: bool,
    /// Some of its workers may be kept free for a suspect job.
    pub(super) has_reserve: bool,
    /// Requests sent so far.
    pub(super) sent: u64,
    /// The worker that got the last of them.
    pub(super) used_last: Option<WorkerKey>,
    /// No member's resident memory is below that, in bytes.
    pub(super) rss_floor: u64,
    pub(super) done: u64,
    pub(super) ends: JobEnds,
    pub(super) kills: BTreeMap<&'static str, u64>,
    pub(super) stale_answers: u64,
    pub(super) restarts: u64,
    pub(super) recycled: Recycled,
    pub(super) rate: Rate,
    pub(super) queue_time: Latency,
    pub(super) run_time: Latency,
}

/// A slot of a group: a worker's place, which its replacement inherits.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) occupant: Option<WorkerKey>,
    /// Unexpected exits in a row.
    pub(super) failures: u32,
    /// When it may be filled again.
    pub(super) due: Time,
    /// How many workers it has had.
    pub(super) filled: u64,
    /// How its last worker ended, if that was unexpected.
    pub(super) last_end: Option<Arc<str>>,
    pub(super) revival: Revival,
    /// Which program runs here: the last that has shown here that it works, or that it was filled with.
    pub(super) edition: Edition,
    /// The next worker, beside the occupant.
    pub(super) succession: Option<Succession>,
    /// Whoever was here before, and may still be on its way out.
    pub(super) predecessor: Option<WorkerKey>,
    /// Successors that failed, in a row.
    pub(super) trials_failed: u32,
    /// When there may be another successor.
    pub(super) trial_due: Time,
}

/// What an empty slot of a group waits for whose workers are revived by command.
#[derive(Debug)]
pub(super) enum Revival {
    /// Nothing: it is filled as any.
    Unneeded,
    /// Nothing any more: the command came while its worker was still on its way out.
    Called,
    /// The command; its worker ended like this.
    Awaited(Arc<str>),
}

impl Place {
    /// A place that never had a worker.
    pub(super) fn new(edition: Edition, now: Time) -> Place {
        Place {
            occupant: None,
            failures: 0,
            due: now,
            filled: 0,
            last_end: None,
            revival: Revival::Unneeded,
            edition,
            succession: None,
            predecessor: None,
            trials_failed: 0,
            trial_due: now,
        }
    }

    /// How its worker ended, if it stays empty until a command.
    pub(super) fn awaits_revival(&self) -> Option<&Arc<str>> {
        match &self.revival {
            Revival::Awaited(end) => Some(end),
            Revival::Unneeded | Revival::Called => None,
        }
    }

    /// The next worker.
    pub(super) fn next(&self) -> Option<WorkerKey> {
        self.succession.as_ref().map(|succession| succession.worker)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.occupant.is_none() && self.succession.is_none()
    }
}

/// Why replacements have stopped, and when the next probe is due.
#[derive(Debug)]
pub(super) struct Degraded {
    pub(super) reason: Arc<str>,
    pub(super) cure: Cure,
    pub(super) probe_at: Time,
    pub(super) probe: Option<WorkerKey>,
}

/// What shows that a group is no longer degraded; of several reasons the one that needs most counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cure {
    /// Its workers ended and are revived by command: one that says ready.
    Revival,
    /// Processes that could not be killed: some of them end after all, or more workers are wanted.
    Places,
    /// Its program could not be run: a probe that says ready.
    Ready,
    /// Its workers ended too often: a probe that answers a job, or stays well.
    Health,
}

impl Group {
    pub(super) fn new(name: Arc<str>, wanted: u32, now: Time) -> Group {
        Group {
            name,
            wanted,
            resting: 0,
            lull: None,
            edition: Edition::default(),
            last_edition: Edition::default(),
            roll: None,
            next_roll: None,
            slots: Vec::new(),
            members: Vec::new(),
            queue: Queue::new(),
            aside: None,
            suspects: BTreeMap::new(),
            waiting: 0,
            exits: VecDeque::new(),
            job_deaths: 0,
            degraded: None,
            refused: None,
            written_off: 0,
            timer: TimerId::UNSET,
            window_timer: TimerId::UNSET,
            is_dirty: true,
            is_unsettled: true,
            sends_ahead: false,
            has_reserve: false,
            sent: 0,
            used_last: None,
            rss_floor: 0,
            done: 0,
            ends: JobEnds::default(),
            kills: BTreeMap::new(),
            stale_answers: 0,
            restarts: 0,
            recycled: Recycled::default(),
            rate: Rate::new(now),
            queue_time: Latency::default(),
            run_time: Latency::default(),
        }
    }

    /// Something happened to its workers, or to what is wanted of them.
    pub(super) fn unsettle(&mut self) {
        self.is_dirty = true;
        self.is_unsettled = true;
    }

    /// Whether so many processes could not be killed that no more are risked.
    pub(super) fn is_out_of_places(&self) -> bool {
        self.written_off > self.wanted
    }

    /// Jobs that wait, for whatever it is.
    pub(super) fn backlog(&self) -> usize {
        let behind = self.aside.as_ref().map_or(0, |aside| aside.keys.behind());
        self.queued() + self.waiting + behind
    }

    /// Jobs that could be sent, suspects included.
    pub(super) fn queued(&self) -> usize {
        let ranked = self.aside.as_ref().map_or(0, |aside| aside.ranks.len());
        self.queue.len() + self.suspects.len() + ranked
    }

    /// Whether there are jobs that could be sent, but for suspects.
    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty() || self.aside.as_ref().is_some_and(|aside| !aside.ranks.is_empty())
    }

    pub(super) fn note_outcome(&mut self, outcome: &Outcome, now: Time) {
        match outcome {
            Outcome::Replied { attempt, .. } => {
                self.done += 1;
                self.rate.record(now);
                self.queue_time.record(attempt.queued);
                self.run_time.record(attempt.ran);
            }
            Outcome::Failed { .. } => self.ends.failed += 1,
            Outcome::TimedOut { .. } => self.ends.timed_out += 1,
            Outcome::Cancelled { .. } => self.ends.cancelled += 1,
            Outcome::WorkerLost(_) => self.ends.worker_lost += 1,
            Outcome::Poisoned { .. } => self.ends.poisoned += 1,
            Outcome::ShuttingDown { .. } => self.ends.shutting_down += 1,
            Outcome::NoWorkers { .. } => self.ends.no_workers += 1,
        }
    }
}
