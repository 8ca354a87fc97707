//! The shared store: a pure state machine, beside the scheduler and as it is: no socket, clock, thread or lock.
//!
//! Verbs: `handle_born` and `handle_gone` tell it who is there, `handle_op` what somebody asks, `handle_timeout` that
//! time has passed; `poll_action` is drained for what to say to whom, `poll_timeout` says when to come back.
//!
//! One counter, the revision, orders everything: each change and each lock that is had takes the next one. Whoever
//! follows keys is a place in that order and no more: what he is told is read from the store itself, one piece each
//! time that he asks for one. So a follower who is slow costs nothing, and of what changed several times meanwhile
//! sees the last; only deletions must be remembered for him, and those are limited.

mod config;
mod entries;
mod locks;
#[cfg(test)]
mod tests;
mod watches;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ganger_protocol::{Piece, Revision, StoreOp, StoreRefusal, StoreReply, Time};

pub use config::StoreLimits;

use entries::Entries;
use locks::{Granted, Locks};
use watches::Watches;

/// Whoever may ask: a worker, or the supervisor's own process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAction {
    /// The answer to an operation. One that is [`StoreReply::Waiting`] has another to follow.
    Answer {
        /// To whom.
        client: ClientId,
        /// The operation, as its client numbers it.
        id: u64,
        /// The answer.
        reply: StoreReply,
        /// Whether it is the first.
        answering: Answering,
    },
    /// The next piece of what a watch tells.
    Tell {
        /// To whom.
        client: ClientId,
        /// The piece.
        piece: Piece,
    },
}

impl StoreAction {
    fn is_to(&self, whom: ClientId) -> bool {
        match self {
            StoreAction::Answer { client, .. } | StoreAction::Tell { client, .. } => *client == whom,
        }
    }
}

/// Which answer to an operation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answering {
    /// The first, as soon as it was heard.
    AtOnce,
    /// The one after [`StoreReply::Waiting`].
    Late,
}

/// What nobody does who follows the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreMisuse {
    /// The next piece of a watch was asked for before the last had come, or of one that is not there.
    #[error("the next piece of watch {watch} of the store, which is not to be asked for now")]
    Next {
        /// The watch.
        watch: u32,
    },
}

