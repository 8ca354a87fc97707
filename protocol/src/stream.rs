//! Streams: bytes one way between two processes, that end well or say that they did not.
//!
//! A stream is a socket pair whose ends travel as attachments, so that its bytes go from process to process through the
//! kernel, which also makes a quick writer wait. A socket alone would not tell an end from a death; so the bytes are in
//! chunks, each behind a word of 4 bytes, little endian:
//!
//! ```text
//! 1 to 2³¹ − 1           so many bytes follow
//! 0                      the end: all has been written
//! 2³¹ + n, n to 65,536   the writer gave up; n bytes follow, UTF-8, that say why
//! ```

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sendmsg, shutdown};

const WORD: usize = 4;

/// The most bytes of one chunk. More in one write are several chunks.
const MAX_CHUNK: usize = i32::MAX as usize;

/// The most bytes of a writer's reason for giving up. What is more is cut off.
const MAX_REASON: usize = 64 * 1024;

const GAVE_UP: u32 = 1 << 31;

/// Why a stream did not end well: what an [`io::Error`] of a [`StreamReader`] or [`StreamWriter`] holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The writer is gone and has not finished: it was dropped, or its process died. As an [`io::Error`] its kind is
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof).
    #[error("the stream was cut: its writer is gone and had not finished")]
    Cut,
    /// The writer gave up and said why. As an [`io::Error`] its kind is [`Other`](io::ErrorKind::Other).
    #[error("the stream's writer gave up: {reason}")]
    GaveUp {
        /// What it said.
        reason: String,
    },
    /// The reader is gone. As an [`io::Error`] its kind is [`BrokenPipe`](io::ErrorKind::BrokenPipe).
    #[error("nobody reads the stream any more")]
    ReaderGone,
    /// The bytes are none of a stream's. As an [`io::Error`] its kind is
    /// [`InvalidData`](io::ErrorKind::InvalidData).
    #[error("this is no stream: {what}")]
    NoStream {
        /// What is wrong.
        what: String,
    },
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> io::Error {
        let kind = match &error {
            StreamError::Cut => io::ErrorKind::UnexpectedEof,
            StreamError::GaveUp { .. } => io::ErrorKind::Other,
            StreamError::ReaderGone => io::ErrorKind::BrokenPipe,
            StreamError::NoStream { .. } => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

/// A new stream: what is written at one end is read at the other. Attach one end to a job or to an answer and keep the
/// other; the end of whoever only looks on, the supervisor's program, holds no bytes of it.
///
/// ```
/// use std::io::{Read, Write};
///
/// let (mut writer, mut reader) = ganger_protocol::stream()?;
/// let writing = std::thread::spawn(move || {
///     writer.write_all(&[7; 1_000_000])?;
///     writer.finish()
/// });
/// let mut bytes = Vec::new();
/// reader.read_to_end(&mut bytes)?;
/// writing.join().expect("no panic")?;
/// assert_eq!(bytes.len(), 1_000_000);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// When the process may open no more descriptors.
pub fn stream() -> io::Result<(StreamWriter, StreamReader)> {
    let (writer, reader) = UnixStream::pair()?;
    // Whoever takes one end for the other is told at once instead of waiting for ever.
    shutdown(&writer, Shutdown::Read)?;
    Ok((StreamWriter::from_fd(writer.into()), StreamReader::from_fd(reader.into())))
}

/// The end of a stream that is written to. Dropped without [`finish`](StreamWriter::finish) it cuts the stream: the
/// reader gets an error, not an end.
///
/// Each write is a system call and waits until the kernel has taken all of it: put a [`BufWriter`](io::BufWriter)
/// around it for small ones, and get it back by [`into_inner`](io::BufWriter::into_inner) to finish. Writes of 64 KiB
/// and more are what it does best. It copies nothing.
pub struct StreamWriter {
    socket: OwnedFd,
}

impl StreamWriter {
    /// The end that came as an attachment.
    #[must_use]
    pub fn from_fd(socket: OwnedFd) -> StreamWriter {
        StreamWriter { socket }
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// Ends the stream: the reader gets all that was written, and then its end.
    ///
    /// # Errors
    /// When nobody reads any more, as [`StreamError::ReaderGone`].
    pub fn finish(self) -> io::Result<()> {
        self.send_all(&[&0u32.to_le_bytes()])
    }

    /// Gives up: the reader gets all that was written, and then an error with this reason, of which at most 64 KiB
    /// are told.
    ///
    /// # Errors
    /// As [`finish`](StreamWriter::finish).
    pub fn give_up(self, reason: impl fmt::Display) -> io::Result<()> {
        let reason = reason.to_string();
        let mut end = reason.len().min(MAX_REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        self.send_all(&[&(GAVE_UP | end as u32).to_le_bytes(), &reason.as_bytes()[..end]])
    }

    fn send_all(&self, pieces: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut slices = &mut slices[..];
        while slices.iter().any(|slice| !slice.is_empty()) {
            let sent = self.send(slices)?;
            IoSlice::advance_slices(&mut slices, sent);
        }
        Ok(())
    }

    fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut none = SendAncillaryBuffer::default();
        rustix::io::retry_on_intr(|| sendmsg(&self.socket, pieces, &mut none, SendFlags::NOSIGNAL))
            .map_err(|error| of_writing(error.into()))
    }
}

impl Write for StreamWriter {
    /// Writes all of it, up to 2 GiB, as one chunk.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let chunk = &bytes[..bytes.len().min(MAX_CHUNK)];
        self.send_all(&[&(chunk.len() as u32).to_le_bytes(), chunk])?;
        Ok(chunk.len())
    }

    /// Nothing is kept back.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn of_writing(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => StreamError::ReaderGone.into(),
        _ => error,
    }
}

impl AsFd for StreamWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StreamWriter").field(&self.socket).finish()
    }
}

