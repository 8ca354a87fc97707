//! What callers and the loop share: the inbox with its bell, admission, and the latches that callers wait on.
//!
//! A job counts against the queue's limits from its admission until its handle settles, so that the limits bound
//! the memory that jobs hold, wherever they are.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU8, fence};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use ganger_protocol::Time;
use parking_lot::Mutex;

use crate::calls::{Desk, shutting_down};
use crate::checks::Checks;
use crate::command::Command;
use crate::driver::{Courier, Turn};
use crate::metrics::Figures;
use crate::scheduler::{Backlog, GroupIndex, Outcome, Snapshot, Started};
use crate::slot::{JobSlot, Stage, Wake};

pub(crate) use self::admission::{Admission, QueueLimits, Refused};
pub(crate) use self::latch::{Online, OnlineLatch, RolloutLatch, StopLatch};
pub(crate) use self::loan::{Held, Loan, Return};

mod admission;
mod latch;
mod loan;

/// The loop is at work and looks into the inbox before it sleeps.
const AWAKE: u8 = 0;
/// The loop sleeps, or is about to after one more look: ring.
const ASLEEP: u8 = 1;
/// There is no loop any more: whoever puts something in settles it himself.
const ENDED: u8 = 2;

/// What callers and the loop share.
pub(crate) struct Shared {
    inbox: Sender<Command>,
    arrivals: Receiver<Command>,
    state: AtomicU8,
    bell: mio::Waker,
    pub(crate) admission: Admission,
    pub(crate) courier: Courier,
    pub(crate) desk: Desk,
    pub(crate) online: OnlineLatch,
    pub(crate) stopped: StopLatch,
    pub(crate) loan: Loan,
    pub(crate) checks: Checks,
    /// How things were when the loop ended.
    pub(crate) last: Mutex<Option<Box<(Snapshot, Figures)>>>,
}

impl Shared {
    pub(crate) fn new(bell: mio::Waker, admission: Admission, courier: Courier, desk: Desk) -> Shared {
        let (inbox, arrivals) = unbounded();
        Shared {
            inbox,
            arrivals,
            state: AtomicU8::new(AWAKE),
            bell,
            admission,
            courier,
            desk,
            online: OnlineLatch::default(),
            stopped: StopLatch::default(),
            loan: Loan::default(),
            checks: Checks::default(),
            last: Mutex::default(),
        }
    }

    /// Decides at once whether a job of `charge` bytes is accepted. A job that was admitted must be sent as
    /// [`Command::Enqueue`], or given back with [`Admission::release`].
    pub(crate) fn admit(&self, group: GroupIndex, charge: usize) -> Result<(), Refused> {
        self.admission.admit(group, charge)
    }

    /// As [`admit`](Shared::admit), but waits for room while the queue is full.
    pub(crate) fn admit_within(
        &self,
        group: GroupIndex,
        charge: usize,
        timeout: Duration,
    ) -> Result<(), Refused> {
        self.admission.admit_within(group, charge, timeout)
    }

    /// Puts a command into the inbox and wakes the loop if it sleeps.
    pub(crate) fn send(&self, command: Command) {
        // The receiver lives as long as `self`: this cannot fail.
        let _ = self.inbox.send(command);
        // Pairs with the fence in `fall_asleep`: either the loop sees the command, or we see that it sleeps.
        fence(SeqCst);
        if let Some(held) = self.loan.borrow() {
            return self.run_one(held);
        }
        match self.state.load(SeqCst) {
            AWAKE => {}
            ASLEEP => self.ring(),
            _ => self.refuse_arrivals(),
        }
    }

    /// Blocks until the job's outcome comes, or until `deadline`. A caller who is alone with the loop is the loop
    /// meanwhile.
    pub(crate) fn wait_for(&self, slot: &JobSlot, deadline: Option<Time>) -> Option<Outcome> {
        if slot.stage() != Stage::Settled {
            match self.loan.borrow() {
                Some(held) => self.run_until_settled(held, slot, deadline),
                // Somebody else is at it, who may not wait for this job: he is not alone.
                None => self.leave_to_loop(),
            }
        }
        slot.wait(deadline)
    }

