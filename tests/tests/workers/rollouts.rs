//! Rolling restarts: replacement first, and back again when the new program is no good.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ganger::{
    Builder, Event, Program, RestartPolicy, Rollout, RolloutAbort, RolloutError, RolloutPhase, RolloutStatus,
    RolloutTicket, SoftKill, Supervisor,
};
use ganger_tests::calls::{About, Add, Hold, Identity, Manners, Start};
use ganger_tests::harness::{Gate, PATIENCE, Scratch, eventually, live_descendants, scenario};
use ganger_tests::raw::Step;
use ganger_tests::workers::{online, online_with_feed, plain, raw, with};

/// A rollout whose new workers need show nothing but that they are ready.
fn quick(program: Program) -> Rollout {
    Rollout::of("default").program(program).min_uptime(Duration::ZERO)
}

fn marked(mark: &str) -> Program {
    plain().env("MARK", mark)
}

/// What the workers of the first group say of themselves: one job each, at the same time.
fn mark_of(supervisor: &Supervisor) -> Option<String> {
    let identity = supervisor.enqueue(About).expect("accepted").wait().expect("answered").data;
    value(&identity, "MARK")
}

fn value(identity: &Identity, key: &str) -> Option<String> {
    identity.env.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
}

fn editions(supervisor: &Supervisor) -> Vec<u32> {
    supervisor.health().workers.iter().map(|worker| worker.edition).collect()
}

fn over(ticket: &RolloutTicket) -> Result<RolloutStatus, RolloutError> {
    let status = ticket.wait_timeout(PATIENCE)?;
    assert!(status.is_over(), "{status}");
    Ok(status)
}

fn aborted(ticket: &RolloutTicket) -> RolloutAbort {
    match over(ticket) {
        Err(RolloutError::Aborted { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

fn three() -> Builder {
    Supervisor::builder(marked("old")).workers(3)
}

/// S6, P11: all workers are replaced under load, one after the other: no job fails, and no worker is missed.
#[test]
fn a_rollout_under_load_fails_nothing() {
    scenario(|| {
        let supervisor = online(three().prefetch(4));
        let ticket = std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let sums = supervisor.map((0..6000).map(|number| Add(number, 1)));
                sums.map(|result| result.expect("answered").data).eq(1..=6000)
            });
            let ticket = supervisor.rollout(quick(marked("new"))).expect("noted");
            let status = over(&ticket).expect("rolled out");
            assert_eq!((status.phase, status.done, status.left), (RolloutPhase::Done, 3, 0));
            assert!(load.join().expect("no panic"), "answers are missing or wrong");
            ticket
        });
        assert_eq!(ticket.status().edition, 1);
        assert_eq!(editions(&supervisor), [1; 3]);
        assert_eq!(mark_of(&supervisor).as_deref(), Some("new"));
        let health = supervisor.health();
        assert!(health.is_healthy(), "{:?}", health.problems);
        assert_eq!((health.groups[0].failed, health.groups[0].edition), (0, 1));
        assert_eq!(live_descendants().len(), 3);
    });
}

/// S6: an old worker leaves only when the new one is ready and has been for its minimum uptime; it finishes what it holds.
#[test]
fn an_old_worker_finishes_what_it_holds() {
    scenario(|| {
        let gate = Gate::new();
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(marked("old")).workers(1));
        let job = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let ticket = supervisor.rollout(quick(marked("new"))).expect("noted");
        feed.ready();
        eventually("the old one is draining", || {
            let is_draining =
                |worker: &ganger::WorkerSnapshot| worker.status == ganger::WorkerStatus::Draining;
            supervisor.health().workers.iter().any(is_draining).then_some(())
        });
        assert_eq!(mark_of(&supervisor).as_deref(), Some("new"));
        assert!(!ticket.status().is_over());
        held.release();
        job.wait().expect("it finished");
        over(&ticket).expect("rolled out");
    });
}

