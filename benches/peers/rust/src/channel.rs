//! ipc-channel: bare pairs of channels to processes of our own, with nothing that supervises them. Its channels of
//! bytes, which it calls the efficient ones; they also carry a mebibyte faster than its shared memory does.

use std::env;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use ganger_benches::{Outcome, PAYLOAD};
use ipc_channel::ipc::{self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender};

use crate::pool::Pool;

/// Names the server that a worker is to connect to.
const SERVER: &str = "GANGER_PEERS_SERVER";
/// The clock is looked at once in so many jobs.
const LOOKS: usize = 64;

type Ends = (IpcBytesSender, IpcBytesReceiver);

/// A worker, which does not outlive what it is held by.
struct Process(Child);

/// Pairs of channels, one a worker.
pub(crate) struct Channels {
    ends: Vec<Ends>,
    _processes: Vec<Process>,
}

impl Channels {
    pub(crate) fn start(workers: usize) -> Outcome<Channels> {
        let started: Vec<_> = (0..workers).map(|_| connect()).collect::<Outcome<_>>()?;
        let (ends, processes) = started.into_iter().unzip();
        Ok(Channels { ends, _processes: processes })
    }
}

impl Pool for Channels {
    fn call(&mut self, payload: Vec<u8>) -> Outcome<Vec<u8>> {
        let (sender, receiver) = &self.ends[0];
        sender.send(&payload)?;
        Ok(receiver.recv()?)
    }

    /// As many are on their way as the sockets hold, whatever was asked for: their back-pressure is all there is.
    fn jobs_a_second(&mut self, duration: Duration, _: usize) -> Outcome<f64> {
        let begun = Instant::now();
        let counted: Vec<Result<usize, String>> = thread::scope(|scope| {
            let pairs: Vec<_> = self
                .ends
                .iter_mut()
                .map(|(sender, receiver)| scope.spawn(move || pump(sender, receiver, begun + duration)))
                .collect();
            pairs.into_iter().map(|pair| pair.join().map_err(|_| "a pump panicked")?).collect()
        });
        let elapsed = begun.elapsed().as_secs_f64();
        Ok(counted.into_iter().sum::<Result<usize, String>>()? as f64 / elapsed)
    }
}

/// Sends in one thread and receives in this one; what is sent last is empty. Gives how many came back.
fn pump(sender: &mut IpcBytesSender, receiver: &mut IpcBytesReceiver, end: Instant) -> Result<usize, String> {
    thread::scope(|scope| {
        let sending = scope.spawn(move || feed(sender, end));
        let counted = count(receiver);
        sending.join().map_err(|_| "the sender panicked")??;
        counted
    })
}

fn feed(sender: &mut IpcBytesSender, end: Instant) -> Result<(), String> {
    let payload = [7; PAYLOAD];
    while Instant::now() < end {
        for _ in 0..LOOKS {
            sender.send(&payload).map_err(|error| error.to_string())?;
        }
    }
    sender.send(&[]).map_err(|error| error.to_string())
}

fn count(receiver: &mut IpcBytesReceiver) -> Result<usize, String> {
    let mut count = 0;
    while !receiver.recv().map_err(|error| error.to_string())?.is_empty() {
        count += 1;
    }
    Ok(count)
}

/// Starts this program as a worker and gives the ends of its channels.
fn connect() -> Outcome<(Ends, Process)> {
    let (server, name) = IpcOneShotServer::<Ends>::new()?;
    let process = Process(Command::new(env::current_exe()?).env(SERVER, name).spawn()?);
    Ok((server.accept()?.1, process))
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Echoes until the other end is gone, if this process was started for that.
pub(crate) fn serve_if_told() -> Outcome<bool> {
    let Ok(server) = env::var(SERVER) else { return Ok(false) };
    let ((sender, requests), (replies, receiver)) = (ipc::bytes_channel()?, ipc::bytes_channel()?);
    IpcSender::<Ends>::connect(server)?.send((sender, receiver))?;
    while requests.recv().is_ok_and(|bytes| replies.send(&bytes).is_ok()) {}
    Ok(true)
}
