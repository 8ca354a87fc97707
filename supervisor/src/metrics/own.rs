//! The supervisor's own metrics, made from what it shows of itself when it is asked: nothing is counted for them twice.

use std::collections::BTreeMap;
use std::time::Duration;

use super::exposition::{Exposition, Kind, Observed};
use crate::health::{Health, Phase};
use crate::scheduler::{GroupSnapshot, Latency, WorkerSnapshot, WorkerStatus};

const STATUSES: [(WorkerStatus, &str); 7] = [
    (WorkerStatus::Starting, "starting"),
    (WorkerStatus::Ready, "ready"),
    (WorkerStatus::Busy, "busy"),
    (WorkerStatus::Draining, "draining"),
    (WorkerStatus::Stopping, "stopping"),
    (WorkerStatus::Exited, "exited"),
    (WorkerStatus::Failed, "failed"),
];

/// Writes what is known of the supervisor as a whole, of each group and of each worker.
pub(super) fn write(text: &mut Exposition, health: &Health, events_missed: u64) {
    let (up, problems) = (u64::from(health.phase != Phase::Stopped), health.problems.len() as u64);
    text.sample(("ganger_up", "1 until everything has ended", Kind::Gauge), &[], up);
    let help = "What makes the supervisor unhealthy, by count; 0 is healthy";
    text.sample(("ganger_problems", help, Kind::Gauge), &[], problems);
    let help = "Events that subscribers missed because they did not read";
    text.sample(("ganger_events_missed_total", help, Kind::Counter), &[], events_missed);
    health.groups.iter().for_each(|group| write_group(text, group, &health.workers));
    youngest(&health.workers).for_each(|worker| write_worker(text, worker));
}

fn write_group(text: &mut Exposition, group: &GroupSnapshot, workers: &[WorkerSnapshot]) {
    write_jobs(text, group);
    write_queue(text, group);
    let labels = [("group", &*group.name)];
    let members = || workers.iter().filter(|worker| worker.group == group.name);
    for (status, label) in STATUSES {
        let count = members().filter(|worker| worker.status == status).count() as u64;
        let labels = [("group", &*group.name), ("status", label)];
        text.sample(("ganger_workers", "Workers, by what they are doing", Kind::Gauge), &labels, count);
    }
    let unhealthy = members().filter(|worker| worker.unhealthy.is_some()).count() as u64;
    let gauges = [
        ("ganger_workers_wanted", "Workers that there should be", u64::from(group.wanted)),
        ("ganger_workers_routed", "Workers that take requests now", u64::from(group.ready)),
        ("ganger_workers_unhealthy", "Workers whose own health check fails", unhealthy),
        ("ganger_group_degraded", "1 while only probes are started", u64::from(group.degraded.is_some())),
    ];
    for (name, help, value) in gauges {
        text.sample((name, help, Kind::Gauge), &labels, value);
    }
    let help = "Workers started in the place of others";
    text.sample(("ganger_worker_restarts_total", help, Kind::Counter), &labels, group.restarts);
    let recycled = &group.recycled;
    for (cause, count) in
        [("memory", recycled.memory), ("jobs", recycled.jobs), ("age", recycled.age), ("idle", recycled.idle)]
    {
        let labels = [("group", &*group.name), ("cause", cause)];
        let help = "Workers sent away by the group's own policy, by cause";
        text.sample(("ganger_worker_recycles_total", help, Kind::Counter), &labels, count);
    }
    for (cause, count) in &group.kills {
        let labels = [("group", &*group.name), ("cause", cause)];
        let help = "Workers ended against their will, by cause";
        text.sample(("ganger_worker_kills_total", help, Kind::Counter), &labels, *count);
    }
}

fn write_jobs(text: &mut Exposition, group: &GroupSnapshot) {
    let ends = &group.ends;
    let outcomes = [
        ("replied", group.done),
        ("failed", ends.failed),
        ("timed_out", ends.timed_out),
        ("cancelled", ends.cancelled),
        ("worker_lost", ends.worker_lost),
        ("poisoned", ends.poisoned),
        ("shutting_down", ends.shutting_down),
        ("no_workers", ends.no_workers),
    ];
    for (outcome, count) in outcomes {
        let labels = [("group", &*group.name), ("outcome", outcome)];
        text.sample(("ganger_jobs_total", "Jobs that ended, by how", Kind::Counter), &labels, count);
    }
    let labels = [("group", &*group.name)];
    let help = "Answers that no job waited for";
    text.sample(("ganger_stale_answers_total", help, Kind::Counter), &labels, group.stale_answers);
    write_latency(
        text,
        "ganger_job_queue_seconds",
        "From enqueue to send, of jobs that replied",
        group,
        &group.queue_time,
    );
    write_latency(
        text,
        "ganger_job_run_seconds",
        "The handler's time, of jobs that replied",
        group,
        &group.run_time,
    );
}

fn write_queue(text: &mut Exposition, group: &GroupSnapshot) {
    let labels = [("group", &*group.name)];
    let help = "Jobs that wait for a worker or for a retry";
    text.sample(("ganger_jobs_queued", help, Kind::Gauge), &labels, group.queued as u64);
    let help = "Requests sent and not answered";
    text.sample(("ganger_jobs_in_flight", help, Kind::Gauge), &labels, group.in_flight as u64);
    let help = "Age of the oldest job that waits; 0 when none does";
    let oldest = group.oldest.unwrap_or(Duration::ZERO).as_secs_f64();
    text.sample(("ganger_queue_oldest_seconds", help, Kind::Gauge), &labels, oldest);
}

fn write_latency(text: &mut Exposition, name: &str, help: &str, group: &GroupSnapshot, latency: &Latency) {
    let mut buckets = latency.steps().map(|(bound, up_to)| (bound.as_secs_f64(), up_to));
    let (sum, count) = (latency.sum().as_secs_f64(), latency.count());
    text.histogram(name, help, &[("group", &*group.name)], Observed { buckets: &mut buckets, sum, count });
}

/// While one worker replaces another they share a slot, and there is one series for it.
fn youngest(workers: &[WorkerSnapshot]) -> impl Iterator<Item = &WorkerSnapshot> {
    let mut slots: BTreeMap<(&str, u32), &WorkerSnapshot> = BTreeMap::new();
    for worker in workers {
        let occupant = slots.entry((&worker.group, worker.slot)).or_insert(worker);
        if worker.uptime < occupant.uptime {
            *occupant = worker;
        }
    }
    slots.into_values()
}

fn write_worker(text: &mut Exposition, worker: &WorkerSnapshot) {
    let slot = worker.slot.to_string();
    let labels = [("group", &*worker.group), ("slot", &*slot)];
    if let Some(rss_bytes) = worker.rss_bytes {
        text.sample(("ganger_worker_resident_bytes", "Its resident memory", Kind::Gauge), &labels, rss_bytes);
    }
    if worker.heap_total_bytes > 0 {
        let help = "What its allocator has handed out";
        text.sample(("ganger_worker_heap_used_bytes", help, Kind::Gauge), &labels, worker.heap_used_bytes);
    }
    let help = "Requests sent to it and not answered";
    text.sample(("ganger_worker_in_flight", help, Kind::Gauge), &labels, u64::from(worker.in_flight));
    let help = "Since its start";
    text.sample(("ganger_worker_uptime_seconds", help, Kind::Gauge), &labels, worker.uptime.as_secs_f64());
}
