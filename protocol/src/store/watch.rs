//! What becomes of some keys, as it happens.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde::de::DeserializeOwned;

use super::{Appetite, KeyChange, Origin, Piece, StoreDoor, StoreError, StoreOp, StoreSink};
use crate::{CodecError, Time, decode};

/// Something that a [`Watch`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// A key was changed.
    Changed(KeyChange),
    /// The watch was so far behind that deletions have been forgotten meanwhile: keys that it told of may be gone.
    /// All keys that there are follow anew.
    Missed,
}

impl KeyChange {
    /// The value; `None`: it was deleted, or its time was over.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are not exactly one `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<Option<T>, CodecError> {
        self.value.as_deref().map(decode).transpose()
    }
}

/// No change came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoChange {
    /// Nothing has changed in the time given.
    #[error("nothing has changed yet")]
    NotYet,
    /// The supervisor has stopped, or this worker has left it: nothing will change any more.
    #[error("the store is gone: nothing will change any more")]
    Ended,
}

/// What becomes of the keys that begin with a prefix; made by [`Store::watch`](super::Store::watch).
///
/// Changes come in the order of their revisions. Of a key that is changed faster than this is read only the last
/// change is told: nothing is kept for a slow reader but what the store holds anyway. Iterating waits for each next
/// change and ends with the store. Dropping it ends the watch.
pub struct Watch {
    door: Arc<dyn StoreDoor>,
    feed: Arc<Feed>,
    id: u32,
}

#[derive(Default)]
struct Feed {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Watched>,
    /// A piece has come, and the next was not asked for.
    owes_next: bool,
    is_closed: bool,
}

impl Watch {
    pub(super) fn start(door: &Arc<dyn StoreDoor>, prefix: &str) -> Result<Watch, StoreError> {
        let feed = Arc::new(Feed::default());
        let id = door.watch(prefix, Origin::Now, Arc::clone(&feed) as Arc<dyn StoreSink>)?;
        Ok(Watch { door: Arc::clone(door), feed, id })
    }

    /// Waits for the next change.
    ///
    /// # Errors
    /// [`NoChange::Ended`] when the store is gone.
    pub fn recv(&self) -> Result<Watched, NoChange> {
        self.next_until(None)
    }

    /// Waits for the next change, but not longer than `timeout`.
    ///
    /// # Errors
    /// [`NoChange::NotYet`] when the time is over, [`NoChange::Ended`] when the store is gone.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Watched, NoChange> {
        self.next_until(Some(Time::now() + timeout))
    }

    fn next_until(&self, deadline: Option<Time>) -> Result<Watched, NoChange> {
        let mut state = self.feed.state.lock();
        loop {
            if let Some(watched) = state.queue.pop_front() {
                return Ok(watched);
            }
            if state.is_closed {
                return Err(NoChange::Ended);
            }
            if std::mem::take(&mut state.owes_next) {
                // The answer may come before this returns.
                parking_lot::MutexGuard::unlocked(&mut state, || {
                    self.door.tell(StoreOp::Next { watch: self.id });
                });
                continue;
            }
            match deadline.map(|deadline| deadline.since(Time::now())) {
                None => self.feed.more.wait(&mut state),
                Some(Duration::ZERO) => return Err(NoChange::NotYet),
                Some(left) => drop(self.feed.more.wait_for(&mut state, left)),
            }
        }
    }
}

impl StoreSink for Feed {
    /// At most one piece waits here: the next is asked for when this one was read.
    fn take(&self, piece: Piece) -> Appetite {
        let mut state = self.state.lock();
        if piece.head.is_reset {
            state.queue.push_back(Watched::Missed);
        }
        state.queue.extend(piece.changes.into_iter().map(Watched::Changed));
        state.owes_next = true;
        self.more.notify_all();
        Appetite::Later
    }

    fn close(&self) {
        self.state.lock().is_closed = true;
        self.more.notify_all();
    }
}

/// Waits for each next change, until the store is gone.
impl Iterator for Watch {
    type Item = Watched;

    fn next(&mut self) -> Option<Watched> {
        self.recv().ok()
    }
}

/// Waits for each next change, until the store is gone.
impl Iterator for &Watch {
    type Item = Watched;

    fn next(&mut self) -> Option<Watched> {
        self.recv().ok()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.door.unwatch(self.id);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
