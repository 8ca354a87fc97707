//! A process that a test watches: by a descriptor, so that its number cannot be somebody else's.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::PATIENCE;

/// A process that is watched, and can be sent signals.
#[derive(Debug)]
pub struct Watched {
    pidfd: OwnedFd,
    pid: u32,
}

impl Watched {
    /// Watches a process that exists.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn new(pid: u32) -> Watched {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).expect("the process exists");
        Watched { pidfd, pid }
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends it a signal; one that has ended is left alone.
    pub fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Sends it SIGKILL.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Whether it ends within `patience`; zombies have ended.
    #[must_use]
    pub fn ends_within(&self, patience: Duration) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let timeout = Timespec::try_from(patience).expect("a timeout");
        poll(&mut fds, Some(&timeout)).expect("polled") > 0
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on.
    pub fn wait_end(&self) {
        assert!(self.ends_within(PATIENCE), "process {} goes on", self.pid);
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.ends_within(Duration::ZERO)
    }
}
