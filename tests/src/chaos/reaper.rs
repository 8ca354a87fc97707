//! The reaper: kills and stops workers, listens to what the supervisor says of their ends, and writes both down.
//!
//! It knows a worker by a descriptor that it opens as soon as it hears of it, so that no signal can reach a process
//! that has come by the same number since; and it signals children of this process only.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use ganger::{CrashReport, Event, Events, NoEvent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::journal::stamp;
use super::ledger::{Death, End, Killer, Manner, Process};

/// How often the reaper looks up at least.
const GLANCE: Duration = Duration::from_millis(20);

/// How it goes about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) kill_every: Duration,
    pub(crate) stops: Stops,
    pub(crate) seed: u64,
}

/// Whether workers are stopped and continued as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stops {
    None,
    Some,
}

/// What the reaper wrote down.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) processes: Vec<Process>,
    /// Workers that were alive when SIGKILL was sent.
    pub(crate) kills: u64,
    /// Of those, workers that had not yet said ready.
    pub(crate) kills_while_booting: u64,
    pub(crate) stops: u64,
    /// Events that the supervisor could not deliver: the record has gaps.
    pub(crate) missed: u64,
    pub(crate) kills_by_supervisor: BTreeMap<String, u64>,
    pub(crate) poisonings: u64,
    /// What should not have happened at all.
    pub(crate) alarms: Vec<String>,
}

/// A worker that is alive, as far as is known.
struct Target {
    worker: Arc<str>,
    pidfd: OwnedFd,
    pid: u32,
    /// Its place in the record.
    place: usize,
    is_ready: bool,
    strike_at: Option<Instant>,
    resume_at: Option<Instant>,
}

struct Reaper<'a> {
    terms: Terms,
    is_over: &'a AtomicBool,
    random: Rng,
    record: Record,
    targets: Vec<Target>,
    next: Instant,
}

/// Listens until the supervisor has stopped; kills until `is_over`.
pub(crate) fn reap(terms: Terms, events: &Events, is_over: &AtomicBool) -> Record {
    let mut reaper = Reaper {
        terms,
        is_over,
        random: Rng::with_seed(terms.seed),
        record: Record::default(),
        targets: Vec::new(),
        next: Instant::now() + terms.kill_every,
    };
    loop {
        match events.recv_timeout(reaper.pause()) {
            Ok(event) => reaper.hear(event),
            Err(NoEvent::NotYet) => {}
            Err(_) => return reaper.finish(),
        }
        reaper.act();
    }
}

/// A report of a death as a plain fact.
pub(crate) fn death(report: &CrashReport) -> Death {
    Death {
        pid: report.pid.unwrap_or(0),
        uptime: report.uptime,
        killer: if report.killed.is_some() { Killer::Supervisor } else { Killer::SomeoneElse },
        running: report.running.clone(),
    }
}

