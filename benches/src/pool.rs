//! The worker and the supervisor that most benches use.

use std::time::{Duration, Instant};

use ganger::{Builder, Raw, Supervisor};
use ganger_worker::Worker;

use crate::Outcome;

/// The payload of a job that does nothing.
pub const PAYLOAD: usize = 64;
/// How many requests are sent ahead to a worker where many are on their way.
pub const AHEAD: u32 = 256;
/// The clock is looked at once in so many jobs: it costs a share of one.
const LOOKS: usize = 64;

/// Registers `echo`, which gives back what it got, and `sink`, which only says that it got it.
pub fn register(worker: &mut Worker) {
    worker.on_raw("echo", |request| {
        let (bytes, responder) = request.into_parts();
        responder.respond(bytes);
    });
    worker.on_raw("sink", |request| request.ack());
}

/// A supervisor whose workers are all ready.
///
/// # Errors
/// That it cannot be started, or that they are not ready in a minute.
pub fn online(builder: Builder) -> Outcome<Supervisor> {
    let patience = Duration::from_secs(60);
    let supervisor = builder.boot_timeout(patience).start()?;
    supervisor.wait_online(patience)?;
    Ok(supervisor)
}

/// A job that does nothing: its payload comes back.
#[must_use]
pub fn no_op() -> Raw {
    Raw::new("echo", [7; PAYLOAD])
}

/// One job that does nothing, from enqueue to result.
///
/// # Errors
/// That it was refused, or failed.
pub fn round_trip(supervisor: &Supervisor) -> Outcome<()> {
    supervisor.enqueue(no_op())?.wait()?;
    Ok(())
}

/// Jobs a second that do nothing, for about `duration`, with so many on their way.
///
/// # Errors
/// That one was refused, or failed.
pub fn rate(supervisor: &Supervisor, duration: Duration, in_flight: usize) -> Outcome<f64> {
    let begun = Instant::now();
    let jobs =
        (0_usize..).take_while(|place| place % LOOKS != 0 || begun.elapsed() < duration).map(|_| no_op());
    let mut count = 0.0;
    for result in supervisor.map(jobs).in_flight(in_flight) {
        result.map_err(|error| error.to_string())?;
        count += 1.0;
    }
    Ok(count / begun.elapsed().as_secs_f64())
}
