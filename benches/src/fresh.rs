//! Parts of a bench that want a process of their own, because memory that was used once is used differently again.

use std::env;
use std::process::{Command, Stdio};

use crate::Outcome;

const WORDS: &str = "GANGER_BENCH_FRESH";
/// The line with the figures: workers may print, too.
const MARK: &str = "figures:";

/// Has this executable do what `words` say, in a process of its own, and gives the figures that it answers.
///
/// # Errors
/// What the system says, or that it failed.
pub fn in_fresh_process(words: &str) -> Outcome<Vec<f64>> {
    let output = Command::new(env::current_exe()?).env(WORDS, words).stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8(output.stdout)?;
    let figures = said.lines().find_map(|line| line.strip_prefix(MARK));
    match figures.filter(|_| output.status.success()) {
        Some(figures) => Ok(figures.split_whitespace().map(str::parse).collect::<Result<_, _>>()?),
        None => {
            Err(format!("the process that was to do {words:?} gave no figures: {}", output.status).into())
        }
    }
}

pub(crate) fn words() -> Option<String> {
    env::var(WORDS).ok()
}

pub(crate) fn answer(figures: &[f64]) {
    let figures: Vec<String> = figures.iter().map(ToString::to_string).collect();
    println!("{MARK} {}", figures.join(" "));
}
