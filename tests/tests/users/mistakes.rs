//! Mistakes that everybody makes once, and what is said to them.

use std::time::{Duration, Instant};

use ganger::{
    CodecError, ConfigError, EnqueueError, Event, FailureKind, JobError, Program, RestartPolicy, StartError,
    Started, Supervisor,
};
use ganger_tests::calls::{About, Add, Echo, Forget, Manners, Misread, OneTooMany, Panic, Start, Unheard};
use ganger_tests::harness::{Scratch, live_descendants, scenario};
use ganger_tests::workers::{online, plain, started_with_feed, with};

/// Far less than anybody's patience.
const AT_ONCE: Duration = Duration::from_secs(5);

fn refused(program: Program) -> (String, String) {
    let since = Instant::now();
    let error = Supervisor::builder(program).start().expect_err("it cannot be run");
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    let text = error.to_string();
    match error {
        StartError::Program { program, reason, .. } => {
            assert!(text.contains(&program.display().to_string()) && text.contains(&reason), "{text}");
            (program.display().to_string(), reason)
        }
        other => panic!("{other:?}"),
    }
}

/// A worker program that is missing or cannot be executed: `start()` fails at once, with the path and the reason, and
/// leaves nothing behind.
#[test]
fn a_program_that_cannot_be_run_fails_the_start() {
    scenario(|| {
        let scratch = Scratch::new();
        let missing = scratch.join("nobody");
        assert_eq!(
            refused(Program::new(&missing)),
            (missing.display().to_string(), "there is no such file".into())
        );
        let plain = scratch.file("plain", "#!/bin/sh\n", 0o644);
        let (path, reason) = refused(Program::new(&plain));
        assert!(path.ends_with("plain") && reason.contains("may not be executed"), "{reason}");
        assert_eq!(refused(Program::new(scratch.path())).1, "it is not a file");
        let (_, reason) = refused(Program::new("surely-no-such-program"));
        assert!(reason.contains("PATH") && reason.contains("Program::beside"), "{reason}");
        assert!(refused(Program::beside("surely-no-such-program")).1.contains("there is no such file"));
        let (_, reason) = refused(Program::new("/bin/sh").current_dir(scratch.join("nowhere")));
        assert!(reason.contains("working directory"), "{reason}");
        assert!(live_descendants().is_empty());
    });
}

/// A file that may be executed and is no program: only the kernel knows, and `start()` still says it at once.
#[test]
fn a_file_that_is_no_program_fails_the_start() {
    scenario(|| {
        let scratch = Scratch::new();
        let text = scratch.file("text", "this is no program\n", 0o755);
        let (path, reason) = refused(Program::new(&text));
        assert!(path.ends_with("text") && reason.contains("neither a binary"), "{reason}");
        let script = scratch.file("script", "#!/no/such/interpreter\n", 0o755);
        let (_, reason) = refused(Program::new(&script));
        assert!(reason.contains("interpreter"), "{reason}");
        assert!(live_descendants().is_empty());
    });
}

/// A configuration that makes no sense is refused with the knob, its value and its range.
#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    scenario(|| {
        let error = Supervisor::builder(plain()).workers(0).start().expect_err("nobody works");
        assert!(matches!(error, StartError::Config(ConfigError::NoWorkers { .. })), "{error:?}");
        let error = Supervisor::builder(plain()).prefetch(100_000).start().expect_err("too much");
        let text = error.to_string();
        assert!(["prefetch", "100000", "256"].iter().all(|part| text.contains(part)), "{text}");
    });
}

/// A worker that panics at its start, in a loop: back-off, Degraded with the panic's own words, jobs fail NoWorkers
/// when nobody is left, and the host lives.
#[test]
fn a_worker_that_panics_at_its_start_does_not_end_the_host() {
    scenario(|| {
        let manners = Manners { start: Start::Panic, ..Manners::new() };
        let restart = RestartPolicy { backoff: Duration::from_millis(5), ..RestartPolicy::default() };
        let (supervisor, mut feed) =
            started_with_feed(Supervisor::builder(with(&manners)).workers(1).restart(restart));
        let handle = supervisor.enqueue(Add(1, 1)).expect("accepted");
        let reason = feed.degraded();
        assert!(reason.contains("exit code 101") && reason.contains("no configuration, no work"), "{reason}");
        let spawned = feed.seen().iter().filter(|event| matches!(event, Event::WorkerSpawned { .. })).count();
        assert_eq!(spawned, 6, "five exits are allowed in the window");
        match handle.wait().expect_err("nobody is left") {
            JobError::NoWorkers { reason: why, started, .. } => {
                assert_eq!((why, started), (reason, Started::No));
            }
            other => panic!("{other:?}"),
        }
        let refused = supervisor.enqueue(Add(2, 3)).expect_err("nobody is left");
        assert!(matches!(&refused, EnqueueError::NoWorkers { .. }), "{refused:?}");
        assert_eq!(refused.into_job().into_call(), Add(2, 3));
        let online = supervisor.wait_online(Duration::from_secs(60)).expect_err("told without waiting");
        assert!(online.to_string().contains("degraded"), "{online}");
        let health = supervisor.health();
        assert!(!health.is_healthy() && health.to_string().contains("degraded"), "{health}");
    });
}

