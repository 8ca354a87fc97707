//! What is measured, of whatever can do a job.

use std::time::{Duration, Instant};

use ganger_benches::{Outcome, PAYLOAD, median};

const MIB: usize = 1 << 20;

/// What does jobs that give back their payload.
pub(crate) trait Pool {
    /// One job, from handing it in to its result.
    fn call(&mut self, payload: Vec<u8>) -> Outcome<Vec<u8>>;

    /// Jobs a second of 64 bytes, for about `duration`, so many on their way.
    fn jobs_a_second(&mut self, duration: Duration, in_flight: usize) -> Outcome<f64>;
}

/// The median of single jobs, one after the other, in microseconds.
pub(crate) fn sequential(pool: &mut impl Pool, duration: Duration) -> Outcome<f64> {
    trips(pool, duration / 2, PAYLOAD)?;
    Ok(median(&trips(pool, duration, PAYLOAD)?) * 1e6)
}

/// Jobs a second, many on their way.
pub(crate) fn rate(pool: &mut impl Pool, duration: Duration, in_flight: usize) -> Outcome<f64> {
    pool.jobs_a_second(duration / 2, in_flight)?;
    pool.jobs_a_second(duration, in_flight)
}

/// Gigabytes a second: a mebibyte there and back, one after the other, counted once.
pub(crate) fn echo(pool: &mut impl Pool, duration: Duration) -> Outcome<f64> {
    trips(pool, duration / 2, MIB)?;
    let trips = trips(pool, duration, MIB)?;
    Ok((MIB * trips.len()) as f64 / 1e9 / trips.iter().sum::<f64>())
}

/// The seconds that each trip took. What came back is sent again, so that only the pool copies.
fn trips(pool: &mut impl Pool, duration: Duration, size: usize) -> Outcome<Vec<f64>> {
    let begun = Instant::now();
    let (mut payload, mut trips) = (vec![7; size], Vec::new());
    while trips.is_empty() || begun.elapsed() < duration {
        let sent = Instant::now();
        payload = pool.call(payload)?;
        trips.push(sent.elapsed().as_secs_f64());
        if payload.len() != size {
            return Err(format!("{} bytes came back of {size}", payload.len()).into());
        }
    }
    Ok(trips)
}