/// What one client has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Holdings {
    /// Locks held and waited for.
    locks: usize,
    watches: usize,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    limits: StoreLimits,
    clients: BTreeMap<ClientId, Holdings>,
    entries: Entries,
    locks: Locks,
    watches: Watches,
    answers: VecDeque<StoreAction>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(limits: StoreLimits) -> Store {
        Store {
            limits,
            clients: BTreeMap::new(),
            entries: Entries::new(limits),
            locks: Locks::default(),
            watches: Watches::default(),
            answers: VecDeque::new(),
        }
    }

    /// The revision of the last change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.entries.revision()
    }

    /// Somebody is there, and may ask.
    pub fn handle_born(&mut self, client: ClientId) {
        self.clients.entry(client).or_default();
    }

    /// Somebody is gone for good: his locks go to the next, nothing is said to him any more, and what may still come
    /// from him is not heard.
    pub fn handle_gone(&mut self, now: Time, client: ClientId) {
        self.handle_timeout(now);
        if self.clients.remove(&client).is_none() {
            return;
        }
        self.watches.forget(client);
        self.answers.retain(|said| !said.is_to(client));
        let freed = self.locks.forget(client);
        freed.iter().for_each(|name| self.pass_on(name));
    }

    /// Somebody asks for something. Whoever is not there is not heard.
    ///
    /// # Errors
    /// [`StoreMisuse`]: a worker is to be ended for it.
    pub fn handle_op(
        &mut self,
        now: Time,
        client: ClientId,
        id: u64,
        op: StoreOp<'_>,
    ) -> Result<(), StoreMisuse> {
        self.handle_timeout(now);
        if !self.clients.contains_key(&client) {
            return Ok(());
        }
        let reply = match op {
            StoreOp::Next { watch } => return self.next(client, watch),
            StoreOp::Lock { name, wait_nanos } => {
                self.lock(now, client, id, &name, Duration::from_nanos(wait_nanos))
            }
            StoreOp::Unlock { name, token } => self.unlock(client, &name, token),
            StoreOp::Watch { watch, prefix, origin } => self.watch(client, watch, &prefix, origin),
            StoreOp::Unwatch { watch } => self.unwatch(client, watch),
            StoreOp::Sync { watch } => self.sync(client, watch),
            StoreOp::Get { key } => Ok(self.entries.get(&key)),
            StoreOp::List { prefix, after } => self.entries.list(&prefix, after.as_deref()),
            StoreOp::Revision => Ok(StoreReply::Done { revision: self.revision() }),
            StoreOp::Set { key, when, ttl_nanos, value } => {
                let expires = ttl_nanos.map(|ttl| now + Duration::from_nanos(ttl));
                let done = self.entries.set(&key, when, expires, value);
                self.changed(&key, done)
            }
            StoreOp::Delete { key, when } => {
                let done = self.entries.delete(&key, when, self.watches.grudge());
                self.changed(&key, done)
            }
            StoreOp::Increment { key, by } => {
                let done = self.entries.increment(&key, by);
                self.changed(&key, done)
            }
        };
        self.answer(client, id, reply.unwrap_or_else(StoreReply::Refused), Answering::AtOnce);
        Ok(())
    }

    /// Somebody asks for something and is not to have it, whatever it is.
    pub fn handle_refused(&mut self, client: ClientId, id: u64, refusal: StoreRefusal) {
        self.answer(client, id, StoreReply::Refused(refusal), Answering::AtOnce);
    }

    /// Time has passed: what is over is deleted, who has waited too long for a lock is told.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(key) = self.entries.expired(now) {
            self.entries.expire(&key, self.watches.grudge());
            self.watches.changed(self.entries.revision(), Some(&key));
        }
        while let Some(late) = self.locks.give_up(now) {
            self.holdings(late.client).locks -= 1;
            self.answer(late.client, late.id, StoreReply::NotLocked, Answering::Late);
        }
    }

    /// When [`handle_timeout`](Store::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.entries.poll_timeout(), self.locks.poll_timeout()].into_iter().flatten().min()
    }

    /// What to say next, until there is nothing. Pieces come before answers, so that a replica that keeps up has what
    /// its own process was just told that it wrote.
    pub fn poll_action(&mut self) -> Option<StoreAction> {
        if let Some((client, piece)) = self.watches.next_piece(&self.entries) {
            return Some(StoreAction::Tell { client, piece });
        }
        self.answers.pop_front()
    }

    /// What is wrong with it, if anything: for tests.
    #[must_use]
    pub fn check(&self) -> Option<String> {
        self.entries.check().or_else(|| self.locks.check()).or_else(|| self.check_holdings())
    }

    fn changed(
        &mut self,
        key: &str,
        done: Result<StoreReply, StoreRefusal>,
    ) -> Result<StoreReply, StoreRefusal> {
        if let Ok(StoreReply::Done { revision } | StoreReply::Number { version: revision, .. }) = done {
            self.watches.changed(revision, Some(key));
        }
        done
    }

    fn lock(
        &mut self,
        now: Time,
        client: ClientId,
        id: u64,
        name: &str,
        wait: Duration,
    ) -> Result<StoreReply, StoreRefusal> {
        self.entries.check_key(name)?;
        if self.locks.is_free(name) {
            self.reserve_lock(client)?;
            let token = self.take_revision();
            self.locks.grant(name, client, token);
            return Ok(StoreReply::Locked { token });
        }
        if wait.is_zero() {
            return Ok(StoreReply::NotLocked);
        }
        self.reserve_lock(client)?;
        self.locks.wait(name, client, id, now + wait);
        Ok(StoreReply::Waiting)
    }

    fn reserve_lock(&mut self, client: ClientId) -> Result<(), StoreRefusal> {
        let limit = self.limits.locks;
        let held = &mut self.holdings(client).locks;
        if *held >= limit {
            return Err(StoreRefusal::TooManyLocks { limit: limit as u64 });
        }
        *held += 1;
        Ok(())
    }

    fn unlock(&mut self, client: ClientId, name: &str, token: Revision) -> Result<StoreReply, StoreRefusal> {
        if !self.locks.release(name, client, token) {
            return Err(StoreRefusal::NotHeld);
        }
        self.holdings(client).locks -= 1;
        self.pass_on(name);
        Ok(StoreReply::Done { revision: self.revision() })
    }

    /// A lock is free: it goes to whoever waits longest.
    fn pass_on(&mut self, name: &str) {
        let Some(Granted { client, id }) = self.locks.next_waiter(name) else { return };
        let token = self.take_revision();
        self.locks.grant(name, client, token);
        self.answer(client, id, StoreReply::Locked { token }, Answering::Late);
    }

    fn answer(&mut self, client: ClientId, id: u64, reply: StoreReply, answering: Answering) {
        self.answers.push_back(StoreAction::Answer { client, id, reply, answering });
    }

    fn take_revision(&mut self) -> Revision {
        let revision = self.entries.take_revision();
        self.watches.changed(revision, None);
        revision
    }

    fn watch(
        &mut self,
        client: ClientId,
        watch: u32,
        prefix: &str,
        origin: ganger_protocol::Origin,
    ) -> Result<StoreReply, StoreRefusal> {
        self.entries.check_prefix(prefix)?;
        let limit = self.limits.watches;
        if self.holdings(client).watches >= limit {
            return Err(StoreRefusal::TooManyWatches { limit: limit as u64 });
        }
        let revision = self.revision();
        self.watches.add(client, watch, prefix, origin, revision)?;
        self.holdings(client).watches += 1;
        Ok(StoreReply::Done { revision })
    }

    fn unwatch(&mut self, client: ClientId, watch: u32) -> Result<StoreReply, StoreRefusal> {
        self.watches.remove(client, watch)?;
        self.holdings(client).watches -= 1;
        Ok(StoreReply::Done { revision: self.revision() })
    }

    fn sync(&mut self, client: ClientId, watch: u32) -> Result<StoreReply, StoreRefusal> {
        self.watches.sync(client, watch)?;
        Ok(StoreReply::Done { revision: self.revision() })
    }

    fn next(&mut self, client: ClientId, watch: u32) -> Result<(), StoreMisuse> {
        let revision = self.revision();
        self.watches.next(client, watch, revision).map_err(|_| StoreMisuse::Next { watch })
    }

    fn holdings(&mut self, client: ClientId) -> &mut Holdings {
        self.clients.entry(client).or_default()
    }

    fn check_holdings(&self) -> Option<String> {
        self.clients.iter().find_map(|(client, holdings)| {
            let are = Holdings { locks: self.locks.count(*client), watches: self.watches.count(*client) };
            (are != *holdings).then(|| format!("{client:?} is said to have {holdings:?} and has {are:?}"))
        })
    }
}