/// S6: a program that exits at once, never says ready, or speaks another version is not rolled out: the old workers are
/// kept, and the group is none the worse for it.
#[test]
fn a_broken_program_is_not_rolled_out() {
    scenario(|| {
        let scratch = Scratch::new();
        let (supervisor, mut feed) =
            online_with_feed(three().boot_timeout(Duration::from_millis(1500)).restart(RestartPolicy {
                limit: Some(0),
                backoff: Duration::from_millis(1),
                ..RestartPolicy::default()
            }));
        let exits = with(&Manners { start: Start::Exit(3), ..Manners::new() });
        let mute = with(&Manners { start: Start::NeverReady, ..Manners::new() });
        let foreign = raw(&scratch, [vec![Step::Hello(999), Step::Hang]]);
        let before: Vec<_> = supervisor.health().workers.iter().map(|worker| worker.pid).collect();

        let why = aborted(&supervisor.rollout(quick(exits).batch(3).max_failures(4)).expect("noted"));
        let RolloutAbort::Failures { failed: 5.., last } = &why else { panic!("{why:?}") };
        assert!(last.contains("exit code 3") || last.contains('3'), "{last}");
        let why = aborted(&supervisor.rollout(quick(mute).max_failures(0)).expect("noted"));
        assert!(matches!(why, RolloutAbort::Failures { failed: 1, .. }), "{why:?}");
        let why = aborted(&supervisor.rollout(quick(foreign)).expect("noted"));
        assert!(matches!(why, RolloutAbort::Program(_)), "{why:?}");

        let missing = supervisor.rollout(quick(Program::new("/nowhere/at/all")));
        assert!(matches!(missing, Err(RolloutError::Program { .. })), "{missing:?}");
        let nonsense = supervisor.rollout(quick(scratch_file(&scratch)));
        let why = aborted(&nonsense.expect("noted"));
        assert!(matches!(why, RolloutAbort::Program(_)), "{why:?}");

        assert_eq!(mark_of(&supervisor).as_deref(), Some("old"));
        let after: Vec<_> = supervisor.health().workers.iter().map(|worker| worker.pid).collect();
        assert_eq!(before, after, "the old workers are the same");
        assert!(supervisor.health().is_healthy(), "{:?}", supervisor.health().problems);
        feed.wait_for("an abort", |event| matches!(event, Event::RolloutAborted { .. }).then_some(()));
        assert!(
            !feed.seen().iter().any(|event| matches!(event, Event::Degraded { .. })),
            "{:#?}",
            feed.seen()
        );
    });
}

/// A file that may be executed, but not by this kernel.
fn scratch_file(scratch: &Scratch) -> Program {
    Program::new(scratch.file("nonsense", "\u{7f}ELF", 0o755))
}

/// S6: when one of several new workers does not hold, those that have taken over are replaced by the former program.
#[test]
fn what_was_replaced_goes_back() {
    scenario(|| {
        let scratch = Scratch::new();
        let file = scratch.join("broken");
        let supervisor = online(three());
        let new =
            with(&Manners { start: Start::PanicWhile(file.clone()), ..Manners::new() }).env("MARK", "new");
        let rollout = quick(new).min_uptime(Duration::from_millis(100)).max_failures(0);
        let ticket = supervisor.rollout(rollout).expect("noted");
        eventually("one has been replaced", || (ticket.status().done >= 1).then_some(()));
        std::fs::write(&file, "").expect("written");
        let why = aborted(&ticket);
        assert!(matches!(why, RolloutAbort::Failures { .. }), "{why:?}");
        assert_eq!(editions(&supervisor), [0; 3]);
        assert_eq!(mark_of(&supervisor).as_deref(), Some("old"));
        // A replacement after a crash is of the former program, too.
        crash_all(&supervisor);
        assert_eq!(mark_of(&supervisor).as_deref(), Some("old"));
    });
}

