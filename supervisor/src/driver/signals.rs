//! SIGINT and SIGTERM, for hosts that want them handled: the first asks everything to end well, the second ends it.
//!
//! A signal is a byte in a socket that the loop reads. When the last supervisor that listens has ended, the signals do
//! again what they do by default.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use parking_lot::Mutex;
use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_default;
use signal_hook::low_level::{pipe, unregister};

use super::config::OnSignals;
use crate::shared::Shared;

const HANDLED: [i32; 2] = [SIGINT, SIGTERM];

/// The signals of one supervisor.
pub(super) struct Signals {
    arrivals: UnixStream,
    registered: Vec<SigId>,
    _listening: Listening,
    on_signals: OnSignals,
    is_ending: bool,
}

impl Signals {
    pub(super) fn new(on_signals: OnSignals) -> io::Result<Signals> {
        let (arrivals, writer) = UnixStream::pair()?;
        arrivals.set_nonblocking(true)?;
        let listening = Listening::begin()?;
        let registered = Vec::new();
        let mut signals =
            Signals { arrivals, registered, _listening: listening, on_signals, is_ending: false };
        for signal in HANDLED {
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
        for id in self.registered.drain(..) {
            unregister(id);
        }
    }
}

/// Signals are the whole process's. While any supervisor in it listens, they must not do what they do by default,
/// and once none does they must: a signal whose actions are all unregistered would be ignored.
static LISTENERS: Mutex<Listeners> = Mutex::new(Listeners { count: 0, is_nobody: None });

struct Listeners {
    count: usize,
    /// Whether signals do what they do by default; made with the first listener, and then there for ever.
    is_nobody: Option<Arc<AtomicBool>>,
}

/// One supervisor that listens.
struct Listening;

impl Listening {
    fn begin() -> io::Result<Listening> {
        let mut listeners = LISTENERS.lock();
        let is_nobody = match &listeners.is_nobody {
            Some(flag) => Arc::clone(flag),
            None => {
                let flag = Arc::new(AtomicBool::new(true));
                for signal in HANDLED {
                    register_conditional_default(signal, Arc::clone(&flag))?;
                }
                Arc::clone(listeners.is_nobody.insert(flag))
            }
        };
        is_nobody.store(false, SeqCst);
        listeners.count += 1;
        Ok(Listening)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listeners = LISTENERS.lock();
        listeners.count -= 1;
        if let (0, Some(is_nobody)) = (listeners.count, &listeners.is_nobody) {
            is_nobody.store(true, SeqCst);
        }
    }
}
