//! A logger that keeps what was logged, for tests of what ends up in the log.

use std::sync::OnceLock;

use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::{Condvar, Mutex};

use super::PATIENCE;

/// What was logged in this process since [`Logbook::open`].
#[derive(Debug, Default)]
pub struct Logbook {
    entries: Mutex<Vec<(Level, String)>>,
    more: Condvar,
}

impl Logbook {
    /// Makes it the process's logger, or gives the one that is.
    ///
    /// # Panics
    /// When the process has another logger.
    pub fn open() -> &'static Logbook {
        static LOGBOOK: OnceLock<Logbook> = OnceLock::new();
        LOGBOOK.get_or_init(|| {
            log::set_max_level(LevelFilter::Debug);
            Logbook::default()
        });
        let logbook = LOGBOOK.get().expect("just made");
        // The second time this says that there is a logger, which is this one.
        let _ = log::set_logger(logbook);
        logbook
    }

    /// Waits for the first entry that contains `text`.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait_for(&self, text: &str) -> (Level, String) {
        let mut entries = self.entries.lock();
        loop {
            if let Some(found) = entries.iter().find(|(_, entry)| entry.contains(text)) {
                return found.clone();
            }
            let timeout = self.more.wait_for(&mut entries, PATIENCE);
            assert!(!timeout.timed_out(), "nothing in the log says {text:?}: {entries:#?}");
        }
    }

    /// All entries so far.
    #[must_use]
    pub fn entries(&self) -> Vec<(Level, String)> {
        self.entries.lock().clone()
    }
}

impl Log for Logbook {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.entries.lock().push((record.level(), record.args().to_string()));
        self.more.notify_all();
    }

    fn flush(&self) {}
}
