//! What a handler reports before it answers, and how fast.

use std::time::Duration;

use ganger_protocol::{Body, CodecError, Kind, ProgressHead, Time};

use super::{EMIT_PENDING_LIMIT, Ending, Session, Ticket, body_len};

/// The time for which the two limits below are.
const STEP: Duration = Duration::from_millis(100);

/// Reports that a worker sends in a step: a tenth of what a supervisor hears before it reads the worker more slowly, so
/// that reports hold up no answer.
const REPORTS_A_STEP: u32 = 100;

/// Bytes of them; a single larger one is sent all the same.
const BYTES_A_STEP: usize = 2 << 20;

/// What this worker has reported in the current step.
#[derive(Debug, Default)]
pub(super) struct Pace {
    step: Time,
    reports: u32,
    bytes: usize,
}

impl Pace {
    /// Whether one more report keeps to the pace; it counts then.
    fn allows(&mut self, bytes: usize, now: Time) -> bool {
        if now.since(self.step) >= STEP {
            *self = Pace { step: now, ..Pace::default() };
        }
        let is_allowed =
            self.reports < REPORTS_A_STEP && (self.bytes == 0 || self.bytes + bytes <= BYTES_A_STEP);
        if is_allowed {
            self.reports += 1;
            self.bytes += bytes;
        }
        is_allowed
    }
}

/// Why progress was not reported. The job goes on all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgressError {
    /// The value cannot be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The value is over the limit for events, which is also that of reports.
    #[error(
        "a report of {length} bytes is over the limit of {limit}; report less, or raise Builder::event_limit"
    )]
    TooLarge {
        /// The value's length in bytes.
        length: usize,
        /// The supervisor's limit in bytes.
        limit: usize,
    },
    /// The worker has reported as much as it may for now: 1,000 reports or 20 MiB a second, all its requests together.
    #[error(
        "the report was not sent: a worker sends at most 1,000 reports and 20 MiB of them a second; report less often"
    )]
    TooFast,
    /// The supervisor does not read as fast as this worker writes.
    #[error(
        "the report was not sent: {pending_bytes} bytes still wait to be read by the supervisor; report less often"
    )]
    Full {
        /// Unwritten bytes.
        pending_bytes: usize,
    },
    /// What is handled is no job, or is answered: nobody could read the report.
    #[error("the report was not sent: only a job that is not yet answered has progress")]
    NoJob,
    /// The worker has said goodbye, or lost its supervisor.
    #[error("the report was not sent: the worker has left its supervisor")]
    Left,
}

impl Session {
    /// Reports something about a request in hand.
    ///
    /// # Errors
    /// [`ProgressError`] when it is too large, too soon, or the request is not in hand.
    pub fn progress(&mut self, ticket: Ticket, payload: Body<'_>, now: Time) -> Result<(), ProgressError> {
        let (length, limit) = (body_len(&payload), self.limits.event);
        if self.ending == Ending::Left {
            return Err(ProgressError::Left);
        }
        if !self.hands.holds(ticket) {
            return Err(ProgressError::NoJob);
        }
        if length > limit {
            return Err(ProgressError::TooLarge { length, limit });
        }
        if self.pending() >= EMIT_PENDING_LIMIT {
            return Err(ProgressError::Full { pending_bytes: self.pending() });
        }
        if !self.pace.allows(length, now) {
            return Err(ProgressError::TooFast);
        }
        let head = ProgressHead { ordinal: ticket.ordinal(), epoch: ticket.epoch() };
        self.outbox.frame(Kind::Progress, &head, payload);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_step_and_so_many_bytes_and_then_again() {
        let start = Time::from_nanos(1_000_000_000);
        let mut pace = Pace::default();
        let allowed = (0..150).filter(|_| pace.allows(10, start)).count();
        assert_eq!(allowed, 100);
        assert!(!pace.allows(10, start + Duration::from_millis(99)));
        assert!(pace.allows(5 << 20, start + STEP), "a large one is sent by itself");
        assert!(!pace.allows(1, start + STEP));
        assert!(pace.allows(1, start + 2 * STEP));
    }
}
