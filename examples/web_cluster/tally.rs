//! What the clients saw.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::client::{Answer, Fault, Use};

/// Faults that are shown.
const SHOWN: usize = 10;

/// The edition that was in the store when a page was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due(pub(crate) u64);

/// What the clients saw, all together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answers through connections that were made for them.
    pub(crate) once: u64,
    /// Answers through connections that were kept.
    pub(crate) kept: u64,
    /// Connections that were made to be kept.
    pub(crate) connections: u64,
    /// Of those, the ones that a worker which left has closed, with a word.
    pub(crate) farewells: u64,
    pub(crate) failed: u64,
    pub(crate) resets: u64,
    /// The first of them.
    pub(crate) faults: Vec<String>,
    /// How many editions a page was behind what had been in the store when it was asked for, at most.
    pub(crate) behind: u64,
    /// The processes that answered.
    pub(crate) pids: BTreeSet<u32>,
    /// How long each answer took.
    times: Vec<Duration>,
}

impl Tally {
    pub(crate) fn note_answer(&mut self, usage: Use, answer: &Answer, due: Due, took: Duration) {
        match usage {
            Use::Once => self.once += 1,
            Use::Kept => {
                self.kept += 1;
                self.farewells += u64::from(answer.closes);
            }
        }
        self.behind = self.behind.max(due.0.saturating_sub(answer.edition));
        self.pids.insert(answer.pid);
        self.times.push(took);
    }

    pub(crate) fn note_fault(&mut self, fault: Fault) {
        self.failed += 1;
        self.resets += u64::from(fault.is_reset);
        if self.faults.len() < SHOWN {
            self.faults.push(fault.text);
        }
    }

    pub(crate) fn answers(&self) -> u64 {
        self.once + self.kept
    }

    /// The time that this share of the answers took at most.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        let last = times.len().saturating_sub(1);
        times.get((last as f64 * share) as usize).copied().unwrap_or_default()
    }
}
