//! Health from every process: a check that a worker can fail, and the supervisor's own.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ganger::{
    Builder, CommandError, Event, OnUnhealthy, Problem, Rollout, RolloutAbort, RolloutError, Supervisor,
    Unrouted,
};
use ganger_protocol::{HealthReport, Kind};
use ganger_tests::calls::{About, Manners};
use ganger_tests::harness::{Feed, Scratch, eventually, scenario};
use ganger_tests::raw::{Step, frame, life, service};
use ganger_tests::workers::{online, online_with_feed, plain, raw, tireless, with};

const SHORT: Duration = Duration::from_millis(5);

/// Two workers that are sick when a file says so.
fn patients(scratch: &Scratch) -> (Builder, impl Fn(&str) -> PathBuf) {
    let file = scratch.path().join("sick");
    let manners = Manners { sick: Some(file.clone()), ..Manners::new() };
    (Supervisor::builder(with(&manners)).workers(2), move |name: &str| file.with_extension(name))
}

/// Whole at once: a check may look at any moment.
fn write(file: &std::path::Path, text: &str) {
    let draft = file.with_file_name("draft");
    fs::write(&draft, text).expect("written");
    fs::rename(&draft, file).expect("renamed");
}

fn unhealthy(feed: &mut Feed) -> (String, String) {
    feed.wait_for("worker is unhealthy", |event| match event {
        Event::WorkerUnhealthy { worker, reason } => Some((worker.to_string(), reason.to_string())),
        _ => None,
    })
}

fn healthy(feed: &mut Feed) -> String {
    feed.wait_for("worker is healthy", |event| match event {
        Event::WorkerHealthy { worker } => Some(worker.to_string()),
        _ => None,
    })
}

/// M9: a check that fails makes the whole unhealthy, with its reason; by default the worker goes on.
#[test]
fn a_worker_whose_check_fails_is_unhealthy() {
    scenario(|| {
        let scratch = Scratch::new();
        let (builder, sick) = patients(&scratch);
        let (supervisor, mut feed) = online_with_feed(builder);
        assert!(supervisor.health().is_healthy(), "{}", supervisor.health());
        write(&sick("default-1"), "no lamp");
        assert_eq!(unhealthy(&mut feed), (String::from("default-1"), String::from("no lamp")));
        let health = supervisor.health();
        let expected = Problem::Unhealthy { worker: "default-1".into(), reason: "no lamp".into() };
        assert_eq!(health.problems, [expected]);
        assert_eq!((health.groups[0].ready, health.workers[1].unrouted), (2, None));
        let table = health.to_string();
        assert!(
            table.contains("worker default-1 is not healthy: no lamp") && table.contains("(unhealthy)"),
            "{table}"
        );
        assert!(
            supervisor.metrics().prometheus().contains("ganger_workers_unhealthy{group=\"default\"} 1\n")
        );
        write(&sick("default-1"), "no oil");
        assert_eq!(unhealthy(&mut feed).1, "no oil");
        fs::remove_file(sick("default-1")).expect("removed");
        assert_eq!(healthy(&mut feed), "default-1");
        assert!(supervisor.health().is_healthy());
    });
}

/// M9: by the group's policy an unhealthy worker gets nothing until it is well again.
#[test]
fn an_unhealthy_worker_gets_nothing_if_its_group_says_so() {
    scenario(|| {
        let scratch = Scratch::new();
        let (builder, sick) = patients(&scratch);
        let (supervisor, mut feed) = online_with_feed(builder.on_unhealthy(OnUnhealthy::Unroute));
        write(&sick("default-0"), "no lamp");
        unhealthy(&mut feed);
        let health = supervisor.health();
        assert_eq!((health.workers[0].unrouted, health.groups[0].ready), (Some(Unrouted::Unhealthy), 1));
        for _ in 0..20 {
            let who = supervisor.enqueue(About).expect("accepted").wait().expect("answered").data.name;
            assert_eq!(who, "default-1");
        }
        write(&sick("default-1"), "no lamp either");
        unhealthy(&mut feed);
        let waiting = supervisor.enqueue(About).expect("accepted");
        assert_eq!(supervisor.health().groups[0].queued, 1, "nobody is well: it waits");
        fs::remove_file(sick("default-0")).expect("removed");
        assert_eq!(waiting.wait().expect("answered").data.name, "default-0");
    });
}

/// M9: a check that hangs is a failure, and holds up nothing.
#[test]
fn a_check_that_hangs_is_a_failure() {
    scenario(|| {
        let scratch = Scratch::new();
        let (builder, sick) = patients(&scratch);
        let (supervisor, mut feed) = online_with_feed(builder);
        write(&sick("default-0"), "hang");
        assert!(unhealthy(&mut feed).1.contains("has not returned for 50ms"));
        (0..4).for_each(|_| drop(supervisor.enqueue(About).expect("accepted").wait().expect("answered")));
        fs::remove_file(sick("default-0")).expect("removed");
        healthy(&mut feed);
        // One that hangs when its worker is to leave does not keep it.
        write(&sick("default-1"), "hang");
        unhealthy(&mut feed);
        supervisor.soft_kill().wait();
    });
}

