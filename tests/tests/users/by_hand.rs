//! A worker program that is run by hand.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use ganger_tests::harness::{PATIENCE, Watched, scenario};

fn worker() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lib_worker"));
    command.env_remove("GANGER_WORKER").stdin(Stdio::null());
    command
}

fn says_what_it_is(command: &mut Command, reason: &str) {
    let output = command.output().expect("it runs");
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("this program is a ganger worker") && text.contains(reason), "{text}");
    assert!(!text.contains("panicked") && text.lines().count() <= 2, "a sentence, no backtrace: {text}");
}

/// A worker program run by hand says in a sentence what it is, and what to do instead.
#[test]
fn a_worker_run_by_hand_says_what_it_is() {
    scenario(|| says_what_it_is(&mut worker(), "no supervisor"));
}

/// W3: a program that a worker starts inherits the environment and is not taken for a worker: neither with another
/// parent, nor with something else on its standard input.
#[test]
fn the_environment_alone_does_not_make_a_worker() {
    scenario(|| {
        says_what_it_is(worker().env("GANGER_WORKER", "1"), "its parent");
        says_what_it_is(worker().env("GANGER_WORKER", "nonsense"), "its parent");
        let me = std::process::id().to_string();
        says_what_it_is(worker().env("GANGER_WORKER", &me), "standard input");
        let (_ours, theirs) = UnixStream::pair().expect("a pair");
        let stranger = worker().env("GANGER_WORKER", "1").stdin(Stdio::from(OwnedFd::from(theirs))).output();
        assert!(!stranger.expect("it runs").status.success());
    });
}

/// A worker whose supervisor is gone before it has said anything ends by itself.
#[test]
fn a_worker_without_a_supervisor_ends() {
    scenario(|| {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let mut child = worker()
            .env("GANGER_WORKER", std::process::id().to_string())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        drop(ours);
        assert!(Watched::new(child.id()).ends_within(PATIENCE));
        assert!(!child.wait().expect("its status").success());
    });
}
