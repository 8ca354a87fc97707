//! The command line.

use std::time::Duration;

use clap::Parser;

use super::reaper::Stops;
use crate::arg::{count, number, positive};

/// Gives jobs while workers are killed at random, and has three witnesses' records checked. Exit status 1 on a breach,
/// and on too few kills.
#[derive(Clone, Copy, Debug, Parser)]
#[command(name = "chaos", max_term_width = 100)]
pub(crate) struct Arguments {
    /// How many jobs
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) jobs: u64,
    /// How many workers
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) workers: usize,
    /// A worker is killed so often, on average
    #[arg(long = "kill-every-ms", value_name = "MS", value_parser = millis)]
    pub(crate) kill_every: Duration,
    /// Jobs and victims are drawn from it; another one each time if it is not said
    #[arg(long, default_value_t = fastrand::u64(..1_000_000), hide_default_value = true, value_parser = number)]
    pub(crate) seed: u64,
    /// Stop and continue workers as well
    #[arg(long)]
    stop: bool,
    /// Roll a group out so often, workers are recycled by age as well; 0: never
    #[arg(long = "roll-every-ms", value_name = "MS", default_value = "0", value_parser = maybe_millis)]
    pub(crate) roll_every: Duration,
    /// Give no job after so many minutes
    #[arg(long = "minutes", value_name = "N", default_value = "60", value_parser = minutes)]
    pub(crate) longest: Duration,
    /// A run with fewer kills has proven nothing
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = number)]
    pub(crate) least_kills: u64,
}

impl Arguments {
    /// Whether workers are stopped, too.
    pub(crate) fn stops(self) -> Stops {
        if self.stop { Stops::Some } else { Stops::None }
    }
}

fn millis(text: &str) -> Result<Duration, String> {
    positive(text).map(Duration::from_millis)
}

fn maybe_millis(text: &str) -> Result<Duration, String> {
    number(text).map(Duration::from_millis)
}

fn minutes(text: &str) -> Result<Duration, String> {
    number(text).map(|minutes| Duration::from_secs(minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        let words = std::iter::once("chaos").chain(line.split_whitespace());
        Arguments::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_documented_form_is_understood() {
        let line =
            "--jobs 1_000_000 --workers 4 --kill-every-ms 20 --seed 7 --stop --roll-every-ms 90 --minutes 2";
        let arguments = parse(line).expect("right");
        assert_eq!((arguments.jobs, arguments.workers, arguments.seed), (1_000_000, 4, 7));
        assert_eq!(arguments.kill_every, Duration::from_millis(20));
        assert_eq!((arguments.stops(), arguments.longest), (Stops::Some, Duration::from_secs(120)));
        assert_eq!((arguments.least_kills, arguments.roll_every), (500, Duration::from_millis(90)));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let none = parse("--jobs 0 --workers 2 --kill-every-ms 5").expect_err("none");
        assert!(none.contains("--jobs") && none.contains("at least 1"), "{none}");
        assert!(parse("--jobs 5 --workers 2").expect_err("missing").contains("--kill-every-ms"));
        assert!(parse("--jobs many").expect_err("no number").contains("many"));
        assert!(parse("--fast").expect_err("unknown").contains("--fast"));
    }
}
