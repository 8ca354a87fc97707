//! The limit: a socket pair with a process at the other end that does nothing but read and write.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::{env, fmt};

use crate::{Cores, Placement};

/// Tells a child process that it is the other end, and how to behave.
const MANNER: &str = "GANGER_BENCH_PEER";

/// What the other end does with what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Gives it back as it comes.
    Echo,
    /// Reads so many bytes, writes so many, and so on.
    Answer {
        /// The length of a request.
        request: usize,
        /// The length of its answer.
        answer: usize,
    },
    /// Writes a byte and ends.
    Hello,
}

/// The other end of a raw socket pair. Dropped, it ends.
pub struct Peer {
    socket: UnixStream,
    child: Child,
}

impl Peer {
    /// Starts this executable as the other end.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(cores: &Cores, placement: Placement, manner: Manner) -> io::Result<Peer> {
        let (key, value) = cores.place(placement)?;
        let (socket, theirs) = UnixStream::pair()?;
        let child = Command::new(env::current_exe()?)
            .env(MANNER, manner.to_string())
            .env(key, value)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        Ok(Peer { socket, child })
    }

    /// Sends `bytes` and reads as many back.
    ///
    /// # Errors
    /// What the system says; also when the other end has gone.
    pub fn round_trip(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.socket.write_all(bytes)?;
        self.socket.read_exact(bytes)
    }

    /// Sends `bytes` and reads an answer of one byte.
    ///
    /// # Errors
    /// What the system says; also when the other end has gone.
    pub fn deliver(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)?;
        self.first_byte()
    }

    /// Waits for a byte.
    ///
    /// # Errors
    /// What the system says; also when the other end has gone.
    pub fn first_byte(&mut self) -> io::Result<()> {
        self.socket.read_exact(&mut [0])
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("pid", &self.child.id()).finish_non_exhaustive()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The end of the stream ends it.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Manner::Echo => f.write_str("echo"),
            Manner::Answer { request, answer } => write!(f, "{request} {answer}"),
            Manner::Hello => f.write_str("hello"),
        }
    }
}

/// How to behave, if this process is the other end.
pub(crate) fn manner() -> Option<io::Result<Manner>> {
    let told = env::var(MANNER).ok()?;
    Some(match told.as_str() {
        "echo" => Ok(Manner::Echo),
        "hello" => Ok(Manner::Hello),
        lengths => answer(lengths)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{MANNER}={told}"))),
    })
}

fn answer(lengths: &str) -> Option<Manner> {
    let (request, answer) = lengths.split_once(' ')?;
    Some(Manner::Answer { request: request.parse().ok()?, answer: answer.parse().ok()? })
}

/// The other end's role, until there is no more to read.
pub(crate) fn serve(manner: &Manner) -> io::Result<()> {
    let socket = UnixStream::from(rustix::io::dup(rustix::stdio::stdin())?);
    match *manner {
        Manner::Echo => echo(socket),
        Manner::Answer { request, answer } => respond(socket, request, answer),
        Manner::Hello => (&socket).write_all(&[0]),
    }
}

fn echo(mut socket: UnixStream) -> io::Result<()> {
    let mut bytes = vec![0; 1 << 18];
    loop {
        match socket.read(&mut bytes)? {
            0 => return Ok(()),
            count => socket.write_all(&bytes[..count])?,
        }
    }
}

fn respond(mut socket: UnixStream, request: usize, answer: usize) -> io::Result<()> {
    let mut bytes = vec![0; request.max(answer)];
    loop {
        match socket.read_exact(&mut bytes[..request]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        socket.write_all(&bytes[..answer])?;
    }
}
