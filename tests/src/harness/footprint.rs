//! What a process holds: descriptors, threads, mappings, children. A scenario must end as it began.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use rustix::process::{WaitId, WaitIdOptions, waitid};

/// What this process holds at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Open descriptors, by what they are; sockets, pipes and the like without their numbers.
    pub descriptors: BTreeMap<String, usize>,
    /// The names of its threads.
    pub threads: BTreeMap<String, usize>,
    /// Mapped memory files.
    pub memory_files: usize,
    /// Live processes below it.
    pub descendants: Vec<String>,
    /// Ended processes below it that nobody has reaped.
    pub zombies: usize,
}

impl Footprint {
    /// What this process holds now.
    #[must_use]
    pub fn now() -> Footprint {
        Footprint {
            descriptors: descriptors(),
            threads: threads(),
            memory_files: memory_files(),
            descendants: live_descendants(),
            zombies: zombies(),
        }
    }
}

fn descriptors() -> BTreeMap<String, usize> {
    let entries = fs::read_dir("/proc/self/fd").expect("the list of descriptors");
    let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    // The list itself is read through a descriptor, which is gone by now or shows as this directory.
    let own = format!("/proc/{}/fd", std::process::id());
    let kinds = targets.map(|target| kind_of(&target.to_string_lossy())).filter(|kind| *kind != own);
    counted(kinds)
}

fn kind_of(target: &str) -> String {
    match target.split_once(":[") {
        Some((kind, _)) => kind.to_owned(),
        None => target.to_owned(),
    }
}

fn threads() -> BTreeMap<String, usize> {
    let entries = fs::read_dir("/proc/self/task").expect("the list of threads");
    let names = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("comm")).ok());
    counted(names.map(|name| name.trim().to_owned()))
}

fn counted(items: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(item).or_insert(0) += 1;
    }
    counts
}

fn memory_files() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").expect("the list of mappings");
    maps.lines().filter(|line| line.contains("/memfd:")).count()
}

/// Live processes whose ancestor this one is, with their number and command: those that a worker has left come
/// here when this process is a subreaper.
#[must_use]
pub fn live_descendants() -> Vec<String> {
    let children = processes();
    let mut below = vec![std::process::id()];
    let mut found = Vec::new();
    while let Some(parent) = below.pop() {
        for process in children.iter().filter(|process| process.parent == parent) {
            below.push(process.pid);
            if process.state != 'Z' {
                found.push(format!("{} ({})", process.pid, process.command));
            }
        }
    }
    found
}

struct Process {
    pid: u32,
    parent: u32,
    state: char,
    command: String,
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("the list of processes");
    entries.filter_map(|entry| process(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command is in parentheses and may hold any character.
    let (front, back) = stat.rsplit_once(')')?;
    let command = front.split_once('(')?.1.to_owned();
    let mut fields = back.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some(Process { pid, parent: fields.next()?.parse().ok()?, state, command })
}

/// Children that have ended and wait to be reaped. Reaps none.
fn zombies() -> usize {
    let me = std::process::id();
    processes().iter().filter(|process| process.parent == me && process.state == 'Z').count()
}

/// Reaps whatever was left to this process by the end of its parent.
pub(super) fn reap_orphans() -> usize {
    let mut reaped = 0;
    loop {
        match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(_)) => reaped += 1,
            Ok(None) | Err(rustix::io::Errno::CHILD) => return reaped,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("children cannot be reaped: {}", io::Error::from(error)),
        }
    }
}
