//! A worker is gone: what is true about its end.

use super::groups::Fault;
use super::ledger::Loss;
use super::world::World;

impl World {
    /// The supervisor knows that both the process and its link have ended.
    pub(crate) fn judge_if_gone(&mut self, proc: usize) {
        let told = &self.procs[proc].told;
        if told.process_ended.is_some()
            && told.link_ended.is_some()
            && !told.is_judged
            && !self.procs[proc].desk.is_buried
        {
            self.judge(proc);
        }
    }

    /// A worker is gone: what that means for its jobs and its slot.
    pub(crate) fn judge(&mut self, proc: usize) {
        let now = self.now();
        self.procs[proc].told.is_judged = true;
        let may_be_by_us = self.may_be_killed_now(proc);
        let held = std::mem::take(&mut self.procs[proc].told.held);
        let mut was_running = false;
        for attempt in held {
            let loss = Loss { may_be_by_us, ..self.loss(proc, attempt) };
            was_running |= loss.was_running;
            self.ledger.lose(&mut self.court, now, attempt, &loss);
        }
        let fault = if may_be_by_us { Fault::Maybe } else { self.fault(proc, was_running) };
        let (group, slot) = (self.procs[proc].group, self.procs[proc].slot);
        let healthy = self.procs[proc]
            .told
            .ready_at
            .is_some_and(|at| now.since(at) >= self.groups[group].healthy_after.mul_f64(0.9));
        let process = &self.procs[proc];
        let may_have_taken_over =
            (process.was_beside_another || process.edition > 0) && process.told.ready_at.is_some();
        if healthy || may_have_taken_over {
            self.groups[group].note_health(slot);
        }
        // Where nobody is replaced, only processes that were never started count.
        let is_counted = !self.is_by_command(group) || self.procs[proc].told.spawned.is_none();
        let fault = if is_counted { fault } else { Fault::Maybe };
        self.groups[group].note_end(slot, fault, was_running, now);
        self.note_rest(proc);
    }

    fn loss(&self, proc: usize, attempt: usize) -> Loss {
        let process = &self.procs[proc];
        let told = &process.told;
        let attempt = &self.ledger.attempts[attempt];
        let is_started = told.process_ended.is_none() || attempt.ordinal.is_started(told.final_started);
        let was_running = is_started && told.final_running.contains(&attempt.ordinal);
        let is_by_us = told.kill_begun();
        Loss {
            is_started,
            was_running,
            is_charged: was_running && !is_by_us,
            is_by_us,
            may_be_by_us: false,
            is_unkillable: told.process_ended.is_none(),
            is_answered: attempt.said.iter().any(|(_, whole_at)| *whole_at <= process.up.written()),
            // A death that is read in the turn in which it was given up counts as either.
            is_certain: process.sort.is_truthful()
                && told.violated.is_none()
                && !(told.is_written_off && told.process_ended.is_some()),
        }
    }

    /// Whether a kill may have been decided in this turn, of which the action is still to come.
    fn may_be_killed_now(&self, proc: usize) -> bool {
        let now = self.now();
        let told = &self.procs[proc].told;
        let policy = self.policy(proc);
        let is_unready = told.capacity.is_none() && now >= told.ordered + policy.boot_timeout;
        let is_cut_off = told.link_ended.is_some_and(|at| at != now && now >= at + policy.close_grace);
        told.over_memory == Some(now)
            || self.end.killed == Some(now)
            || is_unready
            || is_cut_off
            || self.is_due_for_the_ladder(proc, now)
    }

    fn fault(&self, proc: usize, was_running: bool) -> Fault {
        let process = &self.procs[proc];
        let told = &process.told;
        if self.is_surely_on_trial(proc) {
            return Fault::Nobody;
        }
        if self.may_be_on_trial(proc) && !(told.drained.is_some() || told.said_goodbye) {
            return Fault::Maybe;
        }
        // Whoever has its place already may have made it nobody's loss before it was buried.
        let is_succeeded = self.companions(proc).iter().any(|other| *other > proc);
        let is_odd = is_succeeded
            || told.spawn_failed
            || told.process_ended.is_none()
            || told.violated.is_some()
            || !process.sort.is_truthful();
        if is_odd {
            Fault::Maybe
        } else if told.kill_begun() {
            // Ours; but a worker that never got ready, or fell silent, may be held responsible.
            Fault::Maybe
        } else if told.drained.is_some() || told.said_goodbye {
            Fault::Nobody
        } else if told.shutdown_by.is_some() || process.slot >= self.groups[process.group].wanted {
            // About to be drained, in this very turn perhaps.
            Fault::Maybe
        } else if was_running {
            Fault::Job
        } else {
            Fault::Own
        }
    }
}
