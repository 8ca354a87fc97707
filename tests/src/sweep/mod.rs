//! Byte sweeps: a worker that is cut after every byte of a request's frame, and of a reply's, in three phases each.
//!
//! | frame | phase | what must come of it |
//! | --- | --- | --- |
//! | request of B | the worker is idle | B is requeued, no retry spent |
//! | request of B | the worker has started A | B is requeued; A is lost, or retried if it may be |
//! | request of B | the worker has begun its reply to A | the same |
//! | reply to A | A is not started: the worker lies | short of the last byte A is requeued; with it, answered |
//! | reply to A | A runs | short of the last byte A is lost, or retried if it may be; with it, answered |
//! | reply to A | A's handler has returned | the same |
//!
//! Whatever is answered is answered with the right payload, by the attempt that the table says. A retry is allowed
//! at every other cut.
//!
//! Small frames are cut in real processes by [`processes`]; large ones, at every byte, between the shipped scheduler
//! and the worker library's pure half by [`memory`], and at a stride in real processes.
//!
//! ```text
//! cargo run --release -p ganger-tests --bin sweep              # 64 B at every byte, 300 kB at a stride
//! cargo run --release -p ganger-tests --bin sweep -- --long    # 300 kB at every byte in memory, minutes
//! ```

pub mod memory;
pub mod processes;

/// Which frame is cut, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// B's request, to an idle worker.
    RequestIdle,
    /// B's request, to a worker that has started A.
    RequestStarted,
    /// B's request, to a worker that has begun to answer A.
    RequestReplying,
    /// A's reply, without a start.
    ReplyUnstarted,
    /// A's reply, while A shows as running.
    ReplyRunning,
    /// A's reply, after its handler has returned.
    ReplyReturned,
}

impl Phase {
    /// All of them.
    pub const ALL: [Phase; 6] = [
        Phase::RequestIdle,
        Phase::RequestStarted,
        Phase::RequestReplying,
        Phase::ReplyUnstarted,
        Phase::ReplyRunning,
        Phase::ReplyReturned,
    ];

    /// Whether it is a request's frame that is cut.
    fn cuts_request(self) -> bool {
        match self {
            Phase::RequestIdle | Phase::RequestStarted | Phase::RequestReplying => true,
            Phase::ReplyUnstarted | Phase::ReplyRunning | Phase::ReplyReturned => false,
        }
    }
}

/// What a sweep has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Cuts made.
    pub cuts: usize,
    /// Jobs that were requeued and answered, no retry spent.
    pub requeued: usize,
    /// Jobs that were lost with their worker.
    pub lost: usize,
    /// Jobs that were retried and answered.
    pub retried: usize,
    /// Jobs that were answered although their worker died.
    pub answered: usize,
}

impl std::ops::Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        Counts {
            cuts: self.cuts + other.cuts,
            requeued: self.requeued + other.requeued,
            lost: self.lost + other.lost,
            retried: self.retried + other.retried,
            answered: self.answered + other.answered,
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { cuts, requeued, lost, retried, answered } = self;
        write!(f, "{cuts} cuts: {requeued} requeued, {lost} lost, {retried} retried, {answered} answered")
    }
}

/// A retry is allowed at every other cut.
fn retries_at(cut: usize) -> u16 {
    (cut % 2) as u16
}

/// No two jobs have the same payload.
fn payload(size: usize, job: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251 + job % 241) as u8).collect()
}
