//! How a job ends, and what is known about a worker's death.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{Attachments, Failure, JobId};

/// How a job ended. A job ends once.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The handler answered.
    Replied {
        /// The reply's bytes; none for a plain acknowledgement.
        data: Vec<u8>,
        /// What came with it.
        attachments: Attachments,
        /// Which attempt it was.
        attempt: AttemptInfo,
    },
    /// The handler answered with a failure.
    Failed {
        /// What it said.
        failure: Failure,
        /// Which attempt it was.
        attempt: AttemptInfo,
    },
    /// A clock ran out.
    TimedOut {
        /// Which one.
        clock: Clock,
        /// Whether a handler had been called.
        started: Started,
        /// The worker that had it, when its handler was at work.
        worker: Option<Arc<str>>,
    },
    /// Its owner cancelled it.
    Cancelled {
        /// Whether a handler had been called.
        started: Started,
        /// The worker that had it, when its handler was at work.
        worker: Option<Arc<str>>,
    },
    /// The worker died after the handler had been called: nobody knows how far it came.
    WorkerLost(WorkerLost),
    /// Too many workers died with it in hand.
    Poisoned {
        /// The deaths, oldest first.
        reports: Vec<Arc<CrashReport>>,
        /// Whether a handler had been called: not when every worker died before that.
        started: Started,
    },
    /// The supervisor was shut down first.
    ShuttingDown {
        /// Whether a handler had been called.
        started: Started,
        /// The worker that had it, when its handler was at work.
        worker: Option<Arc<str>>,
    },
    /// Its group has no worker and gets none.
    NoWorkers {
        /// The group's name.
        group: Arc<str>,
        /// Why the group has none.
        reason: Arc<str>,
        /// Whether a handler had been called, in an earlier attempt.
        started: Started,
    },
}

/// Where and how an attempt was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptInfo {
    /// The worker's name.
    pub worker: Arc<str>,
    /// 1 + the retries spent.
    pub attempt: u16,
    /// From enqueue until the request was sent to the worker.
    pub queued: Duration,
    /// The handler's time, as the worker measured it.
    pub ran: Duration,
}

/// A job's three clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Clock {
    /// `queue_timeout`: from enqueue until the first start.
    Queue,
    /// `run_timeout`: one attempt.
    Run,
    /// `timeout`: all of it.
    Total,
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Clock::Queue => "queue_timeout",
            Clock::Run => "run_timeout",
            Clock::Total => "timeout",
        })
    }
}

/// Whether a handler was called for the job: whether a worker moved the start mark past its request, which it does
/// just before it calls the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Started {
    /// It certainly was not, and never will be.
    No,
    /// It was, at least once, or is being called this very moment.
    Yes,
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Started::No => "not started",
            Started::Yes => "started",
        })
    }
}

/// A worker died with the job started.
#[derive(Clone, Debug)]
pub struct WorkerLost {
    /// The death.
    pub report: Arc<CrashReport>,
    /// The job for whose sake the supervisor itself killed the worker, when it was not this one.
    pub because: Option<JobId>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// Nobody could tell: someone else reaped it, or it could not be killed.
    Unknown,
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exit code {code}"),
            ExitStatus::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "signal {signal} ({name})"),
                None => write!(f, "signal {signal}"),
            },
            ExitStatus::Unknown => f.write_str("an unknown end"),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        31 => "SIGSYS",
        _ => return None,
    })
}

/// What the driver knows about a process that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// How it ended.
    pub status: ExitStatus,
    /// Whether the kernel's out-of-memory killer is the likely cause.
    pub oom_likely: bool,
    /// Its last lines on standard error, oldest first.
    pub stderr_tail: Vec<String>,
}

/// Why the supervisor itself ended a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KillCause {
    /// A request ran out of time.
    TimedOut(JobId),
    /// A cancelled request did not end.
    Cancelled(JobId),
    /// It did not say ready in time.
    NotReady,
    /// Its library speaks this version of the protocol, which is not the supervisor's.
    WrongVersion(u16),
    /// Its heartbeat stopped.
    Silent,
    /// It broke the protocol.
    Violation(Arc<str>),
    /// It closed its link and lived on.
    LinkClosed,
    /// It did not leave in time when asked to.
    Overstayed,
    /// It used more memory than its group allows.
    OverMemory {
        /// Its resident memory, in bytes.
        rss_bytes: u64,
        /// What is allowed, in bytes.
        limit_bytes: u64,
    },
    /// Everything was to end at once.
    HardKill,
}

impl KillCause {
    /// One word for it, the same for all workers that are ended for it.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            KillCause::TimedOut(_) => "timed_out",
            KillCause::Cancelled(_) => "cancelled",
            KillCause::NotReady => "not_ready",
            KillCause::WrongVersion(_) => "wrong_version",
            KillCause::Silent => "silent",
            KillCause::Violation(_) => "violation",
            KillCause::LinkClosed => "link_closed",
            KillCause::Overstayed => "overstayed",
            KillCause::OverMemory { .. } => "over_memory",
            KillCause::HardKill => "hard_kill",
        }
    }
}

