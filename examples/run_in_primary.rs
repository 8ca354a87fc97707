//! Run in primary: what must exist once lives in the supervisor, and every worker reaches it by calls.
//!
//! A request may be handled by any of three workers. Data that one of them set must be there for the next, wherever it
//! is handled: `SetData` and `GetData` are therefore calls that the primary process answers. The other way round, the
//! primary asks all workers for what they have done and how they are, and learns by name who has answered and who has
//! not.
//!
//! `cargo run --release --example run_in_primary`

use std::error::Error;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ganger::{Address, Call, Caller, Failure, Job, Program, Supervisor};
use ganger_worker::Worker;
use serde::{Deserialize, Serialize};

/// Answered in the primary process.
#[derive(Serialize, Deserialize)]
struct SetData(i64);

impl Call for SetData {
    const NAME: &'static str = "set-data";
    type Reply = i64;
}

/// Answered in the primary process.
#[derive(Serialize, Deserialize)]
struct GetData;

impl Call for GetData {
    const NAME: &'static str = "get-data";
    type Reply = i64;
}

/// A request from outside, handled by whichever worker is free.
#[derive(Serialize, Deserialize)]
enum Visit {
    Set(i64),
    Get,
}

impl Call for Visit {
    const NAME: &'static str = "visit";
    type Reply = i64;
}

/// How a worker is, and what it has done: asked of all.
#[derive(Serialize, Deserialize)]
struct Report;

#[derive(Serialize, Deserialize)]
struct Account {
    pid: u32,
    visits: u64,
}

impl Call for Report {
    const NAME: &'static str = "report";
    type Reply = Account;
}

fn main() -> Result<(), Box<dyn Error>> {
    match Worker::inherited()? {
        Some(worker) => work(worker),
        None => supervise(),
    }
}

fn work(mut worker: Worker) -> Result<(), Box<dyn Error>> {
    let visits = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&visits);
    worker.on_call(move |visit: Visit, cx| {
        seen.fetch_add(1, Relaxed);
        let primary = cx.worker();
        Ok(match visit {
            Visit::Set(data) => primary.call(Address::Primary, &SetData(data)).wait()?,
            Visit::Get => primary.call(Address::Primary, &GetData).wait()?,
        })
    });
    // Calls are answered beside the requests, also while one is handled.
    worker.on_call(move |_: Report, _cx| Ok(Account { pid: process::id(), visits: visits.load(Relaxed) }));
    Ok(worker.serve()?)
}

fn supervise() -> Result<(), Box<dyn Error>> {
    let data = Arc::new(Mutex::new(0));
    let (set, get) = (Arc::clone(&data), data);
    let supervisor = Supervisor::builder(Program::this())
        .workers(3)
        .on_call(move |SetData(value), cx| {
            if value < 0 {
                return Err(Failure::new(format!("{value} is below zero")).with_details(&value));
            }
            if let Caller::Worker(name) = cx.caller() {
                println!("set to {value} by {name}");
            }
            *set.lock().unwrap_or_else(PoisonError::into_inner) = value;
            Ok(value)
        })
        .on_call(move |_: GetData, _cx| Ok(*get.lock().unwrap_or_else(PoisonError::into_inner)))
        .start()?;
    supervisor.wait_online(Duration::from_secs(30))?;
    for round in 1..=4 {
        supervisor.enqueue(Visit::Set(round))?.wait()?;
        // Nine at once, so that every worker is asked.
        let visits: Result<Vec<_>, _> = (0..9).map(|_| supervisor.enqueue(Job::new(Visit::Get))).collect();
        for visit in visits? {
            let response = visit.wait()?;
            if response.data != round {
                return Err(format!("{} saw {}, not {round}", response.worker, response.data).into());
            }
        }
    }
    println!("4 values, each seen by 9 requests");
    if let Err(error) = supervisor.enqueue(Visit::Set(-1))?.wait() {
        println!("refused: {error}");
    }
    report(&supervisor)?;
    supervisor.soft_kill().wait();
    Ok(())
}

/// Health and metrics, collected from all.
fn report(supervisor: &Supervisor) -> Result<(), Box<dyn Error>> {
    let reports = supervisor.call(Address::all(), &Report).timeout(Duration::from_secs(5)).collect()?;
    for (worker, account) in reports.replies() {
        println!("{worker} (pid {}) has handled {}", account.pid, account.visits);
    }
    for (worker, error) in reports.errors() {
        println!("{worker} has not answered: {error}");
    }
    let visits: u64 = reports.replies().map(|(_, account)| account.visits).sum();
    println!("{visits} requests by {} workers", reports.replies().count());
    println!("healthy: {}", supervisor.health().is_healthy() && reports.is_complete());
    Ok(())
}
