//! The command line.

use super::mutant::Mutant;

/// What to run.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// Prints the mutants and runs none.
    pub list: bool,
    /// Only this one.
    pub only: Option<String>,
    /// Only so many, spread evenly over all: always the same ones.
    pub sample: Option<usize>,
    /// A mutant that so many schedules do not find has survived.
    pub seeds: u64,
    /// How many are tried at once, each in a copy of its own.
    pub jobs: usize,
}

impl Arguments {
    /// Reads the command line.
    ///
    /// # Errors
    /// A sentence about what is wrong with it.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments { list: false, only: None, sample: None, seeds: 20_000, jobs: 1 };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--list" => arguments.list = true,
                "--only" => arguments.only = Some(value()?),
                "--sample" => arguments.sample = Some(positive(&word, &value()?)? as usize),
                "--seeds" => arguments.seeds = positive(&word, &value()?)?,
                "--jobs" => arguments.jobs = positive(&word, &value()?)? as usize,
                _ => return Err(format!("unknown argument {word}")),
            }
        }
        Ok(arguments)
    }

    /// Those that were asked for.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn choose(&self, all: Vec<Mutant>) -> Result<Vec<Mutant>, String> {
        if let Some(name) = &self.only {
            let found: Vec<Mutant> = all.into_iter().filter(|mutant| mutant.name == *name).collect();
            return if found.is_empty() {
                Err(format!("there is no mutant called {name}"))
            } else {
                Ok(found)
            };
        }
        let step = self.sample.map_or(1, |count| all.len().div_ceil(count)).max(1);
        Ok(all.into_iter().step_by(step).collect())
    }
}

fn positive(word: &str, value: &str) -> Result<u64, String> {
    let number = value.replace('_', "").parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{word} needs a number above 0, not {value}"))
}
