//! What processes use: processor time and memory, as the system counts them.

use std::fs;
use std::io;
use std::process;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How long something takes, in seconds, and what it gives.
pub fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begun = Instant::now();
    let given = work();
    (begun.elapsed().as_secs_f64(), given)
}

/// The processor time that all threads of this process have used.
#[must_use]
pub fn own_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// The processor time that the living threads of another process have used.
///
/// # Errors
/// When there is no such process, or the kernel keeps no such count.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let first = text.split(' ').next().and_then(|number| number.parse::<u64>().ok());
        nanos += first.ok_or_else(|| io::Error::other(format!("{text:?} is not as schedstat is")))?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// The resident memory of this process, in bytes.
///
/// # Errors
/// When there is no /proc.
pub fn own_rss_bytes() -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{}/statm", process::id()))?;
    let pages = text.split(' ').nth(1).and_then(|number| number.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| io::Error::other(format!("{text:?} is not as statm is")))?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// The memory that the machine could still give, in bytes.
///
/// # Errors
/// When there is no /proc.
pub fn available_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("/proc/meminfo does not say what is available"))
}
