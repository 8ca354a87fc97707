//! The locks: who holds them, who waits.
//!
//! ```text
//! free ──lock──▶ held ──release, or the holder is gone──▶ free, or held by who waits longest
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ganger_protocol::{Revision, Time};

use super::ClientId;

#[derive(Debug)]
struct Holder {
    client: ClientId,
    token: Revision,
}

#[derive(Debug, Default)]
struct Lock {
    /// `None` only while it is passed on.
    holder: Option<Holder>,
    /// In the order in which they came.
    waiters: BTreeSet<u64>,
}

#[derive(Debug)]
struct Waiter {
    name: Arc<str>,
    client: ClientId,
    id: u64,
    deadline: Time,
}

/// An operation that waited for a lock and does no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) client: ClientId,
    pub(super) id: u64,
}

/// The locks that are held.
#[derive(Debug, Default)]
pub(super) struct Locks {
    locks: BTreeMap<Arc<str>, Lock>,
    waiters: BTreeMap<u64, Waiter>,
    deadlines: BTreeSet<(Time, u64)>,
    last_waiter: u64,
}

impl Locks {
    pub(super) fn is_free(&self, name: &str) -> bool {
        !self.locks.contains_key(name)
    }

    /// The client has the lock, which is free.
    pub(super) fn grant(&mut self, name: &str, client: ClientId, token: Revision) {
        let holder = Some(Holder { client, token });
        match self.locks.get_mut(name) {
            Some(lock) => lock.holder = holder,
            None => drop(self.locks.insert(name.into(), Lock { holder, waiters: BTreeSet::new() })),
        }
    }

    /// The client waits for a lock that is held.
    pub(super) fn wait(&mut self, name: &str, client: ClientId, id: u64, deadline: Time) {
        let Some((name, _)) = self.locks.get_key_value(name) else { return };
        let name = Arc::clone(name);
        self.last_waiter += 1;
        let waiter = self.last_waiter;
        if let Some(lock) = self.locks.get_mut(&name) {
            lock.waiters.insert(waiter);
        }
        self.deadlines.insert((deadline, waiter));
        self.waiters.insert(waiter, Waiter { name, client, id, deadline });
    }

    /// The holder gives the lock back; false if it does not hold it.
    pub(super) fn release(&mut self, name: &str, client: ClientId, token: Revision) -> bool {
        let Some(lock) = self.locks.get_mut(name) else { return false };
        let is_holder =
            lock.holder.as_ref().is_some_and(|holder| holder.client == client && holder.token == token);
        if is_holder {
            lock.holder = None;
        }
        is_holder
    }

    /// Who is to have a lock that was given back. One that nobody waits for is gone.
    pub(super) fn next_waiter(&mut self, name: &str) -> Option<Granted> {
        let lock = self.locks.get_mut(name)?;
        let Some(waiter) = lock.waiters.pop_first() else {
            self.locks.remove(name);
            return None;
        };
        let Waiter { client, id, deadline, .. } = self.waiters.remove(&waiter)?;
        self.deadlines.remove(&(deadline, waiter));
        Some(Granted { client, id })
    }

    /// Somebody who has waited too long, if there is one; he does not wait any more.
    pub(super) fn give_up(&mut self, now: Time) -> Option<Granted> {
        let (_, waiter) = *self.deadlines.first().filter(|(due, _)| *due <= now)?;
        self.dismiss(waiter)
    }

    /// A client is gone: it waits for nothing, and what it held, which this names, is free to be passed on.
    pub(super) fn forget(&mut self, client: ClientId) -> Vec<Arc<str>> {
        let waiters = self.waiters.iter().filter(|(_, waiter)| waiter.client == client);
        let waiters: Vec<u64> = waiters.map(|(number, _)| *number).collect();
        for waiter in waiters {
            let _ = self.dismiss(waiter);
        }
        let mut freed = Vec::new();
        for (name, lock) in &mut self.locks {
            if lock.holder.take_if(|holder| holder.client == client).is_some() {
                freed.push(Arc::clone(name));
            }
        }
        freed
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// How many locks a client holds or waits for.
    pub(super) fn count(&self, client: ClientId) -> usize {
        let holders = self.locks.values().filter_map(|lock| lock.holder.as_ref());
        let held = holders.filter(|holder| holder.client == client).count();
        held + self.waiters.values().filter(|waiter| waiter.client == client).count()
    }

    fn dismiss(&mut self, waiter: u64) -> Option<Granted> {
        let Waiter { name, client, id, deadline } = self.waiters.remove(&waiter)?;
        self.deadlines.remove(&(deadline, waiter));
        if let Some(lock) = self.locks.get_mut(&name) {
            lock.waiters.remove(&waiter);
        }
        Some(Granted { client, id })
    }

    pub(super) fn check(&self) -> Option<String> {
        let free = self.locks.iter().find(|(_, lock)| lock.holder.is_none());
        if let Some((name, lock)) = free {
            return Some(format!("lock {name} is held by nobody, and {} wait", lock.waiters.len()));
        }
        let waiting: usize = self.locks.values().map(|lock| lock.waiters.len()).sum();
        (waiting != self.waiters.len() || waiting != self.deadlines.len())
            .then(|| format!("{waiting} wait, {} are known", self.waiters.len()))
    }
}
