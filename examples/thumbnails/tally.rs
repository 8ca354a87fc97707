//! What became of each picture.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use ganger::{JobError, JobResult};

use crate::album::{Album, SPOILED};
use crate::calls::{Flaw, Shrink};

/// The exit status of a program that Ctrl-C ended, by custom.
pub(crate) const INTERRUPTED: u8 = 130;

/// The results so far.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) done: usize,
    /// How many of them needed more than one attempt.
    pub(crate) retried: usize,
    pub(crate) source_bytes: u64,
    pub(crate) bytes: u64,
    pub(crate) by_worker: BTreeMap<Arc<str>, usize>,
    /// By place in the album.
    pub(crate) failed: BTreeMap<usize, Failed>,
    /// Pictures that were not begun because the supervisor was told to stop.
    pub(crate) not_begun: usize,
}

/// Why there is no thumbnail.
pub(crate) enum Failed {
    Refused(String),
    Ended(JobError),
}

/// What makes a run a success.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    NoFailure,
    /// The good samples are done and the spoiled ones are not.
    WhatWasSpoiled,
}

impl Tally {
    pub(crate) fn take(&mut self, place: usize, result: JobResult<Shrink>) {
        match result {
            Ok(response) => {
                self.done += 1;
                self.retried += usize::from(response.attempt > 1);
                self.source_bytes += response.data.source_bytes;
                self.bytes += response.data.bytes;
                *self.by_worker.entry(response.worker).or_default() += 1;
            }
            Err(error) => drop(self.failed.insert(place, Failed::Ended(error))),
        }
    }

    pub(crate) fn settled(&self) -> usize {
        self.done + self.failed.len()
    }

    pub(crate) fn poisoned(&self) -> usize {
        self.failed.values().filter(|failed| failed.is_poisoned()).count()
    }

    /// 0 when all went as expected, 1 when not, [`INTERRUPTED`] when pictures are left.
    pub(crate) fn exit_code(&self, album: &Album, expected: Expected) -> ExitCode {
        let is_expected = match expected {
            Expected::NoFailure => self.failed.is_empty(),
            Expected::WhatWasSpoiled => {
                (0..album.pictures.len()).all(|place| self.is_as_spoiled(album, place))
            }
        };
        match (self.not_begun, is_expected) {
            (0, true) => ExitCode::SUCCESS,
            (0, false) => ExitCode::FAILURE,
            (_, _) => ExitCode::from(INTERRUPTED),
        }
    }

    fn is_as_spoiled(&self, album: &Album, place: usize) -> bool {
        let name = album.name(place);
        let flaw = SPOILED.iter().find(|(spoiled, _)| *spoiled == name).map_or(Flaw::None, |(_, flaw)| *flaw);
        match (flaw, self.failed.get(&place)) {
            (Flaw::None | Flaw::AbortsOnce, failed) => failed.is_none(),
            (Flaw::Truncated | Flaw::NotAPicture, failed) => {
                failed.is_some_and(|failed| !failed.is_poisoned())
            }
            (Flaw::Aborts, failed) => failed.is_some_and(Failed::is_poisoned),
        }
    }
}

impl Failed {
    pub(crate) fn is_poisoned(&self) -> bool {
        matches!(self, Failed::Ended(JobError::Poisoned { .. }))
    }

    /// One line for people.
    pub(crate) fn reason(&self) -> String {
        match self {
            Failed::Refused(reason) => reason.clone(),
            // The job's id and the call's name are no news to who reads the table.
            Failed::Ended(JobError::Failed { failure, .. }) => failure.message.clone(),
            Failed::Ended(error) => error.to_string(),
        }
    }
}