/// Kills every worker, and waits until all are back.
fn crash_all(supervisor: &Supervisor) {
    let pids = |supervisor: &Supervisor| -> Vec<u32> {
        supervisor.health().workers.iter().filter_map(|worker| worker.pid).collect()
    };
    let old = pids(supervisor);
    for pid in &old {
        let pid = rustix::process::Pid::from_raw(*pid as i32).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    }
    eventually("all are back", || {
        let health = supervisor.health();
        let is_new = !health.workers.iter().any(|worker| worker.pid.is_some_and(|pid| old.contains(&pid)));
        (is_new && health.groups[0].ready == health.groups[0].wanted).then_some(())
    });
}

/// S6: cancelled, it goes back; one that waits does not begin.
#[test]
fn a_rollout_is_cancelled() {
    scenario(|| {
        let supervisor = online(three());
        let rollout = quick(marked("new")).min_uptime(Duration::from_millis(50));
        let first = supervisor.rollout(rollout.clone()).expect("noted");
        eventually("one has been replaced", || (first.status().done >= 1).then_some(()));
        let second = supervisor.rollout(rollout).expect("noted");
        second.cancel();
        assert_eq!(aborted(&second), RolloutAbort::Cancelled);
        first.cancel();
        assert_eq!(aborted(&first), RolloutAbort::Cancelled);
        assert_eq!(editions(&supervisor), [0; 3]);
        assert_eq!(mark_of(&supervisor).as_deref(), Some("old"));
    });
}

/// S6: requests that come during a rollout are one more rollout, of the latest program.
#[test]
fn requests_during_a_rollout_are_one_more() {
    scenario(|| {
        let supervisor = online(three());
        let rollout = |mark: &str| quick(marked(mark)).min_uptime(Duration::from_millis(50));
        let first = supervisor.rollout(rollout("a")).expect("noted");
        eventually("it has begun", || (first.status().phase == RolloutPhase::Rolling).then_some(()));
        let later: Vec<_> = ["b", "c", "d"]
            .map(|mark| supervisor.rollout(rollout(mark)).expect("noted"))
            .into_iter()
            .collect();
        over(&first).expect("rolled out");
        for ticket in &later {
            assert_eq!(over(ticket).expect("rolled out").edition, 2);
        }
        assert_eq!(mark_of(&supervisor).as_deref(), Some("d"));
        assert_eq!(editions(&supervisor), [2; 3]);
    });
}

/// S6: a group that is resized meanwhile ends at its new size, with the new program only.
#[test]
fn a_group_is_resized_while_it_is_rolled() {
    scenario(|| {
        let supervisor = online(three());
        for (round, workers) in [(1, 5), (2, 2)] {
            let rollout = quick(marked("new")).min_uptime(Duration::from_millis(50)).batch(2);
            let ticket = supervisor.rollout(rollout).expect("noted");
            eventually("it has begun", || (ticket.status().done >= 1).then_some(()));
            supervisor.resize(workers).expect("resized");
            over(&ticket).expect("rolled out");
            eventually("as many as wanted", || (editions(&supervisor) == vec![round; workers]).then_some(()));
        }
    });
}

/// S6: a soft kill ends a rollout; what was accepted is worked off.
#[test]
fn a_soft_kill_ends_a_rollout() {
    scenario(|| {
        let supervisor = online(three());
        let rollout = quick(marked("new")).min_uptime(Duration::from_millis(50));
        let ticket = supervisor.rollout(rollout.clone()).expect("noted");
        let waiting = supervisor.rollout(rollout.clone()).expect("noted");
        let sums: Vec<_> = (0..500).map(|one| supervisor.enqueue(Add(one, 1)).expect("accepted")).collect();
        let end = supervisor.soft_kill_with(SoftKill::new());
        for ticket in [ticket, waiting] {
            let ended = ticket.wait();
            assert!(
                matches!(
                    ended,
                    Err(RolloutError::Aborted { why: RolloutAbort::ShuttingDown, .. })
                        | Err(RolloutError::Stopped)
                ),
                "{ended:?}"
            );
        }
        sums.into_iter().for_each(|sum| drop(sum.wait().expect("answered")));
        end.wait();
        assert!(matches!(supervisor.rollout(rollout), Err(RolloutError::Stopped)));
    });
}

