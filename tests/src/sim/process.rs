//! A model process: what the kernel knows of it.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use ganger::internals::{ExitStatus, WorkerKey};
use ganger_protocol::{Growth, Inbox, Limits, Ordinal, Page, RetryHint, Time};
use ganger_worker::internals::{Session, Ticket};

use super::calendar::Happening;
use super::pipe::Pipe;
use super::plan::Faults;
use super::roster::Told;

/// A process from the decision to start it until nobody knows it any more.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) worker: WorkerKey,
    pub(crate) group: usize,
    pub(crate) slot: u32,
    pub(crate) edition: u32,
    /// How long whoever it replaces, or itself when it is withdrawn, has for what it holds.
    pub(crate) grace: Duration,
    /// How long it must have been ready to take over from somebody.
    pub(crate) min_uptime: Duration,
    /// Somebody else had its slot when it was ordered.
    pub(crate) was_beside_another: bool,
    pub(crate) name: Arc<str>,
    pub(crate) life: Life,
    pub(crate) sort: Sort,
    pub(crate) habits: Habits,
    pub(crate) capacity: u32,
    pub(crate) page: Page,
    /// Supervisor → worker.
    pub(crate) down: Pipe,
    /// Worker → supervisor.
    pub(crate) up: Pipe,
    /// Before the Hello was read.
    pub(crate) inbox: Inbox,
    pub(crate) session: Option<Session>,
    pub(crate) runs: Vec<Run>,
    /// What could not happen while the process was stopped.
    pub(crate) deferred: Vec<Happening>,
    pub(crate) is_reading_soon: bool,
    /// How many requests it said it takes at once; none before it is ready and while it is busy.
    pub(crate) welcomes: u32,
    pub(crate) is_writing_soon: bool,
    /// When it was last seen alive by itself; stops with it.
    pub(crate) beats: bool,
    pub(crate) desk: Desk,
    pub(crate) told: Told,
}

/// What the kernel would say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// The spawner has not got to it.
    Ordered,
    Running,
    /// By SIGSTOP.
    Stopped,
    /// Dead and not reaped.
    Zombie(ExitStatus),
    Reaped,
    /// There never was one.
    None,
}

/// What sort of worker it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// The library, used well. Everything it says is true.
    Sound,
    NeverSaysHello,
    NeverReady,
    DiesAtBoot {
        code: i32,
    },
    WrongVersion,
    /// Says hello twice, or something before it.
    BadManners,
    BadCapacity,
    /// Writes bytes that are no frame.
    Garbage,
    /// Announces a frame of 4 GiB.
    HugeFrame,
    /// Sends back a supervisor's message.
    Echo,
    /// Closes its link and lives on.
    ClosesLink,
    /// Answers what it does not hold, or twice, or with another epoch.
    Liar,
    /// Writes nonsense into the shared page.
    Scribbler,
    /// Says more than it should, all of it allowed.
    Chatty,
    ExitsUnasked,
    LeavesUnasked,
}

const BAD_SORTS: [Sort; 16] = [
    Sort::NeverSaysHello,
    Sort::NeverReady,
    Sort::DiesAtBoot { code: 0 },
    Sort::DiesAtBoot { code: 101 },
    Sort::WrongVersion,
    Sort::BadManners,
    Sort::BadCapacity,
    Sort::Garbage,
    Sort::HugeFrame,
    Sort::Echo,
    Sort::ClosesLink,
    Sort::Liar,
    Sort::Scribbler,
    Sort::Chatty,
    Sort::ExitsUnasked,
    Sort::LeavesUnasked,
];

impl Sort {
    pub(crate) fn draw(rng: &mut Rng, faults: &Faults) -> Sort {
        if rng.u32(..1_000) < faults.bad_sort { BAD_SORTS[rng.usize(..BAD_SORTS.len())] } else { Sort::Sound }
    }

    /// Whether its page and its answers can be believed.
    pub(crate) fn is_truthful(self) -> bool {
        !matches!(self, Sort::Liar | Sort::Scribbler)
    }

    /// Whether it does its mischief at some moment of its life, and not at its boot.
    pub(crate) fn acts_up(self) -> bool {
        match self {
            Sort::Sound
            | Sort::NeverSaysHello
            | Sort::NeverReady
            | Sort::DiesAtBoot { .. }
            | Sort::WrongVersion
            | Sort::BadManners
            | Sort::BadCapacity => false,
            Sort::Garbage
            | Sort::HugeFrame
            | Sort::Echo
            | Sort::ClosesLink
            | Sort::Liar
            | Sort::Scribbler
            | Sort::Chatty
            | Sort::ExitsUnasked
            | Sort::LeavesUnasked => true,
        }
    }
}

