//! Descriptors that are cut off, too many, too few, or given where there may be none.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};

use ganger::Supervisor;
use ganger_protocol::{
    Body, Hatch, Kind, Limits, MAGIC, MAX_FDS, Outbox, Page, SupervisorHello, VERSION, WORKER_ENV,
    receive_with_fds, send_with_fds,
};
use ganger_tests::calls::{Add, Manners, Start};
use ganger_tests::harness::{Gate, Scratch, scenario};
use ganger_tests::raw::{Step, frame, life};
use ganger_tests::workers::{online, raw, started_with_feed, tireless, with};
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// From now on nothing more is opened; what is open stays open. Gives back how it was.
fn allow_descriptors_below(number: u64) -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    let limit = Rlimit { current: Some(number), maximum: before.maximum };
    setrlimit(Resource::Nofile, limit).expect("a limit");
    before
}

/// The lowest number that the next descriptor can get.
fn next_descriptor() -> u64 {
    use std::os::fd::AsRawFd;
    u64::try_from(fs::File::open("/dev/null").expect("opened").as_raw_fd()).expect("a number")
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("the list").count()
}

/// systemd#42043: there, the kernel dropped descriptors that the receiver had no room for, nobody looked at the flag
/// that says so, and both sides waited for ever. Here it is an error, whether some or none arrived, and those that did
/// are closed.
#[test]
fn descriptors_that_are_cut_off_are_an_error_and_leave_none_open() {
    scenario(|| {
        let (left, right) = UnixStream::pair().expect("a pair");
        let gift = fs::File::open("/dev/zero").expect("opened");
        let send = || send_with_fds(&left, b"hello", &[gift.as_fd(), gift.as_fd()]).expect("sent");
        let mut bytes = [0; 16];
        let before = open_descriptors();
        for room in [1, 0] {
            send();
            let limit = allow_descriptors_below(next_descriptor() + room);
            let received = receive_with_fds(&right, &mut bytes);
            setrlimit(Resource::Nofile, limit).expect("no limit");
            let error = received.expect_err("there was no room for two");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            assert!(error.to_string().contains("cut off"), "{error}");
            assert_eq!(open_descriptors(), before);
        }
        send();
        let (count, fds) = receive_with_fds(&right, &mut bytes).expect("room enough");
        assert_eq!((count, fds.len()), (5, 2));
    });
}

/// Fault, and systemd#42043 as a worker's owner would meet it: there, descriptors were cut off and both sides waited
/// for ever. Here a worker that may open only one more when page and bell come ends at once and says why; when there
/// is room again its replacement does the job, which has lost nothing.
#[test]
fn a_worker_without_room_for_its_descriptors_says_so_and_is_replaced() {
    scenario(|| {
        let scratch = Scratch::new();
        let crowded = scratch.file("crowded", "", 0o644);
        let manners = Manners { start: Start::CrowdedWhile(crowded.clone()), ..Manners::new() };
        let builder = Supervisor::builder(with(&manners)).workers(1).restart(tireless());
        let (supervisor, mut feed) = started_with_feed(builder);
        let waiting = supervisor.enqueue(Add(1, 1)).expect("accepted");
        for _ in 0..3 {
            let report = feed.crashed();
            assert!(report.to_string().contains("descriptors were cut off on arrival"), "{report}");
        }
        fs::remove_file(crowded).expect("removed");
        let response = waiting.wait().expect("answered");
        assert_eq!((response.data, response.attempt), (2, 1));
    });
}

/// What becomes of a library worker whose supervisor's Hello announces `announced` descriptors and comes with
/// `count`; `None` when it answers.
fn refusal(announced: u8, count: usize) -> Option<Output> {
    refusal_with(announced, count, &[])
}

/// As [`refusal`], of a Hello that names listeners.
fn refusal_with(announced: u8, count: usize, listeners: &[&str]) -> Option<Output> {
    let (mut socket, leash) = UnixStream::pair().expect("a pair");
    let worker = Command::new(env!("CARGO_BIN_EXE_lib_worker"))
        .env(WORKER_ENV, std::process::id().to_string())
        .stdin(OwnedFd::from(leash))
        .stderr(Stdio::piped())
        .spawn()
        .expect("a worker");
    say_hello(&socket, announced, count, listeners);
    let mut answer = [0; 1];
    let is_answered = matches!(socket.read(&mut answer), Ok(1));
    drop(socket);
    let output = worker.wait_with_output().expect("it ends");
    (!is_answered).then_some(output)
}