impl Reaper<'_> {
    fn pause(&self) -> Duration {
        let dues = self.targets.iter().flat_map(|target| [target.strike_at, target.resume_at]).flatten();
        let due = dues.chain([self.next]).min().expect("at least the next");
        due.saturating_duration_since(Instant::now()).min(GLANCE)
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::WorkerSpawned { worker, pid } => self.meet(worker, pid),
            Event::WorkerReady { worker, .. } => self.note_ready(&worker),
            Event::WorkerExited { report } => self.bury(&report, Manner::Exited),
            Event::WorkerCrashed { report } => self.bury(&report, Manner::Crashed),
            Event::WorkerUnkillable { report } => self.bury(&report, Manner::WrittenOff),
            Event::WorkerKilled { cause, .. } => {
                let cause = format!("{cause:?}");
                let kind = cause.split(['(', ' ']).next().unwrap_or_default().to_owned();
                *self.record.kills_by_supervisor.entry(kind).or_insert(0) += 1;
            }
            Event::JobPoisoned { .. } => self.record.poisonings += 1,
            Event::Missed(count) => self.record.missed += count,
            Event::SpawnFailed { worker, reason } => {
                self.record.alarms.push(format!("{worker} could not be started: {reason}"));
            }
            Event::Degraded { group, reason } => {
                self.record.alarms.push(format!("group {group} is degraded: {reason}"));
            }
            _ => {}
        }
    }

    fn meet(&mut self, worker: Arc<str>, pid: u32) {
        let place = self.record.processes.len();
        self.record.processes.push(Process { pid, alive_at: 0, struck_at: None, end: None });
        let Some(pidfd) = open_child(pid) else { return };
        let is_doomed = !self.is_over() && self.random.u32(0..8) == 0;
        let strike_at = is_doomed.then(|| Instant::now() + Duration::from_micros(self.random.u64(0..4_000)));
        let is_ready = false;
        self.targets.push(Target { worker, pidfd, pid, place, is_ready, strike_at, resume_at: None });
    }

    fn note_ready(&mut self, worker: &str) {
        if let Some(target) = self.targets.iter_mut().find(|target| *target.worker == *worker) {
            target.is_ready = true;
        }
    }

    fn bury(&mut self, report: &CrashReport, manner: Manner) {
        let Some(pid) = report.pid else { return };
        let at = stamp();
        let is_it = |process: &&mut Process| process.pid == pid && process.end.is_none();
        match self.record.processes.iter_mut().rev().find(is_it) {
            Some(process) => process.end = Some(End { at, manner, death: death(report) }),
            None => self.record.alarms.push(format!("nobody has heard of process {pid}, which has ended")),
        }
        self.targets.retain(|target| target.pid != pid);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn act(&mut self) {
        let now = Instant::now();
        let is_over = self.is_over();
        for at in (0..self.targets.len()).rev() {
            let target = &mut self.targets[at];
            if target.resume_at.is_some_and(|due| due <= now || is_over) {
                target.resume_at = None;
                let _ = pidfd_send_signal(&target.pidfd, Signal::CONT);
            }
            if !is_over && target.strike_at.is_some_and(|due| due <= now) {
                self.strike(at);
            }
        }
        if !is_over && self.next <= now {
            self.next = now + self.terms.kill_every.mul_f64(2.0 * self.random.f64());
            self.raid();
        }
    }

    /// One worker, mostly; now and then two, or all of them.
    fn raid(&mut self) {
        let victims = match self.random.u32(0..64) {
            0 => self.targets.len(),
            1..5 => 2,
            _ => 1,
        };
        for _ in 0..victims.min(self.targets.len()) {
            let at = self.random.usize(0..self.targets.len());
            match self.terms.stops {
                Stops::Some if self.random.u32(0..3) == 0 => self.stop(at),
                Stops::None | Stops::Some => self.strike(at),
            }
        }
    }

    fn strike(&mut self, at: usize) {
        let target = &mut self.targets[at];
        target.strike_at = None;
        let process = &mut self.record.processes[target.place];
        let now = stamp();
        if process.struck_at.is_some() || !is_alive(&target.pidfd) {
            return;
        }
        process.alive_at = now;
        process.struck_at = Some(stamp());
        if pidfd_send_signal(&target.pidfd, Signal::KILL).is_ok() {
            self.record.kills += 1;
            self.record.kills_while_booting += u64::from(!target.is_ready);
        }
    }

    fn stop(&mut self, at: usize) {
        let target = &mut self.targets[at];
        let now = stamp();
        if target.resume_at.is_some() || !is_alive(&target.pidfd) {
            return;
        }
        self.record.processes[target.place].alive_at = now;
        let rest = match self.random.u32(0..200) {
            0 => Duration::from_millis(self.random.u64(1_000..8_000)),
            _ => Duration::from_micros(self.random.u64(0..30_000)),
        };
        target.resume_at = Some(Instant::now() + rest);
        if pidfd_send_signal(&target.pidfd, Signal::STOP).is_ok() {
            self.record.stops += 1;
        }
    }

    fn finish(mut self) -> Record {
        for target in &self.targets {
            if is_alive(&target.pidfd) {
                self.record.alarms.push(format!("process {} has outlived its supervisor", target.pid));
            }
        }
        self.record
    }
}

/// A descriptor of a live child of this process.
fn open_child(pid: u32) -> Option<OwnedFd> {
    let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let pidfd = pidfd_open(raw, PidfdFlags::empty()).ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
    // Alive after its parent was read: then that was its parent, and nobody else's.
    (parent == std::process::id() && is_alive(&pidfd)).then_some(pidfd)
}

fn is_alive(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready == 0)
}
