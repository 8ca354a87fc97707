//! One direction of a link: bytes in a kernel's buffer, which can be cut at any of them.

/// Bytes that were written and not yet read.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    bytes: Vec<u8>,
    /// Where the unread bytes begin.
    start: usize,
    /// Bytes ever written.
    written: u64,
    room: usize,
    writer_gone: bool,
    reader_gone: bool,
}

impl Pipe {
    pub(crate) fn with_room(room: usize) -> Pipe {
        Pipe { room, ..Pipe::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Takes as many of the bytes as there is room for; a pipe that nobody reads swallows them.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> usize {
        debug_assert!(!self.writer_gone);
        if self.reader_gone {
            return bytes.len();
        }
        let count = bytes.len().min(self.room.saturating_sub(self.len()));
        self.bytes.extend_from_slice(&bytes[..count]);
        self.written += count as u64;
        count
    }

    /// Hands over at most `most` bytes.
    pub(crate) fn read(&mut self, most: usize, take: impl FnOnce(&[u8])) -> usize {
        let count = most.min(self.len());
        take(&self.bytes[self.start..self.start + count]);
        self.start += count;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
        count
    }

    pub(crate) fn close_writer(&mut self) {
        self.writer_gone = true;
    }

    pub(crate) fn close_reader(&mut self) {
        self.reader_gone = true;
        self.bytes.clear();
        self.start = 0;
    }

    pub(crate) fn is_closed_by_writer(&self) -> bool {
        self.writer_gone
    }

    /// Nothing is left and nothing will come.
    pub(crate) fn is_at_end(&self) -> bool {
        self.writer_gone && self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_takes_what_it_has_room_for_and_ends_after_its_last_byte() {
        let mut pipe = Pipe::with_room(4);
        assert_eq!(pipe.write(b"abcdef"), 4);
        pipe.close_writer();
        let mut seen = Vec::new();
        assert_eq!(pipe.read(3, |bytes| seen.extend_from_slice(bytes)), 3);
        assert!(!pipe.is_at_end());
        assert_eq!(pipe.read(3, |bytes| seen.extend_from_slice(bytes)), 1);
        assert!(pipe.is_at_end());
        assert_eq!(seen, b"abcd");
    }
}
