//! A scenario: a test in a process of its own, which must end in time and leave nothing behind.
//!
//! The test executes its own binary once more, for this one test only, and judges by the exit status. In that
//! process the body runs between two looks at what the process holds. It is a subreaper, so that whatever workers
//! leave behind comes to it and is found.

use std::any::type_name;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::MemfdFlags;
use rustix::process::{Signal, set_child_subreaper, set_parent_process_death_signal};

use super::Watched;
use super::eventually::within;
use super::footprint::{Footprint, reap_orphans};

/// Names the scenario in the process that is to run it.
const SCENARIO_ENV: &str = "GANGER_TESTS_SCENARIO";

/// What is said about a scenario besides its body.
#[derive(Clone, Debug)]
pub struct Scenario {
    deadline: Duration,
    orphans: usize,
    /// How long threads and descriptors of what was dropped have to go away.
    patience: Duration,
}

impl Default for Scenario {
    fn default() -> Scenario {
        Scenario { deadline: Duration::from_secs(60), orphans: 0, patience: Duration::from_secs(5) }
    }
}

/// Runs `body` as a scenario: a minute at most, and nothing left behind. To be called directly in the test's
/// function, whose name it takes from the body's type.
///
/// # Panics
/// When the body panics, takes too long or leaves something behind.
pub fn scenario<F: FnOnce()>(body: F) {
    Scenario::default().run(body);
}

impl Scenario {
    /// How long it may take.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Scenario {
        Scenario { deadline, ..self }
    }

    /// How many ended processes come to the test's own process because a worker has left them on purpose.
    #[must_use]
    pub fn orphans(self, orphans: usize) -> Scenario {
        Scenario { orphans, ..self }
    }

    /// As [`scenario`], on these terms.
    ///
    /// # Panics
    /// As [`scenario`].
    pub fn run<F: FnOnce()>(self, body: F) {
        if let Err(failure) = self.verdict(body) {
            panic!("{failure}");
        }
    }

    /// How it went; in the scenario's own process it panics.
    fn verdict<F: FnOnce()>(&self, body: F) -> Result<(), String> {
        let name = name_of::<F>();
        match std::env::var(SCENARIO_ENV) {
            Ok(asked) if asked == name => {
                self.run_here(body);
                Ok(())
            }
            _ => self.run_in_a_process(&name),
        }
    }

    fn run_here(&self, body: impl FnOnce()) {
        // Should the test itself be killed, nothing goes on behind its back.
        set_parent_process_death_signal(Some(Signal::KILL)).expect("a parent-death signal");
        set_child_subreaper(Some(rustix::process::getpid())).expect("a subreaper");
        let before = Footprint::now();
        body();
        self.expect_nothing_left(&before);
    }

    fn run_in_a_process(&self, name: &str) -> Result<(), String> {
        let mut output = Output::new();
        let child = Command::new(std::env::current_exe().expect("the test's own binary"))
            .args([name, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"])
            .env(SCENARIO_ENV, name)
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(output.end())
            .stderr(output.end())
            .spawn()
            .expect("the test's own binary can be executed");
        let ended = wait_within(child, self.deadline);
        let text = output.text();
        match ended {
            Ok(status) if status.success() && text.contains("1 passed") => Ok(()),
            Ok(status) => Err(format!("scenario {name} failed ({status}); its output:\n{text}")),
            Err(threads) => Err(format!("scenario {name} hangs; its threads:\n{threads}its output:\n{text}")),
        }
    }

    /// No event tells when threads and descriptors of what was dropped are gone.
    fn expect_nothing_left(&self, before: &Footprint) {
        let mut reaped = 0;
        let mut after = Footprint::now();
        let settled = within(self.patience, || {
            reaped += reap_orphans();
            after = Footprint::now();
            (after == *before && reaped == self.orphans).then_some(())
        });
        assert!(
            settled.is_some(),
            "something is left behind\nbefore: {before:#?}\nafter: {after:#?}\nreaped: {reaped}"
        );
    }
}

/// The path of the function that `F` is a closure of, without the crate: what the test harness calls the test.
fn name_of<F>() -> String {
    let name = type_name::<F>().trim_end_matches("::{{closure}}");
    name.split_once("::").map_or(name, |(_, path)| path).to_owned()
}

fn wait_within(mut child: Child, deadline: Duration) -> Result<ExitStatus, String> {
    if Watched::new(child.id()).ends_within(deadline) {
        return Ok(child.wait().expect("its exit status"));
    }
    let threads = describe_threads(child.id());
    let _ = child.kill();
    let _ = child.wait();
    Err(threads)
}

fn describe_threads(pid: u32) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let _ = writeln!(text, "  {}: {} {}", read("comm").trim(), read("wchan"), read("syscall").trim());
    }
    text
}

