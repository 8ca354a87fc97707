//! Trouble in the supervisor's own house.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use ganger::{EnqueueError, Event, JobError, Program, RestartPolicy, Supervisor};
use ganger_tests::calls::{About, Add, Death, Die, Manners};
use ganger_tests::harness::{Scratch, Watched, eventually, scenario};
use ganger_tests::workers::{online, online_with_feed, plain, tireless, with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Fault: no more descriptors (a real RLIMIT_NOFILE): a worker cannot be replaced. That is told and passes: when
/// there are descriptors again there is a worker again.
#[test]
fn without_descriptors_a_replacement_waits() {
    scenario(|| {
        let supervisor = Supervisor::builder(plain()).workers(1).restart(tireless());
        let (supervisor, mut feed) = online_with_feed(supervisor);
        let before = getrlimit(Resource::Nofile);
        // What is open stays open; nothing more is opened.
        setrlimit(Resource::Nofile, Rlimit { current: Some(4), maximum: before.maximum }).expect("a limit");
        drop(supervisor.enqueue(Die(Death::Abort)).expect("accepted").wait());
        let reason = feed.wait_for("failed spawn", |event| match event {
            Event::SpawnFailed { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        assert!(reason.contains("Too many open files"), "{reason}");
        let waiting = supervisor.enqueue(Add(1, 1)).expect("accepted");
        setrlimit(Resource::Nofile, before).expect("no limit");
        assert_eq!(waiting.wait().expect("answered").data, 2);
    });
}

/// gunicorn#3566: there, the host's own children were reaped, and their numbers signalled. Here a host's own child is
/// left alone while workers come and go: its exit status is the host's to collect.
#[test]
fn the_hosts_own_children_are_left_alone() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(2).restart(tireless()));
        let mut children: Vec<_> = (0..5)
            .map(|code| Command::new("sh").args(["-c", &format!("exit {code}")]).spawn().expect("a child"))
            .collect();
        for _ in 0..20 {
            drop(supervisor.enqueue(Die(Death::Signal(9))).expect("accepted").wait());
        }
        supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("answered");
        for (code, child) in (0..).zip(&mut children) {
            assert_eq!(child.wait().expect("it is still there to be waited for").code(), Some(code));
        }
    });
}

/// bubblewrap#692: there, the parent-death signal was tied to the thread that started the child, and the child died
/// with it. Here the thread that started the supervisor ends, and its workers live, the first ones and replacements.
#[test]
fn workers_outlive_the_thread_that_started_them() {
    scenario(|| {
        let start = || online(Supervisor::builder(plain()).workers(1).restart(tireless()));
        let supervisor = std::thread::spawn(start).join().expect("started");
        let process = Watched::new(supervisor.health().workers[0].pid.expect("it runs"));
        assert!(!process.ends_within(Duration::from_millis(200)));
        let first = supervisor.enqueue(About).expect("accepted").wait().expect("answered").data;
        drop(supervisor.enqueue(Die(Death::Abort)).expect("accepted").wait());
        let second = supervisor.enqueue(About).expect("accepted").wait().expect("answered").data;
        assert_ne!(first.pid, second.pid);
        assert!(!Watched::new(second.pid).ends_within(Duration::from_millis(100)));
    });
}

/// The worker's program as a file of the test's own.
fn own_copy(scratch: &Scratch) -> std::path::PathBuf {
    let original = std::env::current_exe().expect("this test").with_file_name("../lib_worker");
    let copy = scratch.join("worker");
    std::fs::copy(original, &copy).expect("copied");
    copy
}

/// sozu#515: there, a restart executed another binary, because a relative path was resolved again. Here the program
/// is resolved once: the host may go to another directory, in which there is a program of the same name.
#[test]
fn a_restart_executes_the_same_binary() {
    scenario(|| {
        let (home, away) = (Scratch::new(), Scratch::new());
        let copy = own_copy(&home);
        let impostor = away.file("worker", "#!/bin/sh\nexit 9\n", 0o755);
        assert!(impostor.exists());
        std::env::set_current_dir(home.path()).expect("there");
        let program = Program::new("./worker").arg(Manners::new().to_arg());
        let supervisor = online(Supervisor::builder(program).workers(1));
        std::env::set_current_dir(away.path()).expect("away");
        drop(supervisor.enqueue(Die(Death::Abort)).expect("accepted").wait());
        let about = supervisor.enqueue(About).expect("accepted").wait().expect("answered").data;
        let executed = std::fs::read_link(format!("/proc/{}/exe", about.pid)).expect("known");
        assert_eq!(executed, copy.canonicalize().expect("it is there"));
        std::env::set_current_dir("/").expect("back");
    });
}

