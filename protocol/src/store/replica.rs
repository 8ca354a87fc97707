//! A copy of some keys, kept up to date.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use serde::de::DeserializeOwned;

use super::{Appetite, Entry, Origin, Piece, Revision, StoreDoor, StoreError, StoreOp, StoreSink, Versioned};
use crate::{CodecError, Time, decode};

/// How long the first copy may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a replica is not as far as it was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// The time is over.
    #[error("the replica is at revision {reached} after {waited:?}, and not yet at {wanted}")]
    NotYet {
        /// How far it is.
        reached: Revision,
        /// How far it was to be.
        wanted: Revision,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The supervisor has stopped, or this worker has left it: the replica stays as it is.
    #[error("the store is gone, and the replica stays at revision {reached}")]
    Gone {
        /// How far it is.
        reached: Revision,
    },
}

/// A copy of the keys that begin with a prefix, kept up to date; made by [`Store::replica`](super::Store::replica) and
/// `Control::replica`.
///
/// Reading it costs no way to the supervisor, and sees what has come so far: each key's changes in their order, all
/// up to [`revision`](Replica::revision). Whoever has just written, here or elsewhere, and must see it, waits for the
/// version that the write gave: [`wait_for`](Replica::wait_for).
///
/// It can fall behind as far as it may: nothing is kept for it but what the store holds anyway. Of a key that has
/// changed several times meanwhile it gets the last change. When deletions have been forgotten that it has not seen,
/// it is filled anew, and shows the old copy until the new one is whole; [`resyncs`](Replica::resyncs) counts that.
///
/// Clones are the same replica; dropping the last one ends it.
#[derive(Clone)]
pub struct Replica {
    held: Arc<Held>,
}

struct Held {
    door: Arc<dyn StoreDoor>,
    mirror: Arc<Mirror>,
    prefix: String,
    id: u32,
}

/// What a replica holds, and how it is filled.
#[derive(Default)]
pub struct Mirror {
    copies: RwLock<Copies>,
    progress: Mutex<Progress>,
    moved: Condvar,
}

type Copy = BTreeMap<Arc<str>, (Revision, Bytes)>;

#[derive(Default)]
struct Copies {
    current: Copy,
    /// A new one that is being filled.
    next: Option<Copy>,
}

#[derive(Default)]
struct Progress {
    /// `None`: the first copy is not whole yet.
    revision: Option<Revision>,
    resets: u64,
    is_closed: bool,
}

impl Replica {
    pub(super) fn start(door: &Arc<dyn StoreDoor>, prefix: &str) -> Result<Replica, StoreError> {
        let mirror = Arc::new(Mirror::default());
        let id = door.watch(prefix, Origin::Content, Arc::clone(&mirror) as Arc<dyn StoreSink>)?;
        let held = Arc::new(Held { door: Arc::clone(door), mirror, prefix: prefix.into(), id });
        match held.mirror.wait_until(Time::now() + PATIENCE, |progress| progress.revision.is_some()) {
            Waited::Reached => Ok(Replica { held }),
            Waited::Closed => Err(StoreError::Gone),
            Waited::TimedOut => Err(StoreError::Unanswered { waited: PATIENCE }),
        }
    }