/// M9: a worker's word about its health goes with it.
#[test]
fn a_replacement_is_healthy() {
    scenario(|| {
        let scratch = Scratch::new();
        let ill = frame(Kind::HealthReport, &HealthReport { failure: Some(String::from("tired")) }, &[]);
        let lives = vec![life([Step::Write(ill), Step::Take, Step::Exit(1)]), service()];
        let builder = Supervisor::builder(raw(&scratch, lives)).workers(1).restart(tireless());
        let (supervisor, mut feed) = online_with_feed(builder);
        assert_eq!(unhealthy(&mut feed).1, "tired");
        assert!(!supervisor.health().is_healthy());
        supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
        eventually("the replacement is well", || supervisor.health().is_healthy().then_some(()));
    });
}

/// M9, S6: a new program whose check fails takes nobody's place: a rollout to it is given up. Readiness alone was enough
/// once, and a group whose unhealthy workers get nothing was rolled down to none.
#[test]
fn a_rollout_to_unhealthy_workers_is_given_up() {
    scenario(|| {
        let scratch = Scratch::new();
        let (builder, _) = patients(&scratch);
        let new = with(&Manners { sick: Some(scratch.path().join("new")), ..Manners::new() });
        for name in ["default-0", "default-1"] {
            write(&scratch.path().join("new").with_extension(name), "no lamp");
        }
        let builder = builder.on_unhealthy(OnUnhealthy::Unroute).boot_timeout(Duration::from_secs(2));
        let supervisor = online(builder);
        let rollout =
            Rollout::of("default").program(new).min_uptime(Duration::from_millis(500)).max_failures(0);
        let ended = supervisor.rollout(rollout).expect("noted").wait();
        let Err(RolloutError::Aborted { why: RolloutAbort::Failures { last, .. }, .. }) = ended else {
            panic!("{ended:?}");
        };
        assert!(last.contains("is not healthy: no lamp"), "{last}");
        eventually("the old ones are alone", || {
            let health = supervisor.health();
            (health.workers.len() == 2 && health.is_healthy() && health.groups[0].ready == 2).then_some(())
        });
    });
}

/// Fault: a reason that is too long, or said too often. P13: the worker is ended for it.
#[test]
fn a_worker_that_says_too_much_about_its_health_is_killed() {
    scenario(|| {
        let long = frame(Kind::HealthReport, &HealthReport { failure: Some("x".repeat(1025)) }, &[]);
        let often = frame(Kind::HealthReport, &HealthReport { failure: None }, &[]);
        for step in [Step::Write(long), Step::Repeat { count: 200_000, bytes: often }] {
            let scratch = Scratch::new();
            let lives = vec![life([Step::Take, step, Step::Hang]), service()];
            let builder = Supervisor::builder(raw(&scratch, lives)).workers(1).restart(tireless());
            let (supervisor, mut feed) = online_with_feed(builder);
            let handle = supervisor.enqueue_raw("echo", *b"abc").expect("accepted");
            feed.crashed();
            handle.wait().expect("answered by the replacement");
        }
    });
}

/// M9: checks of the supervisor's own process fail the whole, too; one that hangs keeps nobody waiting.
#[test]
fn the_supervisors_own_checks_count() {
    scenario(|| {
        let scratch = Scratch::new();
        let file = scratch.path().join("full");
        let patience = Duration::from_millis(50);
        let builder = Supervisor::builder(plain()).workers(1).health_every(SHORT, patience);
        let (supervisor, mut feed) = online_with_feed(builder);
        let watched = file.clone();
        let check = move || fs::read_to_string(&watched).map_or(Ok(()), Err);
        supervisor.on_health("disk", check).expect("begun");
        write(&file, "95 %");
        let failed = feed.wait_for("a check fails", |event| match event {
            Event::CheckFailed { check, reason } => Some(format!("{check}: {reason}")),
            _ => None,
        });
        assert_eq!(failed, "disk: 95 %");
        let problem = Problem::Check { check: "disk".into(), reason: "95 %".into() };
        assert_eq!(supervisor.health().problems, [problem]);
        fs::remove_file(&file).expect("removed");
        feed.wait_for("it passes", |event| matches!(event, Event::CheckPassed { .. }).then_some(()));
        assert!(supervisor.health().is_healthy());

        let (let_go, gate) = std::sync::mpsc::channel::<()>();
        supervisor.on_health("stuck", move || gate.recv().map_err(|error| error.to_string())).expect("begun");
        supervisor.on_health("mad", || panic!("on purpose")).expect("begun");
        let texts = eventually("both fail", || {
            let problems = supervisor.health().problems;
            let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
            (texts.len() == 2 && texts[1].contains("panicked")).then_some(texts)
        });
        assert_eq!(texts[0], "health check stuck fails: it has not returned for 50ms");
        assert_eq!(texts[1], "health check mad fails: it panicked: on purpose");
        let twice = supervisor.on_health("mad", || Ok(())).expect_err("there is one");
        assert!(matches!(twice, CommandError::Check { .. }), "{twice}");
        drop(let_go);
    });
}

/// M9: checks end with their supervisor, and none begins behind its end.
#[test]
fn checks_end_with_their_supervisor() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        for name in ["one", "two", "three"] {
            supervisor.on_health(name, || Ok(())).expect("begun");
        }
        supervisor.hard_kill().wait();
        assert_eq!(supervisor.on_health("four", || Ok(())), Err(CommandError::Stopped));
    });
}
