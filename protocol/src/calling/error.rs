//! Why a call was not answered with a reply.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Address, CodecError, Failure};

/// Why no handler has answered a call, as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// There is no such worker or group.
    UnknownTarget,
    /// The target has no handler for the call.
    UnknownCall,
    /// The group has no worker that can be called now.
    NoWorkers,
    /// The target has not been ready yet.
    NotReady,
    /// The target takes no further calls, because it is about to leave.
    Leaving,
    /// The target died before it had answered.
    Lost,
    /// The time is up.
    TimedOut,
    /// Too much waits for the target already.
    QueueFull,
    /// The caller has too many calls in flight, or all have together.
    TooMany,
    /// The supervisor is being shut down.
    ShuttingDown,
}

/// A call that was not answered with a reply.
///
/// That no handler was called is certain for [`UnknownTarget`](CallError::UnknownTarget),
/// [`UnknownCall`](CallError::UnknownCall), [`NoWorkers`](CallError::NoWorkers), [`NotReady`](CallError::NotReady),
/// [`Leaving`](CallError::Leaving), [`QueueFull`](CallError::QueueFull), [`TooMany`](CallError::TooMany),
/// [`TooLarge`](CallError::TooLarge), [`ManyTargets`](CallError::ManyTargets) and [`Encode`](CallError::Encode).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no worker or group of this name.
    #[error("the call {call:?} was not made: there is no {target}")]
    UnknownTarget {
        /// The call's name.
        call: String,
        /// Whom it was for.
        target: Address,
    },
    /// The target has no handler for the call.
    #[error("{target} has no handler for the call {call:?}; is it registered there, with on_call?")]
    UnknownCall {
        /// The call's name.
        call: String,
        /// Who was called.
        target: Address,
    },
    /// None of the workers that are meant can be called now.
    #[error("the call {call:?} was not made: {target}: there is none that can be called now")]
    NoWorkers {
        /// The call's name.
        call: String,
        /// Whom it was for.
        target: Address,
    },
    /// The target has been started and has not said that it is ready, or busy.
    #[error("the call {call:?} was not made: {target} is not ready yet; call it again when it is")]
    NotReady {
        /// The call's name.
        call: String,
        /// Who was called.
        target: Address,
    },
    /// The target finishes what it holds and leaves.
    #[error("the call {call:?} was not made: {target} is leaving and takes no further calls")]
    Leaving {
        /// The call's name.
        call: String,
        /// Who was called.
        target: Address,
    },
    /// The target died before it had answered: nobody knows how far the handler came.
    #[error("{target} died before it had answered the call {call:?}; how far its handler came is not known")]
    TargetLost {
        /// The call's name.
        call: String,
        /// Who was called.
        target: Address,
    },
    /// The time was up before the target had answered. Its handler may still run.
    #[error("{target} has not answered the call {call:?} within {timeout:?}; its handler may still run")]
    TimedOut {
        /// The call's name.
        call: String,
        /// Who was called.
        target: Address,
        /// How long was waited.
        timeout: Duration,
    },
    /// Too many calls wait for the target already, or too many bytes of them.
    #[error("the call {call:?} was not made: too much waits for {target} already; call less often, or later")]
    QueueFull {
        /// The call's name.
        call: String,
        /// Who was called.
        target: Address,
    },
    /// Too many calls are in flight: of this caller, or of all together.
    #[error("the call {call:?} was not made: too many calls are in flight; wait for some of them first")]
    TooMany {
        /// The call's name.
        call: String,
    },
    /// The argument is over the limit.
    #[error(
        "the call {call:?} was not made: {size} bytes are over the limit of {limit}; raise Builder::payload_limit or send less"
    )]
    TooLarge {
        /// The call's name.
        call: String,
        /// The argument's length in bytes, or that of the names.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The supervisor is being shut down, or has stopped.
    #[error("the call {call:?} to {target} was given up because the supervisor shuts down")]
    ShuttingDown {
        /// The call's name.
        call: String,
        /// Whom it was for.
        target: Address,
    },
    /// The handler answered with a failure, or the target in its place.
    #[error("the call {call:?} failed at {target}: {failure}")]
    Failed {
        /// The call's name.
        call: String,
        /// Who was called.
        target: Address,
        /// What it said: kind, message, details.
        failure: Failure,
    },
    /// One answer was waited for, and many processes were called.
    #[error("the call {call:?} to {target} was not made: it has many answers; use collect")]
    ManyTargets {
        /// The call's name.
        call: String,
        /// Whom it was for.
        target: Address,
    },
    /// The argument cannot be encoded.
    #[error("the call {call:?} was not made: {source}")]
    Encode {
        /// The call's name.
        call: String,
        /// What the encoder said.
        source: CodecError,
    },
    /// The handler answered, but the answer is not the call's reply.
    #[error(
        "the answer of {target} to the call {call:?} is no reply of its: {source}; both ends must be built from the same definition of the call"
    )]
    Decode {
        /// The call's name.
        call: String,
        /// Who answered.
        target: Address,
        /// What the decoder said.
        source: CodecError,
    },
}

impl CallError {
    /// What a refusal says to the caller.
    #[must_use]
    pub fn of(refusal: Refusal, call: String, target: Address, timeout: Duration) -> CallError {
        match refusal {
            Refusal::UnknownTarget => CallError::UnknownTarget { call, target },
            Refusal::UnknownCall => CallError::UnknownCall { call, target },
            Refusal::NoWorkers => CallError::NoWorkers { call, target },
            Refusal::NotReady => CallError::NotReady { call, target },
            Refusal::Leaving => CallError::Leaving { call, target },
            Refusal::Lost => CallError::TargetLost { call, target },
            Refusal::TimedOut => CallError::TimedOut { call, target, timeout },
            Refusal::QueueFull => CallError::QueueFull { call, target },
            Refusal::TooMany => CallError::TooMany { call },
            Refusal::ShuttingDown => CallError::ShuttingDown { call, target },
        }
    }

    /// What the handler said, when it said anything.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            CallError::Failed { failure, .. } => Some(failure),
            CallError::UnknownTarget { .. }
            | CallError::UnknownCall { .. }
            | CallError::NoWorkers { .. }
            | CallError::NotReady { .. }
            | CallError::Leaving { .. }
            | CallError::TargetLost { .. }
            | CallError::TimedOut { .. }
            | CallError::QueueFull { .. }
            | CallError::TooMany { .. }
            | CallError::TooLarge { .. }
            | CallError::ShuttingDown { .. }
            | CallError::ManyTargets { .. }
            | CallError::Encode { .. }
            | CallError::Decode { .. } => None,
        }
    }
}
