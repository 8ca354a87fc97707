//! The command line.

use clap::Parser;

use super::mutant::Mutant;
use crate::arg::{count, positive};

/// Plants mistakes in copies of the sources, and sees whether they are found. Exit status 1 when one is not.
#[derive(Clone, Debug, Parser)]
#[command(name = "mutants", max_term_width = 100)]
pub struct Arguments {
    /// Print the mutants and run none
    #[arg(long)]
    pub list: bool,
    /// Only this one
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
    /// Only so many, spread evenly over all: always the same ones
    #[arg(long, value_name = "N", value_parser = count)]
    pub sample: Option<usize>,
    /// A mutant that so many schedules do not find has survived
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = positive)]
    pub seeds: u64,
    /// How many are tried at once, each in a copy of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count)]
    pub jobs: usize,
}

impl Arguments {
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
