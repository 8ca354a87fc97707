//! Calls by which a worker is asked to use the store, and the same wishes for whoever uses it himself.

use std::path::PathBuf;
use std::time::Duration;

use ganger::{Call, Expect, Revision, Store, StoreError};
use serde::{Deserialize, Serialize};

/// One thing that somebody wants of the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Wish {
    /// Reads a key.
    Get(String),
    /// Sets a key.
    Set(String, Vec<u8>),
    /// Sets a key for so many milliseconds.
    SetFor(String, Vec<u8>, u64),
    /// Sets a key if it has this version; `None`: if it is not there.
    SetIf(String, Option<u64>, Vec<u8>),
    /// Deletes a key.
    Delete(String),
    /// Deletes a key if it has this version.
    DeleteIf(String, u64),
    /// Adds to a number.
    Increment(String, i64),
    /// Lists keys.
    List(String),
    /// Asks how far the store is.
    Revision,
    /// Takes a lock if it is free, and gives it back.
    TryLock(String),
    /// Waits for a lock for so many milliseconds, and gives it back.
    Lock(String, u64),
}

/// What the store said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// A value and its version.
    Value(Option<(Vec<u8>, u64)>),
    /// A revision.
    At(u64),
    /// Whether there was such a key.
    Deleted(bool),
    /// A number.
    Number(i64),
    /// Keys, versions and values.
    Entries(Vec<(String, u64, Vec<u8>)>),
    /// The token of a lock.
    Locked(Option<u64>),
    /// Nothing but that it is done.
    Done,
    /// Why not, as a sentence.
    Refused(String),
}

/// Does it.
#[must_use]
pub fn perform(store: &Store, wish: &Wish) -> Told {
    let told = match wish {
        Wish::Get(key) => store
            .get_raw(key)
            .map(|found| Told::Value(found.map(|found| (found.value.to_vec(), found.version.0)))),
        Wish::Set(key, value) => store.set_raw(key, value.clone()).map(at),
        Wish::SetFor(key, value, millis) => {
            store.set_raw_for(key, value.clone(), Duration::from_millis(*millis)).map(at)
        }
        Wish::SetIf(key, version, value) => {
            let expected = version.map_or(Expect::Absent, |version| Expect::Version(Revision(version)));
            store.compare_and_set_raw(key, expected, value.clone()).map(at)
        }
        Wish::Delete(key) => store.delete(key).map(Told::Deleted),
        Wish::DeleteIf(key, version) => {
            store.compare_and_delete(key, Revision(*version)).map(|()| Told::Done)
        }
        Wish::Increment(key, by) => store.increment(key, *by).map(Told::Number),
        Wish::List(prefix) => list(store, prefix),
        Wish::Revision => store.revision().map(at),
        Wish::TryLock(name) => store.try_lock(name).map(|lock| Told::Locked(lock.map(|lock| lock.token().0))),
        Wish::Lock(name, millis) => {
            let lock = store.lock(name, Duration::from_millis(*millis));
            lock.map(|lock| Told::Locked(Some(lock.token().0)))
        }
    };
    told.unwrap_or_else(|error| Told::Refused(error.to_string()))
}

fn at(revision: Revision) -> Told {
    Told::At(revision.0)
}

fn list(store: &Store, prefix: &str) -> Result<Told, StoreError> {
    let entries = store.list(prefix).map(|entry| {
        let entry = entry?;
        Ok((entry.key, entry.version.0, entry.value.to_vec()))
    });
    entries.collect::<Result<_, _>>().map(Told::Entries)
}

macro_rules! call {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty,)* } -> $reply:ty) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub struct $name { $($(#[doc = $field_doc])+ pub $field: $type,)* }

        impl Call for $name {
            const NAME: &'static str = concat!("store-", stringify!($name));
            type Reply = $reply;
        }
    };
}

call! {
    /// Does all of this, in order.
    Ask {
        /// What.
        wishes: Vec<Wish>,
    } -> Vec<Told>
}

call! {
    /// Increments a key by 1, so many times, with a line in a file for each that was answered.
    Count {
        /// The key.
        key: String,
        /// How many times.
        times: u32,
        /// The file.
        file: Option<PathBuf>,
    } -> i64
}

call! {
    /// Takes a lock, comes to a gate, and gives the lock back when it was let in. Replies the token.
    HoldLock {
        /// Its name.
        name: String,
        /// How long to wait for it, in milliseconds.
        wait_millis: u64,
        /// The gate.
        gate: PathBuf,
    } -> u64
}

call! {
    /// Reads a replica that the worker keeps from the first time on.
    Mirror {
        /// Its prefix, the first time.
        prefix: String,
        /// Only when it has come so far.
        at_least: u64,
    } -> Mirrored
}

/// What is in a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirrored {
    /// How far it is.
    pub revision: u64,
    /// Keys, versions and values.
    pub entries: Vec<(String, u64, Vec<u8>)>,
    /// How often it was filled anew.
    pub resyncs: u64,
}

/// A key that was seen to change, and its value; `None`: it was deleted.
pub type Seen = (String, Option<Vec<u8>>);

call! {
    /// Watches keys, comes to a gate, and tells what it saw up to a key.
    Follow {
        /// Their prefix.
        prefix: String,
        /// The last key.
        until: String,
        /// The gate.
        gate: PathBuf,
    } -> Vec<Seen>
}