/// What a process does besides its work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    pub(crate) ignores_term: bool,
    /// It survives SIGKILL, in an uninterruptible sleep.
    pub(crate) survives_kill: bool,
    /// A grandchild holds the link after its death.
    pub(crate) leaves_grandchild: bool,
    /// It has registered `on_hard_kill`.
    pub(crate) wants_warning: bool,
    /// Its soft-kill hook never says done.
    pub(crate) overstays: bool,
    /// It does not read.
    pub(crate) is_deaf: bool,
    /// Its memory cannot be read.
    pub(crate) hides_memory: bool,
}

impl Habits {
    pub(crate) fn draw(rng: &mut Rng, faults: &Faults) -> Habits {
        let mut tough = || rng.u32(..1_000) < faults.tough;
        Habits {
            ignores_term: tough(),
            survives_kill: tough(),
            leaves_grandchild: tough(),
            overstays: tough(),
            wants_warning: rng.u8(..4) == 0,
            is_deaf: false,
            hides_memory: rng.u8(..10) == 0,
        }
    }
}

/// A handler at work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) serial: u64,
    pub(crate) ticket: Ticket,
    pub(crate) attempt: Option<usize>,
    pub(crate) end: RunEnd,
    pub(crate) heeds_cancel: bool,
    pub(crate) was_cancelled: bool,
}

/// How a handler will end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunEnd {
    Replies { large: bool },
    Acknowledges,
    Fails(RetryHint),
    Dies,
    Never,
}

/// What the fake driver keeps about a worker.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub(crate) outbox: ganger_protocol::Outbox,
    pub(crate) inbox: Option<Inbox>,
    pub(crate) spawn_answer: Option<SpawnAnswer>,
    pub(crate) said_hello: bool,
    pub(crate) has_violated: bool,
    pub(crate) has_ended_link: bool,
    pub(crate) has_ended_process: bool,
    pub(crate) is_buried: bool,
    /// It was buried before it had ended: its end is still to be told.
    pub(crate) is_left_over: bool,
}

/// What the spawner found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpawnAnswer {
    Started,
    FailedForNow,
    FailedForGood,
}

impl Process {
    pub(crate) fn new(
        worker: WorkerKey,
        group: usize,
        slot: u32,
        name: Arc<str>,
        room: usize,
        born: Time,
    ) -> Process {
        Process {
            worker,
            group,
            slot,
            edition: 0,
            grace: Duration::MAX,
            min_uptime: Duration::ZERO,
            was_beside_another: false,
            name,
            life: Life::Ordered,
            sort: Sort::Sound,
            habits: Habits::default(),
            capacity: 1,
            page: Page::in_memory(),
            down: Pipe::with_room(room),
            up: Pipe::with_room(room),
            inbox: Inbox::new(Limits::default(), Growth::AtOnce),
            session: None,
            runs: Vec::new(),
            deferred: Vec::new(),
            is_reading_soon: false,
            welcomes: 0,
            is_writing_soon: false,
            beats: false,
            desk: Desk { inbox: Some(Inbox::new(Limits::default(), Growth::AsReceived)), ..Desk::default() },
            told: Told::new(born),
        }
    }

    pub(crate) fn pid(index: usize) -> u32 {
        1_000 + index as u32
    }

    /// Whether its program can do something.
    pub(crate) fn is_running(&self) -> bool {
        self.life == Life::Running
    }

    /// Whether the kernel still has its threads.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.life, Life::Running | Life::Stopped)
    }

    /// Whether its page shows the requests whose handlers run, and no others; one that scribbles into it may show anything.
    pub(crate) fn shows_what_runs(&self) -> bool {
        let shown: Vec<Ordinal> = self.page.slots().map(|slot| slot.ordinal).collect();
        let is_true = shown.len() == self.runs.len()
            && self.runs.iter().all(|run| shown.contains(&run.ticket.ordinal()));
        is_true || !self.sort.is_truthful()
    }

    /// The start mark and the slots in use, as the supervisor reads them.
    pub(crate) fn started(&self) -> Ordinal {
        self.page.mark().started
    }
}

/// A short time.
pub(crate) fn soon(rng: &mut Rng) -> Duration {
    match rng.u8(..16) {
        0 => Duration::from_micros(rng.u64(..3_000)),
        _ => Duration::from_nanos(rng.u64(500..60_000)),
    }
}

impl Process {
    /// SIGKILL has reached it, and waits for it to leave the kernel.
    pub(crate) fn is_doomed(&self) -> bool {
        self.deferred.iter().any(|one| matches!(one, Happening::Signal { .. }))
    }
}

impl Run {
    pub(crate) fn is_hanging(&self) -> bool {
        self.end == RunEnd::Never
    }
}

impl RunEnd {
    /// A handler that hung comes to its end.
    pub(crate) fn or_reply(self) -> RunEnd {
        match self {
            RunEnd::Never => RunEnd::Replies { large: false },
            RunEnd::Replies { .. } | RunEnd::Acknowledges | RunEnd::Fails(_) | RunEnd::Dies => self,
        }
    }
}
