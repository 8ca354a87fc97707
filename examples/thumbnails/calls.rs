//! What the supervisor asks of its workers. Both roles are built from these definitions.

use std::ffi::OsString;

use ganger::Call;
use serde::{Deserialize, Serialize};

/// Make a small picture of a large one.
///
/// The two are paths; serde refuses those that are not UTF-8, but takes any `OsString`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Shrink {
    pub(crate) source: OsString,
    pub(crate) target: OsString,
    /// The longer edge of the thumbnail, in pixels.
    pub(crate) size: u32,
}

impl Call for Shrink {
    const NAME: &'static str = "shrink";
    type Reply = Thumbnail;
}

/// A thumbnail that was made.
#[derive(Serialize, Deserialize)]
pub(crate) struct Thumbnail {
    pub(crate) source_bytes: u64,
    pub(crate) bytes: u64,
}

/// Paint a sample picture into a file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Paint {
    pub(crate) target: OsString,
    /// Which picture: the same number gives the same one.
    pub(crate) number: u32,
    pub(crate) flaw: Flaw,
}

impl Call for Paint {
    const NAME: &'static str = "paint";
    type Reply = ();
}

/// What is wrong with a sample, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Flaw {
    None,
    /// The file ends too early.
    Truncated,
    /// The file is a text whose name says that it is a picture.
    NotAPicture,
    /// The worker that reads it aborts.
    Aborts,
    /// The first worker that reads it aborts.
    AbortsOnce,
}
