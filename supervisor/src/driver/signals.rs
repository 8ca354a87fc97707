//! SIGINT and SIGTERM, for hosts that want them handled: the first asks everything to end well, the second ends it.
//!
//! A signal is a byte in a socket that the loop reads. When the supervisor has ended, the signals do again what
//! they do by default.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};

use super::config::OnSignals;
use crate::shared::Shared;

/// The signals of one supervisor.
pub(super) struct Signals {
    arrivals: UnixStream,
    registered: Vec<SigId>,
    is_over: Arc<AtomicBool>,
    on_signals: OnSignals,
    is_ending: bool,
}

impl Signals {
    pub(super) fn new(on_signals: OnSignals) -> io::Result<Signals> {
        let (arrivals, writer) = UnixStream::pair()?;
        arrivals.set_nonblocking(true)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let mut signals = Signals { arrivals, registered: Vec::new(), is_over, on_signals, is_ending: false };
        for signal in [SIGINT, SIGTERM] {
            // This one stays for ever: a signal without any action would be ignored.
            signal_hook::flag::register_conditional_default(signal, signals.is_over.clone())?;
            signals.registered.push(pipe::register(signal, writer.try_clone()?)?);
        }
        Ok(signals)
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.arrivals.as_raw_fd()
    }

    /// Does what the signals that have arrived ask for.
    pub(super) fn take_in(&mut self, shared: &Shared) {
        let mut bytes = [0; 64];
        while let Ok(count @ 1..) = self.arrivals.read(&mut bytes) {
            for _ in 0..count {
                self.obey(shared);
            }
        }
    }

    fn obey(&mut self, shared: &Shared) {
        if self.is_ending {
            shared.hard_kill();
        } else {
            self.is_ending = true;
            shared.soft_kill(self.on_signals.deadline, self.on_signals.backlog);
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.is_over.store(true, SeqCst);
        for id in self.registered.drain(..) {
            unregister(id);
        }
    }
}
