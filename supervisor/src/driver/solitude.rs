//! When a caller is alone with the loop, and running the loop as such a caller.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ganger_protocol::Time;

use super::turn::{Turn, Wait};
use crate::shared::Return;
use crate::slot::{JobSlot, Stage, Wake};

/// Lonely rounds before the turn is lent, at first; each loan that was of no use makes it four times as many.
const FIRST_STREAK: u32 = 8;
const LONGEST_STREAK: u32 = 1 << 17;

/// Counts rounds of one job at a time, each waited for by a blocked thread.
#[derive(Debug)]
pub(super) struct Solitude {
    streak: u32,
    needed: u32,
}

impl Default for Solitude {
    fn default() -> Solitude {
        Solitude { streak: 0, needed: FIRST_STREAK }
    }
}

impl Solitude {
    /// Notes a turn that settled so many jobs, with so many left, and woke these.
    pub(super) fn note(&mut self, settled: usize, left: usize, wakes: &[Wake]) {
        match (settled, left, wakes) {
            (1, 0, [Wake::Thread(_)]) => self.streak += 1,
            (0, 0 | 1, []) => {}
            _ => self.streak = 0,
        }
    }

    fn is_due(&self) -> bool {
        self.streak >= self.needed
    }

    fn begin_anew(&mut self, returned: Return) {
        self.streak = 0;
        self.needed = match returned {
            Return::Used => FIRST_STREAK,
            Return::Overtaken => self.needed,
            Return::Unused => (self.needed * 4).min(LONGEST_STREAK),
        };
    }
}

impl Turn {
    /// Turns, for the loop's thread, until a caller is alone with it; false when the loop is at its end.
    pub(super) fn run_until_lonely(&mut self) -> bool {
        // The scheduler wants its first workers without being told anything, and a loan may have left something to
        // do: nothing would end a sleep.
        let mut wait = Wait::Look;
        while !self.is_stopped && !self.solitude.is_due() {
            if !self.run(wait) {
                return false;
            }
            wait = Wait::Sleep;
        }
        !self.is_stopped
    }

    pub(super) fn take_back_loan(&mut self, returned: Return) {
        self.solitude.begin_anew(returned);
    }

    /// One turn for a caller, without waiting; false when the loop is at its end.
    pub(crate) fn run_one(&mut self) -> bool {
        self.run(Wait::None)
    }

    /// Turns for a caller until his job has settled, or until `deadline`, or until he is not alone any more; false
    /// when the loop is at its end.
    pub(crate) fn run_until_settled(&mut self, slot: &JobSlot, deadline: Option<Time>) -> bool {
        let wait = deadline.map_or(Wait::Sleep, Wait::Until);
        while slot.stage() != Stage::Settled && self.is_lonely() {
            if deadline.is_some_and(|deadline| deadline <= Time::now()) {
                return true;
            }
            if !self.run(wait) {
                return false;
            }
        }
        true
    }

    /// Whether there is at most one job, so that a loan may go on.
    pub(crate) fn is_lonely(&self) -> bool {
        self.known_jobs <= 1 && !self.is_stopped && self.system.unfinished.is_empty() && self.relay.is_idle()
    }

    /// A turn; false when it could not be done, after which there may be no other, whoever gets hold of it then.
    fn run(&mut self, wait: Wait) -> bool {
        if self.is_stopped {
            return false;
        }
        match catch_unwind(AssertUnwindSafe(|| self.turn(wait))) {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                log::error!(target: "ganger", "the loop cannot go on: {error}");
                self.is_stopped = true;
                false
            }
            Err(_) => {
                log::error!(target: "ganger", "the loop panicked: everything is ended at once");
                self.is_stopped = true;
                false
            }
        }
    }
}
