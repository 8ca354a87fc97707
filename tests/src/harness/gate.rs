//! A gate at which workers' handlers wait until the test lets them go on: no test needs to guess how long.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ganger_protocol::{decode, encode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::{PATIENCE, Scratch};

/// Who came to the gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// The process.
    pub pid: u32,
    /// The worker's name.
    pub worker: String,
    /// The job in hand, if there is one.
    pub job: Option<ganger_protocol::JobId>,
    /// Which attempt of it.
    pub attempt: u16,
}

/// A gate in the test's process.
#[derive(Debug)]
pub struct Gate {
    listener: UnixListener,
    path: PathBuf,
    _scratch: Scratch,
}

impl Gate {
    /// A closed gate.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Gate {
        let scratch = Scratch::new();
        let path = scratch.join("gate");
        let listener = UnixListener::bind(&path).expect("a socket in the scratch directory");
        Gate { listener, path, _scratch: scratch }
    }

    /// What workers are told, to find it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Waits for the next to arrive.
    ///
    /// # Panics
    /// When nobody comes.
    #[must_use]
    pub fn next(&self) -> Held {
        self.next_within(PATIENCE).expect("somebody comes to the gate")
    }

    /// Waits for the next `count`, in the order in which they come.
    ///
    /// # Panics
    /// When fewer come.
    #[must_use]
    pub fn next_many(&self, count: usize) -> Vec<Held> {
        (0..count).map(|_| self.next()).collect()
    }

    /// The next to arrive within `patience`, if there is one.
    ///
    /// # Panics
    /// When who comes does not say who it is.
    #[must_use]
    pub fn next_within(&self, patience: Duration) -> Option<Held> {
        if !is_readable_within(&self.listener, patience) {
            return None;
        }
        let (mut stream, _) = self.listener.accept().expect("accepted");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("the length of who it is");
        let mut bytes = vec![0; usize::from(u16::from_le_bytes(length))];
        stream.read_exact(&mut bytes).expect("who it is");
        Some(Held { arrival: decode(&bytes).expect("an arrival"), stream })
    }

    /// Whether anybody waits at the gate who was not let in.
    #[must_use]
    pub fn is_visited(&self) -> bool {
        is_readable_within(&self.listener, Duration::ZERO)
    }
}

impl Default for Gate {
    fn default() -> Gate {
        Gate::new()
    }
}

/// Somebody who waits at the gate. When it is dropped, its wait ends with an error.
#[derive(Debug)]
pub struct Held {
    arrival: Arrival,
    stream: UnixStream,
}

impl Held {
    /// Who it is.
    #[must_use]
    pub fn arrival(&self) -> &Arrival {
        &self.arrival
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.arrival.pid
    }

    /// Its worker's name.
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.arrival.worker
    }

    /// Lets it go on. One that has died meanwhile is beyond it.
    pub fn release(mut self) {
        let _ = self.stream.write_all(b"\n");
    }

    /// Waits until its process, or whoever else holds the other end, is gone or has gone on by itself.
    ///
    /// # Panics
    /// When it stays.
    pub fn wait_gone(mut self) {
        match self.stream.read(&mut [0]) {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            other => panic!("{:?} is still there: {other:?}", self.arrival),
        }
    }
}

/// Worker: comes to the gate and says who it is; the stream is readable when it may go on.
///
/// # Errors
/// Those of the socket: for instance because the test is over.
pub fn arrive(path: &Path, arrival: &Arrival) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path)?;
    let bytes = encode(arrival).map_err(io::Error::other)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_le_bytes()[..], &bytes].concat())?;
    Ok(stream)
}

fn is_readable_within(socket: impl AsFd, patience: Duration) -> bool {
    let mut fds = [PollFd::new(&socket, PollFlags::IN)];
    let timeout = Timespec::try_from(patience).expect("a timeout");
    poll(&mut fds, Some(&timeout)).expect("polled") > 0
}
