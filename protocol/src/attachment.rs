//! What travels with a request or an answer besides its payload: sockets, files, ends of streams.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{StreamReader, StreamWriter};

/// Something to attach to a job or to an answer: any file, socket, listener or pipe, or one end of a
/// [stream](crate::stream()). Everything that it is made of converts into it.
#[derive(Debug)]
pub struct Attachment {
    fd: OwnedFd,
    is_stream: bool,
}

impl Attachment {
    /// Whether it is an end of a stream, which can be used up once only.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// What it is to the system.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

macro_rules! attachments_of {
    ($($kind:ty),* $(,)?) => {
        $(impl From<$kind> for Attachment {
            fn from(value: $kind) -> Attachment {
                Attachment { fd: value.into(), is_stream: false }
            }
        })*
    };
}

attachments_of!(
    OwnedFd,
    std::fs::File,
    std::io::PipeReader,
    std::io::PipeWriter,
    std::net::TcpListener,
    std::net::TcpStream,
    std::net::UdpSocket,
    std::os::unix::net::UnixDatagram,
    std::os::unix::net::UnixListener,
    std::os::unix::net::UnixStream,
    std::process::ChildStderr,
    std::process::ChildStdin,
    std::process::ChildStdout,
);

impl From<StreamReader> for Attachment {
    fn from(reader: StreamReader) -> Attachment {
        Attachment { fd: reader.into_fd(), is_stream: true }
    }
}

impl From<StreamWriter> for Attachment {
    fn from(writer: StreamWriter) -> Attachment {
        Attachment { fd: writer.into_fd(), is_stream: true }
    }
}

/// The attachments that came with a request or an answer, in the order in which they were given.
///
/// They are taken out one by one; what is not taken is closed with the last clone. A clone is the same list.
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use ganger_protocol::Attachments;
///
/// let (mut ours, theirs) = UnixStream::pair()?;
/// let came = Attachments::from(vec![theirs.into()]);
/// let mut socket = came.take().map(UnixStream::from).expect("a socket was attached");
/// ours.write_all(b"hi")?;
/// socket.read_exact(&mut [0; 2])?;
/// assert!(came.take().is_none());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Attachments(Option<Arc<Mutex<VecDeque<OwnedFd>>>>);

impl Attachments {
    /// None.
    pub const NONE: Attachments = Attachments(None);

    /// How many have not been taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list().map_or(0, |list| list.len())
    }

    /// Whether there were none, or all have been taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there were none. Other than [`is_empty`](Attachments::is_empty) it looks at no memory of theirs.
    #[must_use]
    pub fn came_none(&self) -> bool {
        self.0.is_none()
    }

    /// The next one: `TcpStream::from`, `File::from` and the like make of it what it is.
    #[must_use]
    pub fn take(&self) -> Option<OwnedFd> {
        self.list()?.pop_front()
    }

    /// The next one, as the end of a stream to read from.
    #[must_use]
    pub fn take_reader(&self) -> Option<StreamReader> {
        self.take().map(StreamReader::from_fd)
    }

    /// The next one, as the end of a stream to write to.
    #[must_use]
    pub fn take_writer(&self) -> Option<StreamWriter> {
        self.take().map(StreamWriter::from_fd)
    }

    fn list(&self) -> Option<MutexGuard<'_, VecDeque<OwnedFd>>> {
        self.0.as_ref().map(|list| list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl From<Vec<OwnedFd>> for Attachments {
    fn from(fds: Vec<OwnedFd>) -> Attachments {
        Attachments((!fds.is_empty()).then(|| Arc::new(Mutex::new(fds.into()))))
    }
}

/// Takes them all.
impl IntoIterator for Attachments {
    type Item = OwnedFd;
    type IntoIter = std::collections::vec_deque::IntoIter<OwnedFd>;

    fn into_iter(self) -> Self::IntoIter {
        self.list().map(|mut list| std::mem::take(&mut *list)).unwrap_or_default().into_iter()
    }
}

/// The same list.
impl PartialEq for Attachments {
    fn eq(&self, other: &Attachments) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

impl Eq for Attachments {}

impl fmt::Debug for Attachments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list().iter().flat_map(|list| list.iter())).finish()
    }
}
