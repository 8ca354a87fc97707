//! Sweeps in memory: the shipped scheduler, frame reader and ear on one side, the worker library's session on the
//! other; the worker dies between two bytes.

use std::num::NonZero;
use std::thread;

use bytes::Bytes;
use ganger::internals::{Config, GroupConfig, GroupIndex, JobOptions, Outcome, PoisonPolicy, RestartPolicy};
use ganger_protocol::{AnswerHead, Answered, Body, Kind, Limits, Outbox, Ready};
use ganger_worker::internals::Session;

use super::{Counts, Phase, payload, retries_at};
use crate::rig::{Peer, Rig, Task};

/// The first worker.
const FIRST: usize = 0;

/// Cuts the phase's frame, with a payload of `size` bytes, after every `stride`th byte, the last few, and the last. The
/// cuts are shared out among as many threads as there are cores: none depends on another.
///
/// # Panics
/// When anything else comes of it than the table says.
#[must_use]
pub fn sweep(phase: Phase, size: usize, stride: usize) -> Counts {
    let plot = Plot::new(phase, size);
    let lanes = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let start = |lane| {
            scope.spawn({
                let plot = &plot;
                move || plot.sweep(stride, lane, lanes)
            })
        };
        let started: Vec<_> = (0..lanes).map(start).collect();
        started.into_iter().fold(Counts::default(), |sum, lane| {
            sum + lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

/// What is the same for every cut of a phase: written once, because writing it takes longer than reading it.
struct Plot {
    phase: Phase,
    payload: Bytes,
    /// The job whose frame it is, as the worker holds it.
    task: Task,
    frame: Vec<u8>,
    /// A reply that has been begun before.
    begun: Vec<u8>,
}

impl Plot {
    fn new(phase: Phase, size: usize) -> Plot {
        let payload = Bytes::from(payload(size, 0));
        let mut stand = Stand::new(&payload, 0);
        let (task, begun) = match phase {
            Phase::RequestReplying => {
                let reply = frame_of_reply(stand.started_job(), &payload);
                (stand.request(), reply[..reply.len() / 2].to_vec())
            }
            Phase::RequestIdle
            | Phase::RequestStarted
            | Phase::ReplyUnstarted
            | Phase::ReplyRunning
            | Phase::ReplyReturned => (stand.prepare(phase, &[]), Vec::new()),
        };
        let frame = if phase.cuts_request() {
            stand.rig.peers[FIRST].to_worker.take_bytes()
        } else {
            frame_of_reply(task, &payload)
        };
        Plot { phase, payload, task, frame, begun }
    }

    /// Every `lanes`th of the cuts, from the `lane`th on.
    fn sweep(&self, stride: usize, lane: usize, lanes: usize) -> Counts {
        let mut counts = Counts::default();
        let length = self.frame.len();
        let (head, tail) = (64.min(length), length.saturating_sub(3));
        let cuts = (0..=length).filter(|cut| *cut <= head || *cut >= tail || cut % stride == 0);
        for cut in cuts.skip(lane).step_by(lanes) {
            self.cut_at(cut, &mut counts);
            counts.cuts += 1;
        }
        counts
    }

    fn cut_at(&self, cut: usize, counts: &mut Counts) {
        let Plot { phase, payload, task, frame, begun } = self;
        let mut stand = Stand::new(payload, retries_at(cut));
        assert_eq!(stand.prepare(*phase, begun), *task, "{phase:?}: always the same frame");
        let (part, is_whole) = (&frame[..cut], cut == frame.len());
        if phase.cuts_request() {
            assert_eq!(stand.rig.peers[FIRST].to_worker.pending(), frame.len(), "{phase:?}: the same frame");
            expect_startable(part, is_whole, payload);
        } else {
            stand.rig.hear(FIRST, part).expect("in order, as far as it goes");
        }
        stand.rig.die(FIRST);
        stand.work_off();
        // The last job is the one whose frame was cut; one before it had been started.
        let is_free = phase.cuts_request() || *phase == Phase::ReplyUnstarted;
        let last = stand.rig.jobs.len() - 1;
        stand.judge(*phase, last, (is_free, !phase.cuts_request() && is_whole), counts);
        if last > 0 {
            stand.judge(*phase, 0, (false, false), counts);
        }
    }
}

/// A worker with a frame that is about to be cut.
struct Stand {
    rig: Rig,
    retries: u16,
}

impl Stand {
    fn new(payload: &Bytes, retries: u16) -> Stand {
        let mut group = GroupConfig::new("swept", 1);
        group.restart = RestartPolicy::unlimited();
        group.poison = PoisonPolicy { losses: u8::MAX, deaths: u8::MAX };
        let mut rig = Rig::new(Config::new(vec![group]), 1);
        rig.payload = payload.clone();
        rig.born(FIRST);
        rig.hear(FIRST, &Peer::up(2)).expect("in order");
        Stand { rig, retries }
    }

    /// Brings the worker to where the frame begins, and says whose frame it is.
    fn prepare(&mut self, phase: Phase, begun: &[u8]) -> Task {
        match phase {
            Phase::RequestIdle => self.request(),
            Phase::RequestStarted | Phase::RequestReplying => {
                self.started_job();
                self.rig.hear(FIRST, begun).expect("in order");
                self.request()
            }
            Phase::ReplyUnstarted => self.request(),
            Phase::ReplyRunning => self.started_job(),
            Phase::ReplyReturned => {
                self.started_job();
                self.rig.peers[FIRST].answer_next().expect("it was started")
            }
        }
    }

    fn enqueue(&mut self) {
        self.rig.enqueue(GroupIndex(0), JobOptions { retries: self.retries, ..JobOptions::default() });
    }

    fn started_job(&mut self) -> Task {
        self.enqueue();
        self.rig.peers[FIRST].to_worker = Outbox::new();
        let now = self.rig.now();
        self.rig.peers[FIRST].start_next(now).expect("it was sent")
    }

    fn request(&mut self) -> Task {
        self.enqueue();
        *self.rig.peers[FIRST].tasks.last().expect("it was sent")
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
                self.reply(peer, task);
            }
            self.rig.pass(std::time::Duration::from_millis(200));
        }
    }

    /// The whole reply, head and payload, without a copy of either.
    fn reply(&mut self, peer: usize, task: Task) {
        let (mut outbox, rig) = (Outbox::new(), &mut self.rig);
        outbox.frame(Kind::Answer, &answer(task), Body::Share(rig.payload.clone()));
        let heard = outbox.flush(|pieces| {
            pieces.iter().for_each(|piece| rig.hear(peer, piece).expect("in order"));
            Ok(pieces.iter().map(|piece| piece.len()).sum())
        });
        heard.expect("it is heard");
    }

    fn judge(&self, phase: Phase, job: usize, (is_free, is_answered): (bool, bool), counts: &mut Counts) {
        let outcome = self.rig.jobs[job].outcome.as_ref();
        match outcome {
            Some(Outcome::Replied { data, attempt, .. }) => {
                assert!(*data == self.rig.payload, "{:?}: a wrong payload", phase);
                let expected = if is_free || is_answered { 1 } else { 2 };
                assert_eq!(attempt.attempt, expected, "{:?}: {job}", phase);
                assert!(expected == 1 || self.retries > 0);
                match (is_answered, is_free) {
                    (true, _) => counts.answered += 1,
                    (false, true) => counts.requeued += 1,
                    (false, false) => counts.retried += 1,
                }
            }
            Some(Outcome::WorkerLost(_)) => {
                assert!(!is_free && !is_answered && self.retries == 0, "{:?}: {job} is lost", phase);
                counts.lost += 1;
            }
            other => panic!("{:?}: {job} ended {other:?}", phase),
        }
    }
}

fn answer(task: Task) -> AnswerHead {
    AnswerHead { ordinal: task.ordinal, epoch: task.epoch, run_nanos: 1000, answered: Answered::Data }
}

fn frame_of_reply(task: Task, payload: &[u8]) -> Vec<u8> {
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
