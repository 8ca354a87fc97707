//! The end of the loop, however it comes: every handle settles, every process group is killed, callers are told.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::turn::{Turn, Wait};
use crate::scheduler::{Outcome, Started};

/// A [`Turn`] that is taken apart in order when it is dropped: at the regular end, when it panics, and when its
/// thread could not be started.
pub(super) struct Guard {
    turn: Turn,
}

impl Guard {
    pub(super) fn new(turn: Turn) -> Guard {
        Guard { turn }
    }

    /// The loop: turns until the scheduler has stopped. The guard is dropped at its end.
    pub(super) fn run(mut self) {
        let turns = AssertUnwindSafe(|| self.run_turns());
        if catch_unwind(turns).is_err() {
            log::error!(target: "ganger", "the loop panicked: everything is ended at once");
        }
    }

    fn run_turns(&mut self) {
        // The scheduler wants its first workers without being told anything: nothing would end a sleep.
        let mut wait = Wait::Look;
        while !self.turn.is_stopped {
            if let Err(error) = self.turn.turn(wait) {
                log::error!(target: "ganger", "the loop cannot go on: {error}");
                return;
            }
            wait = Wait::Sleep;
        }
    }

    /// Kills what is left, all before waiting for any.
    fn kill_all(&mut self) {
        for worker in self.turn.workers.iter_mut() {
            if let Some(body) = &worker.body {
                body.process.kill();
            }
        }
        self.turn.workers = Default::default();
        self.turn.written_off.clear();
    }

    /// Settles the jobs that the scheduler still had, and those in the inbox.
    fn settle_all(&mut self) {
        let shared = &self.turn.shared;
        let left = catch_unwind(AssertUnwindSafe(|| self.turn.scheduler.abandon()));
        for slot in left.unwrap_or_default() {
            // Nobody knows any more how far it came.
            let wake = slot.settle(Outcome::ShuttingDown { started: Started::Yes });
            shared.admission.release(1, slot.charge());
            self.turn.settled.wakes.extend(wake);
        }
        shared.end();
        for wake in self.turn.settled.wakes.drain(..) {
            shared.rouse(wake);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.turn.shared.admission.close();
        self.kill_all();
        self.settle_all();
        // Subscribers see the end of their stream before `join` returns.
        self.turn.subscribers.clear();
        self.turn.signals = None;
        let shared = &self.turn.shared;
        shared.online.stopped();
        shared.stopped.loop_ended();
        shared.courier.end();
    }
}
