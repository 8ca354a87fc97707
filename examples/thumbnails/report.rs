//! The closing tables.

use std::fmt;
use std::time::Duration;

use console::{Alignment, StyledObject, pad_str, style};
use ganger::{CrashReport, Health, JobError, Phase, WorkerSnapshot};

use crate::album::Album;
use crate::tally::{Failed, Tally};

/// All that is said at the end.
pub(crate) struct Report<'a> {
    pub(crate) album: &'a Album,
    pub(crate) tally: &'a Tally,
    pub(crate) took: Duration,
    pub(crate) deaths: usize,
    pub(crate) healthy_at_start: bool,
    pub(crate) health: Health,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pictures(f)?;
        self.failures(f)?;
        self.poisoned(f)?;
        self.workers(f)?;
        self.verdict(f)
    }
}

impl Report<'_> {
    fn pictures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pictures, seconds) = (self.album.pictures.len(), self.took.as_secs_f64());
        let rate = self.tally.settled() as f64 / seconds;
        writeln!(f, "{pictures} pictures in {seconds:.1} s, {rate:.0} a second")?;
        let Tally { done, not_begun, .. } = self.tally;
        let poisoned = self.tally.poisoned();
        let rows = [
            (style("done").green(), *done, self.thumbnails()),
            (style("failed").red(), self.tally.failed.len() - poisoned, String::from("why is below")),
            (
                style("poisoned").magenta(),
                poisoned,
                String::from("given up: their workers died again and again"),
            ),
            (style("not begun").yellow(), *not_begun, String::from("interrupted")),
        ];
        for (label, count, remark) in rows.into_iter().filter(|(_, count, _)| *count > 0) {
            writeln!(f, "  {} {count:>6}  {remark}", padded(&label, 10))?;
        }
        Ok(())
    }

    fn failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 2]> = self
            .failed(|failed| !failed.is_poisoned())
            .map(|(name, failed)| [name, first_line(&failed.reason())])
            .collect();
        table(f, ["FAILED", "REASON"], &rows)
    }

    fn poisoned(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Vec::new();
        for (name, failed) in self.failed(Failed::is_poisoned) {
            let Failed::Ended(JobError::Poisoned { reports, .. }) = failed else { continue };
            rows.extend(reports.iter().zip(1..).map(|(report, death)| death_row(&name, death, report)));
        }
        table(f, ["POISONED", "DEATH", "WORKER", "PID", "ENDED BY", "AFTER", "RSS", "LAST WORDS"], &rows)
    }

    fn workers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 8]> =
            self.health.workers.iter().map(|worker| self.worker_row(worker)).collect();
        table(f, ["WORKER", "PID", "STATUS", "RSS", "HEAP", "THUMBNAILS", "RESTARTS", "UPTIME"], &rows)
    }

    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |is_healthy| if is_healthy { "healthy" } else { "not healthy" };
        let replaced = match self.deaths {
            0 => String::from("no worker died"),
            1 => String::from("1 worker died and was replaced"),
            deaths => format!("{deaths} workers died and were replaced"),
        };
        let (start, end) = (word(self.healthy_at_start), word(self.health.is_healthy()));
        match self.health.phase {
            Phase::Running => {
                writeln!(f, "\nThe pool was {start} at the start and is {end} at the end; {replaced}.")?;
            }
            _ => return writeln!(f, "\nInterrupted: the pool was told to stop."),
        }
        self.health.problems.iter().try_for_each(|problem| writeln!(f, "  {problem}"))
    }

    fn thumbnails(&self) -> String {
        let Tally { retried, source_bytes, bytes, .. } = self.tally;
        let sizes = format!("{} became {}", mib(*source_bytes), mib(*bytes));
        let retried =
            if *retried > 0 { format!(", {retried} of them in a further attempt") } else { String::new() };
        format!("{sizes} in {}{retried}", self.album.out().display())
    }

    fn failed(&self, is_wanted: impl Fn(&Failed) -> bool) -> impl Iterator<Item = (String, &Failed)> {
        let failed = self.tally.failed.iter().filter(move |(_, failed)| is_wanted(failed));
        failed.map(|(place, failed)| (self.album.name(*place), failed))
    }

    fn worker_row(&self, worker: &WorkerSnapshot) -> [String; 8] {
        [
            worker.name.to_string(),
            worker.pid.map_or_else(nothing, |pid| pid.to_string()),
            format!("{:?}", worker.status),
            worker.rss_bytes.map_or_else(nothing, mib),
            mib(worker.heap_used_bytes),
            self.tally.by_worker.get(&worker.name).copied().unwrap_or(0).to_string(),
            worker.restarts.to_string(),
            time(worker.uptime),
        ]
    }
}

fn death_row(name: &str, death: usize, report: &CrashReport) -> [String; 8] {
    [
        String::from(if death == 1 { name } else { "" }),
        death.to_string(),
        report.worker.to_string(),
        report.pid.map_or_else(nothing, |pid| pid.to_string()),
        report.exit.status.to_string(),
        time(report.uptime),
        report.rss_bytes.map_or_else(nothing, mib),
        report.exit.stderr_tail.last().cloned().unwrap_or_else(nothing),
    ]
}

fn table<const N: usize>(f: &mut fmt::Formatter<'_>, head: [&str; N], rows: &[[String; N]]) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(head[column].len())
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let padded: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        String::from(padded.join("  ").trim_end())
    };
    writeln!(f, "\n{}", style(line(head)).bold())?;
    rows.iter().try_for_each(|row| writeln!(f, "{}", line(row.each_ref().map(String::as_str))))
}

fn nothing() -> String {
    String::from("-")
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn time(duration: Duration) -> String {
    format!("{duration:.1?}")
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Pads to `width`, without counting what makes the colour.
fn padded(text: &StyledObject<&str>, width: usize) -> String {
    pad_str(&text.to_string(), width, Alignment::Left, None).into_owned()
}
