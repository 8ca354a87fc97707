//! The worker's side: handlers that testify to what they do.

use std::error::Error;
use std::ops::ControlFlow;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use std::{env, io};

use ganger_worker::{Context, JobId, RawRequest, Worker};
use rustix::process::{Signal, getpid, kill_process};

use super::errand::{Errand, HEADER, Task};
use super::journal::{Pen, hash};
use super::ledger::Deed;

/// The name of the only call.
pub(crate) const CALL: &str = "errand";

/// Serves, if this process was started as a worker.
pub(crate) fn serve_if_worker() -> Result<ControlFlow<()>, Box<dyn Error>> {
    let Some(mut worker) = Worker::inherited()? else { return Ok(ControlFlow::Continue(())) };
    let mut args = env::args().skip(1);
    let (journal, threads) = (args.next().ok_or("no journal")?, args.next().ok_or("no threads")?);
    let threads = threads.parse()?;
    let pen = Arc::new(Pen::open(journal.as_ref())?);
    // Panics are asked for; they need not be told of.
    std::panic::set_hook(Box::new(|_| {}));
    worker.concurrency(threads);
    pen.write(Deed::Boot { worker: hash(worker.control().name().as_bytes()), threads: threads as u16 });
    worker.on_raw(CALL, move |request| handle(&pen, request));
    worker.serve()?;
    Ok(ControlFlow::Break(()))
}

fn handle(pen: &Pen, request: RawRequest) {
    let (job, attempt) = (request.id(), request.attempt());
    pen.write(Deed::Start { job, attempt, payload: hash(request.data()) });
    let claim = claim(job);
    if claim.is_none() {
        pen.write(Deed::Collision { job, attempt });
    }
    let errand =
        request.header(HEADER).map_or_else(|| Errand::plain(request.data().len()), Errand::from_header);
    let end = |answer: &[u8]| pen.write(Deed::End { job, attempt, hash: hash(answer) });
    work(&errand, &request);
    match errand.task {
        Task::Spin | Task::Rest | Task::Ignore => {
            let reply = reply(job, attempt, errand.reply_bytes);
            end(&reply);
            drop(claim);
            request.respond(reply);
        }
        Task::Fail => {
            let message = excuse(job, attempt);
            end(message.as_bytes());
            drop(claim);
            request.fail(ganger_worker::Failure::new(message));
        }
        Task::Panic => {
            let message = excuse(job, attempt);
            end(message.as_bytes());
            drop(claim);
            panic!("{message}");
        }
        Task::Die => {
            pen.write(Deed::LastWords { job, attempt });
            kill_process(getpid(), Signal::KILL).expect("a signal to oneself");
            loop {
                thread::park();
            }
        }
    }
}

/// A name that one process of the machine can have at a time, and that the kernel takes back when the process ends:
/// whoever cannot have it has met another attempt of the same job.
fn claim(job: JobId) -> Option<UnixDatagram> {
    let name = format!(
        "ganger-chaos-{}-{job}",
        rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get())
    );
    let address = SocketAddr::from_abstract_name(name).expect("a short name");
    match UnixDatagram::bind_addr(&address) {
        Ok(socket) => Some(socket),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
        Err(error) => panic!("no claim on the job: {error}"),
    }
}

/// Works as long as it is told to, or until nobody waits for it.
fn work(errand: &Errand, context: &Context) {
    let begin = Instant::now();
    let left = || errand.work.checked_sub(begin.elapsed()).filter(|left| !left.is_zero());
    while let Some(left) = left() {
        let is_stubborn = errand.task == Task::Ignore;
        if context.cancelled() && !is_stubborn {
            return;
        }
        match errand.task {
            Task::Spin => std::hint::spin_loop(),
            // The rest is the work: nobody waits for it to be over.
            Task::Rest | Task::Ignore | Task::Fail | Task::Panic | Task::Die => {
                thread::sleep(left.min(Duration::from_millis(1)));
            }
        }
    }
}

/// Bytes that no other attempt answers with.
fn reply(job: JobId, attempt: u16, bytes: usize) -> Vec<u8> {
    let seed = hash(job.uuid().as_bytes()) ^ u64::from(attempt);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut reply = vec![0; bytes];
    random.fill(&mut reply);
    reply
}

fn excuse(job: JobId, attempt: u16) -> String {
    format!("job {job} was told to fail, at attempt {attempt} too")
}
