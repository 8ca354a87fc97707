//! What a worker prints, cut into lines.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::config::{LINE_LEN, TAIL_LINES};

/// Put behind a piece of a line that goes on.
const CUT: &str = " […]";

/// Cuts bytes into lines of at most [`LINE_LEN`] bytes.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Takes in bytes, and tells each line that they complete.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut tell: impl FnMut(String)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.add(&bytes[..end], &mut tell);
            self.finish(&mut tell);
            bytes = &bytes[end + 1..];
        }
        self.add(bytes, &mut tell);
    }

    /// Tells the line that was begun and will not go on.
    pub(super) fn end(&mut self, mut tell: impl FnMut(String)) {
        if !self.begun.is_empty() {
            self.finish(&mut tell);
        }
    }

    fn add(&mut self, mut bytes: &[u8], tell: &mut impl FnMut(String)) {
        while self.begun.len() + bytes.len() > LINE_LEN {
            let (now, later) = bytes.split_at(LINE_LEN - self.begun.len());
            self.begun.extend_from_slice(now);
            tell(text(&self.begun) + CUT);
            self.begun.clear();
            bytes = later;
        }
        self.begun.extend_from_slice(bytes);
    }

    fn finish(&mut self, tell: &mut impl FnMut(String)) {
        tell(text(self.begun.strip_suffix(b"\r").unwrap_or(&self.begun)));
        self.begun.clear();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The last [`TAIL_LINES`] lines.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: VecDeque<String>,
}

impl Tail {
    pub(super) fn push(&mut self, line: String) {
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines).into()
    }
}

/// Which of the two a pipe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// How far a pipe was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// To where nothing was left for now.
    Drained,
    /// As far as the budget went; there may be more.
    More,
    /// To its end.
    Ended,
}

/// The reading end of one of a worker's output pipes.
#[derive(Debug)]
pub(super) struct Pipe {
    fd: OwnedFd,
    lines: Lines,
}

impl Pipe {
    /// Takes over a pipe's reading end.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Pipe> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Pipe { fd, lines: Lines::default() })
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Reads at most about `budget` bytes, and tells each whole line.
    pub(super) fn read(&mut self, budget: usize, mut tell: impl FnMut(String)) -> Reading {
        let mut buffer = [0u8; 8192];
        let mut left = budget;
        while left > 0 {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(0) => return self.end(tell),
                Ok(count) => {
                    self.lines.push(&buffer[..count], &mut tell);
                    left = left.saturating_sub(count);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Reading::Drained,
                Err(_) => return self.end(tell),
            }
        }
        Reading::More
    }

    /// Tells the line that was begun and will not go on.
    pub(super) fn end(&mut self, tell: impl FnMut(String)) -> Reading {
        self.lines.end(tell);
        Reading::Ended
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut splitter = Lines::default();
        let mut told = Vec::new();
        for piece in pieces {
            splitter.push(piece, |line| told.push(line));
        }
        splitter.end(|line| told.push(line));
        told
    }

    /// W12.
    #[test]
    fn lines_are_whole_however_the_bytes_are_cut() {
        let expected = ["one", "", "three", "the last"];
        let text = b"one\n\nthree\r\nthe last";
        for cut in 1..text.len() {
            let pieces: Vec<&[u8]> = text.chunks(cut).collect();
            assert_eq!(lines(&pieces), expected, "pieces of {cut}");
        }
    }

    /// W12: 10 MB without a newline hold no more memory than one line.
    #[test]
    fn a_line_without_end_is_cut_into_marked_pieces() {
        let mut splitter = Lines::default();
        let mut told = 0;
        for _ in 0..1000 {
            splitter.push(&[b'x'; 10_000], |line| {
                assert_eq!(line.len(), LINE_LEN + CUT.len());
                assert!(line.ends_with(CUT));
                told += 1;
            });
            assert!(splitter.begun.capacity() <= 2 * LINE_LEN);
        }
        assert_eq!(told, 10_000_000 / LINE_LEN);
    }

    #[test]
    fn a_line_of_just_the_limit_is_not_cut() {
        let line = "y".repeat(LINE_LEN);
        assert_eq!(lines(&[format!("{line}\nz").as_bytes()]), [line, String::from("z")]);
    }

    #[test]
    fn the_tail_keeps_the_last_lines() {
        let mut tail = Tail::default();
        for number in 0..TAIL_LINES + 3 {
            tail.push(number.to_string());
        }
        let kept = tail.take();
        assert_eq!((kept.len(), kept[0].as_str()), (TAIL_LINES, "3"));
    }

    #[test]
    fn a_pipe_is_read_within_its_budget_and_to_its_end() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let mut pipe = Pipe::new(reader.into()).expect("non-blocking");
        let mut told = Vec::new();
        writer.write_all(&[b'a'; 20_000]).expect("it fits");
        assert_eq!(pipe.read(10_000, |line| told.push(line)), Reading::More);
        assert_eq!(pipe.read(100_000, |line| told.push(line)), Reading::Drained);
        drop(writer);
        assert_eq!(pipe.read(1, |line| told.push(line)), Reading::Ended);
        assert_eq!(told.len(), 3);
    }
}
