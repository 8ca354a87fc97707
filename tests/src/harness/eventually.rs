//! Waiting for what announces itself to nobody.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for something that should come at once, before it fails.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Looks again and again until `look` gives something: for facts that the kernel or a snapshot shows but that no
/// event tells, such as the end of a thread. Whatever has an event or a handle is waited for by that instead.
///
/// # Panics
/// When [`PATIENCE`] is over; the message says for `what` was waited.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, look).unwrap_or_else(|| panic!("waited {PATIENCE:?} in vain: {what}"))
}

/// As [`eventually`]; `None` when `patience` is over.
pub(super) fn within<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        // Lets others run without keeping a core busy; nothing depends on how long it takes.
        thread::park_timeout(Duration::from_millis(1));
    }
}