impl fmt::Display for KillCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KillCause::TimedOut(job) => write!(f, "job {job} ran out of time"),
            KillCause::Cancelled(job) => write!(f, "job {job} was cancelled and did not end"),
            KillCause::NotReady => f.write_str("it did not say ready within boot_timeout"),
            KillCause::WrongVersion(version) => {
                let ours = ganger_protocol::VERSION;
                write!(f, "its library speaks version {version} of the protocol, the supervisor {ours}")
            }
            KillCause::Silent => f.write_str("its heartbeat stopped"),
            KillCause::Violation(reason) => write!(f, "it broke the protocol: {reason}"),
            KillCause::LinkClosed => f.write_str("it closed its link and lived on"),
            KillCause::Overstayed => f.write_str("it did not leave in time when asked to"),
            KillCause::OverMemory { rss_bytes, limit_bytes } => {
                write!(f, "it used {rss_bytes} bytes of memory, and kill_above is {limit_bytes}")
            }
            KillCause::HardKill => f.write_str("the supervisor ended everything at once"),
        }
    }
}

/// All that is known about a worker's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashReport {
    /// The worker's name.
    pub worker: Arc<str>,
    /// Its group.
    pub group: Arc<str>,
    /// Its place in the group.
    pub slot: u32,
    /// Its process id; `None` when it never had one.
    pub pid: Option<u32>,
    /// How it ended, and what it wrote last.
    pub exit: Exit,
    /// Why the supervisor killed it, if it did.
    pub killed: Option<KillCause>,
    /// The jobs whose handlers were running.
    pub running: Vec<JobId>,
    /// Its resident memory when it was last sampled, in bytes.
    pub rss_bytes: Option<u64>,
    /// From its start to its end.
    pub uptime: Duration,
}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} ", self.worker)?;
        if let Some(pid) = self.pid {
            write!(f, "(pid {pid}) ")?;
        }
        write!(f, "ended by {} after {:.1?}", self.exit.status, self.uptime)?;
        if self.exit.oom_likely {
            f.write_str(", likely by the out-of-memory killer")?;
        }
        if let Some(cause) = &self.killed {
            write!(f, ", killed because {cause}")?;
        }
        let words = last_words(&self.exit.stderr_tail);
        if !words.is_empty() {
            write!(f, "; its last words: {}", words.join(" "))?;
        }
        Ok(())
    }
}

/// The lines that say most: of a panic those with its place and its message, when only a note or a backtrace follows;
/// else the last one. A panic that was caught has other lines behind it, and is not what the worker died of.
fn last_words(tail: &[String]) -> &[String] {
    let is_last = |at: &usize| tail.iter().skip(at + 2).all(|line| is_trace(line));
    let panic = tail.iter().rposition(|line| line.contains(" panicked at ")).filter(is_last);
    let (first, count) = panic.map_or((tail.len().saturating_sub(1), 1), |at| (at, 2));
    &tail[first..tail.len().min(first + count)]
}

/// Whether the line belongs to the note or the backtrace behind a panic's message.
fn is_trace(line: &str) -> bool {
    let line = line.trim_start();
    let frame = line.trim_start_matches(|letter: char| letter.is_ascii_digit());
    line.starts_with("note: ")
        || line.starts_with("stack backtrace:")
        || line.starts_with("at ")
        || (frame.len() < line.len() && frame.starts_with(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handler's panic was caught and answered; the next job aborted with a message of its own, and the report of that
    /// death showed the panic.
    #[test]
    fn a_panic_with_other_lines_behind_it_is_not_the_last_word() {
        let lines = ["thread 'main' panicked at a.rs:1:2:", "no lamp", "note: run with …", "out of paper"];
        let tail: Vec<String> = lines.map(str::to_owned).to_vec();
        assert_eq!(last_words(&tail), ["out of paper"]);
        let traced = [
            "thread 'main' panicked at a.rs:1:2:",
            "no lamp",
            "stack backtrace:",
            "   0: main",
            "  at a.rs:1",
        ];
        let tail: Vec<String> = traced.map(str::to_owned).to_vec();
        assert_eq!(last_words(&tail), [lines[0], lines[1]]);
    }

    /// The last words of every worker that panicked were "run with `RUST_BACKTRACE=1` environment variable to display
    /// a backtrace": true, and of no use.
    #[test]
    fn of_a_panic_the_message_is_told() {
        let tail = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let panic = tail(
            "starting\nthread 'main' panicked at src/main.rs:1:2:\nno lamp\nnote: run with …\nnote: more",
        );
        assert_eq!(last_words(&panic), ["thread 'main' panicked at src/main.rs:1:2:", "no lamp"]);
        assert_eq!(last_words(&panic[..2]), ["thread 'main' panicked at src/main.rs:1:2:"]);
        assert_eq!(last_words(&tail("one\nSegmentation fault")), ["Segmentation fault"]);
        assert!(last_words(&[]).is_empty());
    }
}
