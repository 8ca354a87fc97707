//! Giving jobs to workers, taking them back, and what a death means.

use super::*;

fn prefetching(workers: u32) -> GroupConfig {
    GroupConfig { prefetch: 8, ..GroupConfig::new("g", workers) }
}

/// P5, P7: a death before the start mark costs nothing: the jobs go back to their places, ahead of younger ones.
#[test]
fn a_death_before_the_start_costs_nothing() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 1), 2);
    for name in 1..=3 {
        stage.enqueue(name, JobOptions::default());
    }
    stage.die(workers[0]);
    assert!(stage.outcomes.is_empty());
    stage.raise(3).expect("it is replaced at once");
    let order: Vec<u8> = stage.sent.iter().map(|sent| sent.job).collect();
    assert_eq!(order, [1, 2, 1, 2, 3]);
}

/// P5: eight such losses make a job suspect, three more poison it.
#[test]
fn a_job_lost_unstarted_eleven_times_is_poisoned() {
    let mut group = GroupConfig::new("g", 1);
    group.restart = RestartPolicy { backoff_max: millis(1_000), ..RestartPolicy::unlimited() };
    let mut stage = Stage::new(group);
    stage.enqueue(1, JobOptions::default());
    let mut losses = 0;
    while stage.outcomes.is_empty() {
        stage.pass(millis(2_000));
        let worker = stage.raise(1).expect("a replacement");
        losses += 1;
        stage.die(worker);
    }
    assert_eq!(losses, 11);
    assert!(
        matches!(&stage.outcomes[&1], Outcome::Poisoned { reports, started: Started::No } if reports.len() == 3)
    );
}

/// P3, P6: with no retries a job that was running when its worker died is lost, and says so.
#[test]
fn a_death_with_the_job_running_is_told() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 1), 1);
    stage.enqueue(1, JobOptions::default());
    stage.start(1);
    stage.die(workers[0]);
    assert!(matches!(&stage.outcomes[&1], Outcome::WorkerLost(lost) if lost.because.is_none()));
}

/// J6: a job that killed a worker runs alone from then on: one worker is kept for it until it is empty.
#[test]
fn a_suspect_runs_alone() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 2), 2);
    stage.enqueue(1, JobOptions { retries: 2, ..JobOptions::default() });
    let killer = stage.start(1);
    for name in 2..=4 {
        stage.enqueue(name, JobOptions::default());
    }
    let other = if killer.to == workers[0] { workers[1] } else { workers[0] };
    let held: Vec<u8> = stage.sent.iter().filter(|sent| sent.to == other).map(|sent| sent.job).collect();
    assert_eq!(held.len(), 2, "{:?}", stage.sent);
    let running = stage.start(held[0]);
    stage.die(killer.to);
    assert_eq!(stage.sent.iter().filter(|sent| sent.job == 1).count(), 1, "nobody is empty");
    let heir = stage.raise(2).expect("it is replaced");
    assert_eq!(stage.last_sent(1).to, heir);
    let beside: Vec<u8> = stage.sent.iter().filter(|sent| sent.to == heir).map(|sent| sent.job).collect();
    assert_eq!(beside, [1], "it is alone there");
    stage.answer_started(running);
    stage.answer(1);
    for name in 5..=8 {
        stage.enqueue(name, JobOptions::default());
    }
    assert!(stage.sent.iter().any(|sent| sent.to == heir && sent.job != 1), "it serves everyone again");
}

/// Poison: the third death with the job running ends it, whatever retries are left.
#[test]
fn three_deaths_poison_a_job() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 1);
    stage.enqueue(1, JobOptions { retries: 9, ..JobOptions::default() });
    for _ in 0..3 {
        let sent = stage.start(1);
        stage.die(sent.to);
        stage.raise(1);
    }
    assert!(
        matches!(&stage.outcomes[&1], Outcome::Poisoned { reports, started: Started::Yes } if reports.len() == 3)
    );
}

/// J10: jobs sent ahead to a worker that turns out to be slow go back as soon as another one idles.
#[test]
fn what_is_sent_ahead_never_waits_beside_an_idle_worker() {
    let (mut stage, workers) = Stage::ready(prefetching(2), 1);
    for name in 1..=2 {
        stage.enqueue(name, JobOptions::default());
    }
    stage.answer(1);
    stage.answer(2);
    for name in 3..=8 {
        stage.enqueue(name, JobOptions::default());
    }
    assert_eq!(stage.sent.len(), 8, "all are sent, most of them ahead");
    let slow = stage.start(3);
    let quick = if slow.to == workers[0] { workers[1] } else { workers[0] };
    let mut budget = 20;
    while stage.outcomes.len() < 7 && budget > 0 {
        budget -= 1;
        let next = stage.sent.iter().rfind(|sent| {
            sent.to == quick
                && !stage.outcomes.contains_key(&sent.job)
                && stage.last_sent(sent.job).to == quick
        });
        match next.map(|sent| sent.job) {
            Some(_) => {
                let oldest = (4..=8)
                    .find(|job| !stage.outcomes.contains_key(job) && stage.last_sent(*job).to == quick);
                stage.answer(oldest.expect("the quick one holds a job"));
            }
            None => stage.pass(millis(3)),
        }
    }
    assert_eq!(stage.outcomes.len(), 7, "everything but the slow one: {:?}", stage.outcomes.keys());
}

/// J10, W1: a worker that lowers its capacity keeps what it runs, and the rest goes back.
#[test]
fn a_lower_capacity_gives_back_what_is_not_started() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 1), 4);
    for name in 1..=4 {
        stage.enqueue(name, JobOptions::default());
    }
    stage.start(1);
    stage.start(2);
    stage.tell(Input::Ready { worker: workers[0], capacity: 1, wants_hard_kill: false });
    assert_eq!(stage.scheduler.snapshot().workers[0].in_flight, 2);
}

/// A worker that runs one request for a long time, and many short ones beside it, made the scheduler remember
/// every one of them.
#[test]
fn a_long_request_does_not_make_the_short_ones_pile_up() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 1), 2);
    stage.enqueue(1, JobOptions::default());
    stage.start(1);
    for name in 2..=201 {
        stage.enqueue(name, JobOptions::default());
        stage.answer(name);
    }
    let worker = stage.scheduler.workers.get(workers[0]).expect("it lives");
    assert_eq!(worker.hand.iter().count(), 1);
}

/// W11: a worker silent for 3 s gets nothing new and gives back what it has not started; after 10 s it is killed.
#[test]
fn a_silent_worker_is_unrouted_and_then_killed() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 1), 1);
    stage.silent.push(workers[0]);
    stage.enqueue(1, JobOptions::default());
    stage.pass(millis(3_600));
    assert_eq!(stage.scheduler.snapshot().groups[0].queued, 1);
    stage.pass(millis(7_000));
    assert_eq!(stage.count(|action| matches!(action, Action::Terminate(_))), 1);
}
