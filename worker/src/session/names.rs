//! The names of calls, each kept once.

use std::collections::HashSet;
use std::sync::Arc;

/// Names beyond this many are not kept: no program has so many calls.
const MOST: usize = 1024;

/// The names seen so far. Most requests have the name of the one before.
#[derive(Debug, Default)]
pub(super) struct Names {
    last: Arc<str>,
    known: HashSet<Arc<str>>,
}

impl Names {
    pub(super) fn intern(&mut self, name: &str) -> Arc<str> {
        if *self.last != *name {
            self.last = self.find(name);
        }
        Arc::clone(&self.last)
    }

    fn find(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.known.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        if self.known.len() < MOST {
            self.known.insert(Arc::clone(&new));
        }
        new
    }
}
