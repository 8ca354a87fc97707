//! Keys with a prefix, page by page.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::front::error_of;
use super::{Entry, KeyChange, StoreDoor, StoreError, StoreOp, StoreReply};

/// The entries whose keys begin with a prefix, in the order of their keys; made by [`Store::list`](super::Store::list).
///
/// They are read page by page while it is iterated, at most 1,024 entries or about 64 KiB at once: each page is true at
/// one moment, all of them together need not be. After an error it ends.
#[must_use = "nothing is read before it is iterated"]
pub struct List {
    door: Arc<dyn StoreDoor>,
    prefix: String,
    page: VecDeque<KeyChange>,
    after: Option<String>,
    is_over: bool,
}

impl List {
    pub(super) fn new(door: Arc<dyn StoreDoor>, prefix: &str) -> List {
        List { door, prefix: prefix.into(), page: VecDeque::new(), after: None, is_over: false }
    }

    fn read_page(&mut self) -> Result<(), StoreError> {
        let after = self.after.as_deref().map(Cow::Borrowed);
        let op = StoreOp::List { prefix: Cow::Borrowed(&self.prefix), after };
        match self.door.ask(op)? {
            StoreReply::Page { has_more, entries } => {
                self.is_over = !has_more;
                self.after = entries.last().map(|entry| entry.key.to_string());
                self.page = entries.into();
                Ok(())
            }
            other => Err(error_of(other, &self.prefix)),
        }
    }
}

impl Iterator for List {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.page.is_empty() && !self.is_over {
            if let Err(error) = self.read_page() {
                self.is_over = true;
                return Some(Err(error));
            }
        }
        let KeyChange { key, version, value } = self.page.pop_front()?;
        Some(Ok(Entry { key: String::from(&*key), version, value: value.unwrap_or_default() }))
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
