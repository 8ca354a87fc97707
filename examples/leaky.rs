//! Workers that leak, and are replaced before it matters.
//!
//! ```text
//! cargo run --release --example leaky -- [JOBS]
//! ```
//!
//! Each job leaves a quarter of a megabyte behind, as native libraries do. A worker that two looks in a row find above
//! its limit gets a successor; when that has shown that it works, the old one finishes what it holds and leaves. No job
//! notices, and no worker comes near the harder limit, at which it would be killed.

use std::time::Duration;

use ganger::{Call, Event, Program, RecyclePolicy, Supervisor};
use ganger_worker::Worker;
use serde::{Deserialize, Serialize};

const MIB: u64 = 1 << 20;
/// What one job leaves behind, in bytes.
const LEAK: usize = 256 << 10;
/// Above this a worker is replaced.
const LIMIT: u64 = 48 * MIB;
/// Above this it is killed.
const HARD_LIMIT: u64 = 256 * MIB;

/// Takes a moment and some memory; gives the worker's process.
#[derive(Serialize, Deserialize)]
struct Work;

impl Call for Work {
    const NAME: &'static str = "work";
    type Reply = u32;
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(mut worker) = Worker::inherited()? {
        worker.on_call(|_: Work, _| {
            std::thread::sleep(Duration::from_millis(1));
            // Pages that were never written to would not count.
            std::hint::black_box(vec![1_u8; LEAK]).leak();
            Ok(std::process::id())
        });
        return Ok(worker.serve()?);
    }
    let jobs: usize = std::env::args().nth(1).map_or(Ok(4000), |arg| arg.parse())?;
    let policy = RecyclePolicy {
        above_bytes: Some(LIMIT),
        kill_above_bytes: Some(HARD_LIMIT),
        samples: 2,
        min_uptime: Duration::from_millis(20),
        ..RecyclePolicy::default()
    };
    let builder = Supervisor::builder(Program::this()).workers(2).recycle(policy);
    let (supervisor, events) = builder.sample_every(Duration::from_millis(10)).start_with_events()?;
    let mut largest = 0;
    let (mut done, mut lost) = (0, 0);
    for result in supervisor.map((0..jobs).map(|_| Work)).in_flight(4) {
        match result {
            Ok(_) => done += 1,
            Err(error) => {
                lost += 1;
                eprintln!("{error}");
            }
        }
        let looked = supervisor.health().workers.iter().filter_map(|worker| worker.rss_bytes).max();
        largest = largest.max(looked.unwrap_or(0));
    }
    let recycled = supervisor.health().groups[0].recycled;
    println!("jobs done       {done}");
    println!("jobs lost       {lost}");
    println!("recycled        {}", recycled.memory);
    println!("killed          {}", recycled.killed);
    println!("largest worker  {} MiB of {} allowed", largest / MIB, HARD_LIMIT / MIB);
    println!("leaked in all   {} MiB", (done * LEAK) as u64 / MIB);
    let first = std::iter::from_fn(|| events.try_recv().ok())
        .find(|event| matches!(event, Event::WorkerRecycled { .. }));
    if let Some(Event::WorkerRecycled { worker, cause }) = first {
        println!("the first was {worker}: {cause}");
    }
    supervisor.soft_kill().wait();
    Ok(())
}
