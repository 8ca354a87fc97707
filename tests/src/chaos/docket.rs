//! The witnesses' facts, joined: each job with its outcomes and runs, each process with what ran in it.

use std::collections::HashMap;
use std::time::Duration;

use ganger::JobId;

use super::breach::Breach;
use super::ledger::{Accepted, Death, Deed, Ledger, Mark, Process, Settled};

/// The joined facts.
pub(crate) struct Docket<'a> {
    pub(crate) cases: Vec<Case<'a>>,
    pub(crate) runs: Vec<Run>,
    pub(crate) lives: Vec<Life>,
    pub(crate) processes: &'a [Process],
    numbers: HashMap<JobId, usize>,
    /// The processes by their number and lifetime.
    deaths: HashMap<(u32, Duration), usize>,
    /// The life of each process that lived to tell.
    life_of: HashMap<usize, usize>,
}

/// A job with everything that is known of it.
pub(crate) struct Case<'a> {
    pub(crate) accepted: &'a Accepted,
    pub(crate) settled: Vec<&'a Settled>,
    /// Its runs, by their start.
    pub(crate) runs: Vec<usize>,
    /// The processes whose deaths were reported with this job running.
    pub(crate) deaths: Vec<usize>,
}

/// One call of a handler.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) job: usize,
    pub(crate) life: usize,
    pub(crate) attempt: u16,
    pub(crate) start: u64,
    pub(crate) payload: u64,
    /// When, and with the hash of what, it was about to answer.
    pub(crate) end: Option<(u64, u64)>,
    pub(crate) collided: bool,
    /// Its thread has called a handler again since.
    pub(crate) is_superseded: bool,
}

/// A process as it testified of itself.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) worker: u64,
    pub(crate) threads: usize,
    pub(crate) last_mark: u64,
    /// It was about to kill itself.
    pub(crate) has_last_words: bool,
    pub(crate) process: Option<usize>,
    pub(crate) runs: Vec<usize>,
    on_thread: HashMap<u32, usize>,
}

impl Life {
    fn new(process: Option<usize>) -> Life {
        Life {
            worker: 0,
            threads: 0,
            last_mark: 0,
            has_last_words: false,
            process,
            runs: Vec::new(),
            on_thread: HashMap::new(),
        }
    }
}

impl<'a> Docket<'a> {
    /// Joins the facts; those that belong to no job are breaches already.
    pub(crate) fn open(ledger: &'a Ledger) -> (Docket<'a>, Vec<Breach>) {
        let case = |accepted| Case { accepted, settled: Vec::new(), runs: Vec::new(), deaths: Vec::new() };
        let mut docket = Docket {
            cases: ledger.accepted.iter().map(case).collect(),
            runs: Vec::new(),
            lives: Vec::new(),
            processes: &ledger.processes,
            numbers: ledger.accepted.iter().enumerate().map(|(at, one)| (one.job, at)).collect(),
            deaths: deaths(&ledger.processes),
            life_of: HashMap::new(),
        };
        let mut breaches = docket.file_outcomes(&ledger.settled);
        breaches.extend(docket.file_marks(&ledger.marks));
        docket.file_deaths();
        (docket, breaches)
    }

    /// What ran in a process; none if it never came so far.
    pub(crate) fn life_of(&self, process: usize) -> Option<&Life> {
        self.life_of.get(&process).map(|life| &self.lives[*life])
    }

    pub(crate) fn number(&self, job: JobId) -> Option<usize> {
        self.numbers.get(&job).copied()
    }

    /// The process of whose death an outcome speaks.
    pub(crate) fn process_of(&self, death: &Death) -> Option<usize> {
        let place = *self.deaths.get(&(death.pid, death.uptime))?;
        self.processes[place].end.as_ref().is_some_and(|end| end.death == *death).then_some(place)
    }

    fn file_outcomes(&mut self, settled: &'a [Settled]) -> Vec<Breach> {
        let mut breaches = Vec::new();
        for one in settled {
            match self.number(one.job) {
                Some(job) => self.cases[job].settled.push(one),
                None => breaches.push(Breach::SettledUnasked { job: one.job }),
            }
        }
        breaches
    }

    fn file_marks(&mut self, marks: &[Mark]) -> Vec<Breach> {
        let mut by_pid: HashMap<u32, Vec<usize>> = HashMap::new();
        for (at, process) in self.processes.iter().enumerate() {
            by_pid.entry(process.pid).or_default().push(at);
        }
        let mut names = HashMap::new();
        let mut breaches = Vec::new();
        for mark in marks {
            let life = *names.entry((mark.pid, mark.born)).or_insert_with(|| {
                let process = by_pid.get(&mark.pid).and_then(|all| self.process_born(all, mark.born));
                self.lives.push(Life::new(process));
                if let Some(process) = process {
                    self.life_of.insert(process, self.lives.len() - 1);
                }
                self.lives.len() - 1
            });
            self.lives[life].last_mark = self.lives[life].last_mark.max(mark.at);
            breaches.extend(self.file_mark(life, mark));
        }
        let runs = &self.runs;
        self.cases.iter_mut().for_each(|case| case.runs.sort_by_key(|run| runs[*run].start));
        breaches
    }

    /// Of the processes that have had this number, one after the other: the first that ended after that moment.
    fn process_born(&self, same_pid: &[usize], born: u64) -> Option<usize> {
        let ended_after = |at: &&usize| self.processes[**at].end.as_ref().is_none_or(|end| end.at > born);
        same_pid.iter().find(ended_after).copied()
    }

    fn file_mark(&mut self, life: usize, mark: &Mark) -> Option<Breach> {
        match mark.deed {
            Deed::Boot { worker, threads } => {
                self.lives[life].worker = worker;
                self.lives[life].threads = usize::from(threads);
            }
            Deed::Start { job, attempt, payload } => {
                let Some(job) = self.number(job) else { return Some(Breach::RanUnasked { job }) };
                let run = self.runs.len();
                self.runs.push(Run {
                    job,
                    life,
                    attempt,
                    start: mark.at,
                    payload,
                    end: None,
                    collided: false,
                    is_superseded: false,
                });
                self.cases[job].runs.push(run);
                self.lives[life].runs.push(run);
                if let Some(before) = self.lives[life].on_thread.insert(mark.thread, run) {
                    self.runs[before].is_superseded = true;
                }
            }
            Deed::Collision { .. } => {
                if let Some(run) = self.current(life, mark) {
                    run.collided = true;
                }
            }
            Deed::LastWords { .. } => self.lives[life].has_last_words = true,
            Deed::End { hash, .. } => {
                if let Some(run) = self.current(life, mark) {
                    run.end = Some((mark.at, hash));
                }
            }
        }
        None
    }

    fn current(&mut self, life: usize, mark: &Mark) -> Option<&mut Run> {
        let run = *self.lives[life].on_thread.get(&mark.thread)?;
        self.runs.get_mut(run)
    }

    fn file_deaths(&mut self) {
        for (at, process) in self.processes.iter().enumerate() {
            for job in process.end.iter().flat_map(|end| &end.death.running) {
                if let Some(job) = self.numbers.get(job) {
                    self.cases[*job].deaths.push(at);
                }
            }
        }
    }
}

fn deaths(processes: &[Process]) -> HashMap<(u32, Duration), usize> {
    let key = |process: &Process| process.end.as_ref().map(|end| (end.death.pid, end.death.uptime));
    processes.iter().enumerate().filter_map(|(at, process)| Some((key(process)?, at))).collect()
}
