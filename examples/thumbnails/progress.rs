//! A progress bar in a terminal, a line now and then elsewhere. Both go to standard error.

use console::style;
use indicatif::{ProgressBar, ProgressStyle};

use crate::tally::Tally;

/// How far a piece of work is.
pub(crate) struct Progress {
    bar: ProgressBar,
    what: &'static str,
}

impl Progress {
    pub(crate) fn new(what: &'static str, total: usize) -> Progress {
        let bar = ProgressBar::new(total as u64);
        let look = ProgressStyle::with_template(
            "{prefix:>17} {bar:32.cyan/dim} {pos:>5}/{len} {elapsed:>4} {wide_msg}",
        )
        .expect("the template is right")
        .progress_chars("━╸─");
        bar.set_style(look);
        bar.set_prefix(what);
        Progress { bar, what }
    }

    pub(crate) fn step(&self) {
        self.bar.inc(1);
        self.tell_quarter();
    }

    /// Shows what went wrong so far.
    pub(crate) fn show(&self, tally: &Tally, deaths: usize) {
        self.bar.set_message(bad_news(tally, deaths));
    }

    /// Tells something that happened, above the bar.
    pub(crate) fn tell(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{} {text}", style("!").for_stderr().red()));
    }

    pub(crate) fn finish(&self) {
        self.bar.abandon();
        if !self.bar.is_hidden() {
            eprintln!(); // the cursor is still in the bar's line
        }
    }

    /// Where there is no terminal for a bar, four lines will do.
    fn tell_quarter(&self) {
        let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
        if self.bar.is_hidden() && total > 0 && done * 4 / total != (done - 1) * 4 / total {
            eprintln!("{}: {done} of {total}", self.what);
        }
    }
}

fn bad_news(tally: &Tally, deaths: usize) -> String {
    let poisoned = tally.poisoned();
    let counts =
        [("failed", tally.failed.len() - poisoned), ("poisoned", poisoned), ("workers died", deaths)];
    let told: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{what} {count}"))
        .collect();
    style(told.join(", ")).for_stderr().red().to_string()
}
