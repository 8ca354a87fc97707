//! What the kernel and the machine do to processes: signals, deaths, stops.

use std::time::Duration;

use ganger::internals::ExitStatus;

use super::calendar::{Happening, Signal};
use super::court::{PRECISION, Stop};
use super::process::Life;
use super::world::{Stage, World};

impl World {
    pub(crate) fn signal(&mut self, proc: usize, signal: Signal) {
        if !self.procs[proc].is_alive() {
            return;
        }
        match signal {
            Signal::Terminate => {
                // SIGCONT comes with it.
                if self.procs[proc].life == Life::Stopped && !self.procs[proc].is_doomed() {
                    self.resume(proc);
                }
                if !self.procs[proc].habits.ignores_term && self.procs[proc].is_running() {
                    self.die(proc, ExitStatus::Signal(15));
                }
            }
            Signal::Kill if self.procs[proc].habits.survives_kill => self.hold_in_the_kernel(proc),
            Signal::Kill => self.die(proc, ExitStatus::Signal(9)),
        }
    }

    /// An uninterruptible sleep: SIGKILL is pending until it ends.
    fn hold_in_the_kernel(&mut self, proc: usize) {
        if self.procs[proc].is_doomed() {
            return;
        }
        self.procs[proc].life = Life::Stopped;
        self.procs[proc].deferred.push(Happening::Signal { proc, signal: Signal::Kill });
        let delay = Duration::from_millis(self.rng.u64(..5_000));
        self.after(delay, Happening::Recover { proc });
    }

    /// The process is no more; what it wrote can still be read.
    pub(crate) fn die(&mut self, proc: usize, status: ExitStatus) {
        let now = self.now();
        self.trace.note(now, 12, proc as u64, 0, || format!("process {proc} dies by {status:?}"));
        let process = &mut self.procs[proc];
        process.life = Life::Zombie(status);
        process.beats = false;
        process.deferred.clear();
        process.down.close_reader();
        for run in process.runs.drain(..) {
            if let Some(attempt) = run.attempt {
                self.ledger.attempts[attempt].is_running = false;
            }
        }
        if process.habits.leaves_grandchild {
            let delay = Duration::from_millis(self.rng.u64(..400));
            self.after(delay, Happening::LetGo { proc });
        } else {
            self.procs[proc].up.close_writer();
        }
        self.wake_loop();
    }

    pub(crate) fn let_go(&mut self, proc: usize) {
        self.procs[proc].up.close_writer();
        self.wake_loop();
    }

    /// Death at a point of the code where it hurts.
    pub(crate) fn crash(&mut self, proc: usize) {
        let now = self.now();
        match self.rng.u8(..5) {
            0 => {
                let process = &mut self.procs[proc];
                // The slot was taken, the mark not moved.
                process.page.occupy(900, process.page.mark().started.next(), now);
            }
            1 => self.start(proc),
            2 => {
                // The slot was vacated, the answer not written.
                if let Some(run) = self.procs[proc].runs.first() {
                    self.procs[proc].page.vacate(run.ticket.slot());
                }
            }
            3 => {
                let most = self.rng.usize(..64);
                self.write_some(proc, most);
            }
            _ => {}
        }
        let status = match self.rng.u8(..4) {
            0 => ExitStatus::Code(0),
            1 => ExitStatus::Code(101),
            2 => ExitStatus::Signal(9),
            _ => ExitStatus::Signal(11),
        };
        if self.procs[proc].is_alive() {
            self.die(proc, status);
        }
    }

    /// The process is stopped, or goes on and does not read.
    pub(crate) fn freeze(&mut self, proc: usize) {
        let now = self.now();
        self.trace.note(now, 13, proc as u64, 0, || format!("process {proc} freezes"));
        if self.rng.u8(..4) == 0 {
            self.procs[proc].habits.is_deaf = true;
        } else {
            self.procs[proc].life = Life::Stopped;
        }
        let longest = if self.rng.bool() { 100 } else { 20_000 };
        let delay = Duration::from_millis(self.rng.u64(..longest));
        self.after(delay, Happening::Recover { proc });
    }

    pub(crate) fn recover(&mut self, proc: usize) {
        self.procs[proc].habits.is_deaf = false;
        if self.procs[proc].is_doomed() {
            return self.die(proc, ExitStatus::Signal(9));
        }
        self.resume(proc);
        self.read_soon(proc);
    }

