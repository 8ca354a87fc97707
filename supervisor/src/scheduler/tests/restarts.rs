//! Replacing workers, giving up, and healing.

use super::*;

fn is_admission(action: &Action<Owner>, refused: bool) -> bool {
    matches!(action, Action::Admission { refuse, .. } if refuse.is_some() == refused)
}

/// P1: two processes that cannot be killed used up a group's places for good, and its jobs waited for ever.
#[test]
fn a_group_whose_processes_cannot_be_killed_fails_its_jobs() {
    let (mut stage, mut workers) = Stage::ready(GroupConfig::new("g", 1), 1);
    for _ in 0..2 {
        stage.tell(Input::Violation { worker: workers[0], reason: String::from("noise") });
        stage.pass(millis(6_000));
        workers = std::iter::from_fn(|| stage.raise(1)).collect();
    }
    assert!(workers.is_empty(), "no third one is risked");
    stage.enqueue(1, JobOptions::default());
    assert!(matches!(stage.outcomes.get(&1), Some(Outcome::NoWorkers { .. })), "{:?}", stage.outcomes);
}

/// P1, W4: workers that never say ready take so long to fail that they never filled the restart window, and the jobs
/// waited for ever.
#[test]
fn workers_that_never_say_ready_do_not_keep_jobs_waiting_for_ever() {
    let mut stage = Stage::new(GroupConfig::new("g", 2));
    stage.enqueue(1, JobOptions::default());
    let mut started = 0;
    while stage.outcomes.is_empty() && started < 100 {
        while let Some(worker) = stage.spawns.pop_front() {
            started += 1;
            stage.tell(Input::Spawned { worker, pid: started });
        }
        stage.pass(millis(31_000));
        let born = |key: &WorkerKey| !stage.spawns.contains(key);
        let killed: Vec<WorkerKey> = stage.scheduler.live_workers().filter(born).collect();
        killed.into_iter().for_each(|worker| stage.die(worker));
    }
    assert!(matches!(stage.outcomes.get(&1), Some(Outcome::NoWorkers { .. })), "{started} were started");
}

/// The longest delay may be as long as one likes: probing, or a retry, then never comes, and nothing panics.
#[test]
fn delays_without_a_cap_do_not_overflow() {
    let mut group = GroupConfig::new("g", 1);
    group.restart.backoff_max = Duration::MAX;
    let mut stage = Stage::new(group);
    let worker = stage.spawns.pop_front().expect("one is wanted");
    stage.enqueue(1, JobOptions::default());
    stage.tell(Input::SpawnFailed { worker, error: SpawnFailure::Permanent("no such file".into()) });
    assert!(matches!(stage.outcomes[&1], Outcome::NoWorkers { .. }));
}

/// W5: a crash loop ends in a degraded group, which fails its jobs, and is healed by a probe.
#[test]
fn a_crash_loop_degrades_and_a_probe_heals() {
    let mut stage = Stage::new(GroupConfig::new("g", 1));
    let mut crashes = 0;
    while stage.count(|action| matches!(action, Action::Tell(Event::Degraded { .. }))) == 0 {
        if let Some(worker) = stage.raise(1) {
            crashes += 1;
            stage.die(worker);
        }
        stage.pass(millis(500));
    }
    assert_eq!(crashes, 6);
    assert_eq!(stage.count(|action| is_admission(action, true)), 1);
    stage.enqueue(1, JobOptions::default());
    assert!(matches!(stage.outcomes[&1], Outcome::NoWorkers { started: Started::No, .. }));
    stage.pass(millis(40_000));
    stage.raise(1).expect("a probe");
    assert_eq!(stage.count(|action| is_admission(action, false)), 1);
    stage.enqueue(2, JobOptions::default());
    stage.answer(2);
    assert_eq!(stage.count(|action| matches!(action, Action::Tell(Event::Healed { .. }))), 1);
}

/// W9: a degraded group was never healed when it was made smaller and all that it still wanted was well.
#[test]
fn a_degraded_group_made_small_enough_for_its_healthy_workers_heals() {
    let mut group = GroupConfig::new("g", 2);
    group.restart.limit = Some(0);
    let (mut stage, workers) = Stage::ready(group, 1);
    stage.die(workers[1]);
    assert_eq!(stage.count(|action| matches!(action, Action::Tell(Event::Degraded { .. }))), 1);
    stage.tell(Input::Resize { group: GroupIndex(0), workers: 1 });
    stage.pass(millis(11_000));
    assert_eq!(stage.count(|action| matches!(action, Action::Tell(Event::Healed { .. }))), 1);
}

