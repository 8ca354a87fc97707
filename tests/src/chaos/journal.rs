//! The handlers' journal: one memory file to which every worker process appends.
//!
//! A line is 64 bytes in one `write` to a descriptor with `O_APPEND`: lines of several processes do not mix, and
//! because 64 divides a page none is torn by a kill. The file has no name: whatever happens, nothing is left behind.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ganger::JobId;
use rustix::fs::MemfdFlags;
use rustix::time::{ClockId, clock_gettime};

use super::ledger::{Deed, Mark};

const LINE: usize = 64;

/// Nanoseconds of `CLOCK_MONOTONIC`, now.
pub(crate) fn stamp() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// One number for bytes.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    let mut hash = 0x9e37_79b9_7f4a_7c15 ^ bytes.len() as u64;
    for chunk in &mut chunks {
        hash = stir(hash, u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
    }
    for byte in chunks.remainder() {
        hash = stir(hash, u64::from(*byte));
    }
    hash
}

fn stir(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 32)
}

/// The reader's end.
pub(crate) struct Journal {
    file: File,
}

impl Journal {
    pub(crate) fn new() -> io::Result<Journal> {
        let file = rustix::fs::memfd_create("chaos-journal", MemfdFlags::CLOEXEC)?;
        Ok(Journal { file: file.into() })
    }

    /// Where this process's children can open it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// All lines, in the order in which they were written.
    pub(crate) fn read(&self) -> io::Result<Vec<Mark>> {
        let length = self.file.metadata()?.len();
        if length % LINE as u64 != 0 {
            return Err(io::Error::other(format!("the journal ends in the middle of a line, at {length}")));
        }
        let mut marks = Vec::with_capacity(length as usize / LINE);
        let mut buffer = vec![0; LINE << 14];
        let mut offset = 0;
        while offset < length {
            let count = buffer.len().min((length - offset) as usize);
            self.file.read_exact_at(&mut buffer[..count], offset)?;
            for line in buffer[..count].chunks_exact(LINE) {
                marks.push(read_line(line)?);
            }
            offset += count as u64;
        }
        Ok(marks)
    }
}

/// A writer's end.
pub(crate) struct Pen {
    file: File,
    born: u64,
}

impl Pen {
    pub(crate) fn open(journal: &Path) -> io::Result<Pen> {
        Ok(Pen { file: OpenOptions::new().append(true).open(journal)?, born: stamp() })
    }

    /// Writes one line, for this process and thread, stamped now.
    pub(crate) fn write(&self, deed: Deed) {
        let thread = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        let mark = Mark { at: stamp(), pid: std::process::id(), born: self.born, thread, deed };
        // A worker that cannot testify must not work.
        (&self.file).write_all(&line(&mark)).expect("the journal can be written");
    }
}

/// Kind, attempt, thread, process, stamp, birth, number, job.
fn line(mark: &Mark) -> [u8; LINE] {
    let (kind, job, attempt, number): (u8, Option<JobId>, u16, u64) = match mark.deed {
        Deed::Boot { worker, threads } => (1, None, threads, worker),
        Deed::Start { job, attempt, payload } => (2, Some(job), attempt, payload),
        Deed::Collision { job, attempt } => (3, Some(job), attempt, 0),
        Deed::LastWords { job, attempt } => (4, Some(job), attempt, 0),
        Deed::End { job, attempt, hash } => (5, Some(job), attempt, hash),
    };
    let mut line = [0; LINE];
    line[0] = kind;
    line[2..4].copy_from_slice(&attempt.to_le_bytes());
    line[4..8].copy_from_slice(&mark.thread.to_le_bytes());
    line[8..12].copy_from_slice(&mark.pid.to_le_bytes());
    line[16..24].copy_from_slice(&mark.at.to_le_bytes());
    line[24..32].copy_from_slice(&mark.born.to_le_bytes());
    line[32..40].copy_from_slice(&number.to_le_bytes());
    if let Some(job) = job {
        line[40..56].copy_from_slice(job.uuid().as_bytes());
    }
    line
}

fn read_line(line: &[u8]) -> io::Result<Mark> {
    let short = |at: usize| u32::from_le_bytes(line[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_le_bytes(line[at..at + 8].try_into().expect("eight bytes"));
    let attempt = u16::from_le_bytes([line[2], line[3]]);
    let job = JobId::from_bytes(line[40..56].try_into().expect("sixteen bytes"));
    let deed = match line[0] {
        1 => Deed::Boot { worker: long(32), threads: attempt },
        2 => Deed::Start { job, attempt, payload: long(32) },
        3 => Deed::Collision { job, attempt },
        4 => Deed::LastWords { job, attempt },
        5 => Deed::End { job, attempt, hash: long(32) },
        other => return Err(io::Error::other(format!("a line of unknown kind {other} in the journal"))),
    };
    Ok(Mark { at: long(16), pid: short(8), born: long(24), thread: short(4), deed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let journal = Journal::new().expect("a journal");
        let pen = Pen::open(journal.path().as_ref()).expect("a pen");
        let job = JobId::random();
        let deeds = [
            Deed::Boot { worker: 7, threads: 2 },
            Deed::Start { job, attempt: 3, payload: u64::MAX },
            Deed::Collision { job, attempt: 3 },
            Deed::LastWords { job, attempt: 4 },
            Deed::End { job, attempt: 5, hash: 9 },
        ];
        deeds.into_iter().for_each(|deed| pen.write(deed));
        let read = journal.read().expect("whole lines");
        assert_eq!(read.iter().map(|mark| mark.deed).collect::<Vec<_>>(), deeds);
        assert!(read.iter().all(|mark| mark.pid == std::process::id() && mark.born <= mark.at));
    }

    #[test]
    fn hashes_tell_lengths_and_bytes_apart() {
        let texts: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"abcdefgh", b"abcdefgi", b"abcdefgh\0"];
        for (at, one) in texts.iter().enumerate() {
            assert!(texts[at + 1..].iter().all(|other| hash(one) != hash(other)));
        }
    }
}
