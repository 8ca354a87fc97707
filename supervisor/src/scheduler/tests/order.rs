//! Classes, delays and keys: whose turn it is.

use super::*;

fn class(priority: Priority) -> JobOptions {
    ordered(Order { priority, ..Order::default() })
}

fn keyed(key: u64) -> JobOptions {
    ordered(Order { key: Some(key), ..Order::default() })
}

fn delayed(delay: u64) -> JobOptions {
    ordered(Order { delay: Some(millis(delay)), ..Order::default() })
}

fn ordered(order: Order) -> JobOptions {
    JobOptions { order: Some(Box::new(order)), ..JobOptions::default() }
}

impl Stage {
    fn sent_jobs(&self) -> Vec<u8> {
        self.sent.iter().map(|sent| sent.job).collect()
    }

    /// One answer after the other, until nothing is left to answer; the jobs in the order in which they were sent.
    fn work_off(&mut self) -> Vec<u8> {
        let mut answered = self.outcomes.len();
        while let Some(next) = self.sent.get(answered).copied() {
            self.answer(next.job);
            answered += 1;
        }
        self.sent_jobs()
    }
}

/// J12: the higher class first, and within a class the older.
#[test]
fn classes_go_in_order_and_each_is_a_queue() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 1);
    stage.enqueue(0, JobOptions::default());
    for (name, priority) in [
        (1, Priority::Low),
        (2, Priority::Normal),
        (3, Priority::High),
        (4, Priority::Low),
        (5, Priority::Normal),
        (6, Priority::High),
    ] {
        stage.pass(millis(1));
        stage.enqueue(name, class(priority));
    }
    assert_eq!(stage.work_off(), [0, 3, 6, 2, 5, 1, 4]);
}

/// J12: a job goes before every one of the next higher class that came more than one ageing after it.
#[test]
fn a_lower_class_is_never_overtaken_for_long() {
    let group = GroupConfig { ageing: millis(100), ..GroupConfig::new("g", 1) };
    let (mut stage, _) = Stage::ready(group, 1);
    stage.enqueue(0, JobOptions::default());
    stage.enqueue(1, class(Priority::Low));
    stage.pass(millis(99));
    stage.enqueue(2, JobOptions::default());
    stage.pass(millis(2));
    stage.enqueue(3, JobOptions::default());
    stage.pass(millis(98));
    stage.enqueue(4, class(Priority::High));
    stage.pass(millis(2));
    stage.enqueue(5, class(Priority::High));
    assert_eq!(stage.work_off(), [0, 2, 4, 1, 3, 5]);
}

/// J12, J6: a job that comes back keeps its place among those of its class.
#[test]
fn a_job_that_comes_back_keeps_its_place_in_its_class() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 1), 2);
    for (name, priority) in [(1, Priority::Low), (2, Priority::High), (3, Priority::High), (4, Priority::Low)]
    {
        stage.enqueue(name, class(priority));
    }
    assert_eq!(stage.sent_jobs(), [1, 2]);
    stage.die(workers[0]);
    stage.sent.clear();
    stage.raise(1).expect("it is replaced at once");
    assert_eq!(stage.work_off(), [2, 3, 1, 4]);
}

/// J12: whoever waits by rank is not sent ahead, and nothing is sent ahead of him; what was is taken back when it is in
/// his way.
#[test]
fn a_high_job_does_not_wait_behind_what_was_sent_ahead() {
    let (mut stage, _) = Stage::ready(GroupConfig { prefetch: 8, ..GroupConfig::new("g", 1) }, 1);
    stage.enqueue(1, JobOptions::default());
    stage.answer(1);
    for name in 2..=6 {
        stage.enqueue(name, JobOptions::default());
    }
    assert_eq!(stage.sent_jobs(), [1, 2, 3, 4, 5, 6], "a quick worker is sent requests ahead");
    let slow = stage.start(2);
    stage.enqueue(7, class(Priority::High));
    stage.pass(millis(5));
    assert_eq!(stage.sent.len(), 6, "a high job goes to free slots only");
    stage.answer_started(slow);
    assert_eq!(stage.sent[6].job, 7, "the others were taken back");
    stage.sent.drain(..6);
    let seventh = stage.start(7);
    stage.answer_started(seventh);
    assert_eq!(stage.sent_jobs()[1..5], [3, 4, 5, 6]);
}