/// How far a stream has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    /// So many bytes of the current chunk are left.
    InChunk(usize),
    /// So many bytes of the next chunk's word have been read.
    InWord(usize),
    /// It ended well.
    Ended,
    /// It did not: what is said from now on.
    Failed(StreamError),
}

/// The end of a stream that is read from. Its end is told by a read of 0 bytes only when the writer has finished; when
/// it gave up, was dropped or died, reading fails, once all that was written has been read.
///
/// Reads go straight into the buffer that they are given, whatever its size: give them large ones, or put a
/// [`BufReader`](io::BufReader) around it. Dropped, it lets the writer know by its next write.
pub struct StreamReader {
    socket: OwnedFd,
    word: [u8; WORD],
    progress: Progress,
}

impl StreamReader {
    /// The end that came as an attachment.
    #[must_use]
    pub fn from_fd(socket: OwnedFd) -> StreamReader {
        StreamReader { socket, word: [0; WORD], progress: Progress::InWord(0) }
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// Reads the next chunk's word to its end.
    fn read_word(&mut self, mut have: usize) -> io::Result<Progress> {
        while have < WORD {
            match self.receive(have, &mut []) {
                Ok((0, 0)) => return Ok(Progress::Failed(StreamError::Cut)),
                Ok((_, of_word)) => have += of_word,
                Err(error) => {
                    self.progress = Progress::InWord(have);
                    return Err(error);
                }
            }
        }
        self.of_word()
    }

    fn of_word(&mut self) -> io::Result<Progress> {
        match u32::from_le_bytes(self.word) {
            0 => Ok(Progress::Ended),
            word if word < GAVE_UP => Ok(Progress::InChunk(word as usize)),
            word => self.read_reason((word - GAVE_UP) as usize).map(Progress::Failed),
        }
    }

    fn read_reason(&mut self, length: usize) -> io::Result<StreamError> {
        if length > MAX_REASON {
            let what = format!("a reason of {length} bytes, over the limit of {MAX_REASON}");
            return Ok(StreamError::NoStream { what });
        }
        let mut reason = vec![0; length];
        let mut have = 0;
        while have < length {
            match rustix::io::retry_on_intr(|| rustix::io::read(&self.socket, &mut reason[have..]))? {
                0 => return Ok(StreamError::Cut),
                count => have += count,
            }
        }
        Ok(StreamError::GaveUp { reason: String::from_utf8_lossy(&reason).into_owned() })
    }

    /// Reads bytes of a chunk and, if there is room for all of it, of the word behind it: mostly one system call a
    /// chunk. Says how many of each.
    fn receive(&mut self, have: usize, bytes: &mut [u8]) -> io::Result<(usize, usize)> {
        let length = bytes.len();
        let mut pieces = [IoSliceMut::new(bytes), IoSliceMut::new(&mut self.word[have..])];
        match rustix::io::retry_on_intr(|| rustix::io::readv(&self.socket, &mut pieces)) {
            Ok(count) => Ok((count.min(length), count.saturating_sub(length))),
            // It closed with bytes of ours unread, or so it seems to the system: there are none.
            Err(rustix::io::Errno::CONNRESET) => Ok((0, 0)),
            Err(error) => Err(error.into()),
        }
    }

    fn read_chunk(&mut self, left: usize, bytes: &mut [u8]) -> io::Result<usize> {
        let (count, of_word) = match bytes.get_mut(..left) {
            Some(bytes) => self.receive(0, bytes)?,
            // Nothing behind the chunk may be read: its word is not to land in the buffer.
            None => self.receive(WORD, bytes)?,
        };
        self.progress = match (left - count, count) {
            (_, 0) => Progress::Failed(StreamError::Cut),
            (0, _) => Progress::InWord(of_word),
            (left, _) => Progress::InChunk(left),
        };
        Ok(count)
    }
}

impl Read for StreamReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            match &self.progress {
                Progress::Ended => return Ok(0),
                Progress::Failed(error) => return Err(error.clone().into()),
                Progress::InWord(have) => self.progress = self.read_word(*have)?,
                Progress::InChunk(left) => match self.read_chunk(*left, bytes)? {
                    0 => {}
                    count => return Ok(count),
                },
            }
        }
    }
}