/// W4, W9: the group became complete by being made smaller, and nobody was told.
#[test]
fn a_group_made_as_small_as_it_is_ready_is_online() {
    let mut stage = Stage::new(GroupConfig::new("g", 2));
    stage.raise(1).expect("two are wanted");
    assert_eq!(stage.count(|action| matches!(action, Action::Tell(Event::Online))), 0);
    stage.tell(Input::Resize { group: GroupIndex(0), workers: 1 });
    assert_eq!(stage.count(|action| matches!(action, Action::Tell(Event::Online))), 1);
}

fn is_healed(action: &Action<Owner>) -> bool {
    matches!(action, Action::Tell(Event::Healed { .. }))
}

/// Starting a process hung, and its slot stayed empty for ever.
#[test]
fn a_slot_does_not_wait_for_ever_for_a_process_to_start() {
    let mut stage = Stage::new(GroupConfig::new("g", 1));
    let stuck = stage.spawns.pop_front().expect("one is wanted");
    stage.enqueue(1, JobOptions::default());
    stage.pass(millis(35_100));
    assert_eq!(stage.count(|action| matches!(action, Action::Tell(Event::SpawnFailed { .. }))), 1);
    let heir = stage.raise(1).expect("another is started");
    assert_ne!(heir, stuck);
    stage.answer(1);
}

/// A slow start is no lost one: a process that is there after its boot timeout is ended, and its slot filled again.
#[test]
fn a_process_that_starts_too_late_is_ended() {
    let mut stage = Stage::new(GroupConfig::new("g", 1));
    let slow = stage.spawns.pop_front().expect("one is wanted");
    stage.pass(millis(31_000));
    stage.tell(Input::Spawned { worker: slow, pid: 5 });
    assert_eq!(stage.kills(), 1);
    stage.die(slow);
    assert!(stage.raise(1).is_some());
}

/// A process that could not be killed, and ended at last, was held against its group for ever.
#[test]
fn a_group_heals_when_processes_that_were_written_off_end_after_all() {
    let (mut stage, mut workers) = Stage::ready(GroupConfig::new("g", 1), 1);
    for _ in 0..2 {
        stage.tell(Input::Violation { worker: workers[0], reason: String::from("noise") });
        stage.pass(millis(6_000));
        workers = std::iter::from_fn(|| stage.raise(1)).collect();
    }
    assert_eq!((workers.len(), stage.count(is_healed)), (0, 0));
    stage.tell(Input::LeftoverEnded(GroupIndex(0)));
    assert_eq!(stage.count(is_healed), 1);
    stage.raise(1).expect("its place is filled");
    stage.enqueue(1, JobOptions::default());
    stage.answer(1);
}

/// W5: after a moment in which its program could not be started a group waited for ten seconds of a probe's health, or
/// for a job, although the probe had said ready.
#[test]
fn a_group_whose_program_could_not_be_started_heals_when_a_probe_is_ready() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 2), 1);
    stage.die(workers[0]);
    let failed = stage.spawns.pop_front().expect("a replacement");
    stage.tell(Input::SpawnFailed { worker: failed, error: SpawnFailure::Permanent("no such file".into()) });
    stage.pass(millis(40_000));
    assert_eq!(stage.count(is_healed), 0);
    stage.raise(1).expect("a probe");
    assert_eq!(stage.count(is_healed), 1);
}

/// W5: workers that crash as soon as they are ready say nothing by being ready.
#[test]
fn a_group_of_workers_that_crash_does_not_heal_when_a_probe_is_ready() {
    let mut group = GroupConfig::new("g", 1);
    group.restart.limit = Some(0);
    let (mut stage, workers) = Stage::ready(group, 1);
    stage.die(workers[0]);
    stage.pass(millis(40_000));
    let probe = stage.spawns.pop_front().expect("a probe");
    stage.tell(Input::SpawnFailed { worker: probe, error: SpawnFailure::Permanent("no such file".into()) });
    stage.pass(millis(40_000));
    stage.raise(1).expect("a probe");
    assert_eq!(stage.count(is_healed), 0, "of two reasons the one that needs more counts");
}