    fn run_until_settled<'a>(&'a self, mut held: Held<'a>, slot: &JobSlot, deadline: Option<Time>) {
        self.loan.used();
        let is_well = held.as_mut().is_none_or(|turn| turn.run_until_settled(slot, deadline));
        // A waiter who gives up leaves his job to the loop.
        self.let_go(held, is_well && slot.stage() == Stage::Settled);
    }

    /// There is a job whose owner will not run turns until it settles: that is the loop's business again, at once.
    pub(crate) fn leave_to_loop(&self) {
        if self.loan.is_lent() {
            self.loan.end();
        }
    }

    /// Runs a turn for a command that was just sent.
    fn run_one(&self, mut held: Held<'_>) {
        let is_well = held.as_mut().is_none_or(Turn::run_one);
        self.let_go(held, is_well);
    }

    /// Lets go of a borrowed turn. What was sent meanwhile was left to us; what is in flight is left to the loop.
    fn let_go<'a>(&'a self, mut held: Held<'a>, mut is_well: bool) {
        loop {
            let is_lonely = is_well && held.as_ref().is_some_and(Turn::is_lonely);
            drop(held);
            if !is_lonely {
                self.loan.end();
            }
            fence(SeqCst);
            if self.arrivals.is_empty() {
                break;
            }
            match self.loan.borrow() {
                Some(again) => held = again,
                None => break,
            }
            is_well = held.as_mut().is_none_or(Turn::run_one);
        }
        self.loan.let_go();
    }

    /// Refuses new jobs from now on and asks the loop to end well.
    pub(crate) fn soft_kill(&self, deadline: Duration, backlog: Backlog) {
        self.admission.close();
        self.send(Command::SoftKill { deadline, backlog });
    }

    /// Refuses new jobs from now on and asks the loop to end at once.
    pub(crate) fn hard_kill(&self) {
        self.admission.close();
        self.send(Command::HardKill);
    }

    /// Waits until the loop has ended and all callbacks have been called; false when `timeout` came first. A
    /// callback, which would wait for itself, waits for the loop only.
    pub(crate) fn wait_stopped(&self, timeout: Option<Duration>) -> bool {
        self.stopped.wait(timeout, self.courier.is_this_thread())
    }

    /// Waits until all first workers were ready once, or until it is known that they will not be.
    pub(crate) fn wait_online(&self, timeout: Option<Duration>) -> Online {
        self.online.wait(timeout)
    }

    /// What has arrived, for the loop.
    pub(crate) fn arrivals(&self) -> &Receiver<Command> {
        &self.arrivals
    }

    pub(crate) fn has_arrivals(&self) -> bool {
        fence(SeqCst);
        !self.arrivals.is_empty()
    }

    /// The loop is about to sleep; false when something has arrived meanwhile.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.state.store(ASLEEP, SeqCst);
        fence(SeqCst);
        if self.arrivals.is_empty() {
            return true;
        }
        self.wake_up();
        false
    }

    /// The loop is up again. To be called before it looks into the inbox.
    pub(crate) fn wake_up(&self) {
        self.state.store(AWAKE, SeqCst);
    }

    /// The loop has ended: everything in the inbox, now or later, is refused.
    pub(crate) fn end(&self) {
        self.admission.close();
        self.state.store(ENDED, SeqCst);
        fence(SeqCst);
        self.refuse_arrivals();
    }

    fn ring(&self) {
        if self.state.compare_exchange(ASLEEP, AWAKE, SeqCst, SeqCst).is_ok()
            && let Err(error) = self.bell.wake()
        {
            log::error!(target: "ganger", "the loop could not be woken: {error}");
        }
    }

    fn refuse_arrivals(&self) {
        for command in self.arrivals.try_iter() {
            match command {
                Command::Enqueue(slot) => self.refuse(&slot),
                Command::Call(_, ticket) => {
                    if let Some(waker) = ticket.fill(shutting_down()) {
                        self.rouse(Wake::Task(waker));
                    }
                }
                // Replies' senders and feeders are dropped, which says it; unborn processes end with their record.
                Command::Cancel(_)
                | Command::Feed(..)
                | Command::Resize { .. }
                | Command::Rollout { .. }
                | Command::CancelRollout { .. }
                | Command::ShutdownWorker { .. }
                | Command::Revive { .. }
                | Command::SoftKill { .. }
                | Command::HardKill
                | Command::Broadcast { .. }
                | Command::Snapshot(_)
                | Command::Figures(_)
                | Command::Publish(_)
                | Command::Explain { .. }
                | Command::Subscribe(_)
                | Command::Store(_)
                | Command::Served { .. }
                | Command::CountCalls(_)
                | Command::Born(_) => {}
            }
        }
    }

    /// Settles a job that no loop will see.
    pub(crate) fn refuse(&self, slot: &JobSlot) {
        self.admission.release(1, slot.charge());
        if let Some(wake) = slot.settle(Outcome::ShuttingDown { started: Started::No, worker: None }) {
            self.rouse(wake);
        }
    }

    /// Wakes whoever waits for a handle; callbacks go to the courier.
    pub(crate) fn rouse(&self, wake: Wake) {
        match wake {
            Wake::Callback(callback) => self.courier.call(callback),
            Wake::Thread(thread) => thread.unpark(),
            Wake::Task(waker) => {
                let waking = std::panic::AssertUnwindSafe(|| waker.wake());
                if std::panic::catch_unwind(waking).is_err() {
                    log::error!(target: "ganger", "a task's waker panicked");
                }
            }
        }
    }
}