    /// The value of a key, and its version; `None` if there is no such key.
    ///
    /// # Errors
    /// [`CodecError`] when the value is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Versioned<T>>, CodecError> {
        self.get_raw(key)
            .map(|found| Ok(Versioned { value: decode(&found.value)?, version: found.version }))
            .transpose()
    }

    /// As [`get`](Replica::get), the bytes as they are.
    #[must_use]
    pub fn get_raw(&self, key: &str) -> Option<Versioned<Bytes>> {
        let copies = self.held.mirror.copies.read();
        let (version, value) = copies.current.get(key)?;
        Some(Versioned { value: value.clone(), version: *version })
    }

    /// The keys that begin with `prefix`, in their order, with their values.
    #[must_use]
    pub fn list(&self, prefix: &str) -> Vec<Entry> {
        self.held.mirror.list(prefix)
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.mirror.copies.read().current.len()
    }

    /// Whether it has no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The prefix of its keys.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.held.prefix
    }

    /// How far it is: it has every change up to this revision, and perhaps some later ones.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.held.mirror.revision().unwrap_or_default()
    }

    /// How often it was filled anew because it had fallen too far behind.
    #[must_use]
    pub fn resyncs(&self) -> u64 {
        self.held.mirror.progress.lock().resets.saturating_sub(1)
    }

    /// Waits, up to `timeout`, until it has every change up to `revision`.
    ///
    /// # Errors
    /// [`ReplicaError::NotYet`], [`ReplicaError::Gone`].
    pub fn wait_for(&self, revision: Revision, timeout: Duration) -> Result<(), ReplicaError> {
        if self.revision() >= revision {
            return Ok(());
        }
        // The change may be one of other keys, of which nobody would tell.
        self.held.door.tell(StoreOp::Sync { watch: self.held.id });
        let is_there = |progress: &Progress| progress.revision >= Some(revision);
        match self.held.mirror.wait_until(Time::now() + timeout, is_there) {
            Waited::Reached => Ok(()),
            Waited::Closed => Err(ReplicaError::Gone { reached: self.revision() }),
            Waited::TimedOut => {
                Err(ReplicaError::NotYet { reached: self.revision(), wanted: revision, waited: timeout })
            }
        }
    }
}

/// How a wait ended.
enum Waited {
    Reached,
    TimedOut,
    Closed,
}

impl Mirror {
    fn wait_until(&self, deadline: Time, is_reached: impl Fn(&Progress) -> bool) -> Waited {
        let mut progress = self.progress.lock();
        loop {
            if is_reached(&progress) {
                return Waited::Reached;
            }
            if progress.is_closed {
                return Waited::Closed;
            }
            match deadline.since(Time::now()) {
                Duration::ZERO => return Waited::TimedOut,
                left => drop(self.moved.wait_for(&mut progress, left)),
            }
        }
    }

    /// Takes a piece in.
    pub fn apply(&self, piece: Piece) {
        let head = piece.head;
        self.copy(piece);
        let mut progress = self.progress.lock();
        progress.resets += u64::from(head.is_reset);
        progress.revision = progress.revision.max(head.complete);
        self.moved.notify_all();
    }

    /// The keys that begin with a prefix.
    fn list(&self, prefix: &str) -> Vec<Entry> {
        let copies = self.copies.read();
        copies
            .current
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, (version, value))| Entry {
                key: String::from(&**key),
                version: *version,
                value: value.clone(),
            })
            .collect()
    }

    /// All that it holds.
    #[must_use]
    pub fn content(&self) -> Vec<Entry> {
        self.list("")
    }

    /// How far it is; `None`: the first copy is not whole yet.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        self.progress.lock().revision
    }

    fn copy(&self, piece: Piece) {
        let mut copies = self.copies.write();
        let Copies { current, next } = &mut *copies;
        if piece.head.is_reset {
            *next = Some(Copy::new());
        }
        let copy = next.as_mut().unwrap_or(current);
        for change in piece.changes {
            match change.value {
                Some(value) => drop(copy.insert(change.key, (change.version, value))),
                None => drop(copy.remove(&change.key)),
            }
        }
        if piece.head.complete.is_some()
            && let Some(whole) = next.take()
        {
            *current = whole;
        }
    }
}

impl StoreSink for Mirror {
    fn take(&self, piece: Piece) -> Appetite {
        self.apply(piece);
        Appetite::More
    }

    fn close(&self) {
        self.progress.lock().is_closed = true;
        self.moved.notify_all();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.door.unwatch(self.id);
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("prefix", &self.prefix())
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("revision", &self.revision()).finish_non_exhaustive()
    }
}
