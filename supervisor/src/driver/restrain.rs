//! What a process may use, set from outside after it was started and before it hears the Hello: its own code runs
//! under it from its connection on; what runs before that, such as the loader, runs partly under it and partly not.
//!
//! It is not done between fork and exec, because that would need a fork of this whole process for each worker.

use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, Resource as Kind, Rlimit as Limits, prlimit, setpriority_pgrp};

use super::config::Terms;
use super::process::Process;
use crate::scheduler::SpawnFailure;
use crate::{Resource, Rlimit};

/// Gives a process its niceness and its limits.
pub(super) fn restrain(process: &Process, terms: &Terms) -> Result<(), SpawnFailure> {
    // One that was reaped by someone else has lost its number to whoever comes next.
    let Some(pid) = process.own_pid() else { return Ok(()) };
    for (resource, limit) in &terms.rlimits {
        set_limit(pid, *resource, *limit)?;
    }
    terms.niceness.map_or(Ok(()), |niceness| set_niceness(pid, niceness))
}

fn set_limit(pid: Pid, resource: Resource, limit: Rlimit) -> Result<(), SpawnFailure> {
    let limits = Limits { current: limit.soft, maximum: limit.hard };
    let result = prlimit(Some(pid), kind_of(resource), limits).map(drop);
    unless_gone(result, || format!("be limited in its {resource:?} to {limit}"))
}

/// Of the whole process group, because on Linux a niceness belongs to a thread.
fn set_niceness(pid: Pid, niceness: i32) -> Result<(), SpawnFailure> {
    unless_gone(setpriority_pgrp(Some(pid), niceness), || format!("be given the niceness {niceness}"))
}

/// A process that has ended needs no limit. Whatever else the system refuses, it would refuse the next time.
fn unless_gone(result: Result<(), Errno>, what: impl FnOnce() -> String) -> Result<(), SpawnFailure> {
    match result {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => {
            let reason = io::Error::from(error);
            Err(SpawnFailure::Permanent(format!("it cannot {}: {reason}", what()).into()))
        }
    }
}

fn kind_of(resource: Resource) -> Kind {
    match resource {
        Resource::AddressSpace => Kind::As,
        Resource::CoreDump => Kind::Core,
        Resource::CpuTime => Kind::Cpu,
        Resource::Data => Kind::Data,
        Resource::FileSize => Kind::Fsize,
        Resource::LockedMemory => Kind::Memlock,
        Resource::OpenFiles => Kind::Nofile,
        Resource::Processes => Kind::Nproc,
    }
}
