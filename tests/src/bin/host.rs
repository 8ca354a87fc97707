//! A program with a supervisor in it, for tests of what becomes of both under odd conditions.
//!
//! Each role ends with a word on standard output that says that all was as it should be.

use std::path::PathBuf;
use std::time::Duration;

use ganger::{Event, Job, JobError, Supervisor};
use ganger_tests::arg::explain_if_asked;
use ganger_tests::calls::{Add, Death, Die, Hold, Manners, Spin};
use ganger_tests::harness::PATIENCE;
use ganger_tests::workers::{online, plain, with};

fn main() {
    explain_if_asked(
        "host: a program with a supervisor in it, for tests: they start it with a role and a gate",
    );
    let mut args = std::env::args().skip(1);
    let role = args.next().expect("a role");
    let gate = args.next().map(PathBuf::from);
    match role.as_str() {
        "work" => work(),
        "work-unreaped" => {
            assert!(ignores_sigchld(), "this is no such host");
            work();
        }
        "freeze" => freeze(gate.expect("a gate")),
        "leave" => leave(&gate.expect("a gate")),
        "orphan" => orphan(&gate.expect("a gate")),
        other => panic!("there is no role {other:?}"),
    }
}

/// An ordinary life: jobs, a crash, a replacement, an end.
fn work() {
    let supervisor = online(Supervisor::builder(plain()).workers(2));
    let sums =
        supervisor.map((0..200).map(|number| Add(number, 1))).map(|result| result.expect("answered").data);
    assert!(sums.eq(1..=200));
    let lost = supervisor.enqueue(Die(Death::Signal(9))).expect("accepted").wait();
    assert!(matches!(lost, Err(JobError::WorkerLost { .. })), "{lost:?}");
    let sums =
        supervisor.map((0..200).map(|number| Add(number, 1))).map(|result| result.expect("answered").data);
    assert!(sums.eq(1..=200));
    assert!(supervisor.soft_kill().wait_timeout(PATIENCE), "the end takes for ever");
    println!("worked");
}

fn ignores_sigchld() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("it is there");
    let mask = u64::from_str_radix(mask.trim(), 16).expect("hexadecimal digits");
    mask >> (signal_hook::consts::SIGCHLD - 1) & 1 == 1
}

/// It will be stopped for longer than any of its deadlines, with a job in hand, and let go on.
fn freeze(gate: PathBuf) {
    let beats = [20, 200, 400].map(Duration::from_millis);
    let builder = Supervisor::builder(plain()).workers(2).heartbeat(beats[0], beats[1], beats[2]);
    let (supervisor, events) = builder.sample_every(beats[0]).start_with_events().expect("started");
    supervisor.wait_online(PATIENCE).expect("online");
    let job = Job::new(Hold { gate }).timeout(Duration::from_millis(1000));
    let held = supervisor.enqueue(job).expect("accepted").wait();
    assert!(held.is_ok(), "it was judged for the time in which nobody could run: {held:?}");
    assert!(supervisor.soft_kill().wait_timeout(PATIENCE), "the end takes for ever");
    for event in events {
        let is_judgement = matches!(event, Event::WorkerSuspected { .. } | Event::WorkerKilled { .. });
        assert!(!is_judgement, "{event:?}");
    }
    println!("went on");
}

/// It exits without a word to its supervisor, while its workers are busy in native code.
fn leave(gate: &std::path::Path) {
    let supervisor = online(Supervisor::builder(plain()).workers(2));
    let spins: Vec<_> =
        (0..2).map(|_| supervisor.enqueue(Spin { gate: gate.to_owned() }).expect("accepted")).collect();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("the word to leave");
    println!("left");
    std::process::exit(i32::from(spins.is_empty()));
}

/// Its workers come to the gate before they have connected to anything else, and it waits to be killed.
fn orphan(gate: &std::path::Path) {
    let manners = Manners { gate_at_start: Some(gate.to_owned()), ..Manners::new() };
    let supervisor = Supervisor::builder(with(&manners)).workers(2).start().expect("started");
    supervisor.join();
}