/// S6: an old worker that outstays its grace gets the ladder.
#[test]
fn past_its_grace_an_old_worker_is_terminated() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(marked("old")).workers(1));
        let job = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let _held = gate.next();
        let rollout = quick(marked("new")).grace(Duration::from_millis(10));
        over(&supervisor.rollout(rollout).expect("noted")).expect("rolled out");
        assert!(matches!(job.wait(), Err(ganger::JobError::WorkerLost { .. })));
    });
}

/// S6: workers run the file that was there when the rollout was asked for, also after a crash, whatever became of it;
/// without a program named, the file that is there when it begins.
#[test]
fn workers_run_the_file_that_was_rolled_out() {
    scenario(|| {
        let scratch = Scratch::new();
        let program = copy(&scratch, "worker");
        let supervisor = online(Supervisor::builder(Program::new(&program)).workers(2));
        over(&supervisor.rollout(quick(Program::new(&program).env("MARK", "new"))).expect("noted"))
            .expect("rolled out");
        // An upgrade that is broken.
        replace(&scratch, &program, "#!/bin/sh\nexit 7\n");
        crash_all(&supervisor);
        assert_eq!(mark_of(&supervisor).as_deref(), Some("new"));
        let again = Rollout::of("default").min_uptime(Duration::ZERO).max_failures(0);
        let why = aborted(&supervisor.rollout(again.clone()).expect("noted"));
        assert!(matches!(why, RolloutAbort::Failures { .. }), "{why:?}");
        crash_all(&supervisor);
        assert_eq!(mark_of(&supervisor).as_deref(), Some("new"));
        // And one that is not.
        std::fs::rename(copy(&scratch, "mended"), &program).expect("replaced");
        over(&supervisor.rollout(again).expect("noted")).expect("rolled out");
        assert_eq!(mark_of(&supervisor).as_deref(), Some("new"));
    });
}

/// The worker's program under another name.
fn copy(scratch: &Scratch, name: &str) -> PathBuf {
    let source = std::env::current_exe().expect("a path");
    let target = source.parent().and_then(Path::parent).expect("the target directory").join("lib_worker");
    let path = scratch.join(name);
    std::fs::copy(target, &path).expect("copied");
    path
}

fn replace(scratch: &Scratch, program: &Path, contents: &str) {
    std::fs::rename(scratch.file("other", contents, 0o755), program).expect("replaced");
}

/// S6: a degraded group is mended by rolling out a program that works.
#[test]
fn a_degraded_group_is_mended_by_a_rollout() {
    scenario(|| {
        let broken = with(&Manners { start: Start::Exit(1), ..Manners::new() });
        let policy = RestartPolicy { limit: Some(0), ..RestartPolicy::default() };
        let builder = Supervisor::builder(broken).workers(2).restart(policy);
        let (supervisor, events) = builder.start_with_events().expect("started");
        let mut feed = ganger_tests::harness::Feed::new(events);
        feed.degraded();
        over(&supervisor.rollout(quick(marked("new"))).expect("noted")).expect("rolled out");
        eventually("it is well", || {
            mark_of(&supervisor);
            supervisor.health().is_healthy().then_some(())
        });
        assert_eq!(editions(&supervisor), [1; 2]);
    });
}

/// S6: what is asked for is checked.
#[test]
fn a_rollout_that_makes_no_sense_is_refused() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let unknown = supervisor.rollout(Rollout::of("other"));
        assert!(matches!(unknown, Err(RolloutError::UnknownGroup { .. })), "{unknown:?}");
        let none = supervisor.rollout(Rollout::of("default").batch(0));
        assert!(matches!(none, Err(RolloutError::Config(_))), "{none:?}");
    });
}
