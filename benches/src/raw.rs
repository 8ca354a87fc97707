//! The limit: a socket pair with a process at the other end that gives back what it reads.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::{env, fmt};

use crate::{Cores, Placement};

/// Tells a child process that it is the other end.
pub(crate) const ROLE: &str = "GANGER_BENCH_ECHO";

/// The other end of a raw socket pair. Dropped, it ends.
pub struct Echo {
    socket: UnixStream,
    child: Child,
}

impl Echo {
    /// Starts this executable as the other end.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(cores: &Cores, placement: Placement) -> io::Result<Echo> {
        let (key, value) = cores.place(placement)?;
        let (socket, theirs) = UnixStream::pair()?;
        let child = Command::new(env::current_exe()?)
            .env(ROLE, "1")
            .env(key, value)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        Ok(Echo { socket, child })
    }

    /// Sends `bytes` and reads as many back.
    ///
    /// # Errors
    /// What the system says; also when the other end has gone.
    pub fn round_trip(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.socket.write_all(bytes)?;
        self.socket.read_exact(bytes)
    }
}

impl fmt::Debug for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Echo").field("pid", &self.child.id()).finish_non_exhaustive()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // The end of the stream ends it.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

/// The other end's role: gives back what it reads until there is no more.
pub(crate) fn echo() -> io::Result<()> {
    let mut socket = UnixStream::from(rustix::io::dup(rustix::stdio::stdin())?);
    let mut bytes = vec![0; 1 << 18];
    loop {
        match socket.read(&mut bytes)? {
            0 => return Ok(()),
            count => socket.write_all(&bytes[..count])?,
        }
    }
}
