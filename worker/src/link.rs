//! The worker's end of the leash, and everything that its threads share.
//!
//! One lock holds the [`Session`] and who does what. At most one handler thread is the *reader*: it waits for
//! the socket. The others run a handler or wait to be called. Reading and writing are done under the lock and
//! never block, so that whoever finds bytes may take them in: the reader, or the sentry while all are busy. No
//! code of the user's ever runs under the lock.

mod faults;
mod state;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ganger_protocol::{
    Body, Hatch, Inbox, Limits, Metrics, Page, Pool, Ready, Refusal, StoreReplyHead, Time, read_into, ring,
    silence, write_from,
};
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::Shutdown;
use rustix::process::{Signal, getpid, kill_process};

use crate::callee::Callee;
use crate::calls::Asked;
use crate::control::EmitError;
use crate::courier::{Courier, EVENT_BACKLOG, guarded};
use crate::current::{self, Duty};
use crate::listener::Listeners;
use crate::serve::ServeError;
use crate::session::{
    CallTicket, Called, Cancels, Hand, Notice, Outcome, ProgressError, Session, Started, Ticket,
};

pub(crate) use state::{Alert, Locked, Opening, Phase, Reader, State};

/// One turn of reading takes about this many bytes at most, so that handlers are not kept waiting.
const READ_BUDGET: usize = 256 * 1024;

/// Answers are written at the latest when there are this many bytes of them.
const FLUSH_BYTES: usize = 64 * 1024;

/// No finished answer waits for longer than this behind other handlers.
const FLUSH_AFTER: Duration = Duration::from_micros(20);

/// What happens when the supervisor is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnLoss {
    /// The process ends at once, whatever its threads do.
    EndProcess,
    /// `serve()` returns: for workers that live inside another program's process.
    Return,
}

/// Who the supervisor says this worker is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) slot: u32,
    pub(crate) heartbeat: Duration,
}

/// What came with the first frame.
pub(crate) struct Greeting {
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    pub(crate) page: Page,
    pub(crate) pool: Option<Pool>,
    pub(crate) bell: OwnedFd,
    pub(crate) listeners: Listeners,
    pub(crate) hatch: Hatch,
    /// With the bytes that came behind the Hello.
    pub(crate) inbox: Inbox,
}

/// The worker's end of the leash.
pub(crate) struct Link {
    pub(crate) identity: Identity,
    pub(crate) listeners: Listeners,
    pub(crate) page: Page,
    pub(crate) leash: OwnedFd,
    /// Rung by the supervisor when an urgent frame has been written.
    pub(crate) bell: OwnedFd,
    /// Rung by this process to wake the sentry.
    pub(crate) rouse: OwnedFd,
    /// Rung by this process to wake the reader.
    pub(crate) nudge: OwnedFd,
    pub(crate) on_loss: OnLoss,
    /// The largest payload, in bytes.
    pub(crate) payload_limit: usize,
    /// How far the time that handlers are told is ahead, in nanoseconds: 0 but on the bench.
    ahead: AtomicU64,
    pub(crate) metrics: Metrics,
    cancels: Arc<Cancels>,
    state: Mutex<State>,
    /// Where handler threads wait that are not the reader.
    bench: Condvar,
    /// Where the health check waits for its next run.
    pause: Condvar,
    /// Where threads wait that have an operation on the store while as many as there may be are on their way.
    pub(crate) store_room: Condvar,
}

impl Link {
    pub(crate) fn new(leash: OwnedFd, greeting: Greeting, on_loss: OnLoss) -> io::Result<Link> {
        let Greeting { identity, limits, page, pool, bell, hatch, listeners, inbox } = greeting;
        let mut session = Session::resuming(limits, inbox);
        session.open(hatch);
        if let Some(pool) = pool {
            session.share(pool);
        }
        let cancels = session.cancels();
        let state = State::new(session);
        let own_bell = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let (rouse, nudge) = (own_bell()?, own_bell()?);
        let (state, bench, ahead) = (Mutex::new(state), Condvar::new(), AtomicU64::new(0));
        let payload_limit = limits.payload;
        Ok(Link {
            identity,
            listeners,
            page,
            leash,
            bell,
            rouse,
            nudge,
            on_loss,
            payload_limit,
            ahead,
            metrics: Metrics::default(),
            cancels,
            state,
            bench,
            pause: Condvar::new(),
            store_room: Condvar::new(),
        })
    }