impl AsFd for StreamReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader")
            .field("socket", &self.socket)
            .field("progress", &self.progress)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn error_of(error: &io::Error) -> &StreamError {
        error.get_ref().and_then(|inner| inner.downcast_ref()).expect("a stream's error")
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
    }

    /// J13: whatever the sizes of writes and reads, the bytes are the same, and the end is told.
    #[test]
    fn bytes_survive_every_cut() {
        let bytes = pattern(300_001);
        for write in [1000, 4096, 65_537, 300_001] {
            for read in [999, 4096, 65_536, 1 << 20] {
                let (mut writer, mut reader) = stream().expect("a stream");
                let bytes = &bytes;
                thread::scope(|scope| {
                    scope.spawn(move || {
                        bytes.chunks(write).try_for_each(|chunk| writer.write_all(chunk)).expect("written");
                        writer.finish().expect("finished");
                    });
                    let (mut seen, mut buffer) = (Vec::new(), vec![0; read]);
                    loop {
                        match reader.read(&mut buffer).expect("read") {
                            0 => break,
                            count => seen.extend_from_slice(&buffer[..count]),
                        }
                    }
                    assert!(seen == *bytes, "writes of {write}, reads of {read}");
                    assert_eq!(reader.read(&mut buffer).expect("still the end"), 0);
                });
            }
        }
    }

    /// J13: a reader that reads byte by byte, and one that stops inside a word.
    #[test]
    fn single_bytes_are_read_too() {
        let (mut writer, reader) = stream().expect("a stream");
        for piece in [&b"a"[..], b"bcd", b"", b"ef"] {
            writer.write_all(piece).expect("written");
        }
        writer.finish().expect("finished");
        let bytes: Vec<u8> =
            io::BufReader::with_capacity(1, reader).bytes().map(|byte| byte.expect("a byte")).collect();
        assert_eq!(bytes, b"abcdef");
    }

    /// J13: a writer that is dropped cuts the stream; what it wrote is read before that is told, and it is told again.
    #[test]
    fn a_dropped_writer_is_no_end() {
        let (mut writer, mut reader) = stream().expect("a stream");
        writer.write_all(b"half").expect("written");
        drop(writer);
        let mut bytes = Vec::new();
        let error = reader.read_to_end(&mut bytes).expect_err("it was cut");
        assert_eq!((error.kind(), error_of(&error)), (io::ErrorKind::UnexpectedEof, &StreamError::Cut));
        assert_eq!(bytes, b"half");
        assert!(reader.read(&mut [0]).is_err());
    }

    /// J13.
    #[test]
    fn a_writer_that_gives_up_is_quoted() {
        let (mut writer, mut reader) = stream().expect("a stream");
        writer.write_all(b"half").expect("written");
        writer.give_up("out of paper").expect("told");
        let error = reader.read_to_end(&mut Vec::new()).expect_err("it gave up");
        assert_eq!(error_of(&error), &StreamError::GaveUp { reason: String::from("out of paper") });
        let (writer, mut reader) = stream().expect("a stream");
        writer.give_up("ä".repeat(MAX_REASON)).expect("told");
        let error = reader.read(&mut [0]).expect_err("it gave up");
        assert_eq!(error_of(&error), &StreamError::GaveUp { reason: "ä".repeat(MAX_REASON / 2) });
    }

    /// J13.
    #[test]
    fn a_writer_hears_that_nobody_reads() {
        for was_read in [0, 2] {
            let (mut writer, mut reader) = stream().expect("a stream");
            writer.write_all(b"hello").expect("somebody is there");
            reader.read_exact(&mut vec![0; was_read]).expect("read");
            drop(reader);
            let error = writer.write(b"hello").expect_err("nobody is there");
            assert_eq!(
                (error.kind(), error_of(&error)),
                (io::ErrorKind::BrokenPipe, &StreamError::ReaderGone)
            );
            assert_eq!(writer.finish().expect_err("nobody is there").kind(), io::ErrorKind::BrokenPipe);
        }
    }

    /// J13: the wrong end, or no stream at all, is told and not waited for.
    #[test]
    fn what_is_no_stream_is_told() {
        let (writer, reader) = stream().expect("a stream");
        let mut wrong = StreamReader::from_fd(writer.into_fd());
        assert!(wrong.read(&mut [0]).is_err());
        let mut wrong = StreamWriter::from_fd(reader.into_fd());
        assert!(wrong.write(b"hello").is_err());
        let (mut socket, other) = UnixStream::pair().expect("a pair");
        socket.write_all(&[0xff; 64]).expect("written");
        let error = StreamReader::from_fd(other.into()).read(&mut [0; 2]).expect_err("no stream");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    /// J13: a reader that does not read makes the writer wait, so that nothing piles up.
    #[test]
    fn a_writer_waits_for_its_reader() {
        let (mut writer, mut reader) = stream().expect("a stream");
        let written = std::sync::atomic::AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..64 {
                    writer.write_all(&[1; 1 << 16]).expect("written");
                    written.fetch_add(1 << 16, std::sync::atomic::Ordering::SeqCst);
                }
                writer.finish().expect("finished");
            });
            let mut read = 0;
            let mut buffer = vec![0; 1 << 16];
            loop {
                let count = reader.read(&mut buffer).expect("read");
                if count == 0 {
                    break;
                }
                read += count;
                let ahead = written.load(std::sync::atomic::Ordering::SeqCst).saturating_sub(read);
                assert!(ahead <= 2 << 20, "{ahead} bytes are on their way");
            }
            assert_eq!(read, 64 << 16);
        });
    }
}