/// Where a scenario writes: a file, so that a process which lives on cannot keep anybody waiting.
struct Output {
    file: File,
}

impl Output {
    fn new() -> Output {
        let file = rustix::fs::memfd_create("scenario-output", MemfdFlags::CLOEXEC).expect("a memory file");
        Output { file: file.into() }
    }

    fn end(&self) -> Stdio {
        Stdio::from(OwnedFd::from(self.file.try_clone().expect("one more descriptor")))
    }

    fn text(&mut self) -> String {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0)).expect("its beginning");
        self.file.read_to_end(&mut bytes).expect("its contents");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    use super::*;

    fn impatient() -> Scenario {
        Scenario { patience: Duration::from_millis(100), ..Scenario::default() }
    }

    fn leaves_something(verdict: Result<(), String>, what: &str) {
        // In the scenario's own process it has panicked before this.
        let failure = verdict.expect_err("it was not found");
        assert!(failure.contains("something is left behind") && failure.contains(what), "{failure}");
    }

    #[test]
    fn a_scenario_that_leaves_nothing_passes() {
        scenario(|| {
            let _file = File::open("/dev/null").expect("opened");
            thread::spawn(|| ()).join().expect("ended");
        });
    }

    #[test]
    fn a_descriptor_left_open_is_found() {
        leaves_something(impatient().verdict(|| std::mem::forget(File::open("/dev/zero"))), "/dev/zero");
    }

    #[test]
    fn a_thread_left_running_is_found() {
        let verdict = impatient().verdict(|| {
            let forgetful = thread::Builder::new().name(String::from("forgotten"));
            forgetful.spawn(thread::park).expect("spawned");
        });
        leaves_something(verdict, "forgotten");
    }

    #[test]
    fn a_process_left_running_is_found() {
        let verdict = impatient().verdict(|| {
            std::mem::forget(Command::new("sleep").arg("10").spawn().expect("spawned"));
        });
        leaves_something(verdict, "(sleep)");
    }

    #[test]
    fn a_grandchild_left_running_is_found() {
        let verdict = impatient().verdict(|| {
            Command::new("sh").args(["-c", "sleep 10 & exit"]).status().expect("spawned");
        });
        leaves_something(verdict, "(sleep)");
    }

    #[test]
    fn a_zombie_is_found() {
        let verdict = impatient().verdict(|| {
            let child = Command::new("true").spawn().expect("spawned");
            Watched::new(child.id()).wait_end();
            std::mem::forget(child);
        });
        leaves_something(verdict, "reaped: 1");
    }

    #[test]
    fn a_panic_is_a_failure() {
        let failure = impatient().verdict(|| panic!("on purpose")).expect_err("it panics");
        assert!(failure.contains("on purpose"), "{failure}");
    }

    #[test]
    fn a_scenario_that_hangs_is_ended() {
        let failure = impatient()
            .deadline(Duration::from_secs(2))
            .verdict(|| {
                loop {
                    thread::park();
                }
            })
            .expect_err("it hangs");
        assert!(failure.contains("hangs; its threads:"), "{failure}");
    }
}
