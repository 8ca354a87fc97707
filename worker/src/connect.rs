//! From a fresh process to a connected worker: the leash is recognized, moved out of the way, and read once.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{
    Body, FrameError, Growth, Hatch, Inbox, Kind, Limits, MAGIC, MAX_HEAD, Outbox, Page, PageError, Pool,
    SupervisorHello, ToWorker, VERSION, WORKER_ENV, WorkerHello, receive_with_fds, write_from,
};
use rustix::fs::FileType;
use rustix::net::sockopt::socket_acceptconn;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::link::{Greeting, Identity, Link, OnLoss};
use crate::listener::Listeners;
use crate::sentry;

/// Descriptors below this are left to the program: some expect the first few for themselves.
const LOWEST_FD: i32 = 10;

/// The page, the bell and the hatch. A pool may come after them, and then the listeners that the Hello names.
const HELLO_FDS: usize = 3;

/// Why this process is not a connected worker.
///
/// `Debug` shows the same sentence as `Display`, because that is what a `main` that returns the error prints.
///
/// ```no_run
/// use ganger_worker::Worker;
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     match Worker::connect() {
///         Ok(worker) => worker.serve().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
///         Err(error) => {
///             eprintln!("{error}");
///             error.exit_code()
///         }
///     }
/// }
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No supervisor started this process.
    #[error(
        "this program is a ganger worker: it is started by its supervisor, not by hand (here {reason}); \
         start the program that supervises it instead"
    )]
    NotAWorker {
        /// What is missing.
        reason: &'static str,
    },
    /// The supervisor ended before it had said its Hello.
    #[error("the supervisor was gone before this worker was connected")]
    SupervisorGone,
    /// The supervisor speaks another version of the protocol.
    #[error(
        "the supervisor speaks version {theirs} of ganger's protocol and this worker version {VERSION}; build both with the same release of ganger"
    )]
    Version {
        /// The version that the supervisor speaks.
        theirs: u16,
    },
    /// What came first was no Hello.
    #[error(
        "the supervisor's first words are not understood: {0}; build both with the same release of ganger"
    )]
    Handshake(#[source] FrameError),
    /// The Hello came without the page, the bell, the hatch and the listeners that it names, or with more than these and
    /// a pool.
    #[error(
        "the supervisor's Hello came with {count} descriptors and announced {announced}, not {HELLO_FDS} or one more, and {listeners} listeners; build both with the same release of ganger"
    )]
    Descriptors {
        /// How many came.
        count: usize,
        /// How many it said there were.
        announced: usize,
        /// How many listeners it named.
        listeners: usize,
    },
    /// A descriptor that came as a listener is none.
    #[error(
        "the descriptor that came as the listener {name:?} does not listen; build both with the same release of ganger"
    )]
    Listener {
        /// The listener's name.
        name: String,
    },
    /// The shared page cannot be used.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The system refused something.
    #[error("the connection to the supervisor could not be {action}: {source}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl ConnectError {
    /// The exit code for it, after `sysexits.h`: 64 when the program was run by hand, 78 when it does not fit its
    /// supervisor, 71 when the system refused something. The supervisor tells a misfit from a crash by 78.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            ConnectError::NotAWorker { .. } => 64,
            ConnectError::Version { .. }
            | ConnectError::Handshake(_)
            | ConnectError::Descriptors { .. }
            | ConnectError::Listener { .. }
            | ConnectError::Page(PageError::NotAPage { .. }) => 78,
            ConnectError::SupervisorGone | ConnectError::Page(_) | ConnectError::System { .. } => 71,
        })
    }
}

impl std::fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Connects by the leash that is this process's standard input.
pub(crate) fn connect() -> Result<Arc<Link>, ConnectError> {
    let supervisor = named_parent().ok_or_else(|| not_a_worker(why_no_parent_is_named()))?;
    let leash = take_leash()?;
    take_name();
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(system("tied to the life of the parent"))?;
    if parent() != Some(supervisor) {
        // It died before the line above, which therefore comes too late for it.
        return Err(ConnectError::SupervisorGone);
    }
    greet(leash, OnLoss::EndProcess)
}

