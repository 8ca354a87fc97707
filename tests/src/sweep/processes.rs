//! Sweeps in real processes: raw workers that die at the byte, one process a cut.

use ganger::{Builder, Handle, Job, JobError, PoisonPolicy, Raw, Started, Supervisor};
use ganger_protocol::{AnswerHead, Answered, Epoch, Generation, JobId, Kind, Ordinal, RequestHead, VERSION};

use super::{Counts, Phase, payload, retries_at};
use crate::harness::Scratch;
use crate::raw::{Reply, Step, frame, life};
use crate::workers::{online, raw, tireless};

const KILL: Step = Step::Signal(9);

/// Cuts the phase's frame, with a payload of `size` bytes, after every `stride`th byte, and after the last.
///
/// # Panics
/// When anything else comes of it than the table says.
#[must_use]
pub fn sweep(phase: Phase, size: usize, stride: usize) -> Counts {
    let cuts = cuts(phase, size, stride);
    let scratch = Scratch::new();
    let lives: Vec<Vec<Step>> = cuts.iter().flat_map(|cut| lives(phase, size, *cut)).collect();
    let supervisor = online(pool(&scratch, lives));
    let mut counts = Counts { cuts: cuts.len(), ..Counts::default() };
    for cut in cuts {
        one_cut(&supervisor, phase, size, cut, &mut counts);
    }
    counts
}

/// Where a frame is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    After(usize),
    /// It is whole.
    Nowhere(usize),
}

impl Cut {
    fn number(self) -> usize {
        match self {
            Cut::After(bytes) | Cut::Nowhere(bytes) => bytes,
        }
    }
}

fn cuts(phase: Phase, size: usize, stride: usize) -> Vec<Cut> {
    let length = if phase.cuts_request() { shortest_request(size) } else { reply_len(size) };
    let inside = (0..length).filter(|at| at % stride == 0 || *at + 1 == length).map(Cut::After);
    inside.chain([Cut::Nowhere(length)]).collect()
}

/// The bytes of a request's frame; the job's age takes up to three bytes more.
fn shortest_request(size: usize) -> usize {
    let head = RequestHead {
        ordinal: Ordinal(1),
        generation: Generation(0),
        epoch: Epoch(1),
        attempt: 1,
        job: JobId::from_bytes([0; 16]),
        age_nanos: 1 << 7,
        run_timeout_nanos: None,
        name: "echo".into(),
        headers: Vec::new(),
    };
    frame(Kind::Request, &head, &vec![0; size]).len()
}

fn reply_len(size: usize) -> usize {
    let head = AnswerHead { ordinal: Ordinal(1), epoch: Epoch(1), run_nanos: 1, answered: Answered::Data };
    frame(Kind::Answer, &head, &vec![0; size]).len()
}

/// One worker, replaced as often as it takes.
fn pool(scratch: &Scratch, lives: Vec<Vec<Step>>) -> Builder {
    let poison = PoisonPolicy { losses: u8::MAX, deaths: u8::MAX };
    Supervisor::builder(raw(scratch, lives)).workers(1).restart(tireless()).poison(poison)
}

/// The life that is cut, and as many lives of one answer each as are needed to clear up after it.
fn lives(phase: Phase, size: usize, cut: Cut) -> Vec<Vec<Step>> {
    let retried = usize::from(retries_at(cut.number()));
    let is_answered = matches!(cut, Cut::Nowhere(_));
    let left = match phase {
        Phase::RequestIdle => 1,
        Phase::RequestStarted | Phase::RequestReplying => 1 + retried,
        Phase::ReplyUnstarted | Phase::ReplyRunning | Phase::ReplyReturned if is_answered => 0,
        Phase::ReplyUnstarted => 1,
        Phase::ReplyRunning | Phase::ReplyReturned => retried,
    };
    let answers_one = life([Step::Take, Step::Start, Step::Answer(Reply::echo()), KILL]);
    let cut = cut_life(phase, size, cut);
    [cut].into_iter().chain(std::iter::repeat_n(answers_one, left)).collect()
}

fn cut_life(phase: Phase, size: usize, cut: Cut) -> Vec<Step> {
    let reads = match cut {
        Cut::After(bytes) => Step::ReadBytes(bytes),
        Cut::Nowhere(_) => Step::Take,
    };
    let reply = match cut {
        Cut::After(bytes) => Reply::echo().cut(bytes),
        Cut::Nowhere(_) => Reply::echo(),
    };
    let half = Step::Answer(Reply::echo().cut(reply_len(size) / 2));
    let two = |rest: Vec<Step>| {
        [vec![Step::Hello(VERSION), Step::Ready(2), Step::Take, Step::Start], rest].concat()
    };
    match phase {
        // It comes to the first byte before it dies, so that the job was sent.
        Phase::RequestIdle => life([reads, KILL]),
        Phase::RequestStarted => two(vec![reads, KILL]),
        Phase::RequestReplying => two(vec![half, reads, KILL]),
        Phase::ReplyUnstarted => life([Step::Take, Step::Answer(reply), KILL]),
        Phase::ReplyRunning => life([Step::Take, Step::Start, Step::Answer(reply.while_running()), KILL]),
        Phase::ReplyReturned => life([Step::Take, Step::Start, Step::Answer(reply), KILL]),
    }
}

fn one_cut(supervisor: &Supervisor, phase: Phase, size: usize, cut: Cut, counts: &mut Counts) {
    let retries = retries_at(cut.number());
    let number = 2 * cut.number();
    let enqueue = |number| {
        let job = Job::new(Raw::new("echo", payload(size, number))).retries(retries);
        supervisor.enqueue(job).expect("accepted")
    };
    let is_answered = matches!(cut, Cut::Nowhere(_)) && !phase.cuts_request();
    let judge = |handle: Handle<Raw>, number, is_free, counts: &mut Counts| {
        let what = format!("{phase:?}, {cut:?}");
        judge(&what, handle, &payload(size, number), (retries, is_free, is_answered), counts);
    };
    match phase {
        Phase::RequestIdle | Phase::ReplyUnstarted => judge(enqueue(number), number, true, counts),
        Phase::ReplyRunning | Phase::ReplyReturned => judge(enqueue(number), number, false, counts),
        Phase::RequestStarted | Phase::RequestReplying => {
            let (started, cut_off) = (enqueue(number), enqueue(number + 1));
            judge(started, number, false, counts);
            judge(cut_off, number + 1, true, counts);
        }
    }
}

fn judge(
    what: &str,
    handle: Handle<Raw>,
    payload: &[u8],
    (retries, is_free, is_answered): (u16, bool, bool),
    counts: &mut Counts,
) {
    match handle.wait() {
        Ok(response) => {
            assert!(response.data == payload, "{what}: a wrong payload");
            let expected = if is_free || is_answered { 1 } else { 2 };
            assert_eq!(response.attempt, expected, "{what}");
            assert!(expected == 1 || retries > 0, "{what}");
            match (is_answered, is_free) {
                (true, _) => counts.answered += 1,
                (false, true) => counts.requeued += 1,
                (false, false) => counts.retried += 1,
            }
        }
        Err(error @ JobError::WorkerLost { .. }) => {
            assert!(!is_free && !is_answered && retries == 0, "{what}: {error}");
            assert_eq!(error.started(), Started::Yes, "{what}");
            counts.lost += 1;
        }
        Err(other) => panic!("{what}: {other:?}"),
    }
}
