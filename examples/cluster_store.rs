//! State that two workers share: they count to 6,000 together, one gives the other a command, one dies and is revived.
//!
//! `cargo run --release --example cluster_store`

use std::error::Error;
use std::time::Duration;

use ganger::{Call, Event, Group, JobError, Program, Revive, Supervisor};
use ganger_worker::{Address, Failure, Worker};
use serde::{Deserialize, Serialize};

/// How often each worker counts.
const TIMES: u32 = 3000;

/// Adds 1 to a number of the shared store, many times.
#[derive(Serialize, Deserialize)]
struct Count {
    times: u32,
}

impl Call for Count {
    const NAME: &'static str = "count";
    type Reply = ();
}

/// Passes a command on to the other worker, and replies what that said.
#[derive(Serialize, Deserialize)]
struct PassOn {
    command: String,
}

impl Call for PassOn {
    const NAME: &'static str = "pass-on";
    type Reply = String;
}

/// A command from one worker to another.
#[derive(Serialize, Deserialize)]
struct Order {
    command: String,
}

impl Call for Order {
    const NAME: &'static str = "order";
    type Reply = String;
}

/// Dies, with a lock in its hands.
#[derive(Serialize, Deserialize)]
struct Die;

impl Call for Die {
    const NAME: &'static str = "die";
    type Reply = ();
}

fn main() -> Result<(), Box<dyn Error>> {
    match Worker::inherited()? {
        Some(worker) => work(worker),
        None => supervise(),
    }
}

fn work(mut worker: Worker) -> Result<(), Box<dyn Error>> {
    let name = worker.control().name().to_owned();
    let other = if name == "left" { "right" } else { "left" };
    worker.on_call(|count: Count, cx| {
        let store = cx.worker().store();
        for _ in 0..count.times {
            store.increment("counted", 1)?;
        }
        Ok(())
    });
    worker.on_call(move |pass: PassOn, cx| {
        let order = Order { command: pass.command };
        Ok(cx.worker().call(Address::worker(other), &order).wait()?)
    });
    worker.on_call(move |order: Order, _cx| Ok(format!("{name} does it: {}", order.command)));
    worker.on_call(|_: Die, cx| -> Result<(), Failure> {
        let _lock = cx.worker().store().lock("treasury", Duration::from_secs(5))?;
        std::process::abort();
    });
    Ok(worker.serve()?)
}

fn supervise() -> Result<(), Box<dyn Error>> {
    let pair = Group::new("pair", Program::this()).members(["left", "right"]).revive(Revive::ByCommand);
    let supervisor = Supervisor::builder(pair).start()?;
    supervisor.wait_online(Duration::from_secs(30))?;
    let store = supervisor.store();
    let replica = store.replica("count")?;

    let both = [Count { times: TIMES }, Count { times: TIMES }].map(|count| supervisor.enqueue(count));
    for job in both {
        println!("counted {TIMES} times: {}", job?.wait()?.worker);
    }
    let counted = store.get::<i64>("counted")?.ok_or("nobody counted")?;
    println!("together: {}", counted.value);
    replica.wait_for(counted.version, Duration::from_secs(5))?;
    let copy = replica.get::<i64>("counted")?.ok_or("the replica is empty")?;
    println!("the replica: {}", copy.value);

    println!("{}", supervisor.enqueue(PassOn { command: "tidy up".into() })?.wait()?.data);

    let dead = match supervisor.enqueue(Die)?.wait() {
        Err(JobError::WorkerLost { report, .. }) => report.worker.clone(),
        other => return Err(format!("it should have died: {other:?}").into()),
    };
    let lock = store.lock("treasury", Duration::from_secs(5))?;
    println!("{dead} died, and its lock is ours, with token {}", lock.token());
    lock.release()?;
    let mut events = supervisor.events();
    supervisor.revive(&dead)?;
    if events.any(|event| matches!(&event, Event::WorkerReady { worker, .. } if *worker == dead)) {
        println!("{dead} is revived");
    }
    supervisor.soft_kill().wait();
    Ok(())
}
