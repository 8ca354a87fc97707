//! The loop: one turn after the other, always in the same order.
//!
//! ```text
//! wait ──▶ take in ──▶ act ──▶ flush ──▶ wake ──▶ wait …
//! ```
//!
//! *Wait* for the system, at most until the scheduler's next timeout. *Take in* what has come: links, commands,
//! output, ends, timers. *Act* on what the scheduler wants; what is sent is only appended. *Flush* with one write a
//! worker. *Wake* whoever waits for a handle, last, so that nobody is woken into our turn.
//!
//! [`Turn`] is the scheduler and the driver as one value: whoever has it by `&mut` is the loop.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use ganger_protocol::{Answers, End, Limits, Spin, Time, processor};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::config::{EVENTS_PER_POLL, REST_SLACK};
use super::editions::Editions;
use super::first::FirstSpawns;
use super::link::Flushed;
use super::oom::OomCounter;
use super::process::Process;
use super::relay::CallTicket;
use super::reports::Reports;
use super::signals::Signals;
use super::solitude::Solitude;
use super::spawn::SpawnRequest;
use super::store::Counter;
use super::worker::{Attention, Source, Workers, token};
use super::{StartFailure, Subscriber};
use crate::event::Event;
use crate::metrics::{Figures, Ledger};
use crate::relay::Relay;
use crate::scheduler::{Backlog, GroupIndex, Scheduler, Snapshot, WorkerKey};
use crate::shared::Shared;
use crate::slot::{JobSlot, Wake};

/// The loop's own bell.
pub(super) const BELL: Token = Token(usize::MAX);
/// The signals' socket.
pub(super) const SIGNALS: Token = Token(usize::MAX - 1);
/// A process that was written off has ended after all.
pub(super) const WRITTEN_OFF: Token = Token(usize::MAX - 2);

/// Whether a turn may begin with a sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Until something happens or is due.
    Sleep,
    /// The same, but not longer than until then.
    Until(Time),
    /// Not at all.
    Look,
    /// Not even look: only commands are taken in, and what is due is done.
    None,
}

/// The scheduler and the driver as one value.
pub(crate) struct Turn {
    /// The turn's time: the clock is read once a turn.
    pub(super) now: Time,
    pub(super) shared: Arc<Shared>,
    pub(super) scheduler: Scheduler<JobSlot>,
    pub(super) relay: Relay<CallTicket>,
    pub(super) workers: Workers,
    pub(super) system: System,
    pub(super) spawner: Sender<SpawnRequest>,
    pub(super) editions: Editions,
    pub(super) subscribers: Vec<Subscriber>,
    /// Events that they missed, those that have left included.
    pub(super) events_missed: u64,
    /// What the workers' metrics add up to.
    pub(super) metrics: Ledger,
    pub(super) settled: Settled,
    pub(super) reports: Reports,
    /// Workers whose outboxes are due.
    pub(super) dirty: Vec<WorkerKey>,
    /// Processes that survived SIGKILL for too long; reaped if they end after all.
    pub(super) written_off: Vec<(GroupIndex, Process)>,
    /// A soft kill that waits for the jobs that were admitted before it and are on their way.
    pub(super) held: Option<(Duration, Backlog)>,
    /// Jobs taken in and not yet released from admission.
    pub(super) known_jobs: usize,
    pub(super) first: FirstSpawns,
    pub(super) signals: Option<Signals>,
    pub(super) oom: OomCounter,
    pub(super) limits: Limits,
    pub(super) is_stopped: bool,
    pub(super) spin: Spin,
    /// The processor that the worker was on that was heard last.
    pub(super) peer: Option<u32>,
    pub(super) solitude: Solitude,
    pub(super) counter: Counter,
    pub(super) store_ops_per_second: u64,
}

/// What the turn has settled, told when it ends.
#[derive(Default)]
pub(super) struct Settled {
    pub(super) jobs: usize,
    pub(super) bytes: usize,
    pub(super) wakes: Vec<Wake>,
    pub(super) calls: Vec<(CallTicket, Answers)>,
}

