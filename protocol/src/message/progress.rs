//! The head of a report about a request that is being handled.

use serde::{Deserialize, Serialize};

use crate::{Epoch, Ordinal};

/// How far a request is, or a part of its result; the payload is the handler's own. Nobody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressHead {
    /// The request.
    pub ordinal: Ordinal,
    /// The assignment it belongs to.
    pub epoch: Epoch,
}