/// Gives the process its program's name back. A supervisor executes programs by descriptor, and the system calls such
/// a process by the descriptor's number.
fn take_name() {
    let named_by_number =
        rustix::thread::name().is_ok_and(|name| name.as_bytes().iter().all(u8::is_ascii_digit));
    let program = std::env::args_os().next().map(PathBuf::from);
    let name =
        program.as_deref().and_then(Path::file_name).and_then(|name| CString::new(name.as_bytes()).ok());
    if let Some(name) = name.filter(|_| named_by_number) {
        // Only for people who look at a list of processes.
        let _ = rustix::thread::set_name(&name);
    }
}

/// The supervisor that the environment names, if it is this process's parent. The variable is inherited by the
/// processes that a worker starts, who have another parent and must not believe it.
fn named_parent() -> Option<u32> {
    let named = std::env::var(WORKER_ENV).ok()?.parse().ok()?;
    (parent() == Some(named)).then_some(named)
}

fn why_no_parent_is_named() -> &'static str {
    match std::env::var_os(WORKER_ENV) {
        None => "no supervisor has named itself in the environment",
        Some(_) => {
            "its parent is not the supervisor that the environment names; a script that starts a worker must exec it"
        }
    }
}

fn parent() -> Option<u32> {
    getppid().and_then(|pid| pid.as_raw_nonzero().get().try_into().ok())
}

/// Moves the leash from standard input to a high descriptor that no child of this process inherits.
fn take_leash() -> Result<OwnedFd, ConnectError> {
    let stdin = rustix::stdio::stdin();
    let kind = rustix::fs::fstat(stdin).map(|stat| FileType::from_raw_mode(stat.st_mode));
    if kind != Ok(FileType::Socket) {
        return Err(not_a_worker("standard input is not the supervisor's socket"));
    }
    let leash = rustix::io::fcntl_dupfd_cloexec(stdin, LOWEST_FD)
        .map_err(system("moved away from standard input"))?;
    let null = OpenOptions::new().read(true).open("/dev/null");
    let null = null.map_err(|source| ConnectError::System {
        action: "replaced by /dev/null on standard input",
        source,
    })?;
    rustix::stdio::dup2_stdin(&null).map_err(system("replaced by /dev/null on standard input"))?;
    Ok(leash)
}

/// Exchanges the Hellos and posts the sentry.
pub(crate) fn greet(leash: OwnedFd, on_loss: OnLoss) -> Result<Arc<Link>, ConnectError> {
    let greeting = read_greeting(&leash);
    let is_understood = matches!(greeting, Ok(_) | Err(ConnectError::Version { .. }));
    if is_understood {
        // Also to a supervisor of another version: this is how it tells a misfit from a crash.
        say_hello(&leash)?;
    }
    let link = Link::new(leash, greeting?, on_loss)
        .map_err(|source| ConnectError::System { action: "given its eventfds", source })?;
    let link = Arc::new(link);
    sentry::post(&link).map_err(|source| ConnectError::System { action: "watched by a thread", source })?;
    Ok(link)
}

fn say_hello(leash: &OwnedFd) -> Result<(), ConnectError> {
    let library = format!("ganger-worker {}", env!("CARGO_PKG_VERSION"));
    let hello = WorkerHello { magic: MAGIC, version: VERSION, pid: std::process::id(), library };
    let mut outbox = Outbox::new();
    outbox.frame(Kind::WorkerHello, &hello, Body::Copy(&[]));
    // The socket is empty, so that everything fits at once.
    outbox.flush(|pieces| write_from(leash, pieces)).map_err(|source| match source.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ConnectError::SupervisorGone,
        _ => ConnectError::System { action: "written", source },
    })
}

