//! Deadlines, whatever the worker does.

use super::*;

fn timeout(total: u64) -> JobOptions {
    JobOptions { timeout: Some(millis(total)), ..JobOptions::default() }
}

/// P9, J5: a job that nobody takes, one that is held unstarted and one that runs end at their time.
#[test]
fn a_timeout_settles_a_job_wherever_it_is() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 2);
    for name in 1..=3 {
        stage.enqueue(name, timeout(50));
    }
    stage.start(1);
    stage.pass(millis(55));
    let started_of = |name| match stage.outcomes.get(&name) {
        Some(Outcome::TimedOut { clock: Clock::Total, started, .. }) => *started,
        other => panic!("job {name}: {other:?}"),
    };
    assert_eq!([1, 2, 3].map(started_of), [Started::Yes, Started::No, Started::No]);
}

/// P9: a page that says the impossible ends the worker, and none of its jobs' clocks is forgotten over it.
#[test]
fn a_lie_about_the_start_mark_does_not_stop_a_clock() {
    let mut group = GroupConfig::new("g", 1);
    group.kill_grace = Duration::from_secs(60);
    let (mut stage, workers) = Stage::ready(group, 1);
    stage.enqueue(1, JobOptions { run_timeout: Some(millis(20)), ..timeout(100) });
    stage.start(1);
    stage.pages[&workers[0]].start(Generation(0)).expect("started what was never sent");
    stage.pass(millis(105));
    assert!(
        matches!(stage.outcomes[&1], Outcome::TimedOut { clock: Clock::Total, .. }),
        "{:?}",
        stage.outcomes
    );
}

/// J7: a `queue_timeout` that is due, and turns out not to count, does not swallow the cancel that came after it.
#[test]
fn a_cancel_after_a_queue_timeout_that_does_not_count_is_heard() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 1);
    let options = JobOptions { queue_timeout: Some(millis(10)), ..JobOptions::default() };
    let key = stage.enqueue(1, options);
    stage.start(1);
    stage.now = stage.now + millis(15);
    stage.scheduler.handle_timeout(stage.now);
    stage.tell(Input::Cancel(key));
    assert!(matches!(stage.outcomes[&1], Outcome::Cancelled { started: Started::Yes, worker: Some(_) }));
}

/// One look at the page judges everything a worker holds; a thousand clocks that run out together were a thousand
/// looks at a thousand requests.
#[test]
fn clocks_that_run_out_together_cost_one_look_at_the_page() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 50);
    let options = JobOptions { run_timeout: Some(millis(20)), ..JobOptions::default() };
    for name in 1..=50 {
        stage.enqueue(name, options.clone());
    }
    stage.now = stage.now + millis(30);
    stage.scheduler.handle_timeout(stage.now);
    let looks = std::iter::from_fn(|| stage.scheduler.poll_action())
        .filter(|action| matches!(action, Action::ReadPage(_)))
        .count();
    assert_eq!(looks, 1);
}

/// J5: `run_timeout` counts from the start, ends the attempt, and gives the worker to the ladder after the grace.
#[test]
fn a_run_timeout_counts_from_the_start_and_ends_the_worker() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 1), 1);
    stage.enqueue(1, JobOptions { run_timeout: Some(millis(100)), ..JobOptions::default() });
    stage.pass(millis(90));
    stage.start(1);
    stage.pass(millis(90));
    assert!(stage.outcomes.is_empty(), "it has not run for 100 ms");
    stage.pass(millis(15));
    assert!(matches!(
        stage.outcomes[&1],
        Outcome::TimedOut { clock: Clock::Run, started: Started::Yes, worker: Some(_) }
    ));
    assert_eq!(stage.count(|action| matches!(action, Action::Cancel { .. })), 1);
    stage.pass(millis(1_010));
    assert_eq!(stage.count(|action| matches!(action, Action::Terminate(key) if *key == workers[0])), 1);
    stage.pass(millis(5_010));
    assert_eq!(stage.kills(), 1);
}

