//! Reports of progress on their way from the workers to those who hold the handles.
//!
//! The loop knows only jobs of which something was reported, or whose progress is read. What comes before anybody
//! reads is kept, within limits, also for a while after the job has ended: a quick job may be over before its owner
//! asks.

use std::collections::{HashMap, VecDeque};

use ganger_protocol::JobId;

use super::ear::Said;
use super::turn::Turn;
use crate::progress::{Backlog, Feeder};
use crate::scheduler::{Scheduler, WorkerKey};
use crate::slot::{JobSlot, Wake};

/// Ended jobs of which reports are kept that nobody has asked for.
const MOST_ENDED: usize = 1024;

/// Bytes of those.
const MOST_ENDED_BYTES: usize = 16 << 20;

/// Where the reports of a job go.
enum Sink {
    /// Nobody has asked for them yet.
    Kept(Backlog),
    Read(Feeder),
}

/// The reports of all jobs.
#[derive(Default)]
pub(super) struct Reports {
    open: HashMap<JobId, Sink>,
    ended: VecDeque<(JobId, Backlog)>,
    ended_bytes: usize,
    /// Readers that are to be woken when the turn ends.
    pub(super) wakes: Vec<Wake>,
}

impl Reports {
    /// A worker reports something; it is believed if the worker works on the job.
    pub(super) fn take_in(&mut self, scheduler: &Scheduler<JobSlot>, worker: WorkerKey, said: Said) {
        let Said { ordinal, epoch, payload } = said;
        let Some((job, attempt)) = scheduler.working_on(worker, ordinal, epoch) else { return };
        let Some(slot) = scheduler.ticket(job) else { return };
        let sink = self.open.entry(slot.id()).or_insert_with(|| Sink::Kept(Backlog::default()));
        match sink {
            Sink::Kept(backlog) => backlog.push(attempt, payload),
            Sink::Read(feeder) => self.wakes.extend(feeder.push(attempt, payload)),
        }
    }

    /// The job has ended.
    pub(super) fn end(&mut self, job: JobId) {
        match self.open.remove(&job) {
            Some(Sink::Read(feeder)) => self.wakes.extend(feeder.end()),
            Some(Sink::Kept(backlog)) => self.keep(job, backlog),
            None => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn keep(&mut self, job: JobId, backlog: Backlog) {
        self.ended_bytes += backlog.bytes();
        self.ended.push_back((job, backlog));
        while self.ended.len() > MOST_ENDED || self.ended_bytes > MOST_ENDED_BYTES {
            let Some((_, oldest)) = self.ended.pop_front() else { return };
            self.ended_bytes -= oldest.bytes();
        }
    }

    /// What was reported so far and not read; whoever read it before reads no further.
    fn so_far(&mut self, job: JobId) -> Option<Backlog> {
        match self.open.remove(&job) {
            Some(Sink::Kept(backlog)) => return Some(backlog),
            Some(Sink::Read(feeder)) => return Some(feeder.take()),
            None => {}
        }
        let place = self.ended.iter().position(|(ended, _)| *ended == job)?;
        let (_, backlog) = self.ended.remove(place)?;
        self.ended_bytes -= backlog.bytes();
        Some(backlog)
    }
}

impl Turn {
    /// Somebody wants to read a job's reports.
    pub(super) fn feed(&mut self, slot: &JobSlot, feeder: Feeder) {
        let is_alive = slot.place().is_some_and(|place| self.scheduler.job_at(place, slot.id()).is_some());
        if let Some(older) = self.reports.so_far(slot.id()) {
            self.reports.wakes.extend(feeder.adopt(older));
        }
        if is_alive {
            self.reports.open.insert(slot.id(), Sink::Read(feeder));
        }
    }
}
