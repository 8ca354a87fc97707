//! The spawner: the thread that starts processes, one after the other.
//!
//! Starting a process blocks until the program is executed, so it is not done in the loop. It is one thread for
//! the supervisor's whole life because the parent-death signal that workers ask for is tied to the thread that
//! started them.
//!
//! The Hello is sent when the process has its limits: before it, a worker's library waits, and its code with it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command as Program, Stdio};
use std::sync::{Arc, OnceLock};

use crossbeam_channel::Receiver;
use ganger_protocol::{
    Body, Hatch, Kind, Limits, MAGIC, Outbox, Page, PageError, Pool, SupervisorHello, VERSION, WORKER_ENV,
    send_with_fds,
};
use rustix::event::EventfdFlags;
use rustix::net::sockopt::set_socket_send_buffer_size;

use super::config::{EnvironmentBase, GroupProgram, SEND_BUFFER};
use super::executable::Executable;
use super::output::Pipe;
use super::process::Process;
use super::restrain::restrain;
use super::sample::Statm;
use super::spawn_error::{program_failure, temporary};
use super::stdio::above_stdio;
use crate::command::Command;
use crate::rollout::HeldProgram;
use crate::scheduler::{GroupConfig, GroupIndex, SpawnFailure, WorkerKey};
use crate::shared::Shared;

/// A process that is wanted.
pub(super) struct SpawnRequest {
    pub(super) worker: WorkerKey,
    pub(super) group: GroupIndex,
    pub(super) slot: u32,
    pub(super) name: Arc<str>,
    pub(super) blueprint: Arc<Blueprint>,
}

/// What became of a [`SpawnRequest`].
pub(crate) struct Birth {
    pub(super) worker: WorkerKey,
    pub(super) group: GroupIndex,
    pub(super) result: Result<Newborn, SpawnFailure>,
}

/// A process just started, and all that connects us with it. Its Hello is already on the way.
pub(super) struct Newborn {
    pub(super) process: Process,
    pub(super) socket: OwnedFd,
    pub(super) page: Page,
    pub(super) pool: Option<Pool>,
    pub(super) bell: OwnedFd,
    pub(super) hatch: OwnedFd,
    pub(super) statm: Option<Statm>,
    pub(super) stdout: Option<Pipe>,
    pub(super) stderr: Option<Pipe>,
}

/// All that is the same for every process of a group.
pub(super) struct Blueprint {
    program: GroupProgram,
    /// Opened when it is first needed, if not before.
    executable: OnceLock<Executable>,
    group: Arc<str>,
    heartbeat_millis: u32,
    limits: Limits,
}

impl Blueprint {
    pub(super) fn new(program: GroupProgram, group: &GroupConfig, limits: Limits) -> Blueprint {
        Blueprint {
            executable: Executable::hold(&program.program).into(),
            program,
            group: group.name.clone(),
            heartbeat_millis: u32::try_from(group.heartbeat.as_millis()).unwrap_or(u32::MAX),
            limits,
        }
    }

    /// The same for another program, or for the same program with its file opened anew.
    pub(super) fn renewed(&self, other: Option<HeldProgram>) -> Blueprint {
        let former = self.program.clone();
        let (program, executable) = match other {
            Some(HeldProgram { program: GroupProgram { program, args, env, cwd, .. }, executable }) => {
                (GroupProgram { program, args, env, cwd, ..former }, executable.into())
            }
            None => (former, OnceLock::new()),
        };
        let Blueprint { heartbeat_millis, limits, .. } = *self;
        Blueprint { program, executable, group: self.group.clone(), heartbeat_millis, limits }
    }

    fn executable(&self) -> &Executable {
        self.executable.get_or_init(|| Executable::hold(&self.program.program))
    }

    fn hello(&self, request: &SpawnRequest, fds: u8) -> Vec<u8> {
        let hello = SupervisorHello {
            magic: MAGIC,
            version: VERSION,
            supervisor: std::process::id(),
            worker: request.name.to_string(),
            group: self.group.to_string(),
            slot: request.slot,
            payload_limit: u32::try_from(self.limits.payload).unwrap_or(u32::MAX),
            event_limit: u32::try_from(self.limits.event).unwrap_or(u32::MAX),
            heartbeat_millis: self.heartbeat_millis,
            listeners: self.program.terms.listeners.iter().map(|(name, _)| name.to_string()).collect(),
        };
        let mut outbox = Outbox::new();
        outbox.frame_with_fds(Kind::SupervisorHello, fds, &hello, Body::Copy(&[]));
        outbox.take_bytes()
    }