/// The system's poll, and what it said.
pub(super) struct System {
    poll: Poll,
    events: Events,
    pub(super) happened: Vec<Happened>,
    /// Files with more to read than the budget allowed, to be read again in the next turn: the system tells only
    /// what is new.
    pub(super) unfinished: Vec<Token>,
    /// Files that are to be read again at a time, not before.
    pub(super) resting: Vec<(Time, Token)>,
}

/// One event of the system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Happened {
    pub(super) token: Token,
    pub(super) is_readable: bool,
    pub(super) is_writable: bool,
    pub(super) is_hung_up: bool,
}

impl System {
    pub(super) fn new(poll: Poll) -> System {
        let events = Events::with_capacity(EVENTS_PER_POLL);
        System { poll, events, happened: Vec::new(), unfinished: Vec::new(), resting: Vec::new() }
    }

    pub(super) fn watch(&self, fd: RawFd, token: Token) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)
    }

    pub(super) fn rewatch(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        self.poll.registry().reregister(&mut SourceFd(&fd), token, interest)
    }

    /// To be called before the file is closed. One that is not watched is left alone.
    pub(super) fn unwatch(&self, fd: RawFd) {
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
    }

    /// Files whose time has come are to be read.
    pub(super) fn rested(&mut self, now: Time) {
        let System { resting, happened, .. } = self;
        let has_rested = |(until, token): &mut (Time, Token)| {
            let is_due = *until <= now;
            if is_due {
                happened.push(Happened::readable(*token));
            }
            !is_due
        };
        resting.retain_mut(has_rested);
    }

    /// When to begin a turn for files that rest, if nothing else begins one.
    fn next_rested(&self) -> Option<Time> {
        self.resting.iter().map(|(until, _)| *until + REST_SLACK).min()
    }

    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            other => other?,
        }
        let again = self.unfinished.drain(..).map(Happened::readable);
        self.happened.extend(again);
        self.happened.extend(self.events.iter().map(Happened::of));
        Ok(())
    }
}

impl Happened {
    fn readable(token: Token) -> Happened {
        Happened { token, is_readable: true, is_writable: false, is_hung_up: false }
    }

    fn of(event: &mio::event::Event) -> Happened {
        Happened {
            token: event.token(),
            is_readable: event.is_readable() || event.is_read_closed() || event.is_error(),
            is_writable: event.is_writable(),
            is_hung_up: event.is_read_closed() || event.is_error(),
        }
    }
}

impl Turn {
    /// One turn.
    ///
    /// # Errors
    /// When the system cannot be asked what happened: the loop is at its end.
    pub(super) fn turn(&mut self, wait: Wait) -> io::Result<()> {
        self.wait(wait)?;
        self.now = Time::now();
        self.take_in();
        self.act();
        self.flush();
        self.wake();
        Ok(())
    }

    fn wait(&mut self, wait: Wait) -> io::Result<()> {
        if wait == Wait::None {
            return Ok(());
        }
        let until = self.until(wait);
        if until == Some(Duration::ZERO) {
            return self.system.poll(until);
        }
        if let Some(looked) = self.look() {
            return looked;
        }
        if !self.shared.fall_asleep() {
            return self.system.poll(Some(Duration::ZERO));
        }
        let polled = self.system.poll(until);
        // Before the inbox is looked into: what comes later rings again.
        self.shared.wake_up();
        self.spin.woke();
        polled
    }

    /// Looks for a moment, if that pays, before it would sleep.
    fn look(&mut self) -> Option<io::Result<()>> {
        let Turn { spin, shared, system, peer, .. } = self;
        spin.look(*peer, || {
            let polled = system.poll(Some(Duration::ZERO));
            let found = polled.is_err() || !system.happened.is_empty() || !shared.arrivals().is_empty();
            found.then_some(polled)
        })
    }

