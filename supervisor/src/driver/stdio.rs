//! Keeping off standard input and output.
//!
//! In a host that has closed them, the next file opened gets their number, and a `println!` would write into it:
//! into a worker's link, say, or the loop's bell.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// The first number that is not standard input or output.
const FIRST_FREE: i32 = 3;

/// The same file, but not as standard input or output.
pub(super) fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= FIRST_FREE {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, FIRST_FREE)?)
}

/// Occupies the free ones among standard input and output, so that what is opened meanwhile keeps off them.
pub(super) fn occupy_stdio() -> io::Result<Vec<File>> {
    let mut plugs = Vec::new();
    loop {
        let plug = File::open("/dev/null")?;
        if plug.as_raw_fd() >= FIRST_FREE {
            return Ok(plugs);
        }
        plugs.push(plug);
    }
}
