//! Sweeps in memory: the shipped scheduler, frame reader and ear on one side, the worker library's session on the
//! other; the worker dies between two bytes.

use ganger::internals::{Config, GroupConfig, GroupIndex, JobOptions, Outcome, PoisonPolicy, RestartPolicy};
use ganger_protocol::{Answered, Limits, Ready};
use ganger_worker::internals::Session;

use super::{Counts, Phase, payload, retries_at};
use crate::rig::{Peer, Rig, Task};

/// The first worker.
const FIRST: usize = 0;

/// Cuts the phase's frame, with a payload of `size` bytes, after every `stride`th byte, the last few, and the last.
///
/// # Panics
/// When anything else comes of it than the table says.
#[must_use]
pub fn sweep(phase: Phase, size: usize, stride: usize) -> Counts {
    let mut counts = Counts::default();
    let payload = payload(size, 0);
    let length = Stand::new(phase, &payload, 0).frame.len();
    let (head, tail) = (64.min(length), length.saturating_sub(3));
    let cuts = (0..=length).filter(|cut| *cut <= head || *cut >= tail || cut % stride == 0);
    for cut in cuts {
        Stand::new(phase, &payload, retries_at(cut)).cut_at(cut, &mut counts);
        counts.cuts += 1;
    }
    counts
}

/// A worker with a frame that is about to be cut.
struct Stand {
    rig: Rig,
    phase: Phase,
    retries: u16,
    frame: Vec<u8>,
}

impl Stand {
    fn new(phase: Phase, payload: &[u8], retries: u16) -> Stand {
        let mut group = GroupConfig::new("swept", 1);
        group.restart = RestartPolicy::unlimited();
        group.poison = PoisonPolicy { losses: u8::MAX, deaths: u8::MAX };
        let mut rig = Rig::new(Config::new(vec![group]), 1);
        rig.payload = payload.to_vec();
        rig.born(FIRST);
        rig.hear(FIRST, &Peer::up(2)).expect("in order");
        let mut stand = Stand { rig, phase, retries, frame: Vec::new() };
        stand.frame = stand.prepare(payload);
        stand
    }

    /// Brings the worker to where the frame begins, and gives the frame.
    fn prepare(&mut self, payload: &[u8]) -> Vec<u8> {
        match self.phase {
            Phase::RequestIdle => self.request(),
            Phase::RequestStarted => {
                self.started_job();
                self.request()
            }
            Phase::RequestReplying => {
                let task = self.started_job();
                let reply = reply(task, payload);
                self.rig.hear(FIRST, &reply[..reply.len() / 2]).expect("in order");
                self.request()
            }
            Phase::ReplyUnstarted => {
                self.enqueue();
                reply(self.rig.peers[FIRST].tasks[0], payload)
            }
            Phase::ReplyRunning => reply(self.started_job(), payload),
            Phase::ReplyReturned => {
                self.started_job();
                let task = self.rig.peers[FIRST].answer_next().expect("it was started");
                reply(task, payload)
            }
        }
    }

    fn enqueue(&mut self) {
        self.rig.enqueue(GroupIndex(0), JobOptions { retries: self.retries, ..JobOptions::default() });
    }

    fn started_job(&mut self) -> Task {
        self.enqueue();
        drop(self.rig.peers[FIRST].to_worker.take_bytes());
        let now = self.rig.now();
        self.rig.peers[FIRST].start_next(now).expect("it was sent")
    }

    fn request(&mut self) -> Vec<u8> {
        self.enqueue();
        self.rig.peers[FIRST].to_worker.take_bytes()
    }

    fn cut_at(mut self, cut: usize, counts: &mut Counts) {
        let part = &self.frame[..cut];
        let is_whole = cut == self.frame.len();
        let is_request = match self.phase {
            Phase::RequestIdle | Phase::RequestStarted | Phase::RequestReplying => true,
            Phase::ReplyUnstarted | Phase::ReplyRunning | Phase::ReplyReturned => false,
        };
        if is_request {
            expect_startable(part, is_whole, &self.rig.payload);
        } else {
            self.rig.hear(FIRST, part).expect("in order, as far as it goes");
        }
        self.rig.die(FIRST);
        self.work_off();
        // The last job is the one whose frame was cut; one before it had been started.
        let is_free = is_request || self.phase == Phase::ReplyUnstarted;
        let last = self.rig.jobs.len() - 1;
        self.judge(last, is_free, !is_request && is_whole, counts);
        if last > 0 {
            self.judge(0, false, false, counts);
        }
    }

    /// Replacements answer whatever is left.
    fn work_off(&mut self) {
        for _ in 0..10 {
            if self.rig.jobs.iter().all(|job| job.outcome.is_some()) {
                return;
            }
            let peer = self.rig.peers.len() - 1;
            self.rig.born(peer);
            if self.rig.peers[peer].is_silent() {
                self.rig.hear(peer, &Peer::up(1)).expect("in order");
            }
            let now = self.rig.now();
            if self.rig.peers[peer].start_next(now).is_some() {
                let task = self.rig.peers[peer].answer_next().expect("it was started");
                let reply = reply(task, &self.rig.payload);
                self.rig.hear(peer, &reply).expect("in order");
            }
            self.rig.pass(std::time::Duration::from_millis(200));
        }
    }

    fn judge(&self, job: usize, is_free: bool, is_answered: bool, counts: &mut Counts) {
        let outcome = self.rig.jobs[job].outcome.as_ref();
        match outcome {
            Some(Outcome::Replied { data, attempt }) => {
                assert!(*data == self.rig.payload, "{:?}: a wrong payload", self.phase);
                let expected = if is_free || is_answered { 1 } else { 2 };
                assert_eq!(attempt.attempt, expected, "{:?}: {job}", self.phase);
                assert!(expected == 1 || self.retries > 0);
                match (is_answered, is_free) {
                    (true, _) => counts.answered += 1,
                    (false, true) => counts.requeued += 1,
                    (false, false) => counts.retried += 1,
                }
            }
            Some(Outcome::WorkerLost(_)) => {
                assert!(!is_free && !is_answered && self.retries == 0, "{:?}: {job} is lost", self.phase);
                counts.lost += 1;
            }
            other => panic!("{:?}: {job} ended {other:?}", self.phase),
        }
    }
}

fn reply(task: Task, payload: &[u8]) -> Vec<u8> {
    Peer::answer(task.ordinal, task.epoch, Answered::Data, payload)
}

/// What the worker library makes of a part of a request: nothing, and of the whole the right thing.
fn expect_startable(part: &[u8], is_whole: bool, payload: &[u8]) {
    let page = ganger_protocol::Page::in_memory();
    let now = ganger_protocol::Time::ZERO;
    let mut session = Session::new(Limits::default());
    session.ready(Ready { capacity: 2, wants_hard_kill: false });
    session.inbox().push(part);
    session.take_in(now).expect("in order, as far as it goes");
    assert_eq!(session.can_start(&page), is_whole, "a request is started when it is whole");
    if is_whole && let Ok(Some(started)) = session.start_next(&page, now) {
        assert!(started.request.payload == payload, "a wrong argument");
    }
}
