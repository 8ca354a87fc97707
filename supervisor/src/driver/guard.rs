//! The end of the loop, however it comes: every handle settles, every process group is killed, callers are told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::turn::Turn;
use super::worker::Workers;
use crate::relay::{Action, Input};
use crate::scheduler::{Outcome, Started};
use crate::shared::Shared;

/// Takes the [`Turn`] apart in order when it is dropped: at the regular end, when a turn panics, and when the loop's
/// thread could not be started.
pub(super) struct Guard {
    shared: Arc<Shared>,
}

impl Guard {
    pub(super) fn new(turn: Turn) -> Guard {
        let shared = Arc::clone(&turn.shared);
        *shared.loan.hold() = Some(turn);
        Guard { shared }
    }

    /// The loop: turns until the scheduler has stopped. The guard is dropped at its end.
    pub(super) fn run(self) {
        let loan = &self.shared.loan;
        loop {
            let mut held = loan.hold();
            let Some(turn) = held.as_mut().filter(|turn| !turn.is_stopped) else { return };
            if !turn.run_until_lonely() {
                return;
            }
            drop(held);
            let returned = loan.lend(|| self.shared.has_arrivals());
            if let Some(turn) = loan.hold().as_mut() {
                turn.take_back_loan(returned);
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(mut turn) = self.shared.loan.hold().take() else { return };
        let shared = &self.shared;
        shared.admission.close();
        shared.checks.close();
        // Whoever asks for them later finds no loop.
        *shared.last.lock() = catch_unwind(AssertUnwindSafe(|| Box::new(turn.figures()))).ok();
        kill_all(&mut turn);
        settle_all(&mut turn);
        // Subscribers see the end of their stream, and every file is closed, before `join` returns.
        drop(turn);
        shared.online.stopped();
        shared.stopped.loop_ended();
        shared.courier.end();
        shared.desk.close();
    }
}

/// Kills what is left, all before waiting for any.
fn kill_all(turn: &mut Turn) {
    for worker in turn.workers.iter_mut() {
        if let Some(body) = &worker.body {
            body.process.kill();
        }
    }
    turn.workers = Workers::default();
    turn.written_off.clear();
}

/// Settles the jobs that the scheduler still had, and those in the inbox.
fn settle_all(turn: &mut Turn) {
    let Turn { now, shared, scheduler, relay, settled, .. } = turn;
    let left = catch_unwind(AssertUnwindSafe(|| scheduler.abandon()));
    for slot in left.unwrap_or_default() {
        shared.admission.release(1, slot.charge());
        // Nobody knows any more how far it came.
        settled.wakes.extend(slot.settle(Outcome::ShuttingDown { started: Started::Yes, worker: None }));
    }
    let closed = catch_unwind(AssertUnwindSafe(|| relay.handle_input(*now, Input::Close)));
    while let Some(action) = relay.poll_action() {
        if let Action::Settle { ticket, answers } = action {
            settled.calls.push((ticket, answers));
        }
    }
    if closed.is_err() {
        log::error!(target: "ganger", "calls may end by their deadlines only");
    }
    shared.end();
    for wake in settled.wakes.drain(..) {
        shared.rouse(wake);
    }
    turn.wake_callers();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use ganger_protocol::{JobId, Time};

    use crate::command::Command;
    use crate::driver::{DriverConfig, GroupProgram, start};
    use crate::scheduler::{Config, GroupConfig, GroupIndex, Outcome};
    use crate::shared::{Refused, Shared};
    use crate::slot::{JobSlot, Spec};

    /// A supervisor whose worker never says anything.
    fn silent() -> Arc<Shared> {
        let mut program = GroupProgram::new("/bin/sleep");
        program.args.push("600".into());
        let config = DriverConfig::new(vec![program]);
        start(config, Config::new(vec![GroupConfig::new("silent", 1)])).expect("started").shared
    }

    fn job(group: GroupIndex) -> JobSlot {
        JobSlot::new(JobId::random(), Spec::Plain("call"), group, Vec::new(), Time::now())
    }

    fn enqueue(shared: &Shared, group: GroupIndex) -> JobSlot {
        let slot = job(group);
        shared.admit(GroupIndex(0), slot.charge()).expect("admitted");
        shared.send(Command::Enqueue(slot.clone()));
        slot
    }

    fn assert_dropped(slot: &JobSlot) {
        let outcome = slot.wait(None).expect("without a deadline it comes");
        assert!(matches!(outcome, Outcome::ShuttingDown { .. }), "{outcome:?}");
    }

    /// J8: the handles settle even if the loop itself panics, and its processes are killed.
    #[test]
    fn a_panic_of_the_loop_settles_every_handle_and_ends_every_process() {
        let shared = silent();
        let before = enqueue(&shared, GroupIndex(0));
        // No caller can name a group that does not exist: this is a bug made to order.
        let culprit = enqueue(&shared, GroupIndex(7));
        assert_dropped(&before);
        assert!(shared.wait_stopped(Some(Duration::from_secs(60))));
        assert_eq!(shared.admit(GroupIndex(0), 1), Err(Refused::ShuttingDown));
        drop(culprit);
    }

    /// J8: what reaches the inbox when the loop has ended is settled by whoever sent it.
    #[test]
    fn a_job_that_comes_after_the_end_settles() {
        let shared = silent();
        let slot = job(GroupIndex(0));
        shared.admit(GroupIndex(0), slot.charge()).expect("admitted");
        shared.hard_kill();
        assert!(shared.wait_stopped(Some(Duration::from_secs(60))));
        shared.send(Command::Enqueue(slot.clone()));
        assert_dropped(&slot);
        assert_eq!(shared.admission.jobs(), 0);
    }

    /// S3: a hard kill settles what is queued and ends a worker that never connected.
    #[test]
    fn a_hard_kill_ends_a_worker_that_never_said_anything() {
        let shared = silent();
        let slot = enqueue(&shared, GroupIndex(0));
        shared.hard_kill();
        assert_dropped(&slot);
        assert!(shared.wait_stopped(Some(Duration::from_secs(60))));
    }
}
