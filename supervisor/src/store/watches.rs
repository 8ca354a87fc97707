//! Who follows which keys, and how far he is.

use std::collections::{BTreeMap, BTreeSet};

use ganger_protocol::{
    Origin, Piece, Revision, STORE_PIECE_BYTES, STORE_PIECE_ENTRIES, StoreChangeHead, StoreRefusal,
};

use super::ClientId;
use super::entries::{Entries, Grudge};

/// Changes that one piece may look at, so that many of other keys do not hold the loop up.
const LOOKED_AT: usize = 16 * 1024;

type Key = (ClientId, u32);

/// One follower of the keys with a prefix.
#[derive(Debug)]
struct Watch {
    prefix: Box<str>,
    /// Every change up to here is told.
    cursor: Revision,
    /// Where the store was when it began to tell from the beginning: what was deleted before was never told.
    since: Revision,
    /// Whether the next piece begins anew.
    resets: bool,
    /// Whether the next piece was asked for.
    wants: bool,
    /// Whether it is to say how far it is, although nothing may have changed.
    syncs: bool,
}

impl Watch {
    fn is_due(&self, revision: Revision) -> bool {
        self.wants && (self.resets || self.syncs || self.cursor < revision)
    }
}

/// The followers.
#[derive(Debug, Default)]
pub(super) struct Watches {
    watches: BTreeMap<Key, Watch>,
    /// Those that are due.
    due: BTreeSet<Key>,
}

impl Watches {
    /// Whether deletions must be remembered for anybody.
    pub(super) fn grudge(&self) -> Grudge {
        if self.watches.is_empty() { Grudge::Forget } else { Grudge::Keep }
    }

    pub(super) fn add(
        &mut self,
        client: ClientId,
        watch: u32,
        prefix: &str,
        origin: Origin,
        revision: Revision,
    ) -> Result<(), StoreRefusal> {
        if self.watches.contains_key(&(client, watch)) {
            return Err(StoreRefusal::NoSuchWatch);
        }
        let (cursor, resets) = match origin {
            Origin::Content => (Revision(0), true),
            Origin::Now => (revision, false),
        };
        let prefix = prefix.into();
        let new = Watch { prefix, cursor, since: revision, resets, wants: true, syncs: false };
        self.insert_if_due((client, watch), new.is_due(revision));
        self.watches.insert((client, watch), new);
        Ok(())
    }

    pub(super) fn remove(&mut self, client: ClientId, watch: u32) -> Result<(), StoreRefusal> {
        self.due.remove(&(client, watch));
        self.watches.remove(&(client, watch)).map(drop).ok_or(StoreRefusal::NoSuchWatch)
    }

    pub(super) fn forget(&mut self, client: ClientId) {
        self.watches.retain(|(owner, _), _| *owner != client);
        self.due.retain(|(owner, _)| *owner != client);
    }

    pub(super) fn sync(&mut self, client: ClientId, watch: u32) -> Result<(), StoreRefusal> {
        let found = self.watches.get_mut(&(client, watch)).ok_or(StoreRefusal::NoSuchWatch)?;
        found.syncs = true;
        let wants = found.wants;
        self.insert_if_due((client, watch), wants);
        Ok(())
    }

    /// The next piece is asked for.
    pub(super) fn next(
        &mut self,
        client: ClientId,
        watch: u32,
        revision: Revision,
    ) -> Result<(), StoreRefusal> {
        let found = self.watches.get_mut(&(client, watch)).filter(|found| !found.wants);
        let found = found.ok_or(StoreRefusal::NoSuchWatch)?;
        found.wants = true;
        let is_due = found.is_due(revision);
        self.insert_if_due((client, watch), is_due);
        Ok(())
    }

    /// The store took a revision, for this key or for something else. Who had seen all, and does not follow the key,
    /// has still seen all.
    pub(super) fn changed(&mut self, revision: Revision, key: Option<&str>) {
        let Watches { watches, due } = self;
        for (name, watch) in watches {
            let concerns = key.is_some_and(|key| key.starts_with(&*watch.prefix));
            if !concerns && watch.cursor.next() == revision {
                watch.cursor = revision;
            } else if watch.wants {
                due.insert(*name);
            }
        }
    }

    /// The next piece that somebody is due.
    pub(super) fn next_piece(&mut self, entries: &Entries) -> Option<(ClientId, Piece)> {
        let (client, number) = self.due.pop_first()?;
        let watch = self.watches.get_mut(&(client, number))?;
        Some((client, watch.piece(number, entries)))
    }

    pub(super) fn count(&self, client: ClientId) -> usize {
        self.watches.keys().filter(|(owner, _)| *owner == client).count()
    }

    fn insert_if_due(&mut self, key: Key, is_due: bool) {
        if is_due {
            self.due.insert(key);
        }
    }
}

impl Watch {
    fn piece(&mut self, number: u32, entries: &Entries) -> Piece {
        if entries.horizon() > self.since.max(self.cursor) {
            // A key that it was told of may be gone without a trace.
            self.cursor = Revision(0);
            self.since = entries.revision();
            self.resets = true;
        }
        let (mut changes, mut room, mut looked_at) = (Vec::new(), STORE_PIECE_BYTES, 0);
        let mut complete = Some(entries.revision());
        for change in entries.changes_after(self.cursor) {
            let concerns = change.key.starts_with(&*self.prefix)
                && (change.value.is_some() || change.version > self.since);
            let size = change.key.len() + change.value.as_ref().map_or(0, |value| value.len());
            let is_full = changes.len() >= STORE_PIECE_ENTRIES || (size > room && !changes.is_empty());
            if looked_at >= LOOKED_AT || (concerns && is_full) {
                complete = None;
                break;
            }
            looked_at += 1;
            self.cursor = change.version;
            if concerns {
                room = room.saturating_sub(size);
                changes.push(change);
            }
        }
        self.cursor = complete.unwrap_or(self.cursor);
        self.wants = false;
        self.syncs &= complete.is_none();
        let is_reset = std::mem::take(&mut self.resets);
        Piece { head: StoreChangeHead { watch: number, is_reset, complete }, changes }
    }
}