    /// How long the wait may be; `None` is for ever.
    fn until(&self, wait: Wait) -> Option<Duration> {
        let state_machines =
            [self.scheduler.poll_timeout(), self.relay.poll_timeout(), self.counter.poll_timeout()];
        let due = state_machines.into_iter().chain([self.system.next_rested()]).flatten().min();
        let due = match wait {
            Wait::Sleep => due,
            Wait::Until(deadline) => Some(due.map_or(deadline, |due| due.min(deadline))),
            Wait::Look | Wait::None => return Some(Duration::ZERO),
        };
        if self.system.unfinished.is_empty() {
            due.map(|due| due.since(Time::now()))
        } else {
            Some(Duration::ZERO)
        }
    }

    /// Notes that a worker's outbox is due at the end of the turn.
    pub(super) fn due(&mut self, worker: WorkerKey, attention: Attention) {
        let Some(body) = self.workers.body_mut(worker) else { return };
        if body.attention == Attention::None {
            self.dirty.push(worker);
        }
        if body.attention != Attention::FlushAndRing {
            body.attention = attention;
        }
    }

    fn flush(&mut self) {
        if self.dirty.is_empty() {
            return;
        }
        let here = processor();
        let mut dirty = std::mem::take(&mut self.dirty);
        for worker in dirty.drain(..) {
            self.flush_worker(worker, here);
        }
        self.dirty = dirty;
    }

    fn flush_worker(&mut self, worker: WorkerKey, here: u32) {
        let Some(body) = self.workers.body_mut(worker) else { return };
        body.page.set_processor(End::Supervisor, here);
        let attention = std::mem::replace(&mut body.attention, Attention::None);
        let Some(link) = &mut body.link else { return };
        let waits_for_room = link.flush() == Flushed::Blocked;
        if waits_for_room != link.waits_for_room {
            link.waits_for_room = waits_for_room;
            let writable = waits_for_room.then_some(Interest::WRITABLE);
            let interest = writable.map_or(Interest::READABLE, |writable| writable | Interest::READABLE);
            let watched = self.system.rewatch(link.raw_fd(), token(worker, Source::Link), interest);
            debug_assert!(watched.is_ok(), "a link that is open is watched: {watched:?}");
        }
        if attention == Attention::FlushAndRing {
            // A worker that is gone hears no bell.
            let _ = ganger_protocol::ring(&body.bell);
        }
    }

    fn wake(&mut self) {
        let Settled { jobs, bytes, wakes, .. } = &mut self.settled;
        self.solitude.note(*jobs, self.known_jobs, wakes);
        if *jobs > 0 {
            self.shared.admission.release(std::mem::take(jobs), std::mem::take(bytes));
        }
        for wake in self.reports.wakes.drain(..).chain(wakes.drain(..)) {
            self.shared.rouse(wake);
        }
        self.wake_callers();
    }

    /// Tells the subscribers, the latches and the log.
    pub(super) fn publish(&mut self, event: &Event) {
        if let Some((level, text)) = super::notes::of_event(event) {
            self.shared.courier.note(level, || text);
        }
        match event {
            Event::Online => self.shared.online.online(),
            Event::Degraded { group, reason } => self.shared.online.degraded(group, reason),
            Event::Healed { group } => self.shared.online.healed(group),
            _ => {}
        }
        let missed = &mut self.events_missed;
        self.subscribers.retain_mut(|subscriber| {
            let (before, is_there) = (subscriber.missed_ever(), subscriber.tell(event));
            *missed += subscriber.missed_ever() - before;
            is_there
        });
    }

    /// How things are, for health and metrics.
    pub(super) fn figures(&self) -> (Snapshot, Figures) {
        let figures = Figures { tallies: self.metrics.tallies(), events_missed: self.events_missed };
        (self.scheduler.snapshot(), figures)
    }

    /// Says that the first processes could not be started.
    pub(super) fn fail_start(&mut self, failure: StartFailure) {
        self.first.fail(failure);
    }
}
