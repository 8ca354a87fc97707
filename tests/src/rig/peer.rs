//! A worker of the rig: its end of the link, its page, and how far its life is.

use bytes::Bytes;
use ganger::internals::{Ear, WorkerKey};
use ganger_protocol::{
    AnswerHead, Answered, Body, Epoch, Generation, Growth, Inbox, JobId, Kind, Limits, MAGIC, Ordinal,
    Outbox, Page, Ready, RequestHead, Time, VERSION, WorkerHello,
};

use crate::raw::frame;

/// An assignment of a job to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Which job of the rig.
    pub job: usize,
    /// Its place in the order of starts.
    pub ordinal: Ordinal,
    /// The generation that it may be started under.
    pub generation: Generation,
    /// Which assignment of the job.
    pub epoch: Epoch,
}

/// How far a worker's life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A process was ordered.
    Unborn,
    /// Its process runs.
    Alive,
    /// Its process has ended.
    Ended,
    /// Nothing of it is left.
    Gone,
}

/// A worker of the rig.
#[derive(Debug)]
pub struct Peer {
    /// Its key.
    pub key: WorkerKey,
    /// How far its life is.
    pub stage: Stage,
    /// Its page.
    pub page: Page,
    /// Requests that were sent to it and that it has not answered by [`Peer::answer_next`], oldest first.
    pub tasks: Vec<Task>,
    /// The bytes on their way to it.
    pub to_worker: Outbox,
    /// Whether the scheduler wants its process killed.
    pub is_doomed: bool,
    pub(super) inbox: Inbox,
    pub(super) ear: Ear,
    /// Bytes that it has written.
    pub(super) received: usize,
    /// The replies that it has given, with their names.
    pub(super) said: Vec<(Ordinal, Epoch, Vec<u8>)>,
    is_linked: bool,
}

impl Peer {
    pub(super) fn new(key: WorkerKey, now: Time) -> Peer {
        Peer {
            key,
            stage: Stage::Unborn,
            page: Page::in_memory(),
            tasks: Vec::new(),
            to_worker: Outbox::new(),
            is_doomed: false,
            inbox: Inbox::new(Limits::default(), Growth::AsReceived),
            ear: Ear::new(key, now),
            received: 0,
            said: Vec::new(),
            is_linked: false,
        }
    }

    /// Whether it can be heard.
    #[must_use]
    pub fn has_link(&self) -> bool {
        self.is_linked && self.stage != Stage::Gone
    }

    /// Whether it has written nothing yet.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.received == 0
    }

    pub(super) fn begin(&mut self, now: Time) -> bool {
        let begins = self.stage == Stage::Unborn;
        if begins {
            (self.stage, self.is_linked, self.ear) = (Stage::Alive, true, Ear::new(self.key, now));
        }
        begins
    }

    pub(super) fn close_link(&mut self) -> bool {
        let closes = self.has_link();
        self.is_linked = false;
        closes
    }

    pub(super) fn end(&mut self) -> bool {
        let ends = self.stage == Stage::Alive;
        if ends {
            self.stage = Stage::Ended;
        }
        ends
    }

    pub(super) fn send(&mut self, task: Task, attempt: u16, payload: &Bytes) {
        if !self.has_link() {
            return;
        }
        let head = RequestHead {
            ordinal: task.ordinal,
            generation: task.generation,
            epoch: task.epoch,
            attempt,
            job: JobId::from_bytes((task.job as u128).to_le_bytes()),
            age_nanos: 0,
            run_timeout_nanos: None,
            name: "echo".into(),
            headers: Vec::new(),
        };
        self.ear.expect_answer();
        self.to_worker.frame(Kind::Request, &head, Body::Share(payload.clone()));
        self.tasks.push(task);
    }

    pub(super) fn has_said(&self, task: Task, data: &[u8]) -> bool {
        let is_it = |(ordinal, epoch, said): &(Ordinal, Epoch, Vec<u8>)| {
            *ordinal == task.ordinal && *epoch == task.epoch && said == data
        };
        self.said.iter().any(is_it)
    }

    /// Forgets what was taken back, as a worker does that looks at the generation.
    pub fn forget_taken_back(&mut self) {
        let mark = self.page.mark();
        self.tasks.retain(|task| task.generation == mark.generation || task.ordinal.is_started(mark.started));
    }

    /// The frame in which it introduces itself.
    #[must_use]
    pub fn hello(version: u16) -> Vec<u8> {
        let library = String::from("rig");
        frame(Kind::WorkerHello, &WorkerHello { magic: MAGIC, version, pid: 1, library }, &[])
    }

    /// The frames with which every well-behaved worker begins.
    #[must_use]
    pub fn up(capacity: u32) -> Vec<u8> {
        [Peer::hello(VERSION), Peer::ready(capacity)].concat()
    }

    /// The frame that says it is ready.
    #[must_use]
    pub fn ready(capacity: u32) -> Vec<u8> {
        frame(Kind::Ready, &Ready { capacity, wants_hard_kill: false }, &[])
    }

    /// The frame of an answer.
    #[must_use]
    pub fn answer(ordinal: Ordinal, epoch: Epoch, answered: Answered, payload: &[u8]) -> Vec<u8> {
        frame(Kind::Answer, &AnswerHead { ordinal, epoch, run_nanos: 1000, answered }, payload)
    }

    /// Starts the first of its requests that is not started: the slot, then the mark.
    pub fn start_next(&mut self, now: Time) -> Option<Task> {
        self.forget_taken_back();
        let mark = self.page.mark();
        let next = self.tasks.iter().find(|task| task.ordinal == mark.started.next()).copied()?;
        let slot = next.ordinal.0 as usize % Page::SLOTS;
        self.page.occupy(slot, next.ordinal, now);
        self.page.start(next.generation).ok().map(|_| next)
    }

    /// Puts down the oldest of its started requests, and gives its name.
    pub fn answer_next(&mut self) -> Option<Task> {
        let started = self.page.mark().started;
        let place = self.tasks.iter().position(|task| task.ordinal.is_started(started))?;
        let task = self.tasks.remove(place);
        self.page.vacate(task.ordinal.0 as usize % Page::SLOTS);
        Some(task)
    }
}
