//! What the store should say: written from the promises, as simply as it can be, and slow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ganger::StoreLimits;
use ganger::internals::store::ClientId;
use ganger_protocol::{
    Condition, KeyChange, Revision, StoreOp, StoreRefusal, StoreReply, Time, decode, encode,
};

/// What each key counts besides its own bytes and its value's.
const ENTRY_BYTES: u64 = 128;

struct Key {
    version: u64,
    value: Vec<u8>,
    due: Option<Time>,
}

struct Lock {
    holder: (ClientId, u64),
    waiters: Vec<(ClientId, u64, Time)>,
}

/// The store as it should be.
pub(super) struct Model {
    limits: StoreLimits,
    now: Time,
    revision: u64,
    keys: BTreeMap<String, Key>,
    locks: BTreeMap<String, Lock>,
    watches: BTreeMap<ClientId, BTreeSet<u32>>,
    /// Every change that there was.
    history: Vec<(u64, String, Option<Vec<u8>>)>,
    /// What is to be answered and was not.
    expected: BTreeMap<(ClientId, u64), VecDeque<StoreReply>>,
}

impl Model {
    pub(super) fn new(limits: StoreLimits) -> Model {
        Model {
            limits,
            now: Time::ZERO,
            revision: 0,
            keys: BTreeMap::new(),
            locks: BTreeMap::new(),
            watches: BTreeMap::new(),
            history: Vec::new(),
            expected: BTreeMap::new(),
        }
    }

    pub(super) fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    /// Keys with a prefix, as they were when the store was so far.
    pub(super) fn content_at(
        &self,
        revision: Revision,
        prefix: &str,
    ) -> BTreeMap<String, (Revision, Vec<u8>)> {
        let mut content = BTreeMap::new();
        for (version, key, value) in self.history.iter().take_while(|(version, ..)| *version <= revision.0) {
            match value {
                Some(value) if key.starts_with(prefix) => {
                    content.insert(key.clone(), (Revision(*version), value.clone()));
                }
                Some(_) | None => drop(content.remove(key)),
            }
        }
        content
    }

    /// What is to be said next to an operation.
    pub(super) fn next_answer(&mut self, client: ClientId, id: u64) -> Option<StoreReply> {
        let answers = self.expected.get_mut(&(client, id))?;
        let answer = answers.pop_front();
        if answers.is_empty() {
            self.expected.remove(&(client, id));
        }
        answer
    }

    pub(super) fn unanswered(&self) -> usize {
        self.expected.len()
    }

    /// Who waits for a lock and has not got it.
    pub(super) fn waiting(&self) -> usize {
        self.locks.values().map(|lock| lock.waiters.len()).sum()
    }

    /// When something is over: a key's time, or somebody's patience.
    pub(super) fn next_due(&self) -> Option<Time> {
        let keys = self.keys.values().filter_map(|key| key.due);
        let waiters = self.locks.values().flat_map(|lock| lock.waiters.iter().map(|(.., due)| *due));
        keys.chain(waiters).min()
    }

    pub(super) fn pass(&mut self, now: Time) {
        self.now = now;
        let mut over: Vec<(Time, String)> = Vec::new();
        for (name, key) in &self.keys {
            over.extend(key.due.filter(|due| *due <= now).map(|due| (due, name.clone())));
        }
        over.sort();
        for (_, key) in over {
            self.remove(&key);
        }
        let mut late = Vec::new();
        for lock in self.locks.values_mut() {
            late.extend(lock.waiters.extract_if(.., |(.., due)| *due <= now));
        }
        late.into_iter().for_each(|(client, id, _)| self.answer(client, id, StoreReply::NotLocked));
    }

    pub(super) fn born(&mut self, client: ClientId) {
        self.watches.insert(client, BTreeSet::new());
    }

    pub(super) fn gone(&mut self, client: ClientId) {
        self.watches.remove(&client);
        self.expected.retain(|(owner, _), _| *owner != client);
        for lock in self.locks.values_mut() {
            lock.waiters.retain(|(owner, ..)| *owner != client);
        }
        let held = self.locks.iter().filter(|(_, lock)| lock.holder.0 == client);
        let held: Vec<String> = held.map(|(name, _)| name.clone()).collect();
        held.into_iter().for_each(|name| self.pass_on(&name));
    }

