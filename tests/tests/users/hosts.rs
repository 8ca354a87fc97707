//! Hosts under odd conditions.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ganger_tests::harness::{Gate, Scenario, Watched, live_descendants, scenario};
use rustix::process::Signal;

const HOST: &str = env!("CARGO_BIN_EXE_host");

fn works(command: &mut Command) {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success() && stdout.contains("worked"), "{status}\n{stdout}\n{stderr}");
    assert!(live_descendants().is_empty(), "{:?}", live_descendants());
}

/// A host like any other: what the others are compared with.
#[test]
fn an_ordinary_host() {
    scenario(|| works(Command::new(HOST).arg("work").stdin(Stdio::null())));
}

/// A host that ignores SIGCHLD, so that the kernel reaps its children: deaths are noticed and workers replaced.
#[test]
fn a_host_that_ignores_sigchld() {
    // What is ignored stays ignored in the program that `env` becomes.
    scenario(|| works(Command::new("env").args(["--ignore-signal=CHLD", HOST, "work-unreaped"])));
}

/// A host that was started with a closed standard input.
#[test]
fn a_host_without_standard_input() {
    scenario(|| works(Command::new("sh").args(["-c", "exec \"$0\" work <&-", HOST])));
}

/// A host that is PID 1, as in a container.
#[test]
fn a_host_that_is_pid_1() {
    scenario(|| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child", HOST, "work"]);
        if !rustix::process::getuid().is_root() {
            unshare = Command::new("unshare");
            unshare.args([
                "--user",
                "--map-root-user",
                "--pid",
                "--fork",
                "--mount-proc",
                "--kill-child",
                HOST,
                "work",
            ]);
        }
        works(unshare.stdin(Stdio::null()));
    });
}

/// W13: a host that exits without a word takes its workers with it, also those that are busy in native code.
#[test]
fn a_host_that_exits_takes_its_workers_with_it() {
    Scenario::default().orphans(2).run(|| {
        let gate = Gate::new();
        let mut host = Command::new(HOST)
            .arg("leave")
            .arg(gate.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("it runs");
        let workers: Vec<Watched> = gate.next_many(2).iter().map(|held| Watched::new(held.pid())).collect();
        host.stdin.take().expect("piped").write_all(b"\n").expect("told to leave");
        assert!(host.wait().expect("its status").success());
        let deadline = Instant::now() + Duration::from_secs(1);
        for worker in workers {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(worker.ends_within(left), "worker {} lives on", worker.pid());
        }
    });
}

/// W13, P12: a host that is killed while its workers have connected and not yet said ready.
#[test]
fn a_host_that_is_killed_while_its_workers_start() {
    Scenario::default().orphans(2).run(|| {
        let gate = Gate::new();
        let mut host = Command::new(HOST).arg("orphan").arg(gate.path()).spawn().expect("it runs");
        let held = gate.next_many(2);
        let workers: Vec<Watched> = held.iter().map(|held| Watched::new(held.pid())).collect();
        host.kill().expect("killed");
        host.wait().expect("its status");
        let deadline = Instant::now() + Duration::from_secs(1);
        for worker in workers {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(worker.ends_within(left), "worker {} lives on", worker.pid());
        }
    });
}

/// A host that was stopped (SIGSTOP) for longer than every deadline: when it goes on, nobody is judged for the time
/// in which it could not look.
#[test]
fn a_host_that_was_stopped_judges_nobody_for_it() {
    scenario(|| {
        let gate = Gate::new();
        let host = Command::new(HOST)
            .arg("freeze")
            .arg(gate.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let held = gate.next();
        let process = Watched::new(host.id());
        process.signal(Signal::STOP);
        assert!(!process.ends_within(Duration::from_millis(2500)), "a stopped process does not end");
        process.signal(Signal::CONT);
        // It had a second in all, of which it has used next to nothing by its own reckoning.
        assert!(!process.ends_within(Duration::from_millis(300)), "it was judged");
        held.release();
        let output = host.wait_with_output().expect("its output");
        assert!(output.status.success() && output.stdout == b"went on\n", "{output:?}");
    });
}
