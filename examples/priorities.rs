//! Whose turn it is: priorities that starve nobody, keys, delays; and what a job reports on its way.
//!
//! `cargo run --release --example priorities`

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use ganger::{Call, Completions, Group, Job, Priority, Program, Supervisor};
use ganger_worker::Worker;
use serde::{Deserialize, Serialize};

/// Something that takes its time. The handler reports each quarter of it.
#[derive(Serialize, Deserialize)]
struct Task {
    name: String,
    millis: u64,
}

impl Call for Task {
    const NAME: &'static str = "task";
    type Reply = String;
}

fn task(name: impl Into<String>, millis: u64) -> Job<Task> {
    Job::new(Task { name: name.into(), millis })
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(mut worker) = Worker::inherited()? {
        worker.on_call(|task: Task, cx| {
            for quarter in 1..=4u8 {
                thread::sleep(Duration::from_millis(task.millis) / 4);
                let _ = cx.progress(&(quarter * 25));
            }
            Ok(task.name)
        });
        return Ok(worker.serve()?);
    }
    // At the desk a job of a lower class waits for as long as higher ones come, up to ten seconds a class; at the hotline
    // not for longer than 50 ms.
    let supervisor = Supervisor::builder(Group::new("desk", Program::this()).workers(1))
        .group(Group::new("hotline", Program::this()).workers(1).ageing(Duration::from_millis(50)))
        .group(Group::new("kitchen", Program::this()).workers(2))
        .start()?;
    supervisor.wait_online(Duration::from_secs(30))?;
    higher_classes_go_first(&supervisor)?;
    nobody_starves(&supervisor)?;
    keys_keep_their_order(&supervisor)?;
    delays_are_kept(&supervisor)?;
    jobs_report_on_their_way(&supervisor)?;
    supervisor.soft_kill().wait();
    Ok(())
}

/// While the only worker is busy a mixed crowd comes in: high first, low last, and each class in its order.
fn higher_classes_go_first(supervisor: &Supervisor) -> Result<(), Box<dyn Error>> {
    let done = Completions::new();
    supervisor.enqueue_to(task("opens", 100).priority(Priority::High), &done)?;
    for number in 1..=3 {
        for (class, priority) in
            [("low", Priority::Low), ("normal", Priority::Normal), ("high", Priority::High)]
        {
            supervisor.enqueue_to(task(format!("{class} {number}"), 1).priority(priority), &done)?;
        }
    }
    let names: Vec<String> =
        done.into_iter().map(|(_, result)| result.map(|response| response.data)).collect::<Result<_, _>>()?;
    println!("classes    {}", names.join(", "));
    Ok(())
}

/// High jobs come faster than they can be done; the one low job is done all the same, after two ageings.
fn nobody_starves(supervisor: &Supervisor) -> Result<(), Box<dyn Error>> {
    let done = Completions::new();
    let since = Instant::now();
    let low = supervisor.enqueue_to(task("low", 2).priority(Priority::Low).group("hotline"), &done)?;
    for _ in 0..5 {
        supervisor.enqueue_to(task("high", 2).priority(Priority::High).group("hotline"), &done)?;
    }
    let mut overtaken_by = 0;
    while let Some((id, result)) = done.recv() {
        result?;
        if id == low {
            println!("no hunger  a low job was done after {overtaken_by} high ones, {:.0?}", since.elapsed());
            break;
        }
        overtaken_by += 1;
        // For each that is done two more come.
        for _ in 0..2 {
            supervisor.enqueue_to(task("high", 2).priority(Priority::High).group("hotline"), &done)?;
        }
    }
    Ok(())
}

/// Two cooks, three tables: each table gets its courses in order, and no table waits for another.
fn keys_keep_their_order(supervisor: &Supervisor) -> Result<(), Box<dyn Error>> {
    let done = Completions::new();
    for course in ["soup", "fish", "cake"] {
        for table in ["a", "b", "c"] {
            let job = task(format!("{table}: {course}"), 5).key(table).group("kitchen");
            supervisor.enqueue_to(job, &done)?;
        }
    }
    let mut served: Vec<String> =
        done.into_iter().map(|(_, result)| result.map(|response| response.data)).collect::<Result<_, _>>()?;
    // Stable: what is of one table stays in the order in which it was served.
    served.sort_by_key(|course| course.as_bytes()[0]);
    println!("keys       {}", served.join(", "));
    Ok(())
}

fn delays_are_kept(supervisor: &Supervisor) -> Result<(), Box<dyn Error>> {
    let since = Instant::now();
    let delay = Duration::from_millis(100);
    let response = supervisor.enqueue(task("a reminder", 0).delay(delay).group("kitchen"))?.wait()?;
    let early = if since.elapsed() < delay { "too early" } else { "in time" };
    println!("a delay    {} came {early}, after {:.0?}", response.data, since.elapsed());
    Ok(())
}

fn jobs_report_on_their_way(supervisor: &Supervisor) -> Result<(), Box<dyn Error>> {
    let handle = supervisor.enqueue(task("a roast", 40).group("kitchen"))?;
    let reports: Vec<String> = handle
        .progress::<u8>()
        .map(|report| report.map(|report| format!("{} %", report.data)))
        .collect::<Result<_, _>>()?;
    println!("progress   {}: {}", handle.wait()?.data, reports.join(", "));
    Ok(())
}
