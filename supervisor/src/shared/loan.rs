//! Lending the loop: a caller who is alone with it runs the turns himself.
//!
//! The scheduler and the driver are one value, [`Turn`], behind a lock: whoever holds it is the loop. Usually the
//! loop's own thread holds it for good. When a single caller enqueues one job, waits, and enqueues the next, each job
//! costs two hand-overs between his thread and the loop's; so after a few such rounds the loop's thread lends the turn
//! and lies low. From then on whoever sends a command runs a turn for it, and whoever waits for a handle runs turns
//! until it settles. The loan ends with the first sign of company: a second job in flight, a second waiter, work left
//! behind by a waiter who leaves, a job that nobody waits for by running turns. It also ends when nobody has waited for
//! a millisecond, so that timers, dying workers and output are looked after: commands alone do not keep it up, because
//! the turns that are run for them do not look at the system.
//!
//! ```text
//!             a streak of lonely rounds
//!   Kept ──────────────────────────────────▶ Lent
//!     ▲     company, or a millisecond unused  │
//!     └───────────────────────────────────────┘
//! ```

use std::sync::OnceLock;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64, fence};
use std::thread::{self, Thread};
use std::time::Duration;

use ganger_protocol::Time;
use parking_lot::{Mutex, MutexGuard};

use crate::driver::Turn;

/// A loan that is not used for this long ends.
const UNUSED: Duration = Duration::from_millis(1);

/// A loan was worth its while if so many waits made use of it.
const WORTHWHILE: u64 = 8;

/// The turn, and whether it is lent.
#[derive(Default)]
pub(crate) struct Loan {
    turn: Mutex<Option<Turn>>,
    is_lent: AtomicBool,
    /// How often somebody has waited with it.
    uses: AtomicU64,
    /// The loop's thread has lain down for good, because somebody is at it: who leaves must call.
    is_called_for: AtomicBool,
    lender: OnceLock<Thread>,
}

/// The turn, held: `None` once the loop has ended.
pub(crate) type Held<'a> = MutexGuard<'a, Option<Turn>>;

/// Why the loop's thread has the turn back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Return {
    /// It was of use.
    Used,
    /// Hardly anybody used it.
    Unused,
    /// Something had come before anybody could see that it was lent.
    Overtaken,
}

impl Loan {
    /// The turn, for the loop's thread.
    pub(crate) fn hold(&self) -> Held<'_> {
        self.turn.lock()
    }

    /// The turn, if it is lent and nobody else is at it.
    pub(crate) fn borrow(&self) -> Option<Held<'_>> {
        if self.is_lent() { self.turn.try_lock() } else { None }
    }

    /// Somebody waits with the turn that he has borrowed, and so looks at the system.
    pub(crate) fn used(&self) {
        self.uses.fetch_add(1, SeqCst);
    }

    pub(crate) fn is_lent(&self) -> bool {
        self.is_lent.load(SeqCst)
    }

    /// The loan is over: the loop's thread takes over.
    pub(crate) fn end(&self) {
        if self.is_lent.swap(false, SeqCst) {
            self.call();
        }
    }

    /// Whoever held the turn has let go of it.
    pub(crate) fn let_go(&self) {
        if self.is_called_for.swap(false, SeqCst) {
            self.call();
        }
    }

    /// The loop's thread lends the turn, unless `has_news`, and lies low until the loan is over.
    pub(crate) fn lend(&self, has_news: impl Fn() -> bool) -> Return {
        let _ = self.lender.set(thread::current());
        let before = self.uses.load(SeqCst);
        self.is_lent.store(true, SeqCst);
        if has_news() {
            // It came before the loan was seen, and its sender left it to us.
            self.is_lent.store(false, SeqCst);
            return Return::Overtaken;
        }
        while self.is_lent() {
            self.lie_low();
        }
        if self.uses.load(SeqCst) - before > WORTHWHILE { Return::Used } else { Return::Unused }
    }

    fn lie_low(&self) {
        let (uses, since) = (self.uses.load(SeqCst), Time::now());
        thread::park_timeout(UNUSED);
        // A call may come late, after the loan that it was meant for.
        let was_called = Time::now().since(since) < UNUSED;
        if !self.is_lent() {
            return;
        }
        match self.turn.try_lock() {
            Some(_) if was_called || self.uses.load(SeqCst) != uses => {}
            Some(_) => self.is_lent.store(false, SeqCst),
            None => self.lie_until_called(),
        }
    }

    /// Somebody is at it, perhaps for long.
    fn lie_until_called(&self) {
        self.is_called_for.store(true, SeqCst);
        // Pairs with the fence in `Shared::let_go`: the lock's own accesses have no place among the others.
        fence(SeqCst);
        // Who has left before he could see that will not call.
        if self.turn.try_lock().is_none() {
            thread::park();
        }
        self.is_called_for.store(false, SeqCst);
    }

    fn call(&self) {
        if let Some(lender) = self.lender.get() {
            lender.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// J1: each command counted as a use, so that a caller who asked for something several times a millisecond kept the
    /// loan up while nobody looked at the system.
    #[test]
    fn only_a_wait_is_a_use() {
        let loan = Loan::default();
        loan.is_lent.store(true, SeqCst);
        drop(loan.borrow().expect("it is lent, and nobody is at it"));
        assert_eq!(loan.uses.load(SeqCst), 0);
        loan.used();
        assert_eq!(loan.uses.load(SeqCst), 1);
    }

    /// J1: who ends a loan may call the loop's thread twice. The second call came when the thread was up already, and
    /// cut short the next loan, which then passed for one that was of no use: the one after it was four times as hard
    /// to come by.
    #[test]
    fn a_call_that_comes_late_does_not_end_the_next_loan() {
        let loan = Loan::default();
        loan.is_lent.store(true, SeqCst);
        thread::current().unpark();
        loan.lie_low();
        assert!(loan.is_lent(), "a millisecond is not over");
        while loan.is_lent() {
            loan.lie_low();
        }
    }

    /// J1: a loan that was over before it began passed for one that was of no use.
    #[test]
    fn a_loan_that_is_overtaken_by_a_command_is_not_unused() {
        assert_eq!(Loan::default().lend(|| true), Return::Overtaken);
        assert_eq!(Loan::default().lend(|| false), Return::Unused);
    }
}