/// A worker program that is not built with the library at all: it never says anything, and is reported after the
/// boot timeout; one that ends at once is reported as what it is.
#[test]
fn a_program_that_is_no_worker_is_reported() {
    scenario(|| {
        let restart =
            RestartPolicy { limit: Some(2), backoff: Duration::from_millis(1), ..RestartPolicy::default() };
        let builder = Supervisor::builder(Program::new("true")).workers(1).restart(restart);
        let (_supervisor, mut feed) = started_with_feed(builder);
        let reason = feed.degraded();
        assert!(reason.contains("exit code 0"), "{reason}");
    });
}

/// `enqueue` after `soft_kill` gives the payload back.
#[test]
fn what_comes_after_a_soft_kill_is_given_back() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let ticket = supervisor.soft_kill();
        let error = supervisor.enqueue(Echo(vec![1, 2, 3])).expect_err("it is closed");
        assert!(matches!(&error, EnqueueError::ShuttingDown { .. }), "{error:?}");
        assert_eq!(error.into_job().into_call(), Echo(vec![1, 2, 3]));
        ticket.wait();
    });
}

/// A payload over the limit is refused with both sizes, before anything is sent; a reply over the limit is a failure
/// with both sizes, and its worker goes on.
#[test]
fn a_payload_over_the_limit_names_both_sizes() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1).payload_limit(1 << 16));
        let error = supervisor.enqueue(Echo(vec![7; 70_000])).expect_err("too large");
        let text = error.to_string();
        match error {
            EnqueueError::TooLarge { job, size, limit } => {
                assert!(size > 70_000 && limit == 1 << 16);
                assert!(text.contains(&size.to_string()) && text.contains(&limit.to_string()), "{text}");
                assert_eq!(job.into_call(), Echo(vec![7; 70_000]));
            }
            other => panic!("{other:?}"),
        }
        supervisor.enqueue(About).expect("accepted").wait().expect("the worker goes on");
    });
}

/// An answer that does not decode, or leaves bytes over, names the call and both types; a call that the worker does
/// not know, a handler that panics, and one that forgets to answer are told at once, and the worker is still up.
#[test]
fn what_handlers_do_wrong_is_told_at_once() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let pid = supervisor.enqueue(About).expect("accepted").wait().expect("answered").data.pid;
        let since = Instant::now();

        let error = supervisor.enqueue(Misread).expect("accepted").wait().expect_err("no reply");
        let text = error.to_string();
        assert!(["\"misread\"", "calls::Misread", "String"].iter().all(|part| text.contains(part)), "{text}");
        let error = supervisor.enqueue(OneTooMany).expect("accepted").wait().expect_err("a byte over");
        let JobError::Codec { source, .. } = &error else { panic!("{error:?}") };
        assert!(matches!(**source, CodecError::LeftOver { left: 1, .. }), "{source}");

        let kind_and_text = |error: JobError| {
            let failure = error.failure().expect("a failure").clone();
            (failure.kind, failure.message)
        };
        let error = supervisor.enqueue(Unheard(1)).expect("accepted").wait().expect_err("nobody knows it");
        assert_eq!(kind_and_text(error).0, FailureKind::UnknownCall);
        let panic = Panic(String::from("index out of bounds"));
        let error = supervisor.enqueue(panic).expect("accepted").wait().expect_err("it panics");
        assert_eq!(kind_and_text(error), (FailureKind::Panic, String::from("index out of bounds")));
        let error = supervisor.enqueue(Forget).expect("accepted").wait().expect_err("it forgets");
        assert_eq!(kind_and_text(error).0, FailureKind::Dropped);

        assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
        assert_eq!(supervisor.enqueue(About).expect("accepted").wait().expect("answered").data.pid, pid);
    });
}
