//! One schedule: the world, and what happens in it.

use std::time::Duration;

use fastrand::Rng;
use ganger::internals::{JobKey, Scheduler};
use ganger_protocol::Time;

use super::calendar::{Calendar, Happening, Signal};
use super::caller::{Command, Ticket};
use super::check::Check;
use super::court::Court;
use super::groups::GroupModel;
use super::ledger::Ledger;
use super::plan::{Ending, Plan, Script};
use super::process::{Process, soon};
use super::trace::Trace;

/// Everything that a schedule consists of.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) calendar: Calendar,
    pub(crate) trace: Trace,
    pub(crate) court: Court,
    pub(crate) scheduler: Scheduler<Ticket>,
    pub(crate) procs: Vec<Process>,
    /// Processes that something can still happen to.
    pub(crate) live: Vec<usize>,
    pub(crate) ledger: Ledger,
    pub(crate) groups: Vec<GroupModel>,
    /// What the world knows of each job: its key, and what its handler does.
    pub(crate) jobs: Vec<JobFacts>,
    /// On their way from the caller to the loop.
    pub(crate) commands: Vec<Command>,
    pub(crate) stage: Stage,
    pub(crate) turn_serial: u64,
    pub(crate) turn_at: Time,
    /// The supervisor does not run before.
    pub(crate) stopped_until: Time,
    pub(crate) last_turn: Time,
    pub(crate) run_serial: u64,
    /// The spawner works one order after the other.
    pub(crate) spawner_free_at: Time,
    pub(crate) end: End,
    pub(crate) steps: u64,
    pub(crate) is_told_to_end: bool,
    /// Turns in a row after which something was due at once.
    pub(crate) spins: u32,
}

/// What the world knows of a job besides the ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobFacts {
    pub(crate) key: Option<JobKey>,
    pub(crate) script: Script,
    pub(crate) run_mean: Duration,
    pub(crate) payload_len: usize,
    pub(crate) has_attachments: bool,
    /// The supervisor's copies of its attachments were let go.
    pub(crate) is_released: bool,
    pub(crate) run_timeout: Option<Duration>,
}

/// How far the schedule has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The caller calls and faults happen.
    Noise,
    /// No new calls, no new faults: everything must settle.
    Quiet,
    /// Everything was told to end.
    Ending,
}

/// How far the end of everything has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct End {
    /// When the loop took the soft kill in, and when it becomes a hard one.
    pub(crate) soft: Option<(Time, Time)>,
    pub(crate) hard: Option<Time>,
    /// The loop knows that it is hard.
    pub(crate) killed: Option<Time>,
    pub(crate) stopped: bool,
}

/// Longest virtual time that a schedule may take to become quiet.
const PATIENCE: Duration = Duration::from_secs(600);

impl World {
    pub(crate) fn new(seed: u64, keep: usize) -> World {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let plan = Plan::draw(&mut rng);
        let start = Time::from_nanos(rng.u64(1..1 << 50));
        let groups: Vec<GroupModel> =
            plan.config.groups.iter().map(|group| GroupModel::new(group, start)).collect();
        World {
            scheduler: Scheduler::new(plan.config.clone(), rng.u64(..), start),
            calendar: Calendar::new(start, plan.grain_nanos),
            trace: Trace::new(start, keep),
            court: Court::default(),
            procs: Vec::new(),
            live: Vec::new(),
            ledger: Ledger::new(&plan.config.groups),
            groups,
            jobs: Vec::new(),
            commands: Vec::new(),
            stage: Stage::Noise,
            turn_serial: 0,
            turn_at: Time::NEVER,
            stopped_until: Time::ZERO,
            last_turn: start,
            run_serial: 0,
            spawner_free_at: start,
            end: End::default(),
            steps: 0,
            spins: 0,
            is_told_to_end: false,
            plan,
            rng,
        }
    }

