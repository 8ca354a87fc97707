//! A job's attachments, open here for as long as a worker may have to be given them.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use ganger_protocol::{Attachment, MAX_ATTACHMENTS};
use parking_lot::Mutex;

/// What a caller attaches to a job.
#[derive(Clone, Debug, Default)]
pub(crate) struct Baggage {
    fds: Vec<Arc<OwnedFd>>,
    streams: usize,
}

impl Baggage {
    pub(crate) fn add(&mut self, attachment: Attachment) {
        self.streams += usize::from(attachment.is_stream());
        self.fds.push(Arc::new(attachment.into_fd()));
    }

    pub(crate) fn len(&self) -> usize {
        self.fds.len()
    }

    pub(crate) fn is_too_much(&self) -> bool {
        self.len() > MAX_ATTACHMENTS
    }
}

/// The descriptors of one job. What is on its way to a worker is shared with that worker's outbox.
pub(crate) type Descriptors = Arc<[Arc<OwnedFd>]>;

/// A job's attachments until they are released. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    fds: Arc<Mutex<Option<Descriptors>>>,
    streams: usize,
}

impl Held {
    pub(crate) fn new(baggage: &Baggage) -> Held {
        let fds = Arc::new(Mutex::new(Some(baggage.fds.iter().cloned().collect())));
        Held { fds, streams: baggage.streams }
    }

    /// How many of them are ends of streams.
    pub(crate) fn streams(&self) -> usize {
        self.streams
    }

    pub(super) fn fds(&self) -> Option<Descriptors> {
        self.fds.lock().clone()
    }

    pub(super) fn release(&self) {
        drop(self.fds.lock().take());
    }
}
