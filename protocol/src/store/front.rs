//! What users see of the shared store.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    Condition, Expect, List, Lock, Replica, Revision, STORE_VALUE_BYTES, StoreDoor, StoreError, StoreOp,
    StoreReply, Versioned, Watch,
};
use crate::{CodecError, decode, encode};

/// The store that a supervisor and all its workers share: keys with versioned values, counters, locks.
///
/// It lives in the supervisor, in memory, and does one operation after the other: whatever order two of them are
/// done in, everybody sees the same. It has the same methods in the supervisor (`Supervisor::store`), where an
/// operation is a command to the loop, and in a worker (`Control::store`), where it is a message to the supervisor and
/// one back. Clones are the same store, for any thread; each method waits for its answer: in a worker at most
/// 30 s, in the supervisor until the loop, which always answers, has ended.
///
/// Values are encoded as the arguments of calls are, with `serde`; `…_raw` takes and gives bytes. A value that is read
/// as another type than it was written as is an error at best: types are not stored.
///
/// An operation that was answered is done, whatever happens to whoever asked. One that was not, because the worker
/// died meanwhile, was done once or not at all.
#[derive(Clone)]
pub struct Store {
    door: Arc<dyn StoreDoor>,
}

impl Store {
    /// The store behind a door.
    #[must_use]
    pub fn new(door: Arc<dyn StoreDoor>) -> Store {
        Store { door }
    }

    /// The value of a key, and its version; `None` if there is no such key.
    ///
    /// # Errors
    /// [`StoreError::Codec`] when the value is not a `T`; limits; [`StoreError::Gone`].
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Versioned<T>>, StoreError> {
        self.get_raw(key)?
            .map(|found| Ok(Versioned { value: decode(&found.value)?, version: found.version }))
            .transpose()
    }

    /// As [`get`](Store::get), the bytes as they are.
    ///
    /// # Errors
    /// Limits; [`StoreError::Gone`].
    pub fn get_raw(&self, key: &str) -> Result<Option<Versioned<Bytes>>, StoreError> {
        match self.door.ask(StoreOp::Get { key: key.into() })? {
            StoreReply::Value { version, value } => Ok(Some(Versioned { value, version })),
            StoreReply::Absent => Ok(None),
            other => Err(error_of(other, key)),
        }
    }

    /// Sets a key and gives its new version. A time to live that it had is over.
    ///
    /// # Errors
    /// [`StoreError::Codec`] when the value cannot be encoded; limits; [`StoreError::Gone`].
    pub fn set<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<Revision, StoreError> {
        self.put(key, Condition::Always, None, encode(value)?.into())
    }

    /// As [`set`](Store::set), with bytes.
    ///
    /// # Errors
    /// As [`set`](Store::set).
    pub fn set_raw(&self, key: &str, value: impl Into<Vec<u8>>) -> Result<Revision, StoreError> {
        self.put(key, Condition::Always, None, value.into().into())
    }

