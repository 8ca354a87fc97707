//! The scheduler's behaviours, one by one, on a stage without processes: pages in memory, a clock turned by hand.

mod behaviour;
mod clocks;
mod ending;
mod order;
mod restarts;

use std::collections::BTreeMap;
use std::time::Duration;

use ganger_protocol::{Epoch, Generation, JobId, Ordinal, Page, Slot, Time, Vitals};

use super::*;

/// A job's owner: a number for a name, and what it asked for.
#[derive(Debug)]
struct Owner(u8, JobOptions);

impl Ticket for Owner {
    fn id(&self) -> JobId {
        JobId::from_bytes([self.0; 16])
    }

    fn options(&self) -> &JobOptions {
        &self.1
    }
}

/// A request as it was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    to: WorkerKey,
    job: u8,
    ordinal: Ordinal,
    generation: Generation,
    epoch: Epoch,
}

/// The scheduler, and all that is around it.
struct Stage {
    scheduler: Scheduler<Owner>,
    now: Time,
    pages: BTreeMap<WorkerKey, Page>,
    /// Workers wanted and not yet born, oldest first.
    spawns: VecDeque<WorkerKey>,
    sent: Vec<Sent>,
    outcomes: BTreeMap<u8, Outcome>,
    /// What else was to be done.
    log: Vec<Action<Owner>>,
    /// Workers that no longer beat.
    silent: Vec<WorkerKey>,
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl Stage {
    fn new(group: GroupConfig) -> Stage {
        let now = Time::from_nanos(1_000_000_000_000);
        let mut stage = Stage {
            scheduler: Scheduler::new(Config::new(vec![group]), 7, now),
            now,
            pages: BTreeMap::new(),
            spawns: VecDeque::new(),
            sent: Vec::new(),
            outcomes: BTreeMap::new(),
            log: Vec::new(),
            silent: Vec::new(),
        };
        stage.act();
        stage
    }

    /// A group of this many workers, all of them ready for `capacity` requests.
    fn ready(group: GroupConfig, capacity: u32) -> (Stage, Vec<WorkerKey>) {
        let mut stage = Stage::new(group);
        let workers = std::iter::from_fn(|| stage.raise(capacity)).collect();
        (stage, workers)
    }

    /// The next worker wanted is born and says ready.
    fn raise(&mut self, capacity: u32) -> Option<WorkerKey> {
        let worker = self.spawns.pop_front()?;
        self.tell(Input::Spawned { worker, pid: 100 + worker.index() as u32 });
        self.tell(Input::Ready { worker, capacity, wants_hard_kill: false });
        Some(worker)
    }

    /// An input whose actions wait.
    fn note(&mut self, input: Input) {
        self.scheduler.handle_input(self.now, input);
    }

    fn tell(&mut self, input: Input) {
        self.note(input);
        self.act();
    }

    fn enqueue(&mut self, name: u8, options: JobOptions) -> JobKey {
        let key = self.scheduler.enqueue(self.now, GroupIndex(0), Owner(name, options), self.now);
        self.act();
        key
    }

    fn act(&mut self) {
        while let Some(action) = self.scheduler.poll_action() {
            self.perform(action);
        }
        self.scheduler.check().expect("the invariants hold");
    }

    fn perform(&mut self, action: Action<Owner>) {
        match action {
            Action::Spawn { worker, .. } => {
                self.spawns.push_back(worker);
                self.pages.insert(worker, Page::in_memory());
            }
            Action::Send { worker, job, ordinal, generation, epoch, .. } => {
                let Owner(job, _) = self.scheduler.ticket(job).expect("what is sent is not over");
                self.sent.push(Sent { to: worker, job: *job, ordinal, generation, epoch });
            }
            Action::TakeBack(worker) => {
                let mark = self.pages[&worker].take_back();
                self.note(Input::TakenBack { worker, mark });
            }
            Action::ReadPage(worker) => {
                let (started, running) = self.read(worker);
                self.note(Input::Page { worker, started, running });
            }
            Action::Sample(worker) => {
                let beat = if self.silent.contains(&worker) { Time::ZERO } else { self.now };
                let vitals = Vitals { beat, ..Vitals::default() };
                self.note(Input::Sample { worker, rss_bytes: Some(1 << 20), vitals });
            }
            Action::Complete { ticket: Owner(name, _), outcome } => {
                assert!(self.outcomes.insert(name, outcome).is_none(), "job {name} ended twice");
            }
            other => self.log.push(other),
        }
    }

    fn read(&self, worker: WorkerKey) -> (Ordinal, Vec<Slot>) {
        let page = &self.pages[&worker];
        (page.mark().started, page.slots().collect())
    }

    /// Time goes by; what is due is done when it is due.
    fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(due) = self.scheduler.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.scheduler.handle_timeout(self.now);
            self.act();
        }
        self.now = until;
    }

    fn last_sent(&self, job: u8) -> Sent {
        *self.sent.iter().rfind(|sent| sent.job == job).expect("it was sent")
    }

    /// The worker that holds the job calls its handler.
    fn start(&mut self, job: u8) -> Sent {
        let sent = self.last_sent(job);
        let page = &self.pages[&sent.to];
        page.occupy(sent.ordinal.0 as usize % 64, sent.ordinal, self.now);
        assert_eq!(page.start(sent.generation), Ok(sent.ordinal), "job {job} can be started");
        sent
    }

    /// The job's handler is called and answers.
    fn answer(&mut self, job: u8) {
        let sent = self.start(job);
        self.answer_started(sent);
    }

    fn answer_started(&mut self, Sent { to: worker, ordinal, epoch, .. }: Sent) {
        self.pages[&worker].vacate(ordinal.0 as usize % 64);
        let reply = Reply::Data(Vec::new());
        self.tell(Input::Answer { worker, ordinal, epoch, ran: millis(0), reply });
    }

    /// The worker's process ends.
    fn end_process(&mut self, worker: WorkerKey, status: ExitStatus) {
        let (started, running) = self.read(worker);
        let exit = Exit { status, oom_likely: false, stderr_tail: Vec::new() };
        self.tell(Input::ProcessEnded { worker, exit, started, running });
    }

    fn die(&mut self, worker: WorkerKey) {
        self.end_process(worker, ExitStatus::Signal(11));
        self.tell(Input::LinkEnded(worker));
    }

    fn count(&self, is_wanted: impl Fn(&Action<Owner>) -> bool) -> usize {
        self.log.iter().filter(|action| is_wanted(action)).count()
    }

    fn kills(&self) -> usize {
        self.count(|action| matches!(action, Action::Kill(_)))
    }

    fn is_stopped(&self) -> bool {
        self.count(|action| matches!(action, Action::Stopped)) > 0
    }
}