/// P4: the retry of a job that ran out of time begins when its worker is proven dead, not before.
#[test]
fn a_retry_waits_for_the_end_of_the_attempt() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 2), 1);
    let retry_on = RetryOn { run_timeout: true, ..RetryOn::default() };
    let options = JobOptions { retries: 1, run_timeout: Some(millis(20)), retry_on, ..JobOptions::default() };
    stage.enqueue(1, options);
    let first = stage.start(1);
    stage.pass(millis(2_000));
    assert_eq!(stage.sent.len(), 1, "the other worker is idle, the attempt is not over");
    stage.die(first.to);
    let second = stage.last_sent(1);
    assert!(workers.contains(&second.to) && second.to != first.to && second.epoch != first.epoch);
    stage.answer(1);
    assert!(matches!(stage.outcomes[&1], Outcome::Replied { .. }));
}

/// J5: a job that came in the middle of a turn was taken to have come at the turn's beginning, and its clocks ran out
/// that much too early.
#[test]
fn a_clock_counts_from_when_the_job_was_enqueued_not_from_when_the_turn_began() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 1);
    let enqueued = stage.now + millis(40);
    stage.scheduler.enqueue(stage.now, GroupIndex(0), Owner(1, timeout(50)), enqueued);
    stage.act();
    stage.pass(millis(89));
    assert!(stage.outcomes.is_empty(), "{:?}", stage.outcomes);
    stage.pass(millis(5));
    assert!(matches!(stage.outcomes[&1], Outcome::TimedOut { clock: Clock::Total, .. }));
}

/// J7: a job in its overtime that was to be left alone settled when it was cancelled, and neither was its handler told nor
/// its worker ended.
#[test]
fn a_cancel_in_overtime_tells_the_handler_and_ends_the_worker() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 1), 1);
    let retry_on = RetryOn { run_timeout: true, ..RetryOn::default() };
    let on_timeout = OnTimeout::Leave;
    let options = JobOptions {
        retries: 1,
        run_timeout: Some(millis(20)),
        retry_on,
        on_timeout,
        ..JobOptions::default()
    };
    let key = stage.enqueue(1, options);
    stage.start(1);
    let cancels = |stage: &Stage| stage.count(|action| matches!(action, Action::Cancel { .. }));
    stage.pass(millis(5_000));
    assert_eq!((cancels(&stage), stage.outcomes.len()), (0, 0));
    stage.tell(Input::Cancel(key));
    assert_eq!(cancels(&stage), 1);
    assert!(matches!(stage.outcomes[&1], Outcome::Cancelled { started: Started::Yes, worker: Some(_) }));
    stage.pass(millis(1_010));
    let is_end = |action: &Action<Owner>| matches!(action, Action::Terminate(key) if *key == workers[0]);
    assert_eq!(stage.count(is_end), 1);
}

/// A cancel in overtime that comes after the Cancel says nothing new, and wins the worker no time.
#[test]
fn a_cancel_in_overtime_is_told_once_and_keeps_the_earlier_end() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 1);
    let retry_on = RetryOn { run_timeout: true, ..RetryOn::default() };
    let options = JobOptions { retries: 1, run_timeout: Some(millis(20)), retry_on, ..JobOptions::default() };
    let key = stage.enqueue(1, options);
    stage.start(1);
    stage.pass(millis(800));
    stage.tell(Input::Cancel(key));
    assert_eq!(stage.count(|action| matches!(action, Action::Cancel { .. })), 1);
    stage.pass(millis(300));
    assert_eq!(stage.count(|action| matches!(action, Action::Terminate(_))), 1);
}

/// The run clock of a request whose slot is empty already, and whose answer does not come, begins at the first look: the
/// job settles all the same, at most one `run_timeout` late, and an answer that is only slow is taken.
#[test]
fn an_answer_that_never_comes_does_not_stop_the_run_clock() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 2);
    let options = JobOptions { run_timeout: Some(millis(100)), ..JobOptions::default() };
    stage.enqueue(1, options.clone());
    stage.enqueue(2, options);
    let lost = stage.start(1);
    let slow = stage.start(2);
    for sent in [lost, slow] {
        stage.pages[&sent.to].vacate(sent.ordinal.0 as usize % 64);
    }
    stage.pass(millis(150));
    stage.answer_started(slow);
    assert!(matches!(stage.outcomes.get(&2), Some(Outcome::Replied { .. })));
    assert!(!stage.outcomes.contains_key(&1));
    stage.pass(millis(60));
    assert!(matches!(stage.outcomes.get(&1), Some(Outcome::TimedOut { clock: Clock::Run, .. })));
}
