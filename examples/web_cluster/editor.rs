//! The editor: changes the pages, one after the other, in the store that all workers follow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ganger::{Store, StoreError, Supervisor};

use crate::worker::key_of;

/// How many pages there are, "/0" and so on.
pub(crate) const PAGES: usize = 8;

/// From one change to the next, of any page.
const PAUSE: Duration = Duration::from_millis(5);

/// The edition of each page that is certainly in the store.
pub(crate) type Editions = Arc<[AtomicU64; PAGES]>;

/// The editor at work, on a thread of its own.
pub(crate) struct Editor {
    pub(crate) editions: Editions,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, StoreError>>,
}

impl Editor {
    /// Writes the first edition of every page, and goes on from there.
    pub(crate) fn begin(supervisor: &Supervisor) -> Result<Editor, Box<dyn std::error::Error>> {
        let store = supervisor.store();
        let editions = Editions::default();
        for page in 0..PAGES {
            publish(&store, &editions, page)?;
        }
        let (stop, published) = (Arc::new(AtomicBool::new(false)), Arc::clone(&editions));
        let told = Arc::clone(&stop);
        let thread = thread::Builder::new().name("editor".into()).spawn(move || {
            let mut changes = 0;
            while !told.load(Relaxed) {
                publish(&store, &published, changes as usize % PAGES)?;
                changes += 1;
                thread::sleep(PAUSE);
            }
            Ok(changes)
        })?;
        Ok(Editor { editions, stop, thread })
    }

    /// Stops, and says how many changes there were.
    pub(crate) fn end(self) -> Result<u64, Box<dyn std::error::Error>> {
        self.stop.store(true, Relaxed);
        Ok(self.thread.join().map_err(|_| "the editor panicked")??)
    }
}

fn publish(store: &Store, editions: &Editions, page: usize) -> Result<(), StoreError> {
    let edition = editions[page].load(Relaxed) + 1;
    store.set(&key_of(&format!("/{page}")), &edition)?;
    editions[page].store(edition, Relaxed);
    Ok(())
}