    fn resume(&mut self, proc: usize) {
        self.procs[proc].life = Life::Running;
        for happening in std::mem::take(&mut self.procs[proc].deferred) {
            self.soon(happening);
        }
    }

    pub(crate) fn schedule_nemesis(&mut self) {
        let mean = self.plan.pause.as_nanos() as u64 * 50;
        let pause = Duration::from_nanos(self.rng.u64(0..=2 * mean));
        self.after(pause, Happening::Nemesis);
    }

    /// A fault of the whole machine.
    pub(crate) fn nemesis(&mut self) {
        if !self.is_noisy() {
            return;
        }
        if self.chance(self.plan.faults.nemesis) {
            match self.rng.u8(..4) {
                0 => self.kill_all(),
                1 => self.stop_the_supervisor(Duration::from_millis(1_000), Duration::from_secs(60)),
                2 => self.stop_the_supervisor(Duration::from_millis(5), Duration::from_millis(1_500)),
                _ => self.freeze_one(),
            }
        }
        self.schedule_nemesis();
    }

    fn kill_all(&mut self) {
        for proc in self.live.clone() {
            if self.procs[proc].is_alive() && self.rng.u8(..8) != 0 {
                self.signal(proc, Signal::Kill);
            }
        }
    }

    fn freeze_one(&mut self) {
        let running: Vec<usize> =
            self.live.iter().copied().filter(|proc| self.procs[*proc].is_running()).collect();
        if !running.is_empty() {
            let proc = running[self.rng.usize(..running.len())];
            self.freeze(proc);
        }
    }

    fn stop_the_supervisor(&mut self, least: Duration, most: Duration) {
        let now = self.now();
        let gap = Duration::from_nanos(self.rng.u64(least.as_nanos() as u64..most.as_nanos() as u64));
        if self.stopped_until > now {
            return;
        }
        self.trace
            .note(now, 14, gap.as_nanos() as u64, 0, || format!("the supervisor is stopped for {gap:?}"));
        self.stopped_until = now + gap;
        let forgiven = self.least_forgiven(gap);
        self.court.note_stop(Stop { from: now, to: self.stopped_until, forgiven });
        if self.turn_at < self.stopped_until {
            self.turn_at = ganger_protocol::Time::NEVER;
            self.turn_by(self.stopped_until);
        }
    }

    /// A gap shows from the first timer that was missed; while there are workers, that is the look at them.
    fn least_forgiven(&self, gap: Duration) -> Duration {
        let is_sampled = |proc: &usize| {
            let process = &self.procs[*proc];
            process.told.spawned.is_some_and(|at| at < self.now())
                // One that was to end before it was there is not looked at.
                && process.told.killed != process.told.spawned
                && process.told.process_ended.is_none()
                && !process.desk.is_buried
        };
        let unseen = self.plan.config.sample_every + PRECISION;
        let seen = gap.saturating_sub(unseen);
        let counts = seen > Duration::from_secs(1) && self.live.iter().any(is_sampled);
        if counts { seen } else { Duration::ZERO }
    }

    /// No faults from now on, and the standing ones end.
    pub(crate) fn quieten(&mut self) {
        let now = self.now();
        self.trace.say(now, || String::from("quiet"));
        self.stage = Stage::Quiet;
        for proc in self.live.clone() {
            self.heal(proc);
        }
        for group in 0..self.groups.len() {
            self.give_workers(group);
            self.revive_all(group);
        }
        self.wake_loop();
    }

    fn heal(&mut self, proc: usize) {
        if !self.procs[proc].sort.is_truthful() && self.procs[proc].is_alive() {
            // Whatever it did to its page stays done.
            return self.die(proc, ExitStatus::Signal(9));
        }
        let process = &mut self.procs[proc];
        process.habits.overstays = false;
        if process.life == Life::Running
            && let Some(session) = &mut process.session
        {
            session.hook_done();
        }
        let hanging: Vec<u64> =
            process.runs.iter().filter(|run| run.is_hanging()).map(|run| run.serial).collect();
        for run in &mut process.runs {
            run.end = run.end.or_reply();
        }
        if process.life == Life::Stopped || process.habits.is_deaf {
            self.after(Duration::from_millis(1), Happening::Recover { proc });
        }
        for serial in hanging {
            self.soon(Happening::HandlerEnd { proc, serial });
        }
        if self.procs[proc].is_running() {
            self.leave_if_due(proc);
        }
    }
}
