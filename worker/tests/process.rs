//! The worker as a process: started, tied to its supervisor, and ended.
//!
//! The test program plays every part. By hand it runs the tests; as a worker it serves; and it can be a supervisor
//! that is killed, or a process that a worker started.

#[allow(dead_code)]
#[path = "../src/testing/peer.rs"]
mod peer;
#[allow(dead_code, unreachable_pub)]
#[path = "../src/testing/terms.rs"]
mod terms;

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use ganger_protocol::{Answered, WORKER_ENV};
use ganger_worker::{Failure, Worker};
use peer::{Peer, Said};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use terms::Terms;

const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("worker") => return worker(),
        Some("grandchild") => return grandchild(),
        Some("supervisor") => return supervisor(),
        _ => {}
    }
    let tests: [(&str, fn()); 6] = [
        ("a worker run by hand says what it is", run_by_hand),
        ("a worker that is drained exits with 0", drained),
        ("a worker with another version exits with 78", another_version),
        ("a worker's standard input is empty and its children are no workers", standard_input),
        ("a worker in an endless handler ends with its leash", leash_cut),
        ("a worker in an endless handler ends with its supervisor", supervisor_killed),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

fn worker() -> ExitCode {
    let mut worker = match Worker::connect() {
        Ok(worker) => worker,
        Err(error) => {
            eprintln!("{error}");
            return error.exit_code();
        }
    };
    worker.on_raw("stdin", |request| match std::fs::read_link("/proc/self/fd/0") {
        Ok(path) => request.respond(path.into_os_string().into_encoded_bytes()),
        Err(error) => request.fail(error),
    });
    worker.on_raw("grandchild", |request| match me("grandchild").status() {
        Ok(status) if status.success() => request.ack(),
        Ok(status) => request.fail(Failure::new(status.to_string())),
        Err(error) => request.fail(error),
    });
    worker.on_raw("endless", |request| {
        request.worker().emit("endless", &std::process::id()).expect("there is room");
        loop {
            std::thread::park();
        }
    });
    worker.serve().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// Succeeds when it is no worker and has inherited no socket.
fn grandchild() -> ExitCode {
    let is_none = matches!(Worker::inherited(), Ok(None));
    let has_token = std::env::var_os(WORKER_ENV).is_some();
    let sockets = (0..64).filter(|fd| {
        let link = std::fs::read_link(format!("/proc/self/fd/{fd}"));
        link.is_ok_and(|path| path.to_string_lossy().starts_with("socket:"))
    });
    if is_none && has_token && sockets.count() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Has a worker run the endless handler, names it on standard output, and waits to be killed.
fn supervisor() -> ExitCode {
    let (mut peer, _child) = start();
    println!("{}", in_endless_handler(&mut peer));
    loop {
        std::thread::park();
    }
}

fn run_by_hand() {
    let output = me("worker").stdin(Stdio::null()).output().expect("started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(
        said.starts_with("this program is a ganger worker: it is started by its supervisor, not by hand")
    );

    // The right parent, but no leash.
    let mut command = me("worker");
    let output = command.env(WORKER_ENV, own_pid()).stdin(Stdio::null()).output().expect("started");
    assert_eq!(output.status.code(), Some(64));
}

fn drained() {
    let (mut peer, mut child) = start();
    peer.drain();
    assert_eq!(peer.next(PATIENCE), Said::Goodbye);
    assert_eq!(peer.next(PATIENCE), Said::Gone);
    assert!(child.wait().expect("waited for").success());
}

fn another_version() {
    let (mut peer, leash) = Peer::saying(&ganger_protocol::SupervisorHello {
        magic: ganger_protocol::MAGIC,
        version: ganger_protocol::VERSION + 1,
        supervisor: std::process::id(),
        worker: String::from("w"),
        group: String::from("g"),
        slot: 0,
        payload_limit: 1024,
        event_limit: 1024,
        heartbeat_millis: 1000,
        listeners: Vec::new(),
    });
    let child = spawn(leash);
    assert!(matches!(peer.next(PATIENCE), Said::Hello(hello) if hello.version == ganger_protocol::VERSION));
    let output = child.wait_with_output().expect("waited for");
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("build both with the same release"));
}

fn standard_input() {
    let (mut peer, _child) = start();
    peer.request("stdin", &[]);
    assert!(matches!(peer.next(PATIENCE), Said::Answer(head, path, _)
        if head.answered == Answered::Data && path == b"/dev/null"));
    peer.request("grandchild", &[]);
    assert!(matches!(peer.next(PATIENCE), Said::Answer(head, ..) if head.answered == Answered::Ack));
}

fn leash_cut() {
    let (mut peer, mut child) = start();
    in_endless_handler(&mut peer);
    drop(peer);
    let status = child.wait().expect("waited for");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
}

fn supervisor_killed() {
    let mut supervisor = me("supervisor").stdout(Stdio::piped()).spawn().expect("started");
    let mut line = String::new();
    let stdout = supervisor.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("it names its worker");
    let pid = Pid::from_raw(line.trim().parse().expect("a process id")).expect("not zero");
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("the worker runs");
    supervisor.kill().expect("killed");
    supervisor.wait().expect("waited for");
    let timeout = Timespec::try_from(PATIENCE).ok();
    let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], timeout.as_ref());
    assert_eq!(ended, Ok(1), "the worker has outlived its supervisor");
}

/// The worker's process id, once its only handler thread is taken.
fn in_endless_handler(peer: &mut Peer) -> u32 {
    peer.request("endless", &[]);
    match peer.next(PATIENCE) {
        Said::Event(name, pid) if name == "endless" => ganger_protocol::decode(&pid).expect("a number"),
        other => panic!("an event, not {other:?}"),
    }
}

fn start() -> (Peer, Child) {
    let (mut peer, leash) = Peer::new();
    let child = spawn(leash);
    assert!(matches!(peer.next(PATIENCE), Said::Hello(hello) if hello.pid == child.id()));
    assert!(matches!(peer.next(PATIENCE), Said::Ready(_)));
    (peer, child)
}

fn spawn(leash: OwnedFd) -> Child {
    let mut command = me("worker");
    command.env(WORKER_ENV, own_pid()).stdin(Stdio::from(leash)).stderr(Stdio::piped());
    command.spawn().expect("started")
}

fn own_pid() -> String {
    std::process::id().to_string()
}

fn me(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.arg(role);
    command
}
