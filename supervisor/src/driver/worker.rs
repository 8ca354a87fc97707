//! One worker's record, and the table of all of them.

use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use ganger_protocol::{Page, Slot};
use mio::Token;

use super::link::Link;
use super::output::{Pipe, Tail};
use super::process::Process;
use super::sample::Statm;
use crate::scheduler::{GroupIndex, WorkerKey};

/// One worker, from the request for its process until it is buried.
pub(super) struct Worker {
    pub(super) key: WorkerKey,
    pub(super) name: Arc<str>,
    pub(super) group: GroupIndex,
    pub(super) slot: u32,
    /// `None` until its process was started.
    pub(super) body: Option<Body>,
}

/// A started worker: its process and all that connects us with it. What has ended is gone.
pub(super) struct Body {
    pub(super) process: Process,
    pub(super) link: Option<Link>,
    pub(super) page: Page,
    pub(super) bell: OwnedFd,
    pub(super) statm: Option<Statm>,
    pub(super) stdout: Option<Pipe>,
    pub(super) stderr: Option<Pipe>,
    pub(super) tail: Tail,
    pub(super) life: Life,
    pub(super) attention: Attention,
}

/// What is known about a process's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It runs.
    Running,
    /// We sent SIGKILL.
    Killed,
    /// It was reaped.
    Ended,
}

/// What a worker's outbox is due at the end of the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attention {
    /// Nothing.
    None,
    /// To be written.
    Flush,
    /// To be written, and the bell rung, because the worker may have no thread free to read.
    FlushAndRing,
}

impl Body {
    /// What the page says: the start mark's ordinal, and the slots.
    pub(super) fn read_page(&self) -> (ganger_protocol::Ordinal, Vec<Slot>) {
        (self.page.mark().started, self.page.slots().collect())
    }

    /// The files that the system watches for us.
    pub(super) fn raw_fds(&self) -> impl Iterator<Item = RawFd> + '_ {
        let link = self.link.as_ref().map(Link::raw_fd);
        let stdout = self.stdout.as_ref().map(Pipe::raw_fd);
        let stderr = self.stderr.as_ref().map(Pipe::raw_fd);
        [link, stdout, stderr].into_iter().flatten()
    }
}

/// The workers, by their keys.
#[derive(Default)]
pub(super) struct Workers {
    places: Vec<Option<Worker>>,
}

impl Workers {
    /// Adds a worker whose process is being started.
    pub(super) fn add(&mut self, worker: Worker) {
        let place = worker.key.index();
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        debug_assert!(self.places[place].is_none(), "a worker's place is free");
        self.places[place] = Some(worker);
    }

    pub(super) fn worker_mut(&mut self, key: WorkerKey) -> Option<&mut Worker> {
        self.places.get_mut(key.index())?.as_mut().filter(|worker| worker.key == key)
    }

    /// The worker's body, if it has one.
    pub(super) fn body_mut(&mut self, key: WorkerKey) -> Option<&mut Body> {
        self.worker_mut(key)?.body.as_mut()
    }

    pub(super) fn remove(&mut self, key: WorkerKey) -> Option<Worker> {
        self.places.get_mut(key.index())?.take_if(|worker| worker.key == key)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        self.places.iter_mut().flatten()
    }
}

/// Which of a worker's files an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Link,
    Stdout,
    Stderr,
    Process,
}

/// A system event's token names the worker, its generation included, and the file: an event for a worker that is
/// gone finds nothing.
pub(super) fn token(worker: WorkerKey, source: Source) -> Token {
    let bits = worker.to_bits();
    let (generation, index) = (bits >> 32, bits & u64::from(u32::MAX));
    debug_assert!(index < 1 << 30, "a thousand million workers");
    Token((generation << 32 | index << 2 | source as u64) as usize)
}

/// The worker and the file of a token made by [`token`].
pub(super) fn of_token(token: Token) -> (WorkerKey, Source) {
    let bits = token.0 as u64;
    let (generation, index) = (bits >> 32, (bits & u64::from(u32::MAX)) >> 2);
    let source = match bits & 3 {
        0 => Source::Link,
        1 => Source::Stdout,
        2 => Source::Stderr,
        _ => Source::Process,
    };
    (WorkerKey::from_bits(generation << 32 | index), source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_the_worker_its_generation_and_the_file() {
        for bits in [0, 1, 7 << 32 | 5, u64::from(u32::MAX - 1) << 32 | ((1 << 30) - 1)] {
            let worker = WorkerKey::from_bits(bits);
            for source in [Source::Link, Source::Stdout, Source::Stderr, Source::Process] {
                assert_eq!(of_token(token(worker, source)), (worker, source));
            }
        }
    }

    #[test]
    fn a_key_of_a_worker_that_is_gone_finds_nothing() {
        let mut workers = Workers::default();
        let (old, new) = (WorkerKey::from_bits(3), WorkerKey::from_bits(1 << 32 | 3));
        workers.add(Worker { key: new, name: "b".into(), group: GroupIndex(0), slot: 0, body: None });
        assert!(workers.worker_mut(old).is_none());
        assert!(workers.remove(old).is_none());
        assert!(workers.remove(new).is_some());
    }
}
