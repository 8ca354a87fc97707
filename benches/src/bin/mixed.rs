//! A burst of short jobs with long ones among them, asleep: how long all take, and all but the last hundredth, against
//! a schedule without any overhead. A request that waits behind a long one while another worker idles shows here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ganger::{Call, Completions, Program, Supervisor};
use ganger_benches::{
    AHEAD, Bench, Floor, Nothing, Outcome, Plan, Printer, Rounds, nothing_fresh, online, quantile,
};
use ganger_worker::{Failure, Worker};
use serde::{Deserialize, Serialize};

const WORKERS: usize = 8;
const JOBS: usize = 1000;
const SHORT_MILLIS: u32 = 1;
const LONG_MILLIS: u32 = 50;

#[derive(Serialize, Deserialize)]
struct Nap {
    millis: u32,
}

impl Call for Nap {
    const NAME: &'static str = "nap";
    type Reply = ();
}

fn main() -> ExitCode {
    let bench = Bench {
        name: "mixed",
        about: "Measures a burst of 900 jobs of 1 ms and 100 of 50 ms, asleep, on 8 workers: makespan and 99th percentile \
                of the ends, with nothing sent ahead and with a window, against a list schedule without overhead",
        worker: register,
        fresh: nothing_fresh,
        measure,
    };
    bench.run()
}

fn register(worker: &mut Worker) {
    // Sleeps end as near to their time as the system can.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    worker.on_call(|nap: Nap, _cx| -> Result<(), Failure> {
        thread::sleep(Duration::from_millis(nap.millis.into()));
        Ok(())
    });
}

fn measure(_: &Nothing, printer: &mut Printer) -> Outcome<()> {
    let rounds = printer.choose(5, 2);
    for (ahead, name) in [(0, "slots"), (AHEAD, "window")] {
        let plans = ["makespan", "p99"]
            .map(|what| Plan::new(format!("{what}-{name}"), "ms").floor(Floor::AtMost(1.25)));
        printer.measure(&plans, || bursts(ahead, rounds))?;
    }
    Ok(())
}

fn bursts(ahead: u32, rounds: usize) -> Outcome<Vec<Rounds>> {
    let supervisor = online(Supervisor::builder(Program::this()).workers(WORKERS).prefetch(ahead))?;
    let naps = naps();
    let ideal = list_schedule(&naps);
    let mut measured = vec![Rounds::default(); 2];
    for _ in 0..rounds {
        let ends = burst(&supervisor, &naps)?;
        for (rounds, share) in measured.iter_mut().zip([1.0, 0.99]) {
            rounds.push(quantile(&ends, share), quantile(&ideal, share));
        }
    }
    Ok(measured)
}

/// The jobs in their order: a tenth is long, strewn among the others, the same in every run.
fn naps() -> Vec<u32> {
    let mut places: Vec<usize> = (0..JOBS).collect();
    places.sort_by_key(|place| {
        let mut hasher = DefaultHasher::new();
        place.hash(&mut hasher);
        hasher.finish()
    });
    places.into_iter().map(|place| if place % 10 == 0 { LONG_MILLIS } else { SHORT_MILLIS }).collect()
}

/// When each job would end if whoever is free first took the next one, and nothing else took any time.
fn list_schedule(naps: &[u32]) -> Vec<f64> {
    let mut free: BinaryHeap<Reverse<u32>> = (0..WORKERS).map(|_| Reverse(0)).collect();
    let end = |millis: &u32| {
        let Reverse(begin) = free.pop().expect("there are workers");
        free.push(Reverse(begin + millis));
        f64::from(begin + millis)
    };
    naps.iter().map(end).collect()
}

/// When each job ended, in milliseconds after the first was enqueued.
fn burst(supervisor: &Supervisor, naps: &[u32]) -> Outcome<Vec<f64>> {
    let done = Completions::new();
    let begun = Instant::now();
    for &millis in naps {
        supervisor.enqueue_to(Nap { millis }, &done)?;
    }
    let end = |(_, result)| {
        let _: ganger::Response<()> = result?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    done.into_iter().map(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_jobs_is_long() {
        let naps = naps();
        assert_eq!(naps.iter().filter(|millis| **millis == LONG_MILLIS).count(), JOBS / 10);
        assert!(naps[..JOBS / 2].iter().filter(|millis| **millis == LONG_MILLIS).count() > JOBS / 40);
    }

    #[test]
    fn whoever_is_free_first_takes_the_next() {
        assert_eq!(list_schedule(&[2; WORKERS]), [2.0; WORKERS]);
        assert_eq!(list_schedule(&[9, 9, 9, 9, 9, 9, 9, 1, 5, 9])[7..], [1.0, 6.0, 15.0]);
    }
}
