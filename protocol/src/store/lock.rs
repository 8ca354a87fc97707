//! A lock that is held.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::front::done;
use super::{Revision, StoreDoor, StoreError, StoreOp};

/// A lock of the shared store, held until this is dropped or its process has ended; made by
/// [`Store::lock`](super::Store::lock) and [`Store::try_lock`](super::Store::try_lock).
///
/// The lock of a process that died goes to the next who waits as soon as the death is proven, so that no two living
/// processes hold it. Work that outlives its process (a write on its way to some other system) is kept apart by the
/// [`token`](Lock::token), which grows from holder to holder.
#[must_use = "it is released when it is dropped"]
pub struct Lock {
    door: Arc<dyn StoreDoor>,
    name: String,
    token: Revision,
    is_released: bool,
}

impl Lock {
    pub(super) fn new(door: Arc<dyn StoreDoor>, name: &str, token: Revision) -> Lock {
        Lock { door, name: name.into(), token, is_released: false }
    }

    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The fencing token: greater than that of every holder before.
    #[must_use]
    pub fn token(&self) -> Revision {
        self.token
    }

    /// Gives the lock back and waits until that is done. Dropping it does not wait.
    ///
    /// # Errors
    /// [`StoreError::Unanswered`], [`StoreError::Gone`].
    pub fn release(mut self) -> Result<(), StoreError> {
        self.is_released = true;
        let reply = self.door.ask(self.unlock())?;
        done(reply, &self.name).map(drop)
    }

    fn unlock(&self) -> StoreOp<'_> {
        StoreOp::Unlock { name: Cow::Borrowed(&self.name), token: self.token }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.is_released {
            self.door.tell(self.unlock());
        }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("name", &self.name).field("token", &self.token).finish_non_exhaustive()
    }
}
