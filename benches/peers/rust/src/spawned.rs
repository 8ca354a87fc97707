//! procspawn's pool, at its defaults.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ganger_benches::{Outcome, PAYLOAD};
use procspawn::{JoinHandle, Pool as Processes};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_bytes::ByteBuf;

use crate::pool::Pool;

pub(crate) struct Spawned {
    processes: Processes,
}

impl Spawned {
    pub(crate) fn start(workers: usize) -> Outcome<Spawned> {
        raise_the_limit_of_descriptors()?;
        Ok(Spawned { processes: Processes::new(workers)? })
    }

    /// Bytes as such: as a sequence of numbers they would take longer.
    fn submit(&self, payload: Vec<u8>) -> JoinHandle<ByteBuf> {
        self.processes.spawn(ByteBuf::from(payload), |bytes| bytes)
    }
}

impl Pool for Spawned {
    fn call(&mut self, payload: Vec<u8>) -> Outcome<Vec<u8>> {
        Ok(self.submit(payload).join()?.into_vec())
    }

    fn jobs_a_second(&mut self, duration: Duration, in_flight: usize) -> Outcome<f64> {
        let begun = Instant::now();
        let (mut waiting, mut count) = (VecDeque::new(), 0.0);
        while begun.elapsed() < duration {
            waiting.push_back(self.submit(vec![7; PAYLOAD]));
            if waiting.len() == in_flight {
                waiting.pop_front().ok_or("nothing is on its way")?.join()?;
                count += 1.0;
            }
        }
        for handle in waiting {
            handle.join()?;
            count += 1.0;
        }
        Ok(count / begun.elapsed().as_secs_f64())
    }
}

/// Each of its jobs that are on their way holds four descriptors.
fn raise_the_limit_of_descriptors() -> Outcome<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

/// Never returns in a process that procspawn started.
pub(crate) fn become_worker_if_told() {
    procspawn::init();
}
