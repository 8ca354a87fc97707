//! A rig: the shipped scheduler, frame reader and judge of what a worker may say, with workers that are played.
//!
//! It does what the driver does, in the driver's order and no more: bytes of a worker go through its inbox and its
//! ear to the scheduler; actions are taken until there are none. Who plays the workers says what they write, when
//! their links and processes end, and what their pages hold. After every step the scheduler is asked whether
//! anything is as it must not be, and the rig itself watches three promises: a job settles once (P2), with a reply
//! that a worker gave for it while it held it (P6), and after a hard kill every job has settled (P1).

mod peer;

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use ganger::internals::{
    Action, Config, Exit, ExitStatus, GroupIndex, Heard, Input, JobKey, JobOptions, Outcome, Reply,
    Scheduler, SpawnFailure, Ticket, WorkerKey,
};
use ganger_protocol::{Inbox, JobId, Taken, Time};

pub use peer::{Peer, Stage, Task};

/// Memory that a link may hold besides twice the bytes that came through it.
pub const FIXED_BYTES: usize = 256 * 1024;

/// More actions than this in one turn are a turn that does not end.
const ENDLESS: usize = 100_000;

/// Bytes that one read takes at most.
const READ: usize = 64 * 1024;

/// What a job's owner gave along.
#[derive(Clone, Debug)]
pub struct Tag {
    /// Which job of the rig it is.
    pub index: usize,
    options: JobOptions,
}

impl Ticket for Tag {
    fn id(&self) -> JobId {
        JobId::from_bytes((self.index as u128).to_le_bytes())
    }

    fn options(&self) -> &JobOptions {
        &self.options
    }
}

/// A job, and how it ended.
#[derive(Debug)]
pub struct Job {
    /// Its key, valid until it has ended.
    pub key: JobKey,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The assignments under which workers have held it.
    held: Vec<(usize, Task)>,
    retries: u16,
    has_attachments: bool,
    /// Its attachments were let go: no worker can be given it again.
    is_released: bool,
}

/// The scheduler, and everything around it.
#[derive(Debug)]
pub struct Rig {
    scheduler: Scheduler<Tag>,
    groups: u16,
    now: Time,
    /// All workers that were ever wanted, in their order.
    pub peers: Vec<Peer>,
    places: HashMap<u64, usize>,
    /// All jobs, in their order.
    pub jobs: Vec<Job>,
    /// What every job carries.
    pub payload: Bytes,
    /// Everything has ended.
    pub is_stopped: bool,
}