/// Fault: the binary is replaced, and then removed, while the supervisor runs. A replacement worker still runs what
/// the first one ran: no other version comes up beside its siblings, and none is missing.
#[test]
fn a_binary_that_is_replaced_or_removed_does_not_change_what_is_run() {
    scenario(|| {
        let scratch = Scratch::new();
        let copy = own_copy(&scratch);
        let supervisor =
            online(Supervisor::builder(Program::new(&copy).arg(Manners::new().to_arg())).workers(1));
        let still_works = || {
            drop(supervisor.enqueue(Die(Death::Abort)).expect("accepted").wait());
            let sum = supervisor.enqueue(Add(1, 1)).expect("accepted").wait();
            assert_eq!(sum.expect("answered by the same program").data, 2);
        };
        let impostor = scratch.file("impostor", "#!/bin/sh\nexit 9\n", 0o755);
        std::fs::rename(impostor, &copy).expect("replaced");
        still_works();
        std::fs::remove_file(&copy).expect("removed");
        still_works();
        assert_eq!(supervisor.health().groups[0].restarts, 2);
    });
}

/// W5, fault: the binary may no longer be executed. The next start fails for good: degraded at once, with the path
/// and the reason, no storm; jobs fail; when it may be executed again, a probe heals the group.
#[test]
fn a_binary_that_may_not_be_executed_degrades_and_heals() {
    scenario(|| {
        let scratch = Scratch::new();
        let copy = own_copy(&scratch);
        let restart = RestartPolicy { backoff_max: Duration::from_millis(100), ..RestartPolicy::default() };
        let builder =
            Supervisor::builder(Program::new(&copy).arg(Manners::new().to_arg())).workers(1).restart(restart);
        let (supervisor, mut feed) = online_with_feed(builder);
        let permit =
            |mode| std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(mode)).expect("changed");
        permit(0o644);
        drop(supervisor.enqueue(Die(Death::Abort)).expect("accepted").wait());
        let reason = feed.degraded();
        assert!(
            reason.contains(&copy.display().to_string()) && reason.contains("is it executable"),
            "{reason}"
        );
        match supervisor.enqueue(Add(1, 1)).map(ganger::Handle::wait) {
            Err(EnqueueError::NoWorkers { reason: why, .. })
            | Ok(Err(JobError::NoWorkers { reason: why, .. })) => {
                assert!(why.contains("is it executable"), "{why}");
            }
            other => panic!("{other:?}"),
        }
        permit(0o755);
        feed.ready();
        let response = eventually("the queue is open again", || supervisor.enqueue(Add(1, 1)).ok());
        assert_eq!(response.wait().expect("answered").data, 2);
        feed.wait_for("healed group", |event| matches!(event, Event::Healed { .. }).then_some(()));
    });
}

/// P13, W6: a worker has no descriptor but its own: none of the supervisor's, none of the other workers'.
#[test]
fn a_worker_inherits_no_descriptor() {
    scenario(|| {
        let _open = std::fs::File::open("/proc/self/status").expect("a descriptor of the host's");
        let supervisor = online(Supervisor::builder(with(&Manners::new())).workers(3));
        drop(supervisor.enqueue(Die(Death::Abort)).expect("accepted").wait());
        let of_the_host = inheritable();
        for about in supervisor.map((0..6).map(|_| About)) {
            let own: Vec<String> = about
                .expect("answered")
                .data
                .descriptors
                .into_iter()
                .filter(|one| !of_the_host.contains(one))
                .collect();
            let count = |prefix: &str| own.iter().filter(|one| one.starts_with(prefix)).count();
            assert_eq!((count("socket:"), count("pipe:"), count("/memfd:")), (2, 2, 0), "{own:?}");
            // The directory is what the list itself was read from.
            let known = ["socket:", "pipe:", "anon_inode:[eventfd]", "/dev/null", "/proc/"];
            assert_eq!(known.into_iter().map(count).sum::<usize>(), own.len(), "{own:?}");
        }
    });
}

/// What any child of this process inherits, whoever starts it: descriptors that are not close-on-exec.
fn inheritable() -> Vec<String> {
    const CLOEXEC: u32 = 0o2_000_000;
    let numbers = std::fs::read_dir("/proc/self/fd")
        .expect("the list")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_inherited = |number: &String| {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or("0");
        u32::from_str_radix(flags.trim(), 8).expect("flags") & CLOEXEC == 0
    };
    numbers
        .filter(is_inherited)
        .filter_map(|number| std::fs::read_link(format!("/proc/self/fd/{number}")).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect()
}
