//! How the first attempts to start processes went: what `start` waits for.

use crossbeam_channel::Sender;

use super::StartFailure;

/// Counts the first attempts, and tells `start` once: when all are through, or when one fails for good.
pub(super) struct FirstSpawns {
    phase: Phase,
    told: Option<Sender<Result<(), StartFailure>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The scheduler has not yet said all it wants.
    Counting(usize),
    /// So many are not yet through.
    Waiting(usize),
}

impl FirstSpawns {
    pub(super) fn new(told: Sender<Result<(), StartFailure>>) -> FirstSpawns {
        FirstSpawns { phase: Phase::Counting(0), told: Some(told) }
    }

    /// A process is wanted.
    pub(super) fn asked(&mut self) {
        match &mut self.phase {
            Phase::Counting(count) => *count += 1,
            Phase::Waiting(_) => {}
        }
    }

    /// The scheduler has said all it wants at first.
    pub(super) fn all_asked(&mut self) {
        match self.phase {
            Phase::Counting(0) => self.tell(Ok(())),
            Phase::Counting(count) => self.phase = Phase::Waiting(count),
            Phase::Waiting(_) => {}
        }
    }

    /// One was executed, or will be tried again later.
    pub(super) fn passed(&mut self) {
        match &mut self.phase {
            Phase::Counting(_) | Phase::Waiting(0) => {}
            Phase::Waiting(1) => {
                self.phase = Phase::Waiting(0);
                self.tell(Ok(()));
            }
            Phase::Waiting(left) => *left -= 1,
        }
    }

    /// One cannot be executed.
    pub(super) fn fail(&mut self, failure: StartFailure) {
        self.tell(Err(failure));
    }

    fn tell(&mut self, result: Result<(), StartFailure>) {
        if let Some(told) = self.told.take() {
            // `start` has room for one, and may have given up.
            let _ = told.try_send(result);
        }
    }
}