    /// Runs the schedule: noise for so many steps, then quiet until nothing is left to wait for, then the end.
    pub(crate) fn run(&mut self, noise_steps: u64) {
        self.trace.say(self.now(), || format!("{:#?}", self.plan));
        self.turn();
        self.schedule_call();
        if self.plan.faults.nemesis > 0 {
            self.schedule_nemesis();
        }
        self.run_while(|world| world.steps < noise_steps && !world.end.stopped);
        if self.plan.ends_in_noise {
            self.begin_end();
            self.is_told_to_end = true;
            self.run_while(|world| world.steps < noise_steps + noise_steps / 4 && !world.end.stopped);
        }
        if self.court.is_clear() {
            self.quieten();
        }
        if !self.is_told_to_end {
            self.settle_down();
            self.begin_end();
        }
        self.run_to_the_end();
    }

    /// Faults are over: everything must settle, and every wanted worker come back.
    fn settle_down(&mut self) {
        let patience = self.now() + PATIENCE;
        self.run_while(|world| !world.is_restored() && world.now() < patience);
        self.check_restored();
        self.check_idle();
    }

    fn run_to_the_end(&mut self) {
        let patience = self.now() + PATIENCE;
        self.run_while(|world| !world.end.stopped && world.now() < patience);
        self.check_ended();
    }

    fn run_while(&mut self, go_on: impl Fn(&World) -> bool) {
        while self.court.is_clear() && go_on(self) {
            let Some(happening) = self.calendar.pop() else { return };
            self.steps += 1;
            self.happen(happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Turn { serial } if serial == self.turn_serial => self.turn(),
            Happening::Turn { .. } => {}
            Happening::Call => self.call(),
            Happening::SpawnDone { proc } => self.spawn_done(proc),
            Happening::Boot { proc }
            | Happening::Readiness { proc }
            | Happening::Read { proc }
            | Happening::Start { proc }
            | Happening::HandlerEnd { proc, .. }
            | Happening::Write { proc }
            | Happening::Mischief { proc }
            | Happening::Recover { proc } => self.step(proc, happening),
            Happening::Signal { proc, signal } => self.signal(proc, signal),
            Happening::LetGo { proc } => self.let_go(proc),
            Happening::Nemesis => self.nemesis(),
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.calendar.now()
    }

    /// Parts of 1,000.
    pub(crate) fn chance(&mut self, share: u32) -> bool {
        share > 0 && self.rng.u32(..1_000) < share
    }

    /// Whether faults happen.
    pub(crate) fn is_noisy(&self) -> bool {
        self.stage == Stage::Noise
    }

    pub(crate) fn soon(&mut self, happening: Happening) {
        let delay = soon(&mut self.rng);
        self.after(delay, happening);
    }

    pub(crate) fn after(&mut self, delay: Duration, happening: Happening) {
        let lot = self.rng.u32(..);
        self.calendar.after(delay, lot, happening);
    }

    /// Something is there for the supervisor's loop.
    pub(crate) fn wake_loop(&mut self) {
        let delay = match self.rng.u8(..32) {
            0 => Duration::from_micros(self.rng.u64(..2_000)),
            _ => Duration::from_nanos(self.rng.u64(200..30_000)),
        };
        let at = self.now() + delay;
        self.turn_by(at);
    }

    /// The loop turns at `at`, unless it does before.
    pub(crate) fn turn_by(&mut self, at: Time) {
        let at = at.max(self.stopped_until);
        if at >= self.turn_at {
            return;
        }
        self.turn_at = at;
        self.turn_serial += 1;
        let lot = self.rng.u32(..);
        self.calendar.at(at, lot, Happening::Turn { serial: self.turn_serial });
    }

    pub(crate) fn kernel_signal(&mut self, proc: usize, signal: Signal) {
        self.soon(Happening::Signal { proc, signal });
    }

    pub(crate) fn begin_end(&mut self) {
        let ending = self.plan.ending;
        let deadline = Duration::from_millis(self.rng.u64(0..=5_000));
        self.stage = if self.is_noisy() { Stage::Noise } else { Stage::Ending };
        match ending {
            Ending::Soft(backlog) => self.commands.push(Command::SoftKill { deadline, backlog }),
            Ending::Hard => self.commands.push(Command::HardKill),
        }
        if self.rng.bool() {
            // Accepted before the end began, and overtaken by it on their way.
            self.enqueue_some(3);
        }
        self.wake_loop();
    }

    pub(crate) fn accuse(&mut self, check: Check, text: impl FnOnce() -> String) {
        self.court.accuse(check, text);
    }
}
