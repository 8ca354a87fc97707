//! The keys: what they hold, in which order they changed, when they are over.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use ganger_protocol::{
    Condition, KeyChange, Revision, STORE_PIECE_BYTES, STORE_PIECE_ENTRIES, StoreRefusal, StoreReply, Time,
    decode, encode,
};

use super::config::{ENTRY_BYTES, StoreLimits};

/// Whether a deletion must be remembered, for somebody who may not have seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grudge {
    Keep,
    Forget,
}

#[derive(Clone, Debug)]
struct Item {
    version: Revision,
    value: Bytes,
    expires: Option<Time>,
}

/// The keys.
#[derive(Debug)]
pub(super) struct Entries {
    limits: StoreLimits,
    revision: Revision,
    live: BTreeMap<Arc<str>, Item>,
    /// Deleted keys that are remembered, and when they were deleted.
    dead: BTreeMap<Arc<str>, Revision>,
    /// The last change of each key, live or dead.
    changes: BTreeMap<Revision, Arc<str>>,
    /// Those that are deletions.
    graves: BTreeSet<Revision>,
    /// Of deletions up to here some are forgotten.
    horizon: Revision,
    expiries: BTreeSet<(Time, Arc<str>)>,
    bytes: u64,
}

impl Entries {
    pub(super) fn new(limits: StoreLimits) -> Entries {
        Entries {
            limits,
            revision: Revision(0),
            live: BTreeMap::new(),
            dead: BTreeMap::new(),
            changes: BTreeMap::new(),
            graves: BTreeSet::new(),
            horizon: Revision(0),
            expiries: BTreeSet::new(),
            bytes: 0,
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn horizon(&self) -> Revision {
        self.horizon
    }

    pub(super) fn take_revision(&mut self) -> Revision {
        self.revision = self.revision.next();
        self.revision
    }

    pub(super) fn check_prefix(&self, prefix: &str) -> Result<(), StoreRefusal> {
        let (length, limit) = (prefix.len() as u64, self.limits.key_bytes as u64);
        if length > limit { Err(StoreRefusal::KeyLength { length, limit }) } else { Ok(()) }
    }

    pub(super) fn check_key(&self, key: &str) -> Result<(), StoreRefusal> {
        if key.is_empty() {
            return Err(StoreRefusal::KeyLength { length: 0, limit: self.limits.key_bytes as u64 });
        }
        self.check_prefix(key)
    }

    pub(super) fn get(&self, key: &str) -> StoreReply {
        match self.live.get(key) {
            Some(item) => StoreReply::Value { version: item.version, value: item.value.clone() },
            None => StoreReply::Absent,
        }
    }

    pub(super) fn list(&self, prefix: &str, after: Option<&str>) -> Result<StoreReply, StoreRefusal> {
        self.check_prefix(prefix)?;
        let begin = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let (mut entries, mut room) = (Vec::new(), STORE_PIECE_BYTES);
        let range = self.live.range::<str, _>((begin, Bound::Unbounded));
        for (key, item) in range.take_while(|(key, _)| key.starts_with(prefix)) {
            let size = key.len() + item.value.len();
            if entries.len() >= STORE_PIECE_ENTRIES || (size > room && !entries.is_empty()) {
                return Ok(StoreReply::Page { has_more: true, entries });
            }
            room = room.saturating_sub(size);
            let value = Some(item.value.clone());
            entries.push(KeyChange { key: Arc::clone(key), version: item.version, value });
        }
        Ok(StoreReply::Page { has_more: false, entries })
    }

    pub(super) fn set(
        &mut self,
        key: &str,
        when: Condition,
        expires: Option<Time>,
        value: Bytes,
    ) -> Result<StoreReply, StoreRefusal> {
        self.check_key(key)?;
        self.check_condition(key, when)?;
        let revision = self.put(key, expires, value)?;
        Ok(StoreReply::Done { revision })
    }

    pub(super) fn increment(&mut self, key: &str, by: i64) -> Result<StoreReply, StoreRefusal> {
        self.check_key(key)?;
        let item = self.live.get(key);
        let value = item.map_or(Ok(0), |item| number(&item.value))?;
        let expires = item.and_then(|item| item.expires);
        let sum = value.checked_add(by).ok_or(StoreRefusal::Overflow { value })?;
        let bytes = encode(&sum).map_err(|_| StoreRefusal::NotANumber)?;
        let version = self.put(key, expires, bytes.into())?;
        Ok(StoreReply::Number { version, value: sum })
    }

    pub(super) fn delete(
        &mut self,
        key: &str,
        when: Condition,
        grudge: Grudge,
    ) -> Result<StoreReply, StoreRefusal> {
        self.check_key(key)?;
        self.check_condition(key, when)?;
        if !self.live.contains_key(key) {
            return Ok(StoreReply::Absent);
        }
        Ok(StoreReply::Done { revision: self.bury(key, grudge) })
    }

    /// A key whose time is over, if there is one.
    pub(super) fn expired(&self, now: Time) -> Option<Arc<str>> {
        self.expiries.first().filter(|(due, _)| *due <= now).map(|(_, key)| Arc::clone(key))
    }

    pub(super) fn expire(&mut self, key: &str, grudge: Grudge) {
        self.bury(key, grudge);
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.expiries.first().map(|(due, _)| *due)
    }

    /// The last changes of the keys that changed after `revision`, in the order of their revisions.
    pub(super) fn changes_after(&self, revision: Revision) -> impl Iterator<Item = KeyChange> + '_ {
        let range = self.changes.range((Bound::Excluded(revision), Bound::Unbounded));
        range.map(|(version, key)| {
            let value = self.live.get(key).map(|item| item.value.clone());
            KeyChange { key: Arc::clone(key), version: *version, value }
        })
    }

    fn check_condition(&self, key: &str, when: Condition) -> Result<(), StoreRefusal> {
        let found = self.live.get(key).map(|item| item.version);
        let is_met = match when {
            Condition::Always => true,
            Condition::Absent => found.is_none(),
            Condition::At(version) => found == Some(version),
        };
        if is_met { Ok(()) } else { Err(StoreRefusal::Conflict { found }) }
    }

    fn check_room(&self, key: &str, value: &Bytes) -> Result<u64, StoreRefusal> {
        let (length, limit) = (value.len() as u64, self.limits.value_bytes as u64);
        if length > limit {
            return Err(StoreRefusal::TooLarge { length, limit });
        }
        let old = self.live.get(key);
        if old.is_none() && self.live.len() >= self.limits.keys {
            return Err(StoreRefusal::TooManyKeys { limit: self.limits.keys as u64 });
        }
        let freed = old.map_or(0, |item| weight(key, &item.value));
        let (bytes, limit) = (self.bytes - freed + weight(key, value), self.limits.bytes);
        if bytes > limit { Err(StoreRefusal::Full { bytes, limit }) } else { Ok(bytes) }
    }

    fn put(&mut self, key: &str, expires: Option<Time>, value: Bytes) -> Result<Revision, StoreRefusal> {
        let bytes = self.check_room(key, &value)?;
        let key = self.clear(key);
        self.bytes = bytes;
        let version = self.take_revision();
        if let Some(due) = expires {
            self.expiries.insert((due, Arc::clone(&key)));
        }
        self.changes.insert(version, Arc::clone(&key));
        self.live.insert(key, Item { version, value, expires });
        Ok(version)
    }

    fn bury(&mut self, key: &str, grudge: Grudge) -> Revision {
        let freed = self.live.get(key).map_or(0, |item| weight(key, &item.value));
        let key = self.clear(key);
        self.bytes -= freed;
        let revision = self.take_revision();
        match grudge {
            Grudge::Forget => self.horizon = revision,
            Grudge::Keep => {
                self.changes.insert(revision, Arc::clone(&key));
                self.graves.insert(revision);
                self.dead.insert(key, revision);
                self.forget_oldest();
            }
        }
        revision
    }

    /// Takes a key out of everything it is in, and gives its name back.
    fn clear(&mut self, key: &str) -> Arc<str> {
        if let Some((key, item)) = self.live.remove_entry(key) {
            self.changes.remove(&item.version);
            if let Some(due) = item.expires {
                self.expiries.remove(&(due, Arc::clone(&key)));
            }
            return key;
        }
        if let Some((key, revision)) = self.dead.remove_entry(key) {
            self.changes.remove(&revision);
            self.graves.remove(&revision);
            return key;
        }
        key.into()
    }

    fn forget_oldest(&mut self) {
        if self.graves.len() <= self.limits.deletions {
            return;
        }
        let Some(revision) = self.graves.pop_first() else { return };
        if let Some(key) = self.changes.remove(&revision) {
            self.dead.remove(&key);
        }
        self.horizon = self.horizon.max(revision);
    }

    pub(super) fn check(&self) -> Option<String> {
        let bytes: u64 = self.live.iter().map(|(key, item)| weight(key, &item.value)).sum();
        if bytes != self.bytes {
            return Some(format!("{bytes} bytes are counted as {}", self.bytes));
        }
        if self.changes.len() != self.live.len() + self.dead.len() || self.graves.len() != self.dead.len() {
            return Some(format!(
                "{} changes and {} graves of {} live and {} dead keys",
                self.changes.len(),
                self.graves.len(),
                self.live.len(),
                self.dead.len()
            ));
        }
        let misplaced = self.changes.iter().find(|(revision, key)| {
            let version = self.live.get(&***key).map(|item| item.version);
            version.or_else(|| self.dead.get(&***key).copied()) != Some(**revision)
        });
        let mortal = self.live.values().filter(|item| item.expires.is_some()).count();
        if mortal != self.expiries.len() {
            return Some(format!("{mortal} keys have a time, {} times are kept", self.expiries.len()));
        }
        misplaced.map(|(revision, key)| format!("{key} did not change last at {revision}"))
    }
}

fn weight(key: &str, value: &Bytes) -> u64 {
    (key.len() + value.len()) as u64 + ENTRY_BYTES
}

/// What is written for a number, and nothing else: bytes that only happen to begin like one are no number.
fn number(value: &Bytes) -> Result<i64, StoreRefusal> {
    let number: i64 = decode(value).map_err(|_| StoreRefusal::NotANumber)?;
    let is_written_so = encode(&number).is_ok_and(|bytes| bytes[..] == value[..]);
    if is_written_so { Ok(number) } else { Err(StoreRefusal::NotANumber) }
}
