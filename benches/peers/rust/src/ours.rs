//! Ganger, at its defaults but for the window, as for all jobs that are short.

use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use ganger::{Program, Raw, Supervisor};
use ganger_benches::{AHEAD, Outcome, no_op, online, own_rss_bytes, rate, register};
use ganger_worker::Worker;

use crate::pool::Pool;

pub(crate) struct Ganger {
    supervisor: Supervisor,
}

impl Ganger {
    pub(crate) fn start(workers: usize) -> Outcome<Ganger> {
        let builder = Supervisor::builder(Program::this()).workers(workers).prefetch(AHEAD);
        Ok(Ganger { supervisor: online(builder)? })
    }

    /// By how much resident memory grows for each job that is queued behind a busy worker, its handle kept.
    pub(crate) fn bytes_a_job(&self, depth: usize) -> Outcome<f64> {
        let held = self.supervisor.enqueue_raw("hold", [])?;
        let before = own_rss_bytes()?;
        let handles: Vec<_> =
            (0..depth).map(|_| self.supervisor.enqueue(no_op())).collect::<Result<_, _>>()?;
        while self.in_the_loop() <= depth {
            thread::yield_now();
        }
        let grown = own_rss_bytes()?.saturating_sub(before);
        self.supervisor.broadcast_raw("open", Vec::new())?;
        held.wait()?;
        drop(handles);
        Ok(grown as f64 / depth as f64)
    }

    /// How many jobs the loop has seen: a snapshot is answered after what came before it.
    fn in_the_loop(&self) -> usize {
        self.supervisor.health().groups.iter().map(|group| group.queued + group.in_flight).sum()
    }
}

impl Pool for Ganger {
    fn call(&mut self, payload: Vec<u8>) -> Outcome<Vec<u8>> {
        let reply = self.supervisor.enqueue(Raw::new("echo", payload))?.wait()?;
        Ok(reply.data)
    }

    fn jobs_a_second(&mut self, duration: Duration, in_flight: usize) -> Outcome<f64> {
        rate(&self.supervisor, duration, in_flight)
    }
}

/// Acts as a worker if this process was started as one.
pub(crate) fn serve_if_told() -> Outcome<bool> {
    let Some(mut worker) = Worker::inherited()? else { return Ok(false) };
    register(&mut worker);
    register_gate(&mut worker);
    worker.serve()?;
    Ok(true)
}

/// A job that keeps its worker busy until it is told to go on.
fn register_gate(worker: &mut Worker) {
    static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
    worker.on_raw("hold", |request| {
        let lock = GATE.0.lock().expect("nobody panics");
        let _open = GATE.1.wait_while(lock, |is_open| !*is_open).expect("nobody panics");
        request.ack();
    });
    worker.on_event_raw("open", |_| {
        *GATE.0.lock().expect("nobody panics") = true;
        GATE.1.notify_one();
    });
}