    pub(super) fn ask(&mut self, client: ClientId, id: u64, op: &StoreOp<'_>) {
        let reply = self.reply(client, id, op).unwrap_or_else(StoreReply::Refused);
        // A lock that was passed on was passed on before this was answered, to somebody else.
        self.answer(client, id, reply);
    }

    fn reply(&mut self, client: ClientId, id: u64, op: &StoreOp<'_>) -> Result<StoreReply, StoreRefusal> {
        match op {
            StoreOp::Get { key } => Ok(match self.keys.get(&**key) {
                Some(key) => {
                    StoreReply::Value { version: Revision(key.version), value: key.value.clone().into() }
                }
                None => StoreReply::Absent,
            }),
            StoreOp::Set { key, when, ttl_nanos, value } => {
                self.check_name(key)?;
                self.check(key, *when)?;
                let due = ttl_nanos.map(|ttl| self.now + Duration::from_nanos(ttl));
                let revision = self.put(key, value, due)?;
                Ok(StoreReply::Done { revision })
            }
            StoreOp::Delete { key, when } => {
                self.check_name(key)?;
                self.check(key, *when)?;
                Ok(self.remove(key).map_or(StoreReply::Absent, |revision| StoreReply::Done { revision }))
            }
            StoreOp::Increment { key, by } => self.increment(key, *by),
            StoreOp::List { prefix, after } => {
                if !prefix.is_empty() {
                    self.check_name(prefix)?;
                }
                Ok(self.list(prefix, after.as_deref()))
            }
            StoreOp::Revision => Ok(StoreReply::Done { revision: self.revision() }),
            StoreOp::Lock { name, wait_nanos } => self.lock(client, id, name, *wait_nanos),
            StoreOp::Unlock { name, token } => {
                let holder = self.locks.get(&**name).map(|lock| lock.holder);
                if holder != Some((client, token.0)) {
                    return Err(StoreRefusal::NotHeld);
                }
                self.pass_on(name);
                Ok(StoreReply::Done { revision: self.revision() })
            }
            StoreOp::Watch { watch, .. } => {
                let (limit, revision) = (self.limits.watches, self.revision());
                let watches = self.watches.get_mut(&client).expect("it is there");
                if watches.len() >= limit {
                    return Err(StoreRefusal::TooManyWatches { limit: limit as u64 });
                }
                if !watches.insert(*watch) {
                    return Err(StoreRefusal::NoSuchWatch);
                }
                Ok(StoreReply::Done { revision })
            }
            StoreOp::Sync { watch } => self.about_watch(client, |watches| watches.contains(watch)),
            StoreOp::Unwatch { watch } => self.about_watch(client, |watches| watches.remove(watch)),
            StoreOp::Next { .. } => unreachable!("it is not answered"),
        }
    }

    fn about_watch(
        &mut self,
        client: ClientId,
        is_there: impl FnOnce(&mut BTreeSet<u32>) -> bool,
    ) -> Result<StoreReply, StoreRefusal> {
        let revision = self.revision();
        let found = self.watches.get_mut(&client).is_some_and(is_there);
        if found { Ok(StoreReply::Done { revision }) } else { Err(StoreRefusal::NoSuchWatch) }
    }

    fn increment(&mut self, key: &str, by: i64) -> Result<StoreReply, StoreRefusal> {
        self.check_name(key)?;
        let (old, due) = match self.keys.get(key) {
            None => (0, None),
            Some(found) => {
                let number: Option<i64> = decode(&found.value).ok();
                let number = number.filter(|number| encode(number).is_ok_and(|bytes| bytes == found.value));
                (number.ok_or(StoreRefusal::NotANumber)?, found.due)
            }
        };
        let value = old.checked_add(by).ok_or(StoreRefusal::Overflow { value: old })?;
        let version = self.put(key, &encode(&value).expect("it encodes"), due)?;
        Ok(StoreReply::Number { version, value })
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> StoreReply {
        let is_meant =
            |key: &&String| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after);
        let entries = self.keys.keys().filter(is_meant).map(|key| KeyChange {
            key: key.as_str().into(),
            version: Revision(self.keys[key].version),
            value: Some(self.keys[key].value.clone().into()),
        });
        StoreReply::Page { has_more: false, entries: entries.collect() }
    }

