//! Groups whose workers are revived by command only.

use std::time::Duration;

use ganger::{
    CommandError, EnqueueError, Event, Group, Job, JobError, OnlineError, Problem, Revive, Supervisor,
    WorkerStatus,
};
use ganger_tests::calls::{About, Add, Death, Die, Manners, Start};
use ganger_tests::harness::{Scratch, scenario};
use ganger_tests::workers::{online, online_with_feed, plain, started_with_feed, with};

fn mortal(name: &'static str) -> Group {
    Group::named(name, plain()).revive(Revive::ByCommand)
}

fn end(supervisor: &Supervisor, death: Death) {
    drop(supervisor.enqueue(Die(death)).expect("accepted").wait().expect_err("it dies"));
}

/// W6: a worker that died, of a signal or by itself, stays dead; its jobs fail at once, health says so; a command
/// brings it back under its name.
#[test]
fn a_dead_worker_is_revived_by_command() {
    scenario(|| {
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(mortal("mailer")));
        for death in [Death::Signal(9), Death::Exit(0)] {
            end(&supervisor, death);
            let reason = feed.degraded();
            assert!(reason.contains("revived by command only"), "{reason}");
            let health = supervisor.health();
            let problems: Vec<String> = health.problems.iter().map(ToString::to_string).collect();
            let is_down =
                |problem: &Problem| matches!(problem, Problem::Down { worker, .. } if &**worker == "mailer");
            assert!(health.problems.iter().any(is_down), "{problems:?}");
            assert_eq!((health.groups[0].down.len(), health.workers.len()), (1, 0));
            match supervisor.enqueue(Add(1, 2)).expect_err("nobody is there") {
                EnqueueError::NoWorkers { .. } => {}
                other => panic!("{other:?}"),
            }
            supervisor.revive("mailer").expect("revived");
            assert_eq!(&*feed.ready(), "mailer");
            let about = supervisor.enqueue(About).expect("accepted").wait().expect("answered").data;
            assert_eq!((about.name.as_str(), about.slot), ("mailer", 0));
            assert!(supervisor.health().is_healthy(), "{}", supervisor.health());
        }
        assert_eq!(supervisor.health().groups[0].restarts, 2);
    });
}

/// W6: the others of the group go on; nobody comes by itself, however long it takes.
#[test]
fn the_others_go_on_and_nobody_comes_by_itself() {
    scenario(|| {
        let group = Group::new("pair", plain()).workers(2).revive(Revive::ByCommand);
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(group));
        end(&supervisor, Death::Abort);
        feed.crashed();
        for number in 0..50 {
            assert_eq!(
                supervisor.enqueue(Add(number, 1)).expect("accepted").wait().expect("answered").data,
                number + 1
            );
        }
        let health = supervisor.health();
        assert_eq!(
            (health.workers.len(), health.groups[0].down.len(), health.problems.len()),
            (1, 1, 1),
            "{health}"
        );
        let down = health.groups[0].down[0].name.clone();
        supervisor.revive(&down).expect("revived");
        assert_eq!(feed.ready(), down);
        // Two at first and the one that was called.
        let spawned = feed.seen().iter().filter(|event| matches!(event, Event::WorkerSpawned { .. })).count();
        assert_eq!(spawned, 3);
    });
}

/// W6: one that lives is not revived, nor is one that never was; one on its way out is, when it is gone; a group that
/// grows wants its places filled.
#[test]
fn what_can_be_revived() {
    scenario(|| {
        let scratch = Scratch::new();
        let gate = ganger_tests::harness::Gate::new();
        let manners =
            Manners { soft_kill: Some((scratch.path().join("leaving"), gate.path())), ..Manners::new() };
        let group = Group::named("desk", with(&manners)).revive(Revive::ByCommand);
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(group));
        assert_eq!(supervisor.revive("desk"), Err(CommandError::NotDown { worker: "desk".into() }));
        assert_eq!(supervisor.revive("desk-1"), Err(CommandError::UnknownWorker { worker: "desk-1".into() }));
        supervisor.shutdown_worker("desk", Duration::from_secs(60)).expect("it leaves");
        let held = gate.next();
        assert_eq!(supervisor.health().workers[0].status, WorkerStatus::Draining);
        supervisor.revive("desk").expect("it will be revived");
        held.release();
        feed.exited();
        assert_eq!(&*feed.ready(), "desk");
        supervisor.shutdown_worker("desk", Duration::from_secs(60)).expect("it leaves");
        gate.next().release();
        feed.exited();
        supervisor.resize(2).expect("resized");
        assert_eq!(&*feed.ready(), "desk-1");
        assert_eq!(supervisor.health().groups[0].down.len(), 1);
        let ticket = supervisor.soft_kill();
        gate.next().release();
        ticket.wait();
        assert_eq!(supervisor.revive("desk"), Err(CommandError::Stopped));
    });
}

/// W6: jobs that wait when the last one ends fail with the reason; waiting for the group to be online ends.
#[test]
fn jobs_do_not_wait_for_a_command() {
    scenario(|| {
        let (supervisor, _feed) = started_with_feed(
            Supervisor::builder(
                Group::named("stillborn", with(&Manners { start: Start::Exit(3), ..Manners::new() }))
                    .revive(Revive::ByCommand),
            )
            .group(Group::new("others", plain()).workers(1)),
        );
        if let Ok(waiting) = supervisor.enqueue(Add(1, 1)) {
            match waiting.wait().expect_err("nobody comes") {
                JobError::NoWorkers { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        match supervisor.wait_online(Duration::from_secs(15)).expect_err("it never is") {
            OnlineError::Degraded { group, .. } => assert_eq!(&*group, "stillborn"),
            other => panic!("{other}"),
        }
        let other = supervisor.enqueue(Job::new(Add(1, 2)).group("others")).expect("accepted");
        assert_eq!(other.wait().expect("answered").data, 3);
    });
}

/// W6: in a group that replaces its workers a command cuts the back-off short.
#[test]
fn a_command_cuts_the_back_off_short() {
    scenario(|| {
        let scratch = Scratch::new();
        let broken = scratch.file("broken", "", 0o644);
        let manners = Manners { start: Start::PanicWhile(broken.clone()), ..Manners::new() };
        let hour = Duration::from_secs(3600);
        let patient =
            ganger::RestartPolicy { backoff: hour, backoff_max: hour, ..ganger::RestartPolicy::unlimited() };
        let builder = Supervisor::builder(with(&manners)).workers(1).restart(patient);
        let (supervisor, mut feed) = started_with_feed(builder);
        feed.crashed();
        feed.crashed();
        std::fs::remove_file(broken).expect("removed");
        supervisor.revive("default-0").expect("revived");
        assert_eq!(&*feed.ready(), "default-0");
        drop(online(Supervisor::builder(plain()).workers(1)));
    });
}