/// J12: nothing is sent before its time; its clocks and its age count from then.
#[test]
fn a_delayed_job_waits_for_its_time_and_its_clocks_with_it() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 1);
    stage.enqueue(1, JobOptions { timeout: Some(millis(50)), ..delayed(100) });
    stage.enqueue(2, delayed(200));
    let shown = stage.scheduler.snapshot();
    assert_eq!((shown.groups[0].queued, shown.groups[0].waiting, shown.groups[0].oldest), (2, 2, None));
    stage.pass(millis(99));
    assert!(stage.sent.is_empty());
    stage.pass(millis(5));
    assert_eq!(stage.sent_jobs(), [1]);
    stage.pass(millis(40));
    assert!(stage.outcomes.is_empty(), "the time before does not count: {:?}", stage.outcomes);
    stage.pass(millis(10));
    assert!(matches!(
        stage.outcomes[&1],
        Outcome::TimedOut { clock: Clock::Total, started: Started::No, .. }
    ));
    stage.pass(millis(60));
    assert_eq!(stage.sent_jobs(), [1, 2]);
    let Outcome::Replied { attempt, .. } = ({
        stage.answer(2);
        &stage.outcomes[&2]
    }) else {
        panic!("{:?}", stage.outcomes)
    };
    assert!(attempt.queued < millis(5), "{attempt:?}");
}

/// J12, J7, P10: a delayed job can be cancelled; a soft kill works it off, or settles it, by choice.
#[test]
fn delayed_jobs_are_cancelled_worked_off_and_settled() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 1);
    let cancelled = stage.enqueue(1, delayed(50));
    stage.tell(Input::Cancel(cancelled));
    assert!(matches!(stage.outcomes[&1], Outcome::Cancelled { started: Started::No, worker: None }));
    stage.enqueue(2, delayed(50));
    stage.tell(Input::SoftKill { deadline: millis(10_000), backlog: Backlog::WorkOff });
    stage.pass(millis(55));
    stage.answer(2);
    assert!(matches!(stage.outcomes[&2], Outcome::Replied { .. }));

    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 1);
    stage.enqueue(1, delayed(50));
    stage.tell(Input::SoftKill { deadline: millis(10_000), backlog: Backlog::Settle });
    assert!(matches!(stage.outcomes[&1], Outcome::ShuttingDown { started: Started::No, worker: None }));
}

/// J12, P7: jobs of one key go one after the other, those of others beside them.
#[test]
fn jobs_of_one_key_go_one_after_the_other() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 4), 1);
    for (name, key) in [(1, 7), (2, 7), (3, 7), (4, 8)] {
        stage.enqueue(name, keyed(key));
    }
    assert_eq!(stage.sent_jobs(), [1, 4]);
    let shown = stage.scheduler.snapshot();
    assert_eq!((shown.groups[0].queued, shown.groups[0].waiting, shown.groups[0].oldest), (2, 2, None));
    stage.answer(1);
    assert_eq!(stage.sent_jobs(), [1, 4, 2]);
    stage.answer(4);
    stage.answer(2);
    assert_eq!(stage.sent_jobs(), [1, 4, 2, 3]);
}

/// J12: a key's limit is how many of its jobs are under way at once.
#[test]
fn a_group_may_allow_more_of_one_key_at_once() {
    let (mut stage, _) = Stage::ready(GroupConfig { key_limit: 2, ..GroupConfig::new("g", 4) }, 1);
    for name in 1..=5 {
        stage.enqueue(name, keyed(7));
    }
    assert_eq!(stage.sent_jobs(), [1, 2]);
    stage.answer(2);
    assert_eq!(stage.sent_jobs(), [1, 2, 3]);
}

