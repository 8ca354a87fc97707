//! Giving queued jobs to workers.
//!
//! Suspect jobs first: each gets a worker of its own. Then every free handler slot gets a job, by the group's pick
//! policy: that is the contract. Then, if the group prefetches, workers get jobs ahead (`window.rs`).

use std::sync::Arc;

use ganger_protocol::Time;

use super::hand::InHand;
use super::job::Phase;
use super::pick::{Candidate, Draw, balanced_rank, lowest_rss, pick};
use super::worker::{Isolation, State, Worker};
use super::{Action, GroupIndex, JobKey, Outcome, Scheduler, Ticket, Unrouted, WorkerKey, WorkerStatus};

/// Lists kept from pass to pass, so that a pass allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) keys: Vec<WorkerKey>,
    pub(super) candidates: Vec<Candidate>,
}

impl<T: Ticket> Scheduler<T> {
    /// One pass over a group: as many jobs as there are places.
    pub(super) fn dispatch(&mut self, index: GroupIndex) {
        self.note_admission(index);
        let group = &self.groups[usize::from(index.0)];
        if group.backlog() > 0 && self.is_hopeless(index) {
            self.fail_backlog(index);
        }
        self.place_suspects(index);
        if self.groups[usize::from(index.0)].has_queued() {
            let mut scratch = std::mem::take(&mut self.scratch);
            self.fill_warmest(index, &mut scratch);
            self.fill_slots(index, &mut scratch);
            self.scratch = scratch;
        }
        self.wake_resting(index);
        self.send_ahead(index);
        self.watch_windows(index);
    }

    pub(super) fn gather(&self, index: GroupIndex, scratch: &mut Scratch) {
        scratch.keys.clear();
        scratch.candidates.clear();
        for key in &self.groups[usize::from(index.0)].members {
            if let Some(worker) = self.workers.get(*key)
                && worker.has_free_slot()
                && worker.is_routable(self.now)
            {
                scratch.keys.push(*key);
                scratch.candidates.push(worker.candidate());
            }
        }
    }

    fn fill_slots(&mut self, index: GroupIndex, scratch: &mut Scratch) {
        if !self.groups[usize::from(index.0)].has_queued() {
            return;
        }
        self.gather(index, scratch);
        while let Some(lead) = self.front(index) {
            let affinity = self.jobs.get(lead.job).and_then(|job| job.ticket.options().affinity);
            let mut draw = Draw { affinity, random: &mut self.random };
            let policy = &self.config.groups[usize::from(index.0)].pick;
            let Some(chosen) = pick(policy, &scratch.candidates, &mut draw) else { return };
            let key = scratch.keys[chosen];
            self.take(index, lead);
            self.assign(lead.job, key);
            let Some(worker) = self.workers.get(key) else { return };
            if worker.has_free_slot() {
                scratch.candidates[chosen] = worker.candidate();
            } else {
                scratch.keys.swap_remove(chosen);
                scratch.candidates.swap_remove(chosen);
            }
        }
    }

    /// Sends a job to a worker.
    pub(super) fn assign(&mut self, key: JobKey, to: WorkerKey) {
        let now = self.now;
        let (Some(job), Some(worker)) = (self.jobs.get_mut(key), self.workers.get_mut(to)) else { return };
        let group = &mut self.groups[usize::from(job.group.0)];
        group.sent += 1;
        worker.last_used = group.sent;
        group.used_last = Some(to);
        if worker.hand.is_empty() {
            worker.last_progress = now;
        }
        if job.seq == 0 {
            // First assignments are in the order of enqueueing, so that this is the order by age.
            self.next_seq += 1;
            job.seq = self.next_seq;
        }
        job.epoch = job.epoch.next();
        let request = InHand {
            job: Some(key),
            id: job.ticket.id(),
            epoch: job.epoch,
            sent: now,
            since: None,
            pending: None,
            culprit: None,
        };
        let ordinal = worker.hand.push(request);
        job.phase = Phase::Assigned { worker: to, ordinal };
        self.actions.push_back(Action::Send {
            worker: to,
            job: key,
            ordinal,
            generation: worker.generation,
            epoch: job.epoch,
            attempt: job.retries.saturating_add(1),
        });
        let run_due = job.ticket.options().run_timeout.map_or(Time::NEVER, |limit| now + limit);
        self.arm_job(key, run_due);
    }

    /// A suspect job runs alone: on an idle worker, or on one that is kept free until it is idle.
    fn place_suspects(&mut self, index: GroupIndex) {
        while let Some(job) = self.first_suspect(index) {
            let Some(key) = self.idle_worker(index) else {
                return self.reserve_worker(index);
            };
            self.groups[usize::from(index.0)].suspects.pop_first();
            if let Some(worker) = self.workers.get_mut(key) {
                worker.isolation = Isolation::Running;
            }
            self.assign(job, key);
        }
        self.release_reserved(index);
    }

    fn first_suspect(&self, index: GroupIndex) -> Option<JobKey> {
        self.groups[usize::from(index.0)].suspects.first_key_value().map(|(_, key)| *key)
    }

    fn idle_worker(&self, index: GroupIndex) -> Option<WorkerKey> {
        let is_free = |worker: &Worker| {
            worker.hand.is_empty() && (worker.is_routable(self.now) || worker.is_ready_reserve(self.now))
        };
        let idle = self.members_where(index, is_free);
        idle.min_by_key(|(_, worker)| (worker.isolation == Isolation::None, worker.rss_bytes.unwrap_or(0)))
            .map(|(key, _)| key)
    }

