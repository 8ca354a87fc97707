//! The ends of workers and of the supervisor.

use super::*;

/// A process that had ended while a grandchild held its link met a step of the kill ladder: the step could not be
/// done, stayed due, and `handle_timeout` never returned.
#[test]
fn a_step_that_comes_due_between_a_processs_end_and_its_links_is_no_loop() {
    let mut group = GroupConfig::new("g", 1);
    group.cancel_grace = millis(50);
    let (mut stage, workers) = Stage::ready(group, 1);
    let key = stage.enqueue(1, JobOptions::default());
    stage.start(1);
    stage.tell(Input::Cancel(key));
    stage.pass(millis(20));
    stage.end_process(workers[0], ExitStatus::Code(1));
    stage.pass(millis(200));
    assert!(stage.scheduler.worker("g-0").is_some_and(|worker| worker != workers[0]), "it is replaced");
}

/// A process that ended just before it would have been written off is proven dead: the retry may begin (P4).
#[test]
fn a_process_that_ended_is_not_written_off() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 1), 1);
    stage.enqueue(1, JobOptions { retries: 1, ..JobOptions::default() });
    stage.start(1);
    stage.tell(Input::Violation { worker: workers[0], reason: String::from("noise") });
    stage.pass(millis(4_950));
    stage.end_process(workers[0], ExitStatus::Signal(9));
    stage.pass(millis(200));
    assert!(!stage.outcomes.contains_key(&1), "{:?}", stage.outcomes);
    let unkillable = |action: &Action<Owner>| matches!(action, Action::Tell(Event::WorkerUnkillable { .. }));
    assert_eq!(stage.count(unkillable), 0);
}

/// S3: a worker that ignores a SIGTERM under way got no SIGKILL from a hard kill before its term grace was over.
#[test]
fn a_hard_kill_does_not_wait_for_a_sigterm_under_way() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 1);
    stage.enqueue(1, JobOptions { timeout: Some(millis(10)), ..JobOptions::default() });
    stage.start(1);
    stage.pass(millis(1_100));
    assert_eq!(stage.count(|action| matches!(action, Action::Terminate(_))), 1);
    stage.tell(Input::HardKill);
    assert_eq!(stage.kills(), 1);
}

/// S3: whoever asked for it is warned, and has 100 ms; a second hard kill does not wait.
#[test]
fn a_hard_kill_warns_those_that_asked_for_it() {
    let mut stage = Stage::new(GroupConfig::new("g", 2));
    for wants_hard_kill in [true, false] {
        let worker = stage.spawns.pop_front().expect("two are wanted");
        stage.tell(Input::Spawned { worker, pid: 1 });
        stage.tell(Input::Ready { worker, capacity: 1, wants_hard_kill });
    }
    stage.tell(Input::HardKill);
    assert_eq!((stage.count(|action| matches!(action, Action::WarnHardKill(_))), stage.kills()), (1, 1));
    stage.tell(Input::HardKill);
    assert_eq!(stage.kills(), 2);
}

/// S3, J8: a hard kill settles every job at once, and ends even when nothing dies.
#[test]
fn a_hard_kill_settles_every_job_and_comes_to_an_end() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 2);
    for name in 1..=3 {
        stage.enqueue(name, JobOptions { retries: 3, ..JobOptions::default() });
    }
    stage.start(1);
    stage.tell(Input::HardKill);
    let started_of = |name| match stage.outcomes[&name] {
        Outcome::ShuttingDown { started, .. } => started,
        ref other => panic!("job {name}: {other:?}"),
    };
    assert_eq!([1, 2, 3].map(started_of), [Started::Yes, Started::No, Started::No]);
    stage.pass(millis(5_010));
    assert!(stage.is_stopped());
}

/// P10, S2: everything accepted is worked off, retries included, by workers replaced if need be; then they leave.
#[test]
fn a_soft_kill_works_everything_off() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 1), 1);
    for name in 1..=2 {
        stage.enqueue(name, JobOptions { retries: 1, ..JobOptions::default() });
    }
    stage.start(1);
    stage.tell(Input::SoftKill { deadline: millis(30_000), backlog: Backlog::WorkOff });
    stage.die(workers[0]);
    let heir = stage.raise(1).expect("a crashed worker is replaced");
    stage.answer(1);
    stage.answer(2);
    assert_eq!(stage.outcomes.len(), 2);
    assert_eq!(stage.count(|action| matches!(action, Action::Drain(key) if *key == heir)), 1);
    stage.tell(Input::Goodbye(heir));
    stage.end_process(heir, ExitStatus::Code(0));
    stage.tell(Input::LinkEnded(heir));
    assert!(stage.is_stopped());
}

