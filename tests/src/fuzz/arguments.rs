//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use super::Target;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// How long, all targets together.
    pub time: Duration,
    /// The first number of the sequence by which inputs change.
    pub seed: u64,
    /// What is fuzzed.
    pub targets: Vec<Target>,
    /// One input to read instead; its directory's name says for which target.
    pub replay: Option<PathBuf>,
    /// Writes the inputs of the pool that no earlier one makes superfluous into the corpus.
    pub keeps_pool: bool,
}

impl Default for Arguments {
    fn default() -> Arguments {
        let time = Duration::from_secs(60);
        Arguments { time, seed: 1, targets: Target::ALL.to_vec(), replay: None, keeps_pool: false }
    }
}

impl Arguments {
    /// Reads the command line.
    ///
    /// # Errors
    /// A sentence about what is wrong with it.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments::default();
        while let Some(word) = words.next() {
            if word == "--keep-pool" {
                arguments.keeps_pool = true;
                continue;
            }
            let value = words.next().ok_or(format!("{word} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{word} needs a number, not {value}"));
            match word.as_str() {
                "--seconds" => arguments.time = Duration::from_secs(number()?),
                "--seed" => arguments.seed = number()?,
                "--target" => arguments.targets = targets(&value)?,
                "--replay" => arguments.replay = Some(PathBuf::from(&value)),
                _ => return Err(format!("unknown argument {word}")),
            }
        }
        Ok(arguments)
    }
}

fn targets(name: &str) -> Result<Vec<Target>, String> {
    if name == "all" {
        return Ok(Target::ALL.to_vec());
    }
    let found: Vec<Target> = Target::ALL.into_iter().filter(|target| target.name() == name).collect();
    if found.is_empty() { Err(format!("there is no target {name}")) } else { Ok(found) }
}
