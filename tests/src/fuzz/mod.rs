//! Fuzzing: bytes that nobody would send, against everything that reads bytes.
//!
//! A *target* is a function of one byte string that panics when something is as it must not be. Each is used three
//! times: by the driver here, which runs on a stable compiler and in CI; by the test that replays
//! `tests/corpus/<target>/`; and by the cargo-fuzz targets in `fuzz/`, where a nightly compiler is at hand.
//!
//! | target | the bytes are | what must hold |
//! | --- | --- | --- |
//! | `inbox` | a stream of frames, and how it is cut | the same frames come out however it is cut; memory stays within twice the bytes received and [`FIXED_BYTES`](crate::rig::FIXED_BYTES); what decodes is the same after it was encoded again |
//! | `messages` | a frame's head and payload, a [`Failure`](ganger_protocol::Failure), the words of a page | both decoders, the failure's and the page's readers return |
//! | `scheduler` | a script of what workers, owners and the clock do | [`Rig`](crate::rig::Rig): after each step the scheduler's own check, one settlement a job, replies only from who held it, everything ends |
//! | `session` | a script of what a supervisor writes and a worker's threads do | the worker's pure half keeps its capacity, its slots and its word: what it writes is what a supervisor may hear |
//!
//! The driver keeps a pool: the corpus, inputs made for the purpose, and every mutated input that showed something
//! new (an error, a pair of steps, an outcome not seen before). A mutation flips, sets, inserts, removes, repeats,
//! swaps and splices bytes, lies about lengths, and, in streams, does the same with whole frames. What fails is made
//! smaller, written to the corpus's directory and named; an input that takes ten seconds fails as well.
//!
//! ```text
//! cargo run --release -p ganger-tests --bin fuzz -- --seconds 60 [--seed S] [--target all]
//! cargo run --release -p ganger-tests --bin fuzz -- --replay tests/corpus/inbox/some-file
//! ```

mod arguments;
mod corpus;
mod driver;
mod features;
mod inbox;
mod messages;
mod mutate;
mod scheduler;
mod session;
mod tape;

use std::path::PathBuf;

pub use arguments::Arguments;
pub use driver::{Campaign, Finding, Sums, campaign, main, replay_corpus};
pub use features::Features;

/// What is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The reader of frames, and what decodes them.
    Inbox,
    /// Heads, failures and pages by themselves.
    Messages,
    /// The supervisor's mind and ear.
    Scheduler,
    /// The worker's pure half.
    Session,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 4] = [Target::Inbox, Target::Messages, Target::Scheduler, Target::Session];

    /// Its name, which is also its directory's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Target::Inbox => "inbox",
            Target::Messages => "messages",
            Target::Scheduler => "scheduler",
            Target::Session => "session",
        }
    }

    /// Reads one input.
    ///
    /// # Panics
    /// When something is as it must not be.
    pub fn run(self, bytes: &[u8], features: &mut Features) {
        match self {
            Target::Inbox => inbox::run(bytes, features),
            Target::Messages => messages::run(bytes, features),
            Target::Scheduler => scheduler::run(bytes, features),
            Target::Session => session::run(bytes, features),
        }
    }

    /// Inputs to begin with, besides the corpus.
    fn seeds(self, rng: &mut fastrand::Rng) -> Vec<Vec<u8>> {
        match self {
            Target::Inbox => inbox::seeds(rng),
            Target::Messages => messages::seeds(),
            Target::Scheduler | Target::Session => scripts(rng),
        }
    }

    /// Where its corpus is.
    #[must_use]
    pub fn directory(self) -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus")).join(self.name())
    }
}

/// Scripts have no grammar: any bytes are one.
fn scripts(rng: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    let script = |rng: &mut fastrand::Rng| (0..rng.usize(50..600)).map(|_| rng.u8(..)).collect();
    (0..16).map(|_| script(rng)).collect()
}
