//! One worker's process: its pidfd, its process group, its end.
//!
//! The number of a process group is only ever used while the process is not reaped, so that it cannot be another
//! one's. `std::process::Child` is not used after the spawn: its `wait` would reap behind our back.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions};

use super::config::REAP_GRACE;
use super::stdio::above_stdio;
use crate::scheduler::ExitStatus;

/// A process that was started and not yet reaped.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    /// `None` when the process had ended, reaped by someone else, before it could be opened.
    pidfd: Option<OwnedFd>,
    is_reaped: bool,
}

impl Process {
    /// Takes over a child just started. Fails when no more descriptors can be opened; the child is killed then.
    pub(super) fn adopt(pid: u32) -> io::Result<Process> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        let opened = rustix::process::pidfd_open(pid, PidfdFlags::empty());
        if matches!(opened, Err(Errno::SRCH)) {
            return Ok(Process { pid, pidfd: None, is_reaped: true });
        }
        match opened.map_err(io::Error::from).and_then(above_stdio) {
            Ok(pidfd) => Ok(Process { pid, pidfd: Some(pidfd), is_reaped: false }),
            Err(error) => {
                // The child is not reaped, so its number is its own still.
                let _ = rustix::process::kill_process_group(pid, Signal::KILL);
                let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
                Err(error)
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Its number, as long as that is its own.
    pub(super) fn own_pid(&self) -> Option<Pid> {
        self.is_ours().then_some(self.pid)
    }

    /// Readable once the process has ended.
    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Asks the process group to end; wakes it if it is stopped.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }

    /// Ends the process group.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if self.is_ours() {
            // An error says that the group is gone, which is what was wanted.
            let _ = rustix::process::kill_process_group(self.pid, signal);
        }
    }

    /// Whether the process's number still is its own: where the host ignores SIGCHLD the kernel reaps.
    fn is_ours(&self) -> bool {
        !self.is_reaped && self.status(WaitIdOptions::NOWAIT) != Err(Errno::CHILD)
    }

    /// How the process ended, if it has. Its group is killed first, while the number is still ours.
    pub(super) fn reap(&mut self) -> Option<ExitStatus> {
        if self.is_reaped {
            return Some(ExitStatus::Unknown);
        }
        match self.status(WaitIdOptions::NOWAIT) {
            Ok(None) => None,
            Ok(Some(_)) => {
                let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
                self.is_reaped = true;
                Some(self.status(WaitIdOptions::empty()).ok().flatten().unwrap_or(ExitStatus::Unknown))
            }
            Err(_) => {
                self.is_reaped = true;
                Some(ExitStatus::Unknown)
            }
        }
    }

    fn status(&self, how: WaitIdOptions) -> Result<Option<ExitStatus>, Errno> {
        let Some(pidfd) = self.pidfd() else { return Err(Errno::CHILD) };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | how;
        loop {
            match rustix::process::waitid(WaitId::PidFd(pidfd), options) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
                Ok(status) => return Ok(status.as_ref().map(exit_status)),
            }
        }
    }
}

fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, Some(signal)) => ExitStatus::Signal(signal),
        (None, None) => ExitStatus::Unknown,
    }
}

/// A process that nobody waits for any more is killed; if it ends within a moment it is reaped, too.
impl Drop for Process {
    fn drop(&mut self) {
        if self.is_reaped {
            return;
        }
        self.kill();
        if let Some(pidfd) = &self.pidfd {
            let grace = Timespec { tv_sec: 0, tv_nsec: i64::from(REAP_GRACE.subsec_nanos()) };
            let _ = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&grace));
            let _ = self.reap();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[expect(clippy::zombie_processes, reason = "it is reaped through its pidfd")]
    fn shell(script: &str) -> (Process, std::process::ChildStdout) {
        let mut child = Command::new("/bin/sh")
            .args(["-c", script])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let stdout = child.stdout.take().expect("piped");
        (Process::adopt(child.id()).expect("adopted"), stdout)
    }

    fn wait(process: &mut Process) -> ExitStatus {
        let pidfd = process.pidfd().expect("a pidfd");
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).expect("polled");
        process.reap().expect("it has ended")
    }

    #[test]
    fn the_exit_code_is_told_and_only_once_it_has_ended() {
        let (mut process, stdout) = shell("read x; exit 7");
        drop(stdout);
        assert_eq!(wait(&mut process), ExitStatus::Code(7));
        process.kill();
        assert_eq!(process.reap(), Some(ExitStatus::Unknown));
    }

    /// W8: SIGTERM reaches a stopped process, too.
    #[test]
    fn a_stopped_process_can_be_asked_to_end() {
        let (mut process, _stdout) = shell("kill -STOP $$; sleep 60");
        process.terminate();
        assert_eq!(wait(&mut process), ExitStatus::Signal(15));
    }

    /// A grandchild in the worker's process group ends with the worker: the pipe that it holds is closed.
    #[test]
    fn reaping_ends_the_whole_group() {
        let (mut process, mut stdout) = shell("sleep 60 & exit 0");
        assert_eq!(wait(&mut process), ExitStatus::Code(0));
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).expect("the pipe ends");
    }

    #[test]
    fn a_process_that_is_dropped_is_killed() {
        let (process, mut stdout) = shell("sleep 60");
        assert!(process.pid() > 1);
        drop(process);
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).expect("the pipe ends");
    }
}
