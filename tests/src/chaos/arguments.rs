//! The command line.

use std::time::Duration;

use super::reaper::Stops;

/// What a run is asked to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arguments {
    pub(crate) jobs: u64,
    pub(crate) workers: usize,
    pub(crate) kill_every: Duration,
    pub(crate) seed: u64,
    pub(crate) stops: Stops,
    /// No job is given after so long.
    pub(crate) longest: Duration,
    /// A run with fewer kills has proven nothing.
    pub(crate) least_kills: u64,
}

/// What is said about wrong arguments.
pub(crate) const USAGE: &str = "chaos --jobs N --workers W --kill-every-ms T [--seed S] [--stop] [--minutes M] \
                                [--least-kills K]";

impl Arguments {
    /// # Errors
    /// A sentence about what is wrong.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments {
            jobs: 0,
            workers: 0,
            kill_every: Duration::ZERO,
            seed: fastrand::u64(..1_000_000),
            stops: Stops::None,
            longest: Duration::from_secs(60 * 60),
            least_kills: 500,
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut number = || {
                let value = words.next().ok_or(format!("{word} needs a number"))?;
                value
                    .replace('_', "")
                    .parse::<u64>()
                    .map_err(|_| format!("{word} needs a number, not {value}"))
            };
            match word.as_str() {
                "--jobs" => arguments.jobs = number()?,
                "--workers" => arguments.workers = number()? as usize,
                "--kill-every-ms" => arguments.kill_every = Duration::from_millis(number()?),
                "--seed" => arguments.seed = number()?,
                "--stop" => arguments.stops = Stops::Some,
                "--minutes" => arguments.longest = Duration::from_secs(number()? * 60),
                "--least-kills" => arguments.least_kills = number()?,
                _ => return Err(format!("unknown argument {word}")),
            }
        }
        arguments.checked()
    }

    fn checked(self) -> Result<Arguments, String> {
        for (name, is_missing) in [
            ("--jobs", self.jobs == 0),
            ("--workers", self.workers == 0),
            ("--kill-every-ms", self.kill_every.is_zero()),
        ] {
            if is_missing {
                return Err(format!("{name} must be at least 1"));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_documented_form_is_understood() {
        let line = "--jobs 1_000_000 --workers 4 --kill-every-ms 20 --seed 7 --stop --minutes 2";
        let arguments = parse(line).expect("right");
        assert_eq!((arguments.jobs, arguments.workers, arguments.seed), (1_000_000, 4, 7));
        assert_eq!(arguments.kill_every, Duration::from_millis(20));
        assert_eq!((arguments.stops, arguments.longest), (Stops::Some, Duration::from_secs(120)));
        assert_eq!(arguments.least_kills, 500);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert!(parse("--jobs 5 --workers 2").expect_err("missing").contains("--kill-every-ms"));
        assert!(parse("--jobs many").expect_err("no number").contains("many"));
        assert!(parse("--fast").expect_err("unknown").contains("--fast"));
    }
}
