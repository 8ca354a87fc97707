//! The worker's end of the window: requests received and not started, in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{Epoch, Fetched, Generation, JobId, Ordinal, Time};

/// A request as it was received.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    /// Its place in the order of starts.
    pub ordinal: Ordinal,
    /// The generation of the start mark that it may be started under.
    pub generation: Generation,
    /// Which assignment of the job it is.
    pub epoch: Epoch,
    /// Which attempt of the job it is, from 1.
    pub attempt: u16,
    /// The job.
    pub job: JobId,
    /// When the job was enqueued.
    pub enqueued: Time,
    /// How long the handler may run.
    pub run_timeout: Option<Duration>,
    /// The call's name.
    pub name: Arc<str>,
    /// The job's headers.
    pub headers: Vec<(String, String)>,
    /// The argument.
    pub payload: Vec<u8>,
    /// What came with it, or that it did not.
    pub attachments: Fetched,
}

impl Received {
    /// Whether anything came with it, or should have.
    #[must_use]
    pub fn has_attachments(&self) -> bool {
        match &self.attachments {
            Ok(attachments) => !attachments.came_none(),
            Err(_) => true,
        }
    }
}

/// Requests received and not started.
#[derive(Debug, Default)]
pub(super) struct Window {
    waiting: VecDeque<Received>,
}

impl Window {
    /// Generations only move on, so that a request of another generation says that all before it were taken
    /// back: a long handler does not make the worker collect what it will never start.
    pub(super) fn push(&mut self, request: Received) {
        if self.waiting.back().is_some_and(|last| last.generation != request.generation) {
            self.waiting.clear();
        }
        self.waiting.push_back(request);
    }

    /// The next request of this generation; those of earlier ones were taken back and are dropped.
    pub(super) fn pop_current(&mut self, generation: Generation) -> Option<Received> {
        if self.has_current(generation) { self.waiting.pop_front() } else { None }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn has_current(&mut self, generation: Generation) -> bool {
        while let Some(first) = self.waiting.front() {
            if first.generation == generation {
                return true;
            }
            self.waiting.pop_front();
        }
        false
    }
}