impl Rig {
    /// A rig whose workers are wanted and not yet started.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Rig {
        let now = Time::from_nanos(1 << 40);
        let groups = config.groups.len() as u16;
        let mut rig = Rig {
            groups,
            scheduler: Scheduler::new(config, seed, now),
            now,
            peers: Vec::new(),
            places: HashMap::new(),
            jobs: Vec::new(),
            payload: Bytes::new(),
            is_stopped: false,
        };
        rig.settle();
        rig
    }

    /// How many groups there are.
    #[must_use]
    pub fn groups(&self) -> u16 {
        self.groups
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Adds a job and says which it is.
    pub fn enqueue(&mut self, group: GroupIndex, options: JobOptions) -> usize {
        let (index, retries) = (self.jobs.len(), options.retries);
        let has_attachments = options.has_attachments;
        let key = self.scheduler.enqueue(self.now, group, Tag { index, options }, self.now);
        self.jobs.push(Job {
            key,
            outcome: None,
            held: Vec::new(),
            retries,
            has_attachments,
            is_released: false,
        });
        self.settle();
        index
    }

    /// Tells the scheduler one thing.
    pub fn input(&mut self, input: Input) {
        self.scheduler.handle_input(self.now, input);
        self.settle();
    }

    /// Lets time pass; what falls due meanwhile is done when it is due.
    pub fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(due) = self.scheduler.poll_timeout().filter(|due| *due <= until) {
            self.now = due.max(self.now + Duration::from_nanos(1));
            self.timers();
        }
        self.now = until.max(self.now);
        self.timers();
    }

    fn timers(&mut self) {
        self.scheduler.handle_timeout(self.now);
        self.settle();
    }

    /// A worker's process was started.
    pub fn born(&mut self, peer: usize) {
        let (key, now) = (self.peers[peer].key, self.now);
        if self.peers[peer].begin(now) {
            self.input(Input::Spawned { worker: key, pid: 1000 + peer as u32 });
        }
    }

    /// A worker's process could not be started.
    pub fn stillborn(&mut self, peer: usize, error: SpawnFailure) {
        if self.peers[peer].stage == Stage::Unborn {
            self.peers[peer].stage = Stage::Gone;
            let worker = self.peers[peer].key;
            self.input(Input::SpawnFailed { worker, error });
        }
    }

    /// A worker writes. Says how much of it was read before it broke the protocol, if it did.
    ///
    /// # Panics
    /// When the link holds more memory than it may.
    pub fn hear(&mut self, peer: usize, bytes: &[u8]) -> Result<(), String> {
        for piece in bytes.chunks(READ) {
            if !self.peers[peer].has_link() {
                return Ok(());
            }
            if let Err(reason) = self.hear_piece(peer, piece) {
                let worker = self.peers[peer].key;
                self.scheduler.handle_input(self.now, Input::Violation { worker, reason: reason.clone() });
                self.end_link(peer);
                return Err(reason);
            }
        }
        self.settle();
        Ok(())
    }

    fn hear_piece(&mut self, peer: usize, piece: &[u8]) -> Result<(), String> {
        let Rig { peers, scheduler, now, .. } = self;
        let Peer { inbox, ear, said, received, page, key, .. } = &mut peers[peer];
        *received += piece.len();
        inbox.push(piece);
        expect_modest(inbox, *received);
        while let Some(frame) = inbox.next_frame().map_err(|error| error.to_string())? {
            match ear.hear(frame, *now)? {
                Heard::Call { .. } | Heard::CallAnswer { .. } => {}
                Heard::Input(input) | Heard::Readiness(input) => {
                    note_said(said, &input);
                    scheduler.handle_input(*now, input);
                }
                Heard::Taken(Taken { ordinal, epoch }) => {
                    let (worker, started) = (*key, page.mark().started);
                    scheduler.handle_input(*now, Input::Taken { worker, ordinal, epoch, started });
                }
                Heard::Emitted { .. } | Heard::Metrics(_) => {}
                Heard::StoreOp(_) | Heard::StoreRefused { .. } => {}
                Heard::Progress(report) => {
                    // It may be about anything: to ask must be harmless.
                    let _ = scheduler.working_on(*key, report.ordinal, report.epoch);
                }
            }
        }
        expect_modest(inbox, *received);
        Ok(())
    }

    /// A worker's link is read to its end.
    pub fn end_link(&mut self, peer: usize) {
        if self.peers[peer].close_link() {
            let worker = self.peers[peer].key;
            self.input(Input::LinkEnded(worker));
        }
    }

    /// A worker's process has ended, and its page is final.
    pub fn end_process(&mut self, peer: usize, status: ExitStatus) {
        if !self.peers[peer].end() {
            return;
        }
        let Peer { key: worker, page, .. } = &self.peers[peer];
        let exit = Exit { status, oom_likely: false, stderr_tail: Vec::new() };
        let (worker, started, running) = (*worker, page.mark().started, page.slots().collect());
        self.input(Input::ProcessEnded { worker, exit, started, running });
    }

    /// A worker dies: what it wrote was read, then its link and its process end.
    pub fn die(&mut self, peer: usize) {
        self.end_link(peer);
        self.end_process(peer, ExitStatus::Signal(9));
    }

    /// Ends everything at once.
    ///
    /// # Panics
    /// When it does not end, or a job is left unsettled.
    pub fn finish(&mut self) {
        self.input(Input::HardKill);
        for _ in 0..1000 {
            self.obey_kills();
            if self.is_stopped {
                break;
            }
            let due = self.scheduler.poll_timeout();
            let due = due.expect("after a hard kill something is waited for until all has ended");
            self.pass(due.since(self.now));
        }
        assert!(self.is_stopped, "a hard kill does not end: {:?}", self.peers);
        let open: Vec<usize> = (0..self.jobs.len()).filter(|job| self.jobs[*job].outcome.is_none()).collect();
        assert!(open.is_empty(), "jobs {open:?} never settle");
    }

    fn obey_kills(&mut self) {
        for peer in 0..self.peers.len() {
            self.born(peer);
            if self.peers[peer].is_doomed {
                self.die(peer);
            }
        }
    }

    /// Takes the scheduler's actions until there are none, and asks it how it is.
    fn settle(&mut self) {
        let mut count = 0;
        while let Some(action) = self.scheduler.poll_action() {
            self.act(action);
            count += 1;
            assert!(count < ENDLESS, "a turn never ends");
        }
        if let Err(what) = self.scheduler.check() {
            panic!("the scheduler is as it must not be: {what}");
        }
    }

    fn act(&mut self, action: Action<Tag>) {
        match action {
            Action::Spawn { worker, .. } => {
                self.places.insert(worker.to_bits(), self.peers.len());
                self.peers.push(Peer::new(worker, self.now));
            }
            Action::Send { worker, job, ordinal, generation, epoch, attempt } => {
                let Some(index) = self.scheduler.ticket(job).map(|tag| tag.index) else { return };
                let peer = self.place(worker);
                let task = Task { job: index, ordinal, generation, epoch };
                assert!(attempt <= 1 + self.jobs[index].retries, "job {index}: attempt {attempt}");
                assert!(!self.jobs[index].is_released, "job {index} is sent again without its attachments");
                self.jobs[index].held.push((peer, task));
                if self.jobs[index].has_attachments {
                    self.peers[peer].ear.expect_taken();
                }
                self.peers[peer].send(task, attempt, &self.payload);
            }
            Action::TakeBack(worker) => {
                let peer = self.place(worker);
                let mark = self.peers[peer].page.take_back();
                self.scheduler.handle_input(self.now, Input::TakenBack { worker, mark });
            }
            Action::ReadPage(worker) => {
                let page = &self.peers[self.place(worker)].page;
                let (started, running) = (page.mark().started, page.slots().collect());
                self.scheduler.handle_input(self.now, Input::Page { worker, started, running });
            }
            Action::Sample(worker) => {
                let vitals = self.peers[self.place(worker)].page.vitals();
                self.scheduler
                    .handle_input(self.now, Input::Sample { worker, rss_bytes: Some(1 << 20), vitals });
            }
            Action::Kill(worker) => {
                let peer = self.place(worker);
                self.peers[peer].is_doomed = true;
            }
            Action::Bury(worker) => {
                let peer = self.place(worker);
                self.peers[peer].stage = Stage::Gone;
            }
            Action::Complete { ticket, outcome } => self.complete(ticket.index, outcome),
            Action::Release(job) => {
                if let Some(index) = self.scheduler.ticket(job).map(|tag| tag.index) {
                    self.jobs[index].is_released = true;
                }
            }
            Action::Stopped => self.is_stopped = true,
            Action::Requeued(_)
            | Action::Cancel { .. }
            | Action::Drain(_)
            | Action::WarnHardKill(_)
            | Action::Terminate(_)
            | Action::Admission { .. }
            | Action::Rollout { .. }
            | Action::Tell(_) => {}
        }
    }

    fn place(&self, worker: WorkerKey) -> usize {
        *self.places.get(&worker.to_bits()).expect("the scheduler names only workers that it wanted")
    }

    fn complete(&mut self, index: usize, outcome: Outcome) {
        assert!(self.jobs[index].outcome.is_none(), "job {index} settles twice");
        if let Outcome::Replied { data, .. } = &outcome {
            let was_said = |(peer, task): &(usize, Task)| self.peers[*peer].has_said(*task, data);
            assert!(
                self.jobs[index].held.iter().any(was_said),
                "job {index}: nobody gave the reply {data:?}"
            );
        }
        self.jobs[index].outcome = Some(outcome);
    }
}

/// # Panics
/// When an inbox holds more than twice what came through it, and [`FIXED_BYTES`].
pub fn expect_modest(inbox: &Inbox, received: usize) {
    let capacity = inbox.capacity();
    assert!(capacity <= 2 * received + FIXED_BYTES, "{capacity} bytes of memory for {received} received");
}

fn note_said(said: &mut Vec<(ganger_protocol::Ordinal, ganger_protocol::Epoch, Vec<u8>)>, input: &Input) {
    if let Input::Answer { ordinal, epoch, reply: Reply::Data(data), .. } = input {
        said.push((*ordinal, *epoch, data.clone()));
    }
}
