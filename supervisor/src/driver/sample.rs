//! A worker's resident memory, read from a file that stays open.

use std::fs::File;
use std::os::fd::OwnedFd;

/// A process's `/proc/PID/statm`, kept open: one `pread` a sample, and never another process's number.
#[derive(Debug)]
pub(super) struct Statm {
    file: OwnedFd,
    page_bytes: u64,
}

impl Statm {
    /// Opens the file of a process that has not been reaped; `None` where there is no /proc.
    pub(super) fn open(pid: u32) -> Option<Statm> {
        let file = File::open(format!("/proc/{pid}/statm")).ok()?;
        Some(Statm { file: file.into(), page_bytes: rustix::param::page_size() as u64 })
    }

    /// The resident memory now, in bytes; `None` once the process is gone, or has given up its memory on its way
    /// there: a dying worker must not look like the lightest of all.
    pub(super) fn rss_bytes(&self) -> Option<u64> {
        let mut text = [0u8; 128];
        let len = rustix::io::pread(&self.file, &mut text, 0).ok()?;
        let pages = resident_pages(&text[..len]).filter(|pages| *pages > 0)?;
        pages.checked_mul(self.page_bytes)
    }
}

/// The second of the numbers in a line of statm.
fn resident_pages(text: &[u8]) -> Option<u64> {
    let digits = text.split(|byte| *byte == b' ').nth(1)?;
    let add = |sum: u64, byte: &u8| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    };
    (!digits.is_empty()).then(|| digits.iter().try_fold(0, add))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_number_is_the_resident_pages() {
        assert_eq!(resident_pages(b"1234 567 89 1 0 23 0\n"), Some(567));
        assert_eq!(resident_pages(b"0 0 0 0 0 0 0\n"), Some(0));
        for garbage in [&b""[..], b"12", b"12 ", b"12 x 3", b"1 99999999999999999999 3"] {
            assert_eq!(resident_pages(garbage), None);
        }
    }

    /// A crash report said that the worker had held no memory at all: it was sampled between the release of its
    /// memory and its end. A process that has ended and is not reaped shows the same.
    #[test]
    fn a_process_without_memory_has_no_sample() {
        use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
        let mut child = std::process::Command::new("true").spawn().expect("a child");
        let statm = Statm::open(child.id()).expect("/proc is mounted");
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a process id");
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).expect("it ends");
        assert_eq!(statm.rss_bytes(), None);
        child.wait().expect("reaped");
    }

    #[test]
    fn this_process_has_resident_memory() {
        let statm = Statm::open(std::process::id()).expect("/proc is mounted");
        let rss_bytes = statm.rss_bytes().expect("this process is alive");
        assert!(rss_bytes > 100_000, "{rss_bytes}");
    }
}