/// J12, P4: the next of a key waits for the retries of the one before it, and for the end of its last attempt.
#[test]
fn the_next_of_a_key_waits_for_retries_and_for_handlers_that_outlive_their_jobs() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 3), 1);
    let backoff = Some(millis(100));
    stage.enqueue(1, JobOptions { retries: 1, retry_backoff: backoff, ..keyed(7) });
    stage.enqueue(2, JobOptions { timeout: Some(millis(500)), ..keyed(7) });
    stage.enqueue(3, keyed(7));
    let first = stage.start(1);
    stage.die(first.to);
    assert_eq!(stage.sent_jobs(), [1], "its retry is to come");
    stage.pass(millis(130));
    assert_eq!(stage.sent_jobs(), [1, 1]);
    stage.answer(1);
    assert_eq!(stage.sent_jobs(), [1, 1, 2]);
    let second = stage.start(2);
    stage.pass(millis(510));
    assert!(matches!(stage.outcomes[&2], Outcome::TimedOut { started: Started::Yes, .. }));
    assert_eq!(stage.sent_jobs(), [1, 1, 2], "its handler has not ended");
    stage.answer_started(second);
    assert_eq!(stage.sent_jobs(), [1, 1, 2, 3]);
    drop(workers);
}

/// J12: the seat of a job whose handler outlives it is free when its worker is proven dead.
#[test]
fn a_death_frees_the_key_of_a_job_that_had_ended() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 2), 1);
    let key = stage.enqueue(1, keyed(7));
    stage.enqueue(2, keyed(7));
    let first = stage.start(1);
    stage.tell(Input::Cancel(key));
    assert!(stage.outcomes.contains_key(&1));
    assert_eq!(stage.sent_jobs(), [1]);
    stage.die(first.to);
    assert_eq!(stage.sent_jobs(), [1, 2]);
}

/// J12: ends of all sorts leave no line behind, and nobody in it for ever.
#[test]
fn jobs_that_end_in_their_line_make_room() {
    let (mut stage, _) = Stage::ready(GroupConfig::new("g", 1), 1);
    let keys: Vec<JobKey> = (1..=4).map(|name| stage.enqueue(name, keyed(7))).collect();
    let slow = JobOptions { queue_timeout: Some(millis(20)), ..keyed(7) };
    stage.enqueue(5, slow);
    stage.tell(Input::Cancel(keys[1]));
    stage.pass(millis(25));
    assert!(matches!(stage.outcomes[&5], Outcome::TimedOut { clock: Clock::Queue, .. }));
    stage.tell(Input::Cancel(keys[0]));
    assert_eq!(stage.sent_jobs(), [1, 3], "it was taken back unstarted");
    stage.answer(3);
    stage.answer(4);
    assert_eq!(stage.scheduler.job_count(), 0);
    stage.scheduler.check().expect("no line is left");
}

/// J17: progress is believed for the attempt that is under way, at the worker that has it.
#[test]
fn only_who_works_on_a_job_may_report_progress() {
    let (mut stage, workers) = Stage::ready(GroupConfig::new("g", 2), 1);
    let key = stage.enqueue(1, JobOptions { retries: 1, ..JobOptions::default() });
    let Sent { to, ordinal, epoch, .. } = stage.start(1);
    let other = workers.into_iter().find(|worker| *worker != to).expect("another");
    let working_on = |stage: &Stage, worker, epoch| stage.scheduler.working_on(worker, ordinal, epoch);
    assert_eq!(working_on(&stage, to, epoch), Some((key, 1)));
    assert_eq!(working_on(&stage, other, epoch), None);
    assert_eq!(working_on(&stage, to, epoch.next()), None);
    stage.die(to);
    let again = stage.last_sent(1);
    assert_eq!(stage.scheduler.working_on(again.to, again.ordinal, again.epoch), Some((key, 2)));
    assert_eq!(working_on(&stage, to, epoch), None);
    stage.tell(Input::Cancel(key));
    assert_eq!(stage.scheduler.working_on(again.to, again.ordinal, again.epoch), None);
}
