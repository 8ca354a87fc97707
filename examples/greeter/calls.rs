//! What the two programs say to each other. In a project of your own this is a small library that both depend on.

use ganger::Call;
use serde::{Deserialize, Serialize};

/// Greet somebody.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Greet {
    pub(crate) name: String,
}

impl Call for Greet {
    const NAME: &'static str = "greet";
    type Reply = String;
}

/// What comes with the failure of a [`Greet`], for programs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NameError {
    pub(crate) length: usize,
}

/// Crash in the first attempts, then give the number of the attempt that did not.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stumble {
    pub(crate) times: u16,
}

impl Call for Stumble {
    const NAME: &'static str = "stumble";
    type Reply = u16;
}

/// Think until somebody says stop; the reply is never seen.
#[derive(Serialize, Deserialize)]
pub(crate) struct Ponder;

impl Call for Ponder {
    const NAME: &'static str = "ponder";
    type Reply = ();
}

/// The event by which a worker tells that it ponders.
pub(crate) const PONDERING: &str = "pondering";
/// The event by which the supervisor tells in which language to greet.
pub(crate) const LANGUAGE: &str = "language";
/// The event by which a worker tells that it knows that language now.
pub(crate) const LEARNED: &str = "learned";
