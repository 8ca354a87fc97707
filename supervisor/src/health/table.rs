//! Health for people: two tables and a list.

use std::fmt;
use std::time::Duration;

use crate::scheduler::{GroupSnapshot, WorkerSnapshot};

use super::{Health, Phase};

const GROUP_HEAD: [&str; 12] = [
    "GROUP",
    "READY",
    "QUEUED",
    "OLDEST",
    "IN FLIGHT",
    "DONE",
    "FAILED",
    "RESTARTS",
    "RATE/S",
    "QUEUE P50/P99",
    "RUN P50/P99",
    "STATE",
];
const WORKER_HEAD: [&str; 12] = [
    "WORKER",
    "GROUP",
    "PID",
    "STATUS",
    "IN FLIGHT",
    "RSS",
    "HEAP",
    "DONE",
    "FAILED",
    "RESTARTS",
    "UPTIME",
    "LAST ERROR",
];

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", if self.is_healthy() { "healthy" } else { "unhealthy" }, self.phase)?;
        for problem in &self.problems {
            write!(f, "\n  ! {problem}")?;
        }
        table(f, GROUP_HEAD, self.groups.iter().map(group_row))?;
        table(f, WORKER_HEAD, self.workers.iter().map(worker_row))
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Running => "running",
            Phase::ShuttingDown => "shutting down",
            Phase::Stopped => "stopped",
        })
    }
}

fn group_row(group: &GroupSnapshot) -> [String; 12] {
    [
        group.name.to_string(),
        format!("{}/{}", group.ready, group.wanted),
        group.queued.to_string(),
        group.oldest.map_or_else(nothing, duration),
        group.in_flight.to_string(),
        group.done.to_string(),
        group.failed.to_string(),
        group.restarts.to_string(),
        format!("{:.1}", group.rate),
        format!("{}/{}", duration(group.queue_time.quantile(0.5)), duration(group.queue_time.quantile(0.99))),
        format!("{}/{}", duration(group.run_time.quantile(0.5)), duration(group.run_time.quantile(0.99))),
        group.degraded.as_ref().map_or_else(|| String::from("ok"), |_| String::from("degraded")),
    ]
}

fn worker_row(worker: &WorkerSnapshot) -> [String; 12] {
    [
        worker.name.to_string(),
        worker.group.to_string(),
        worker.pid.map_or_else(nothing, |pid| pid.to_string()),
        status(worker),
        format!("{}/{}", worker.in_flight, worker.capacity),
        worker.rss_bytes.map_or_else(nothing, |bytes| format!("{:.1} MiB", mib(bytes))),
        heap(worker.heap_used_bytes, worker.heap_total_bytes),
        worker.done.to_string(),
        worker.failed.to_string(),
        worker.restarts.to_string(),
        duration(worker.uptime),
        worker.last_error.as_ref().map_or_else(nothing, |error| first_line(error)),
    ]
}

fn status(worker: &WorkerSnapshot) -> String {
    let status = worker.status;
    match (worker.unrouted, &worker.unhealthy) {
        (Some(unrouted), _) => format!("{status:?} ({unrouted:?})"),
        (None, Some(_)) => format!("{status:?} (unhealthy)"),
        (None, None) => format!("{status:?}"),
    }
}

fn nothing() -> String {
    String::from("-")
}

fn duration(duration: Duration) -> String {
    if duration.is_zero() { nothing() } else { format!("{duration:.1?}") }
}

fn heap(used: u64, total: u64) -> String {
    if total == 0 { nothing() } else { format!("{:.1}/{:.1} MiB", mib(used), mib(total)) }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn table<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> fmt::Result {
    let rows: Vec<[String; N]> = std::iter::once(head.map(String::from)).chain(rows).collect();
    if rows.len() == 1 {
        return Ok(());
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        write!(f, "\n{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
