//! Faults on purpose: a worker that dies at an exact point of its nth job.
//!
//! Whoever depends on workers wants to see what happens when one dies. A signal from outside comes at any time; a
//! fault comes at one. The program arms it itself, told by whatever it likes, its arguments or its environment:
//!
//! ```no_run
//! use ganger_worker::testing::Fault;
//! use ganger_worker::Worker;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut worker = Worker::connect()?;
//! worker.on_raw("echo", |request| {
//!     let (bytes, responder) = request.into_parts();
//!     responder.respond(bytes);
//! });
//! if std::env::args().any(|arg| arg == "--die-at-the-third") {
//!     worker.inject(Fault::die().at_job(3).before_start());
//! }
//! worker.serve()?;
//! # Ok(())
//! # }
//! ```
//!
//! | point | the handler | what the supervisor makes of it |
//! | --- | --- | --- |
//! | [`before_start`](Fault::before_start) | was not called | the job goes back to its place, no retry is spent |
//! | [`after_start`](Fault::after_start) | was not called, but nobody can know | lost, or retried |
//! | [`before_answer`](Fault::before_answer) | has done its work; its answer is not written | lost, or retried |
//! | [`inside_answer`](Fault::inside_answer) | has done its work; all but the answer's last byte is written | lost, or retried |
//! | [`after_answer`](Fault::after_answer) | has done its work, and its answer is written | answered |
//!
//! A worker without faults asks once a start and once an answer whether it has any.

use std::fmt;
use std::io::IoSlice;
use std::os::fd::AsFd;

use ganger_protocol::{Outbox, write_from};
use rustix::process::{Signal, getpid, kill_process};

use crate::session::Ticket;

/// A fault that a worker has at an exact point of one of its jobs: see [`Worker::inject`](crate::Worker::inject).
///
/// With a [`Bench`](super::Bench), whose worker is no process of its own, the worker lets go of its leash instead
/// of ending:
///
/// ```
/// use ganger_worker::testing::{Bench, Fault};
///
/// let mut bench = Bench::start(|worker| {
///     worker.on_raw("echo", |request| {
///         let (bytes, responder) = request.into_parts();
///         responder.respond(bytes);
///     });
///     worker.inject(Fault::die().at_job(2).before_answer());
/// });
/// assert_eq!(bench.call_raw("echo", b"first"), Ok(b"first".to_vec()));
/// bench.send_raw("echo", b"second");
/// bench.wait_end().unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    end: End,
    job: u64,
    point: Point,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Die,
    Exit(i32),
    Stop,
}

/// Where in a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    BeforeStart,
    AfterStart,
    BeforeAnswer,
    InsideAnswer,
    AfterAnswer,
}

impl Fault {
    /// The process is killed, as if by SIGKILL from outside: at its first job, before its start.
    #[must_use]
    pub fn die() -> Fault {
        Fault { end: End::Die, job: 1, point: Point::BeforeStart }
    }

    /// The process exits with this code: at its first job, before its start.
    #[must_use]
    pub fn exit(code: i32) -> Fault {
        Fault { end: End::Exit(code), ..Fault::die() }
    }

    /// The process is stopped, as by SIGSTOP, and goes on if somebody continues it: at its first job, before its
    /// start.
    #[must_use]
    pub fn stop() -> Fault {
        Fault { end: End::Stop, ..Fault::die() }
    }

    /// At this job of the process, from 1, in the order of starts.
    ///
    /// # Panics
    /// When `number` is 0.
    #[must_use]
    pub fn at_job(self, number: u64) -> Fault {
        assert!(number > 0, "the first job is number 1");
        Fault { job: number, ..self }
    }

    /// The request has come; the start mark has not moved.
    #[must_use]
    pub fn before_start(self) -> Fault {
        Fault { point: Point::BeforeStart, ..self }
    }

    /// The start mark has moved; the handler is about to be called.
    #[must_use]
    pub fn after_start(self) -> Fault {
        Fault { point: Point::AfterStart, ..self }
    }

    /// The handler has answered; neither this answer nor those that waited with it for company are written.
    #[must_use]
    pub fn before_answer(self) -> Fault {
        Fault { point: Point::BeforeAnswer, ..self }
    }

    /// All but the last byte of the answer is written.
    #[must_use]
    pub fn inside_answer(self) -> Fault {
        Fault { point: Point::InsideAnswer, ..self }
    }

    /// The answer is written.
    #[must_use]
    pub fn after_answer(self) -> Fault {
        Fault { point: Point::AfterAnswer, ..self }
    }

    /// Does it, in a process of its own.
    pub(crate) fn strike(self) {
        let signal = match self.end {
            End::Die => Signal::KILL,
            End::Stop => Signal::STOP,
            End::Exit(code) => std::process::exit(code),
        };
        let _ = kill_process(getpid(), signal);
    }
}

/// The faults that a worker is still to have, and how far it is.
#[derive(Default)]
pub(crate) struct Faults {
    armed: Vec<Armed>,
    started: u64,
}

struct Armed {
    fault: Fault,
    /// The job, once it is started.
    victim: Option<Ticket>,
}

impl Faults {
    pub(crate) fn arm(&mut self, fault: Fault) {
        self.armed.push(Armed { fault, victim: None });
    }

    /// The next job is about to be started.
    pub(crate) fn before_start(&mut self) -> Option<Fault> {
        let next = self.started + 1;
        self.take(|armed| armed.fault.point == Point::BeforeStart && armed.fault.job == next)
    }

    /// A job was started.
    pub(crate) fn after_start(&mut self, ticket: Ticket) -> Option<Fault> {
        self.started += 1;
        for armed in self.armed.iter_mut().filter(|armed| armed.fault.job == self.started) {
            armed.victim = Some(ticket);
        }
        self.at(Point::AfterStart, ticket)
    }

    /// A job's answer is at this point.
    pub(crate) fn at(&mut self, point: Point, ticket: Ticket) -> Option<Fault> {
        self.take(|armed| armed.fault.point == point && armed.victim == Some(ticket))
    }

    fn take(&mut self, is_due: impl Fn(&Armed) -> bool) -> Option<Fault> {
        let place = self.armed.iter().position(is_due)?;
        Some(self.armed.remove(place).fault)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.armed.iter().map(|armed| armed.fault)).finish()
    }
}

/// Writes all but the last byte; what does not fit at once stays unwritten as well.
pub(crate) fn write_most(leash: impl AsFd, outbox: &mut Outbox) {
    let bytes = outbox.take_bytes();
    let most = bytes.len().saturating_sub(1);
    let _ = write_from(leash, &[IoSlice::new(&bytes[..most])]);
}
