use super::*;

fn group(name: &str, wanted: u32) -> GroupSnapshot {
    GroupSnapshot {
        name: name.into(),
        wanted,
        ready: wanted,
        queued: 0,
        waiting: 0,
        oldest: None,
        in_flight: 0,
        done: 10,
        failed: 1,
        ends: Default::default(),
        kills: Default::default(),
        stale_answers: 0,
        restarts: 0,
        resting: 0,
        recycled: Default::default(),
        edition: 0,
        rollout: None,
        rate: 2.5,
        queue_time: Default::default(),
        run_time: Default::default(),
        degraded: None,
        down: Vec::new(),
    }
}

fn worker(name: &str, group: &str, status: WorkerStatus) -> WorkerSnapshot {
    WorkerSnapshot {
        name: name.into(),
        group: group.into(),
        slot: 0,
        edition: 0,
        pid: Some(4711),
        status,
        unrouted: None,
        capacity: 1,
        in_flight: 0,
        rss_bytes: Some(5 << 20),
        heap_total_bytes: 3 << 20,
        heap_used_bytes: 1 << 20,
        unhealthy: None,
        done: 10,
        failed: 1,
        restarts: 0,
        uptime: Duration::from_secs(90),
        last_error: None,
    }
}

fn health(groups: Vec<GroupSnapshot>, workers: Vec<WorkerSnapshot>) -> Health {
    Health::of(Snapshot { groups, workers, is_shutting_down: false }, Duration::from_secs(30))
}

/// S1: starting, ready, busy and draining are normal.
#[test]
fn a_complete_group_of_normal_workers_is_healthy() {
    let workers = vec![
        worker("a-0", "a", WorkerStatus::Starting),
        worker("a-1", "a", WorkerStatus::Busy),
        worker("a-2", "a", WorkerStatus::Draining),
    ];
    let health = health(vec![group("a", 2)], workers);
    assert!(health.is_healthy(), "{:?}", health.problems);
    assert_eq!(health.phase, Phase::Running);
}

/// S1: any abnormal worker fails the whole.
#[test]
fn any_abnormal_worker_is_a_problem() {
    for status in [WorkerStatus::Stopping, WorkerStatus::Exited, WorkerStatus::Failed] {
        let workers = vec![worker("a-0", "a", WorkerStatus::Ready), worker("a-1", "a", status)];
        let health = health(vec![group("a", 1)], workers);
        assert_eq!(health.problems.len(), 1, "{:?}", health.problems);
    }
    let mut suspected = worker("a-0", "a", WorkerStatus::Ready);
    suspected.unrouted = Some(Unrouted::Suspected);
    let health = health(vec![group("a", 1)], vec![suspected]);
    assert_eq!(
        health.problems[0].to_string(),
        "worker a-0 is Ready but gets no requests: Suspected, its heartbeat is overdue"
    );
}

/// S1: a worker that waits for its replacement is missing, but not from a supervisor that shuts down.
#[test]
fn a_missing_worker_is_a_problem_while_running() {
    let found = health(vec![group("a", 2)], vec![worker("a-0", "a", WorkerStatus::Ready)]);
    assert_eq!(found.problems, [Problem::Missing { group: "a".into(), present: 1, wanted: 2 }]);
    let snapshot = Snapshot { groups: vec![group("a", 2)], workers: Vec::new(), is_shutting_down: true };
    let found = Health::of(snapshot, Duration::from_secs(30));
    assert!(found.is_healthy() && found.phase == Phase::ShuttingDown);
}

/// S1: the queue is stuck when jobs wait for long and nothing is answered.
#[test]
fn a_stuck_queue_is_a_problem_and_a_slow_one_is_not() {
    let mut waiting = group("a", 0);
    (waiting.queued, waiting.oldest) = (3, Some(Duration::from_secs(31)));
    assert!(health(vec![waiting.clone()], Vec::new()).is_healthy(), "others are being answered");
    waiting.rate = 0.0;
    let found = health(vec![waiting.clone()], Vec::new());
    assert!(found.problems[0].to_string().starts_with("the queue of group a is stuck: 3 jobs wait"));
    waiting.oldest = Some(Duration::from_secs(29));
    assert!(health(vec![waiting], Vec::new()).is_healthy(), "not long enough");
}

#[test]
fn it_prints_as_a_table() {
    let mut failing = worker("a-10", "a", WorkerStatus::Ready);
    failing.last_error = Some("disk full".into());
    let workers = vec![worker("a-0", "a", WorkerStatus::Ready), failing];
    let text = health(vec![group("a", 2)], workers).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "healthy, running");
    assert!(lines[1].starts_with("GROUP  READY"), "{text}");
    assert!(lines[2].starts_with("a      2/2"), "{text}");
    assert!(lines[3].starts_with("WORKER  GROUP"), "{text}");
    assert!(lines[4].contains("5.0 MiB") && lines[4].contains("1.0/3.0 MiB"), "{text}");
    assert!(lines[5].ends_with("disk full"), "{text}");
    assert!(!text.lines().any(|line| line.ends_with(' ')), "{text}");
}