    /// As [`set`](Store::set), and deletes the key when `ttl` is over, unless it is set again before. An increment
    /// leaves the time as it is.
    ///
    /// # Errors
    /// As [`set`](Store::set).
    pub fn set_for<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        ttl: Duration,
    ) -> Result<Revision, StoreError> {
        self.put(key, Condition::Always, Some(ttl), encode(value)?.into())
    }

    /// As [`set_for`](Store::set_for), with bytes.
    ///
    /// # Errors
    /// As [`set`](Store::set).
    pub fn set_raw_for(
        &self,
        key: &str,
        value: impl Into<Vec<u8>>,
        ttl: Duration,
    ) -> Result<Revision, StoreError> {
        self.put(key, Condition::Always, Some(ttl), value.into().into())
    }

    /// Sets a key only if it is as `expected`, and gives its new version. A time to live that it had is over.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not; else as [`set`](Store::set).
    pub fn compare_and_set<T: Serialize + ?Sized>(
        &self,
        key: &str,
        expected: Expect,
        value: &T,
    ) -> Result<Revision, StoreError> {
        self.put(key, condition(expected), None, encode(value)?.into())
    }

    /// As [`compare_and_set`](Store::compare_and_set), with bytes.
    ///
    /// # Errors
    /// As [`compare_and_set`](Store::compare_and_set).
    pub fn compare_and_set_raw(
        &self,
        key: &str,
        expected: Expect,
        value: impl Into<Vec<u8>>,
    ) -> Result<Revision, StoreError> {
        self.put(key, condition(expected), None, value.into().into())
    }

    /// Deletes a key; says whether there was one.
    ///
    /// # Errors
    /// Limits; [`StoreError::Gone`].
    pub fn delete(&self, key: &str) -> Result<bool, StoreError> {
        match self.door.ask(StoreOp::Delete { key: key.into(), when: Condition::Always })? {
            StoreReply::Done { .. } => Ok(true),
            StoreReply::Absent => Ok(false),
            other => Err(error_of(other, key)),
        }
    }

    /// Deletes a key only if its version is `version`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not; limits; [`StoreError::Gone`].
    pub fn compare_and_delete(&self, key: &str, version: Revision) -> Result<(), StoreError> {
        let reply = self.door.ask(StoreOp::Delete { key: key.into(), when: Condition::At(version) })?;
        done(reply, key).map(drop)
    }

    /// Adds `by` to a key and gives the sum; a key that is not there counts as 0. What is stored is an `i64`, and is
    /// read, and can be set, as one: other types of numbers are other bytes.
    ///
    /// # Errors
    /// [`StoreError::NotANumber`], [`StoreError::Overflow`]; limits; [`StoreError::Gone`].
    pub fn increment(&self, key: &str, by: i64) -> Result<i64, StoreError> {
        match self.door.ask(StoreOp::Increment { key: key.into(), by })? {
            StoreReply::Number { value, .. } => Ok(value),
            other => Err(error_of(other, key)),
        }
    }

    /// The keys that begin with `prefix`, in their order, with their values. All keys begin with "".
    pub fn list(&self, prefix: &str) -> List {
        List::new(Arc::clone(&self.door), prefix)
    }

    /// How far the store is: the revision of its last change.
    ///
    /// # Errors
    /// [`StoreError::Gone`].
    pub fn revision(&self) -> Result<Revision, StoreError> {
        done(self.door.ask(StoreOp::Revision)?, "")
    }

    /// Waits for the lock called `name`, for up to `timeout`. Who waits longest gets it first. Locks have names of
    /// their own, apart from the keys. They are not reentrant: who asks for a lock that he holds waits for himself.
    ///
    /// # Errors
    /// [`StoreError::LockTimedOut`]; limits; [`StoreError::Gone`].
    pub fn lock(&self, name: &str, timeout: Duration) -> Result<Lock, StoreError> {
        let timed_out = || StoreError::LockTimedOut { name: name.into(), waited: timeout };
        self.locked(name, timeout)?.ok_or_else(timed_out)
    }

    /// The lock called `name`, if nobody holds it or waits for it.
    ///
    /// # Errors
    /// Limits; [`StoreError::Gone`].
    pub fn try_lock(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        self.locked(name, Duration::ZERO)
    }

    /// Tells from now on what becomes of the keys that begin with `prefix`.
    ///
    /// # Errors
    /// Limits; [`StoreError::Gone`].
    pub fn watch(&self, prefix: &str) -> Result<Watch, StoreError> {
        Watch::start(&self.door, prefix)
    }

    /// A copy of the keys that begin with `prefix`, kept in this process and kept up to date: reading it costs no way
    /// to the supervisor. Waits until the copy is whole.
    ///
    /// # Errors
    /// Limits; [`StoreError::Unanswered`], [`StoreError::Gone`].
    pub fn replica(&self, prefix: &str) -> Result<Replica, StoreError> {
        Replica::start(&self.door, prefix)
    }

    fn put(
        &self,
        key: &str,
        when: Condition,
        ttl: Option<Duration>,
        value: Bytes,
    ) -> Result<Revision, StoreError> {
        if value.len() > STORE_VALUE_BYTES {
            let (length, limit) = (value.len() as u64, STORE_VALUE_BYTES as u64);
            return Err(StoreError::TooLarge { key: key.into(), length, limit });
        }
        let ttl_nanos = ttl.map(nanos);
        done(self.door.ask(StoreOp::Set { key: key.into(), when, ttl_nanos, value })?, key)
    }

    fn locked(&self, name: &str, timeout: Duration) -> Result<Option<Lock>, StoreError> {
        let op = StoreOp::Lock { name: Cow::Borrowed(name), wait_nanos: nanos(timeout) };
        match self.door.ask(op)? {
            StoreReply::Locked { token } => Ok(Some(Lock::new(Arc::clone(&self.door), name, token))),
            StoreReply::NotLocked => Ok(None),
            other => Err(error_of(other, name)),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

fn condition(expected: Expect) -> Condition {
    match expected {
        Expect::Absent => Condition::Absent,
        Expect::Version(version) => Condition::At(version),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn done(reply: StoreReply, key: &str) -> Result<Revision, StoreError> {
    match reply {
        StoreReply::Done { revision } => Ok(revision),
        other => Err(error_of(other, key)),
    }
}

/// What an answer says that is not the one hoped for.
pub(super) fn error_of(reply: StoreReply, key: &str) -> StoreError {
    match reply {
        StoreReply::Refused(refusal) => refusal.about(key),
        other => StoreError::Codec(CodecError::Decode {
            type_name: "the store's answer to this operation",
            length: 0,
            reason: format!("it was {other:?}"),
        }),
    }
}
