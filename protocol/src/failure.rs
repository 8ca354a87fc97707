//! The answer of a handler that could not do what it was asked.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{CodecError, decode, encode};

/// Why a request was answered with a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FailureKind {
    /// The handler said so.
    Handler,
    /// The handler panicked; the worker is still up.
    Panic,
    /// The handler dropped the request without an answer.
    Dropped,
    /// The argument did not decode, or the reply could not be encoded or sent.
    Codec,
    /// The worker has no handler for the call.
    UnknownCall,
    /// Attachments of the request or of its answer did not arrive, or were more than there may be.
    Attachments,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FailureKind::Handler => "handler error",
            FailureKind::Panic => "panic",
            FailureKind::Dropped => "dropped request",
            FailureKind::Codec => "codec error",
            FailureKind::UnknownCall => "unknown call",
            FailureKind::Attachments => "attachments",
        })
    }
}

/// What the handler says about trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum RetryHint {
    /// The job's own retry rule decides.
    #[default]
    AsConfigured,
    /// Worth another attempt, if the job has any left.
    Again,
    /// Another attempt would end the same way: settle now.
    Never,
}

/// A structured failure: a kind, a message for people, optional details for programs.
///
/// It is not a [`std::error::Error`], so that `?` in a handler can turn every error into one.
///
/// ```
/// use ganger_protocol::{Failure, FailureKind, RetryHint};
///
/// fn parse(text: &str) -> Result<u32, Failure> {
///     Ok(text.parse::<u32>()?)
/// }
///
/// let failure = parse("seven").unwrap_err();
/// assert_eq!(failure.kind, FailureKind::Handler);
/// assert_eq!(failure.message, "invalid digit found in string");
///
/// let failure = Failure::new("disk full").with_details(&28i32).with_retry(RetryHint::Never);
/// assert_eq!(failure.details::<i32>().unwrap().unwrap(), 28);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What sort of failure it is.
    pub kind: FailureKind,
    /// What happened, for a person.
    pub message: String,
    /// What the handler says about another attempt.
    pub retry: RetryHint,
    details: Option<Vec<u8>>,
}

impl Failure {
    /// A handler's own failure.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure::of_kind(FailureKind::Handler, message)
    }

    /// A failure of any kind.
    pub fn of_kind(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), retry: RetryHint::AsConfigured, details: None }
    }

    /// The same failure with a value for the caller's program; a value that cannot be encoded is left out and
    /// the reason is added to the message.
    #[must_use]
    pub fn with_details<T: Serialize + ?Sized>(mut self, details: &T) -> Failure {
        match encode(details) {
            Ok(bytes) => self.details = Some(bytes),
            Err(error) => self.message = format!("{} (details left out: {error})", self.message),
        }
        self
    }

    /// The same failure with a word about trying again.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryHint) -> Failure {
        self.retry = retry;
        self
    }

    /// The details, if the handler gave any, as a `T`.
    #[must_use]
    pub fn details<T: DeserializeOwned>(&self) -> Option<Result<T, CodecError>> {
        self.details.as_deref().map(decode)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Failure::new(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_becomes_a_failure_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot load the model")]
        struct Load(#[source] std::num::ParseIntError);

        let failure = Failure::from(Load("x".parse::<i32>().unwrap_err()));
        assert_eq!(failure.message, "cannot load the model: invalid digit found in string");
    }
}
