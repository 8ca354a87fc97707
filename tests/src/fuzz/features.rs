//! What an input showed: how the driver tells one that is worth keeping.

use std::hash::{DefaultHasher, Hash, Hasher};

/// What an input showed, as numbers.
#[derive(Clone, Debug, Default)]
pub struct Features {
    seen: Vec<u64>,
    last: u64,
}

impl Features {
    /// Notes a sight.
    pub fn note(&mut self, sight: impl Hash) {
        self.seen.push(number(&sight));
    }

    /// Notes a step, and that it came after the one before.
    pub(super) fn step(&mut self, step: impl Hash) {
        let step = number(&step);
        self.seen.push(number(&(self.last, step)));
        self.last = step;
    }

    pub(super) fn clear(&mut self) {
        self.seen.clear();
        self.last = 0;
    }

    pub(super) fn seen(&self) -> &[u64] {
        &self.seen
    }
}

fn number(sight: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    sight.hash(&mut hasher);
    hasher.finish()
}
