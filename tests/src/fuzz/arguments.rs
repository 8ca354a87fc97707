//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::Target;
use crate::arg::number;

/// Feeds bytes that nobody would send to everything that reads bytes. Exit status 1 when something is as it must not be;
/// the input is then written to the corpus.
#[derive(Clone, Debug, Parser)]
#[command(name = "fuzz", max_term_width = 100)]
pub struct Arguments {
    /// How long, all targets together
    #[arg(long = "seconds", value_name = "N", default_value = "60", value_parser = seconds)]
    pub time: Duration,
    /// The first number of the sequence by which inputs change
    #[arg(long, value_name = "SEED", default_value_t = 1, value_parser = number)]
    pub seed: u64,
    /// What is fuzzed
    #[arg(long, value_enum, default_value_t = Choice::All)]
    target: Choice,
    /// Read this input and no other; the name of its directory says for which target
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Write the inputs of the pool that no earlier one makes superfluous into the corpus
    #[arg(long = "keep-pool")]
    pub keeps_pool: bool,
}

/// One target, or all.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Choice {
    All,
    Inbox,
    Messages,
    Scheduler,
    Session,
}

impl Arguments {
    /// What is fuzzed.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        match self.target {
            Choice::All => Target::ALL.to_vec(),
            Choice::Inbox => vec![Target::Inbox],
            Choice::Messages => vec![Target::Messages],
            Choice::Scheduler => vec![Target::Scheduler],
            Choice::Session => vec![Target::Session],
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    number(text).map(Duration::from_secs)
}