fn say_hello(mut socket: &UnixStream, announced: u8, count: usize, listeners: &[&str]) {
    let limits = Limits::default();
    let hello = SupervisorHello {
        magic: MAGIC,
        version: VERSION,
        supervisor: std::process::id(),
        worker: String::from("default-0"),
        group: String::from("default"),
        slot: 0,
        payload_limit: limits.payload as u32,
        event_limit: limits.event as u32,
        heartbeat_millis: 1000,
        listeners: listeners.iter().map(|name| String::from(*name)).collect(),
    };
    let mut outbox = Outbox::new();
    outbox.frame_with_fds(Kind::SupervisorHello, announced, &hello, Body::Copy(&[]));
    let (bytes, (_, page)) = (outbox.take_bytes(), Page::create().expect("a page"));
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("a bell");
    let (_ours, hatch) = Hatch::pair().expect("a hatch");
    let all = [page.as_fd(), bell.as_fd(), hatch.as_fd()];
    let fds: Vec<BorrowedFd<'_>> = all.into_iter().cycle().take(count).collect();
    if fds.is_empty() {
        return socket.write_all(&bytes).expect("written");
    }
    assert_eq!(send_with_fds(socket, &bytes, &fds).expect("sent"), bytes.len());
}

/// Fault: a Hello comes with more descriptors than it announces, with fewer, or with as many as nobody knows what to
/// do with. The worker refuses it, and names both counts.
#[test]
fn a_hello_with_other_descriptors_than_it_announces_is_refused() {
    scenario(|| {
        assert!(refusal(3, 3).is_none(), "this is how it should be");
        for (announced, count) in
            [(3, 0), (3, 1), (3, 4), (3, MAX_FDS), (0, 3), (2, 3), (4, 3), (2, 2), (5, 5)]
        {
            let output = refusal(announced, count).expect("it was taken for a Hello");
            let said = String::from_utf8_lossy(&output.stderr);
            let counts = format!("came with {count} descriptors and announced {announced}");
            assert!(!output.status.success() && said.contains(&counts), "{}: {said}", output.status);
        }
        let output = refusal(4, 4).expect("a second page was taken for a pool");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("is not the shared memory that it should be")
        );
    });
}

/// Fault: a Hello names more listeners than come with it, or what comes in a listener's place is none. The worker refuses
/// it.
#[test]
fn a_hello_without_the_listeners_that_it_names_is_refused() {
    scenario(|| {
        for (announced, count, listeners) in
            [(3, 3, &["http"][..]), (4, 3, &["http"]), (4, 4, &["http", "https"]), (6, 6, &["http"])]
        {
            let output = refusal_with(announced, count, listeners).expect("it was taken for a Hello");
            let said = String::from_utf8_lossy(&output.stderr);
            let counts = format!("came with {count} descriptors and announced {announced}");
            let named = format!("and {} listeners", listeners.len());
            assert!(said.contains(&counts) && said.contains(&named), "{}: {said}", output.status);
        }
        let output = refusal_with(4, 4, &["http"]).expect("a second page was taken for a listener");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("as the listener \"http\" does not listen"), "{said}");
    });
}

/// Fault: a worker gives descriptors along with frames that may have none, also when the supervisor could not open one
/// more. They are closed where they arrive, all of them, before the worker goes on; what it says beside them counts.
#[test]
fn descriptors_that_nobody_asked_for_stay_closed() {
    scenario(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let gift = |fds| Step::Gift { bytes: frame(Kind::Ready, &(1u32, false), &[]), fds };
        let gifts = [Step::Gate(gate.path()), gift(1), gift(MAX_FDS)];
        let generous = life(gifts.clone().into_iter().chain(gifts).chain([Step::Serve]));
        let supervisor = online(Supervisor::builder(raw(&scratch, [generous])).workers(1));
        let before = open_descriptors();
        gate.next().release();
        let held = gate.next();
        assert_eq!(open_descriptors(), before + 1, "there is one more, of the gate");
        let limit = allow_descriptors_below(4);
        held.release();
        let response = supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
        setrlimit(Resource::Nofile, limit).expect("no limit");
        assert_eq!(response.data, b"abc");
        assert_eq!((open_descriptors(), supervisor.health().groups[0].restarts), (before, 0));
    });
}
