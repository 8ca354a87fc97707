//! What must hold between any two inputs. The simulator asks after every step; it costs time in proportion to
//! everything.

use super::group::{Group, Place};
use super::job::Phase;
use super::worker::Worker;
use super::{JobKey, Scheduler, Ticket, WorkerKey};

impl<T: Ticket> Scheduler<T> {
    /// Looks for anything that must not be.
    ///
    /// # Errors
    /// What was found, for a person.
    pub fn check(&self) -> Result<(), String> {
        for (key, job) in self.jobs.iter() {
            self.check_phase(key, job.phase)
                .map_err(|what| format!("job {key:?} {:?}: {what}", job.phase))?;
            if job.retries > job.ticket.options().retries {
                return Err(format!("job {key:?} has spent {} retries", job.retries));
            }
        }
        for (key, worker) in self.workers.iter() {
            self.check_worker(key, worker).map_err(|what| format!("worker {}: {what}", worker.name))?;
        }
        for group in &self.groups {
            self.check_group(group).map_err(|what| format!("group {}: {what}", group.name))?;
        }
        self.check_timers()
    }

    fn check_phase(&self, key: JobKey, phase: Phase) -> Result<(), String> {
        match phase {
            Phase::Queued | Phase::Waiting { .. } | Phase::Behind => Ok(()),
            Phase::Assigned { worker, ordinal } | Phase::Ending { worker, ordinal } => {
                let request = self.workers.get(worker).and_then(|worker| worker.hand.get(ordinal));
                match request {
                    Some(request) if request.job == Some(key) => Ok(()),
                    Some(request) => Err(format!("the worker holds {:?} there", request.job)),
                    None => Err(String::from("the worker holds no such request")),
                }
            }
        }
    }

    fn check_worker(&self, key: WorkerKey, worker: &Worker) -> Result<(), String> {
        let prefetch = self.config.groups[usize::from(worker.group.0)].prefetch;
        // A worker that lowered its capacity keeps what it had started; of one that lied nobody knows what that is.
        let may_be_overfull = worker.is_taking_back || worker.is_stopping() || !worker.hand.has_unstarted();
        if worker.hand.len() > worker.capacity.saturating_add(prefetch) && !may_be_overfull {
            return Err(format!("{} requests for a capacity of {}", worker.hand.len(), worker.capacity));
        }
        for (ordinal, request) in worker.hand.iter() {
            let Some(job) = request.job else { continue };
            let expected = self.jobs.get(job).map(|job| (job.phase, job.epoch));
            let holds = |phase| match phase {
                Phase::Assigned { worker, ordinal: at } | Phase::Ending { worker, ordinal: at } => {
                    worker == key && at == ordinal
                }
                Phase::Queued | Phase::Waiting { .. } | Phase::Behind => false,
            };
            if !expected.is_some_and(|(phase, epoch)| holds(phase) && epoch == request.epoch) {
                return Err(format!("request {ordinal:?} belongs to a job that is {expected:?}"));
            }
        }
        let group = &self.groups[usize::from(worker.group.0)];
        let is_member = group.members.contains(&key);
        if is_member { Ok(()) } else { Err(String::from("it is no member of its group")) }
    }

    fn check_group(&self, group: &Group) -> Result<(), String> {
        let phase_of = |key: JobKey| self.jobs.get(key).map(|job| job.phase);
        if let Some(key) = group.suspects.values().find(|key| phase_of(**key) != Some(Phase::Queued)) {
            return Err(format!("the suspect {key:?} is {:?}", phase_of(*key)));
        }
        let mine =
            || self.jobs.iter().filter(|(_, job)| self.groups[usize::from(job.group.0)].name == group.name);
        let queued = mine().filter(|(_, job)| job.phase == Phase::Queued).count();
        let waiting = mine().filter(|(_, job)| matches!(job.phase, Phase::Waiting { .. })).count();
        let behind = mine().filter(|(_, job)| job.phase == Phase::Behind).count();
        if queued != group.queued()
            || waiting != group.waiting
            || queued + waiting + behind != group.backlog()
        {
            return Err(format!(
                "{queued} jobs are queued, {waiting} wait and {behind} are behind, but it counts {}, {} and {} in all",
                group.queued(),
                group.waiting,
                group.backlog()
            ));
        }
        let lines = group.aside.as_ref().map_or(0, |aside| aside.keys.lines());
        if lines > 0 && mine().next().is_none() && self.is_at_rest() {
            return Err(format!("{lines} lines of keys are left without a job"));
        }
        if group.members.iter().any(|key| {
            self.workers.get(*key).is_some_and(|worker| worker.rss_bytes.unwrap_or(0) < group.rss_floor)
        }) {
            return Err(format!("a member uses less memory than the floor of {} bytes", group.rss_floor));
        }
        let is_own = |place: &Place| place.succession.is_some() && place.occupant == place.next();
        if group.slots.iter().any(is_own) {
            return Err(String::from("somebody is its own successor"));
        }
        let occupied = group.slots.iter().flat_map(|place| place.occupant.into_iter().chain(place.next()));
        match occupied.into_iter().find(|key| self.workers.get(*key).is_none()) {
            Some(key) => Err(format!("a slot is held by {key:?}, which is gone")),
            None => Ok(()),
        }
    }

    /// Whether no worker holds a request.
    fn is_at_rest(&self) -> bool {
        self.workers.iter().all(|(_, worker)| worker.hand.is_empty())
    }

    /// No timer outlives its owner.
    fn check_timers(&self) -> Result<(), String> {
        let jobs = self.jobs.iter().filter(|(_, job)| job.timer.is_set()).count();
        let workers = self.workers.iter().filter(|(_, worker)| worker.timer.is_set()).count();
        let groups = self.groups.iter().flat_map(|group| [group.timer, group.window_timer]);
        let own =
            groups.chain([self.sampling_timer, self.shutdown_timer]).filter(|timer| timer.is_set()).count();
        if self.timers.len() == jobs + workers + own {
            return Ok(());
        }
        Err(format!("{} timers for {jobs} jobs, {workers} workers and {own} others", self.timers.len()))
    }
}