    pub(crate) fn lock(&self) -> Locked<'_> {
        self.state.lock()
    }

    /// The time, as handlers are told.
    pub(crate) fn now(&self) -> Time {
        Time::now() + Duration::from_nanos(self.ahead.load(Relaxed))
    }

    pub(crate) fn advance(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let further = |ahead: u64| Some(ahead.saturating_add(nanos));
        let _ = self.ahead.fetch_update(Relaxed, Relaxed, further);
    }

    pub(crate) fn is_cancelled(&self, ticket: Ticket) -> bool {
        self.cancels.has(ticket)
    }

    pub(crate) fn hands(&self) -> Vec<Hand> {
        self.lock().session.hands().cloned().collect()
    }

    /// Begins to serve: what came with the Hello is taken in, and the worker says whether it is ready.
    pub(crate) fn open(&self, courier: Arc<Courier>, callee: Arc<Callee>) {
        let mut state = self.lock();
        let Phase::Preparing(opening) = state.phase else { return };
        state.session.expect_hooks(courier.soft_kill_hooks());
        state.phase = Phase::Serving(courier, callee);
        if let Opening::Ready(capacity) = opening {
            let capacity = capacity.unwrap_or(state.default_capacity);
            self.say_ready(&mut state, capacity);
        }
        for notice in std::mem::take(&mut state.early) {
            self.pass_on(&mut state, notice);
        }
        self.take_in(&mut state);
    }

    pub(crate) fn ready(&self, capacity: Option<u32>) {
        let mut state = self.lock();
        match &mut state.phase {
            Phase::Preparing(opening) => *opening = Opening::Ready(capacity),
            Phase::Serving(..) => {
                let capacity = capacity.unwrap_or(state.default_capacity);
                self.say_ready(&mut state, capacity);
                self.nudge_if_due(&mut state);
            }
            Phase::Over(_) => {}
        }
    }

    /// The supervisor is told at once, before `serve()` too: a worker that prepares for long is not a dead one.
    pub(crate) fn busy(&self) {
        let mut state = self.lock();
        if let Phase::Preparing(opening) = &mut state.phase {
            *opening = Opening::Busy;
        }
        state.session.busy();
        self.flush_and_watch(&mut state);
    }

    pub(crate) fn emit(&self, name: &str, payload: Body<'_>) -> Result<(), EmitError> {
        let mut state = self.lock();
        if state.is_over() {
            return Err(EmitError::Left);
        }
        state.session.emit(name, payload)?;
        self.flush_and_watch(&mut state);
        Ok(())
    }

    pub(crate) fn progress(&self, ticket: Ticket, payload: Body<'_>) -> Result<(), ProgressError> {
        let now = self.now();
        let mut state = self.lock();
        if state.is_over() {
            return Err(ProgressError::Left);
        }
        state.session.progress(ticket, payload, now)?;
        self.flush_and_watch(&mut state);
        Ok(())
    }

    pub(crate) fn hook_done(&self) {
        let mut state = self.lock();
        state.session.hook_done();
        self.nudge_if_due(&mut state);
    }

    /// Answers a request in hand. Nothing happens when it is not in hand any more.
    pub(crate) fn answer(&self, ticket: Ticket, outcome: Outcome<'_>) {
        let now = self.now();
        let mut state = self.lock();
        if state.session.pending() == 0 {
            state.unwritten_since = now;
        }
        let Some(ran) = state.session.answer(&self.page, ticket, outcome, now) else { return };
        if state.faults.is_some() {
            self.answer_with_faults(&mut state, ticket);
        }
        let waited = ran.max(now.since(state.unwritten_since));
        if self.is_worth_a_write(&mut state, waited) {
            self.flush(&mut state);
        }
        self.watch_if_pending(&mut state);
        self.nudge_if_due(&mut state);
    }

    /// Answers what has to be answered.
    pub(crate) fn fulfil(&self, duty: Duty, outcome: Outcome<'_>) {
        match duty {
            Duty::Request(ticket) => self.answer(ticket, outcome),
            Duty::Call(ticket) => self.answer_call(|session| session.answer_call(ticket, outcome)),
        }
    }

    /// Answers a call that no handler will answer.
    pub(crate) fn refuse_call(&self, ticket: CallTicket, refusal: Refusal) {
        self.answer_call(|session| session.refuse_call(ticket, refusal));
    }

    fn answer_call(&self, answer: impl FnOnce(&mut Session)) {
        let mut state = self.lock();
        answer(&mut state.session);
        self.flush_and_watch(&mut state);
        self.nudge_if_due(&mut state);
    }

    /// An answer waits for company only while its own thread is about to handle the next request.
    fn is_worth_a_write(&self, state: &mut State, waited: Duration) -> bool {
        waited > FLUSH_AFTER
            || state.session.pending() >= FLUSH_BYTES
            || !current::is_handling()
            || !state.session.can_start(&self.page)
    }

    /// The next request, started, if there is one and room for it.
    pub(crate) fn start_next(&self, state: &mut State) -> Option<Started> {
        if !state.session.can_start(&self.page) {
            return None;
        }
        if state.faults.is_some() && self.has_fault_before_start(state) {
            return None;
        }
        match state.session.start_next(&self.page, self.now()) {
            Ok(started) => {
                if let Some(started) = &started {
                    if state.faults.is_some() {
                        self.start_with_faults(state, started.ticket);
                    }
                    state.crew.running += 1;
                    if started.request.has_attachments() {
                        // Until this is said the supervisor keeps them open, too.
                        self.flush(state);
                    }
                    self.watch_if_pending(state);
                    if state.alert == Alert::Yes {
                        // The reader leaves in the middle of a frame that may be the urgent one.
                        let _ = ring(&self.rouse);
                    }
                    self.call_one(state);
                }
                started
            }
            Err(violation) => {
                self.finish(state, Err(violation.into()));
                None
            }
        }
    }

    /// The handler has returned.
    pub(crate) fn handled(&self, state: &mut State) {
        state.crew.running -= 1;
    }

    /// Says goodbye if it is time to, and writes what there is. Serving is over when goodbye is written.
    pub(crate) fn settle(&self, state: &mut State) {
        if self.goodbye_due(state) {
            self.tell_metrics(state);
            state.session.leave();
        }
        self.flush(state);
        if state.session.has_left() && state.session.pending() == 0 {
            self.finish(state, Ok(()));
        }
    }

    /// Waits until the thread is called: as the reader, or to handle.
    pub(crate) fn wait_to_be_called(&self, state: &mut Locked<'_>) {
        self.watch_if_pending(state);
        state.crew.waiting += 1;
        self.bench.wait(state);
        state.crew.waiting -= 1;
        state.crew.called = state.crew.called.saturating_sub(1);
    }

    /// A handler thread begins to wait for the socket, and so relieves the sentry unless a frame is half read.
    pub(crate) fn reader_goes(&self, state: &mut State, reader: Reader) {
        state.reader = reader;
        if !state.session.inbox().is_mid_frame() {
            state.alert = Alert::No;
        }
    }

    /// The reader has woken.
    pub(crate) fn reader_is_back(&self, state: &mut State) {
        state.reader = Reader::Absent;
        if std::mem::take(&mut state.nudged) {
            let _ = silence(&self.nudge);
        }
    }

    /// Reads what there is, within the budget, and takes it in.
    pub(crate) fn read(&self, state: &mut State) {
        let mut taken = 0;
        while taken < READ_BUDGET && state.listens() {
            let mut room = 0;
            let read = state.session.inbox().fill(|buffer| {
                room = buffer.capacity() - buffer.len();
                read_into(&self.leash, buffer)
            });
            match read {
                Ok(0) => return self.lose(state),
                Ok(count) => {
                    taken += count;
                    self.take_in(state);
                    if count < room {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.finish(state, Err(ServeError::Io(error))),
            }
        }
    }

    /// Writes what there is, as far as there is room.
    pub(crate) fn flush(&self, state: &mut State) {
        if state.is_over() {
            return;
        }
        match state.session.outbox().flush(|pieces| write_from(&self.leash, pieces)) {
            Ok(()) => state.is_stuck = state.session.pending() > 0,
            Err(error) if is_loss(&error) => self.lose(state),
            Err(error) => self.finish(state, Err(ServeError::Io(error))),
        }
    }

    /// The supervisor is gone. That ends the process, unless goodbye was said.
    pub(crate) fn lose(&self, state: &mut State) {
        if state.is_over() {
            // We have let it go ourselves: the program may end in its own way and time.
            return;
        }
        if state.session.has_left() {
            return self.finish(state, Ok(()));
        }
        match self.on_loss {
            OnLoss::EndProcess => end_process(),
            OnLoss::Return => self.finish(state, Err(ServeError::SupervisorGone)),
        }
    }

    /// Serving is over: the leash is let go and every thread is woken to see it.
    pub(crate) fn finish(&self, state: &mut State, result: Result<(), ServeError>) {
        if state.is_over() {
            return;
        }
        if let Phase::Serving(courier, callee) =
            std::mem::replace(&mut state.phase, Phase::Over(result.err()))
        {
            courier.close();
            callee.close();
        }
        let given_up: Vec<_> = state.calls.leave_all().filter_map(Asked::give_up).collect();
        state.wakers.extend(given_up);
        state.store.close();
        self.store_room.notify_all();
        let _ = rustix::net::shutdown(&self.leash, Shutdown::Both);
        self.bench.notify_all();
        self.pause.notify_all();
        let _ = ring(&self.nudge);
        let _ = ring(&self.rouse);
    }

    /// Waits so long, or until the link is over.
    pub(crate) fn pause(&self, state: &mut Locked<'_>, time: Duration) {
        let until = Time::now() + time;
        while !state.is_over() && Time::now() < until {
            self.pause.wait_for(state, until.since(Time::now()));
        }
    }

    /// Why serving is over.
    pub(crate) fn verdict(&self) -> Result<(), ServeError> {
        match &mut self.lock().phase {
            Phase::Over(error) => error.take().map_or(Ok(()), Err),
            Phase::Preparing(_) | Phase::Serving(..) => Ok(()),
        }
    }

    fn goodbye_due(&self, state: &mut State) -> bool {
        state.crew.running == 0 && state.session.goodbye_due(&self.page)
    }

    fn say_ready(&self, state: &mut State, capacity: u32) {
        let wants_hard_kill = !state.hard_kill.hooks.is_empty();
        state.session.ready(Ready { capacity, wants_hard_kill });
        self.flush_and_watch(state);
    }

    /// Notices are passed on under the lock, so that they keep their order whoever reads.
    fn take_in(&self, state: &mut State) {
        let notices = match state.session.take_in(self.now()) {
            Ok(notices) => notices,
            Err(violation) => return self.finish(state, Err(violation.into())),
        };
        for notice in notices {
            self.pass_on(state, notice);
        }
    }

    fn pass_on(&self, state: &mut State, notice: Notice) {
        let notice = match notice {
            Notice::CallAnswer(answer) => return Link::take_call_answer(state, answer),
            Notice::StoreReply(StoreReplyHead { id, reply }) => {
                return self.take_store_reply(state, id, reply);
            }
            Notice::StoreChange(piece) => return Link::take_store_change(state, piece),
            other => other,
        };
        let (courier, callee) = match &state.phase {
            Phase::Serving(courier, callee) => (courier, Arc::clone(callee)),
            Phase::Preparing(_) => return keep_for_later(state, notice),
            Phase::Over(_) => return,
        };
        match notice {
            Notice::Event { name, payload } => {
                let missed = courier.event(&name, payload).is_err();
                state.missed_events += u64::from(missed);
            }
            Notice::Drain => courier.soft_kill(),
            Notice::HardKill => {
                state.hard_kill.announced = true;
                let _ = ring(&self.rouse);
            }
            Notice::Call(call) => {
                if let Err((call, refusal)) = callee.take(call) {
                    state.session.refuse_call(call.ticket, refusal);
                }
            }
            Notice::CallAnswer(_) | Notice::StoreReply(_) | Notice::StoreChange(_) => {}
        }
    }

    /// Wakes the tasks whose calls have been answered. The lock is let go of meanwhile: what a task's waker does is not
    /// ours.
    pub(crate) fn wake_tasks(&self, state: &mut Locked<'_>) {
        if state.wakers.is_empty() {
            return;
        }
        let wakers = std::mem::take(&mut state.wakers);
        MutexGuard::unlocked(state, || {
            wakers.into_iter().for_each(|waker| guarded("a task's waker", || waker.wake()));
        });
    }

    /// Wakes the reader when there is something for it that does not come through the socket.
    pub(crate) fn nudge_if_due(&self, state: &mut State) {
        if state.reader == Reader::Absent || state.nudged {
            return;
        }
        if state.session.can_start(&self.page) || self.goodbye_due(state) {
            state.nudged = true;
            let _ = ring(&self.nudge);
        }
    }

    /// Calls one waiting thread: to handle the next request, or else to be the reader. It will call the next.
    fn call_one(&self, state: &mut State) {
        let is_needed = state.reader == Reader::Absent || state.session.can_start(&self.page);
        if is_needed && state.crew.called == 0 && state.crew.waiting > 0 {
            state.crew.called = 1;
            self.bench.notify_one();
        }
    }

    pub(crate) fn flush_and_watch(&self, state: &mut State) {
        self.flush(state);
        self.watch_if_pending(state);
    }

    /// What is finished must not wait for a handler that has only begun: the sentry writes it.
    fn watch_if_pending(&self, state: &mut State) {
        if state.session.pending() > 0 && !state.watched {
            state.watched = true;
            let _ = ring(&self.rouse);
        }
    }
}

/// Nobody serves yet: what comes waits for that, within the limit that it has later.
fn keep_for_later(state: &mut State, notice: Notice) {
    if state.early.len() < EVENT_BACKLOG {
        return state.early.push(notice);
    }
    match notice {
        Notice::Event { .. } => state.missed_events += 1,
        Notice::Call(Called { ticket, .. }) => state.session.refuse_call(ticket, Refusal::QueueFull),
        Notice::Drain | Notice::HardKill => state.early.push(notice),
        Notice::CallAnswer(_) | Notice::StoreReply(_) | Notice::StoreChange(_) => {}
    }
}

fn is_loss(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected)
}

/// Ends the process as the kernel would: without destructors, whatever the other threads do.
fn end_process() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    // Only the first process of a PID namespace is immune to its own SIGKILL.
    std::process::abort()
}