/// P10: by choice only what is in flight is waited for; at the deadline the rest settles and the ladder begins.
#[test]
fn a_soft_kill_that_settles_waits_for_what_is_running_until_its_deadline() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 2);
    for name in 1..=3 {
        stage.enqueue(name, JobOptions::default());
    }
    stage.start(1);
    stage.tell(Input::SoftKill { deadline: millis(1_000), backlog: Backlog::Settle });
    assert_eq!(stage.outcomes.keys().copied().collect::<Vec<_>>(), [2, 3]);
    stage.pass(millis(1_010));
    assert!(matches!(stage.outcomes[&1], Outcome::ShuttingDown { started: Started::Yes, worker: Some(_) }));
    stage.pass(millis(10_010));
    assert!(stage.is_stopped());
    assert_eq!(stage.scheduler.job_count(), 0);
}

/// A worker whose process had ended, and whose link was still open, was asked to leave; its end then counted as wanted.
#[test]
fn a_process_that_has_ended_is_not_asked_to_leave() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 1), 1);
    stage.end_process(workers[0], ExitStatus::Signal(11));
    stage.tell(Input::ShutdownWorker { worker: workers[0], grace: millis(1_000) });
    assert_eq!(stage.count(|action| matches!(action, Action::Drain(_))), 0);
    stage.pass(millis(200));
    assert_eq!(stage.count(|action| matches!(action, Action::Tell(Event::WorkerRestarting { .. }))), 1);
}

/// W8, W9: a drained worker gets nothing new, its unstarted requests go back, and what it runs may end.
#[test]
fn a_drained_worker_finishes_what_it_runs_and_leaves() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 1), 2);
    stage.enqueue(1, JobOptions::default());
    stage.enqueue(2, JobOptions::default());
    let first = stage.start(1);
    stage.tell(Input::ShutdownWorker { worker: workers[0], grace: millis(60_000) });
    stage.answer_started(first);
    assert!(matches!(stage.outcomes[&1], Outcome::Replied { .. }));
    stage.tell(Input::Goodbye(workers[0]));
    stage.end_process(workers[0], ExitStatus::Code(0));
    stage.tell(Input::LinkEnded(workers[0]));
    let heir = stage.raise(2).expect("it is replaced");
    assert_eq!(stage.last_sent(2).to, heir);
    assert_eq!(stage.kills(), 0);
}

/// A worker that was to go before its process had begun was reported dead by a number that nobody had heard of.
#[test]
fn a_process_that_is_ended_as_soon_as_it_begins_is_announced_all_the_same() {
    let mut stage = Stage::new(GroupConfig::new("g", 1));
    let worker = stage.spawns.pop_front().expect("one is wanted");
    stage.tell(Input::HardKill);
    stage.tell(Input::Spawned { worker, pid: 77 });
    let is_spawned =
        |action: &Action<Owner>| matches!(action, Action::Tell(Event::WorkerSpawned { pid: 77, .. }));
    assert_eq!((stage.count(is_spawned), stage.kills()), (1, 1));
    stage.die(worker);
    let is_crashed = |action: &Action<Owner>| matches!(action, Action::Tell(Event::WorkerCrashed { .. }));
    assert_eq!(stage.count(is_crashed), 1);
    assert!(stage.is_stopped());
}

/// Two answers came in one read, a bystander's and then the culprit's own: the first left the culprit alone, and SIGTERM
/// went to a worker that had answered everything.
#[test]
fn answers_that_come_together_are_all_heard_before_anybody_is_ended() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 2);
    stage.enqueue(1, JobOptions { timeout: Some(millis(10)), ..JobOptions::default() });
    stage.enqueue(2, JobOptions::default());
    let culprit = stage.start(1);
    let bystander = stage.start(2);
    stage.pass(millis(2_000));
    for Sent { to: worker, ordinal, epoch, .. } in [bystander, culprit] {
        stage.pages[&worker].vacate(ordinal.0 as usize % 64);
        stage.note(Input::Answer { worker, ordinal, epoch, ran: millis(0), reply: Reply::Data(Vec::new()) });
    }
    stage.act();
    stage.pass(millis(10_000));
    assert_eq!(stage.count(|action| matches!(action, Action::Terminate(_))), 0);
}

/// A culprit that is left alone by its bystander's answer is ended as soon as that was all.
#[test]
fn a_culprit_that_is_alone_after_an_answer_is_ended() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 2);
    stage.enqueue(1, JobOptions { timeout: Some(millis(10)), ..JobOptions::default() });
    stage.enqueue(2, JobOptions::default());
    stage.start(1);
    let bystander = stage.start(2);
    stage.pass(millis(2_000));
    stage.answer_started(bystander);
    stage.pass(millis(5));
    assert_eq!(stage.count(|action| matches!(action, Action::Terminate(_))), 1);
}

/// The next look at the workers was still due after the end.
#[test]
fn nothing_is_due_after_the_end() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 1), 1);
    stage.tell(Input::HardKill);
    stage.die(workers[0]);
    assert!(stage.is_stopped());
    assert_eq!(stage.scheduler.poll_timeout(), None);
}

/// S3: starting a process that never came back kept a hard kill from ever ending.
#[test]
fn a_hard_kill_does_not_wait_for_a_process_that_is_never_started() {
    let mut stage = Stage::new(GroupConfig::new("g", 1));
    stage.tell(Input::HardKill);
    stage.pass(millis(5_010));
    assert!(stage.is_stopped());
}
