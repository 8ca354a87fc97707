//! Metrics and health of all processes, as people and Prometheus read them: three workers weigh pictures, one of them is
//! killed meanwhile, and one says that it is not well.
//!
//! ```sh
//! cargo run --example vitals
//! ```

use std::time::{Duration, Instant};

use ganger::{Call, Event, Job, Program, Supervisor};
use ganger_worker::{Failure, Worker};
use serde::{Deserialize, Serialize};

/// Says how many bytes a picture of this size has.
#[derive(Serialize, Deserialize)]
struct Weigh {
    width: u32,
    height: u32,
}

impl Call for Weigh {
    const NAME: &'static str = "weigh";
    type Reply = u32;
}

/// Ends the worker, as a bug would.
#[derive(Serialize, Deserialize)]
struct Crash;

impl Call for Crash {
    const NAME: &'static str = "crash";
    type Reply = ();
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(worker) = Worker::inherited()? {
        return weigh(worker);
    }
    let (supervisor, events) = Supervisor::builder(Program::this()).workers(3).start_with_events()?;
    supervisor.wait_online(Duration::from_secs(30))?;
    let asked = supervisor.metrics().counter("pictures_asked_total", "Pictures that somebody asked about")?;
    for result in supervisor.map((0..60).map(|side| Weigh { width: 10 * side, height: 8 * side })) {
        result?;
        asked.inc();
    }
    // Its owner learns of the crash; what the worker has counted is told about once a second, and stays.
    wait_until(|| supervisor.metrics().total("pictures_total") == Some(60.0));
    let _lost = supervisor.enqueue(Job::new(Crash))?.wait();
    wait_until(|| supervisor.health().groups[0].ready == 3);
    let reason = events.into_iter().find_map(|event| match event {
        Event::WorkerUnhealthy { worker, reason } => Some(format!("{worker}: {reason}")),
        _ => None,
    });
    println!("told by an event: {}\n", reason.unwrap_or_default());
    println!("{}\n", supervisor.health());
    println!("{}", supervisor.metrics().prometheus());
    supervisor.soft_kill().wait();
    Ok(())
}

fn weigh(mut worker: Worker) -> Result<(), Box<dyn std::error::Error>> {
    let metrics = worker.control().metrics();
    let pictures = metrics.counter("pictures_total", "Pictures weighed")?;
    let sizes = metrics.histogram("picture_bytes", "How large they were", &[1e3, 1e4, 1e5, 1e6])?;
    let largest = metrics.gauge("picture_largest_bytes", "The largest one")?;
    worker.on_call(move |Weigh { width, height }, _cx| {
        let bytes = 4 * width * height;
        pictures.inc();
        sizes.observe(f64::from(bytes));
        largest.set(largest.value().max(f64::from(bytes)));
        Ok(bytes)
    });
    worker.on_call(|Crash, _cx| -> Result<(), Failure> { std::process::abort() });
    let slot = worker.control().slot();
    worker.on_health(move || if slot == 1 { Err(String::from("the scales are bent")) } else { Ok(()) });
    Ok(worker.serve()?)
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
}