    fn spawn(&self, request: &SpawnRequest) -> Result<Newborn, SpawnFailure> {
        let (socket, theirs) = link().map_err(|error| temporary("make a socket pair", &error))?;
        let (page, page_fd) = Page::create().map_err(|error| page_failure(&error))?;
        let bell = bell().map_err(|error| temporary("make an eventfd", &error))?;
        let (hatch, their_hatch) = hatch().map_err(|error| temporary("make a socket pair", &error))?;
        let page_fd = above_stdio(page_fd).map_err(|error| temporary("duplicate a descriptor", &error))?;
        let (pool, pool_fd) = self.pool()?.unzip();
        let listeners = self.program.terms.listeners.iter().map(|(_, listener)| &**listener);
        let fds: Vec<BorrowedFd<'_>> = [&page_fd, &bell, &their_hatch]
            .into_iter()
            .chain(&pool_fd)
            .chain(listeners)
            .map(|fd| fd.as_fd())
            .collect();
        let child = self.execute(request.slot, theirs)?;
        let hello = self.hello(request, fds.len() as u8);
        let process = Process::adopt(child.id()).map_err(|error| temporary("open the process", &error))?;
        restrain(&process, &self.program.terms)?;
        send_hello(&socket, &hello, &fds)?;
        drop(fds);
        adopt(child, process, Ties { socket, page, pool, bell, hatch })
    }

    fn pool(&self) -> Result<Option<(Pool, OwnedFd)>, SpawnFailure> {
        if self.program.terms.pool_bytes == 0 {
            return Ok(None);
        }
        let (pool, fd) = Pool::create(self.program.terms.pool_bytes).map_err(|error| page_failure(&error))?;
        let fd = above_stdio(fd).map_err(|error| temporary("duplicate a descriptor", &error))?;
        Ok(Some((pool, fd)))
    }

    fn execute(&self, slot: u32, stdin: OwnedFd) -> Result<Child, SpawnFailure> {
        let GroupProgram { args, env, cwd, terms, .. } = &self.program;
        let executable = self.executable();
        let mut command = Program::new(executable.to_execute());
        if env.base == EnvironmentBase::Empty {
            command.env_clear();
        }
        for name in &env.remove {
            command.env_remove(name);
        }
        command
            .arg0(executable.path())
            .args(args)
            .envs(env.set.iter().map(|(name, value)| (name, value)))
            .envs(terms.slot_env.iter().map(|(name, values)| (name, values.of(slot))))
            .env(WORKER_ENV, std::process::id().to_string())
            .process_group(0)
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(cwd) = cwd {
            command.current_dir(cwd);
        }
        command.spawn().map_err(|error| program_failure(executable.path(), cwd.as_deref(), &error))
    }
}

/// The spawner's thread: ends when the loop has dropped the requests' other end.
pub(super) fn run(requests: &Receiver<SpawnRequest>, shared: &Shared) {
    for request in requests {
        let spawning = AssertUnwindSafe(|| request.blueprint.spawn(&request));
        let result = catch_unwind(spawning).unwrap_or_else(|_| {
            Err(SpawnFailure::Temporary("starting the process panicked; see standard error".into()))
        });
        shared.send(Command::Born(Box::new(Birth { worker: request.worker, group: request.group, result })));
    }
}

/// What connects us with a process before there is one.
struct Ties {
    socket: OwnedFd,
    page: Page,
    pool: Option<Pool>,
    bell: OwnedFd,
    hatch: OwnedFd,
}

fn adopt(mut child: Child, process: Process, ties: Ties) -> Result<Newborn, SpawnFailure> {
    let Ties { socket, page, pool, bell, hatch } = ties;
    let stdout = child.stdout.take().map(|pipe| Pipe::new(pipe.into())).transpose();
    let stderr = child.stderr.take().map(|pipe| Pipe::new(pipe.into())).transpose();
    let pipes = stdout.and_then(|stdout| Ok((stdout, stderr?)));
    let (stdout, stderr) = pipes.map_err(|error| temporary("set up the output pipes", &error))?;
    let statm = Statm::open(process.pid());
    Ok(Newborn { process, socket, page, pool, bell, hatch, statm, stdout, stderr })
}

/// Our end and the worker's, with room for large payloads, as far as the system allows. The worker's blocks, as its
/// library expects.
fn link() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    for end in [&ours, &theirs] {
        set_socket_send_buffer_size(end, SEND_BUFFER)?;
    }
    Ok((above_stdio(ours.into())?, above_stdio(theirs.into())?))
}

/// Our end and the worker's.
fn hatch() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = Hatch::pair()?;
    Ok((above_stdio(ours)?, above_stdio(theirs)?))
}

fn bell() -> io::Result<OwnedFd> {
    above_stdio(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

fn send_hello(socket: &OwnedFd, hello: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), SpawnFailure> {
    match send_with_fds(socket, hello, fds) {
        Ok(sent) if sent == hello.len() => Ok(()),
        Ok(_) => Err(temporary("send the Hello", &io::ErrorKind::WriteZero.into())),
        // It has ended, or closed its leash: that is told as any worker's end.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            Ok(())
        }
        Err(error) => Err(temporary("send the Hello", &error)),
    }
}

fn page_failure(error: &PageError) -> SpawnFailure {
    SpawnFailure::Temporary(error.to_string().into())
}