/// Reads until the Hello is whole. What comes behind it stays in the inbox.
fn read_greeting(leash: &OwnedFd) -> Result<Greeting, ConnectError> {
    // The real limits are in the Hello; these are only for reading it.
    let mut inbox = Inbox::new(Limits::default(), Growth::AtOnce);
    let mut fds = Vec::new();
    let mut bytes = [0; 4096];
    let (hello, announced) = loop {
        let (count, some) = receive_with_fds(leash.as_fd(), &mut bytes).map_err(received)?;
        if count == 0 {
            return Err(ConnectError::SupervisorGone);
        }
        fds.extend(some);
        inbox.push(&bytes[..count]);
        if let Some(frame) = inbox.next_frame().map_err(misunderstood)? {
            let announced = usize::from(frame.fds);
            break (ToWorker::decode(frame).map_err(misunderstood)?, announced);
        }
    };
    let ToWorker::Hello(hello) = hello else { return Err(ConnectError::Handshake(no_hello())) };
    let HelloFds { page, bell, hatch, pool, listeners } = sort(announced, fds, &hello.listeners)?;
    let pool = pool.map(Pool::map).transpose()?;
    // Before our Hello, after which the supervisor looks.
    pool.iter().for_each(Pool::take_part);
    let page = Page::map(page)?;
    let (identity, limits) = (identity(&hello), limits(&hello));
    Ok(Greeting { identity, limits, page, pool, bell, hatch, listeners, inbox })
}

/// What comes with the Hello.
struct HelloFds {
    page: OwnedFd,
    bell: OwnedFd,
    hatch: Hatch,
    pool: Option<OwnedFd>,
    listeners: Listeners,
}

/// Tells the descriptors by their places.
fn sort(announced: usize, fds: Vec<OwnedFd>, names: &[String]) -> Result<HelloFds, ConnectError> {
    let (count, listeners) = (fds.len(), names.len());
    let odd = || ConnectError::Descriptors { count, announced, listeners };
    let has_pool = match count.checked_sub(HELLO_FDS + listeners) {
        Some(0) if count == announced => false,
        Some(1) if count == announced => true,
        Some(_) | None => return Err(odd()),
    };
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or_else(odd);
    let (page, bell, hatch) = (next()?, next()?, Hatch::new(next()?));
    let pool = if has_pool { Some(next()?) } else { None };
    let listeners = names.iter().map(|name| Ok((name.clone(), listening(name, next()?)?)));
    let listeners = Listeners::new(listeners.collect::<Result<_, ConnectError>>()?);
    Ok(HelloFds { page, bell, hatch, pool, listeners })
}

fn listening(name: &str, fd: OwnedFd) -> Result<OwnedFd, ConnectError> {
    match socket_acceptconn(&fd) {
        Ok(true) => Ok(fd),
        Ok(false) | Err(_) => Err(ConnectError::Listener { name: name.into() }),
    }
}

fn limits(hello: &SupervisorHello) -> Limits {
    Limits { payload: limit(hello.payload_limit), event: limit(hello.event_limit) }
}

fn identity(hello: &SupervisorHello) -> Identity {
    Identity {
        name: hello.worker.clone(),
        group: hello.group.clone(),
        slot: hello.slot,
        heartbeat: Duration::from_millis(u64::from(hello.heartbeat_millis.max(1))),
    }
}

/// A body, head included, is under 4 GiB.
fn limit(bytes: u32) -> usize {
    bytes.min(u32::MAX - MAX_HEAD as u32) as usize
}

fn misunderstood(error: FrameError) -> ConnectError {
    match error {
        FrameError::Version { theirs } => ConnectError::Version { theirs },
        error => ConnectError::Handshake(error),
    }
}

fn received(source: io::Error) -> ConnectError {
    match source.kind() {
        io::ErrorKind::ConnectionReset => ConnectError::SupervisorGone,
        _ => ConnectError::System { action: "read", source },
    }
}

fn no_hello() -> FrameError {
    FrameError::NotAllowed { kind: Kind::Request, place: "before the Hello" }
}

fn not_a_worker(reason: &'static str) -> ConnectError {
    ConnectError::NotAWorker { reason }
}

fn system(action: &'static str) -> impl Fn(rustix::io::Errno) -> ConnectError {
    move |error| ConnectError::System { action, source: error.into() }
}