    fn lock(
        &mut self,
        client: ClientId,
        id: u64,
        name: &str,
        wait_nanos: u64,
    ) -> Result<StoreReply, StoreRefusal> {
        self.check_name(name)?;
        let mine = |lock: &Lock| {
            let waits = lock.waiters.iter().filter(|(owner, ..)| *owner == client).count();
            waits + usize::from(lock.holder.0 == client)
        };
        let limit = self.limits.locks;
        let is_full = self.locks.values().map(mine).sum::<usize>() >= limit;
        let too_many = StoreRefusal::TooManyLocks { limit: limit as u64 };
        let due = self.now + Duration::from_nanos(wait_nanos);
        match self.locks.get_mut(name) {
            Some(_) if wait_nanos == 0 => Ok(StoreReply::NotLocked),
            _ if is_full => Err(too_many),
            Some(lock) => {
                lock.waiters.push((client, id, due));
                Ok(StoreReply::Waiting)
            }
            None => {
                self.revision += 1;
                let lock = Lock { holder: (client, self.revision), waiters: Vec::new() };
                self.locks.insert(name.into(), lock);
                Ok(StoreReply::Locked { token: self.revision() })
            }
        }
    }

    fn pass_on(&mut self, name: &str) {
        let Some(lock) = self.locks.get_mut(name) else { return };
        if lock.waiters.is_empty() {
            self.locks.remove(name);
            return;
        }
        let (client, id, _) = lock.waiters.remove(0);
        self.revision += 1;
        lock.holder = (client, self.revision);
        let token = self.revision();
        self.answer(client, id, StoreReply::Locked { token });
    }

    fn answer(&mut self, client: ClientId, id: u64, reply: StoreReply) {
        self.expected.entry((client, id)).or_default().push_back(reply);
    }

    fn check_name(&self, key: &str) -> Result<(), StoreRefusal> {
        let (length, limit) = (key.len() as u64, self.limits.key_bytes as u64);
        let is_good = (1..=limit).contains(&length);
        if is_good { Ok(()) } else { Err(StoreRefusal::KeyLength { length, limit }) }
    }

    fn check(&self, key: &str, when: Condition) -> Result<(), StoreRefusal> {
        let found = self.keys.get(key).map(|key| Revision(key.version));
        match when {
            Condition::Absent if found.is_some() => Err(StoreRefusal::Conflict { found }),
            Condition::At(version) if found != Some(version) => Err(StoreRefusal::Conflict { found }),
            Condition::Always | Condition::Absent | Condition::At(_) => Ok(()),
        }
    }

    fn put(&mut self, key: &str, value: &[u8], due: Option<Time>) -> Result<Revision, StoreRefusal> {
        let (length, limit) = (value.len() as u64, self.limits.value_bytes as u64);
        if length > limit {
            return Err(StoreRefusal::TooLarge { length, limit });
        }
        if !self.keys.contains_key(key) && self.keys.len() >= self.limits.keys {
            return Err(StoreRefusal::TooManyKeys { limit: self.limits.keys as u64 });
        }
        let weight = |key: &str, value: &[u8]| (key.len() + value.len()) as u64 + ENTRY_BYTES;
        let others = self.keys.iter().filter(|(other, _)| *other != key);
        let bytes = others.map(|(key, held)| weight(key, &held.value)).sum::<u64>() + weight(key, value);
        if bytes > self.limits.bytes {
            return Err(StoreRefusal::Full { bytes, limit: self.limits.bytes });
        }
        self.revision += 1;
        self.history.push((self.revision, key.into(), Some(value.into())));
        self.keys.insert(key.into(), Key { version: self.revision, value: value.into(), due });
        Ok(self.revision())
    }

    fn remove(&mut self, key: &str) -> Option<Revision> {
        self.keys.remove(key)?;
        self.revision += 1;
        self.history.push((self.revision, key.into(), None));
        Some(self.revision())
    }
}