    fn reserve_worker(&mut self, index: GroupIndex) {
        let now = self.now;
        let is_reserve =
            |worker: &Worker| worker.isolation == Isolation::Reserved && worker.could_be_reserve(now);
        if self.members_where(index, is_reserve).next().is_some() {
            return;
        }
        // Whoever was reserved before has become busy, silent or tainted: another one must do.
        self.release_reserved(index);
        let routable = self.members_where(index, |worker| worker.is_routable(now));
        let Some((key, _)) = routable.min_by_key(|(_, worker)| worker.hand.len()) else { return };
        if let Some(worker) = self.workers.get_mut(key) {
            worker.isolation = Isolation::Reserved;
        }
        self.groups[usize::from(index.0)].has_reserve = true;
        self.take_back(key);
    }

    fn release_reserved(&mut self, index: GroupIndex) {
        if !std::mem::take(&mut self.groups[usize::from(index.0)].has_reserve) {
            return;
        }
        let reserved: Vec<WorkerKey> = self
            .members_where(index, |worker| worker.isolation == Isolation::Reserved)
            .map(|(key, _)| key)
            .collect();
        for key in reserved {
            if let Some(worker) = self.workers.get_mut(key) {
                worker.isolation = Isolation::None;
            }
        }
    }

    pub(super) fn members_where(
        &self,
        index: GroupIndex,
        is_wanted: impl Fn(&Worker) -> bool,
    ) -> impl Iterator<Item = (WorkerKey, &Worker)> {
        let members = self.groups[usize::from(index.0)].members.iter();
        members
            .filter_map(|key| Some((*key, self.workers.get(*key)?)))
            .filter(move |(_, worker)| is_wanted(worker))
    }

    /// Nobody is left to do the group's jobs.
    fn fail_backlog(&mut self, index: GroupIndex) {
        let group = &self.groups[usize::from(index.0)];
        let Some(reason) = group.degraded.as_ref().map(|degraded| Arc::clone(&degraded.reason)) else {
            return;
        };
        let name = Arc::clone(&group.name);
        let waits = |phase: Phase| match phase {
            Phase::Queued | Phase::Waiting { .. } | Phase::Behind => true,
            Phase::Assigned { .. } | Phase::Ending { .. } => false,
        };
        let backlog: Vec<JobKey> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.group == index && waits(job.phase))
            .map(|(key, _)| key)
            .collect();
        for key in backlog {
            let Some(started) = self.jobs.get(key).map(|job| job.started()) else { continue };
            self.finish(
                key,
                Outcome::NoWorkers { group: Arc::clone(&name), reason: Arc::clone(&reason), started },
            );
        }
    }

    /// How the group's workers stand for the next job.
    #[must_use]
    pub fn explain(&self, index: GroupIndex) -> Vec<Explanation> {
        let Some(group) = self.groups.get(usize::from(index.0)) else { return Vec::new() };
        let workers: Vec<&Worker> = group.members.iter().filter_map(|key| self.workers.get(*key)).collect();
        let eligible: Vec<Candidate> = workers
            .iter()
            .filter(|worker| worker.is_routable(self.now) && worker.has_free_slot())
            .map(|worker| worker.candidate())
            .collect();
        let lowest = lowest_rss(&eligible);
        let mut ranked = eligible;
        ranked.sort_by_key(|one| balanced_rank(one, lowest));
        let rank = |slot: u32| ranked.iter().position(|one| one.slot == slot);
        workers.iter().map(|worker| self.explain_worker(worker, rank(worker.slot))).collect()
    }

    fn explain_worker(&self, worker: &Worker, rank: Option<usize>) -> Explanation {
        let standing = match (rank, worker.unrouted(self.now)) {
            (Some(rank), None) => Standing::Eligible { rank },
            (_, Some(reason)) => Standing::Unrouted(reason),
            (None, None) if worker.status() != WorkerStatus::Ready => Standing::NotReady(worker.status()),
            (None, None) => Standing::Full,
        };
        Explanation { worker: Arc::clone(&worker.name), candidate: worker.candidate(), standing }
    }
}

impl Worker {
    /// Whether it is kept free for a suspect job and could take it now.
    fn is_ready_reserve(&self, now: Time) -> bool {
        self.isolation == Isolation::Reserved && self.could_be_reserve(now) && !self.is_taking_back
    }

    fn could_be_reserve(&self, now: Time) -> bool {
        self.state == State::Ready && self.is_connected() && !self.is_suspected && !self.hand.is_tainted(now)
    }
}

/// How a worker stands for the next job of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The worker's name.
    pub worker: Arc<str>,
    /// What the pick policy sees of it.
    pub candidate: Candidate,
    /// Whether it could be picked, and if not, why.
    pub standing: Standing,
}

/// Whether a worker could be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It could; 0 is the first choice of the default policy.
    Eligible {
        /// Its place in the order of the default policy.
        rank: usize,
    },
    /// All its slots are taken.
    Full,
    /// It is ready, but gets nothing new.
    Unrouted(Unrouted),
    /// It is not ready.
    NotReady(WorkerStatus),
}
