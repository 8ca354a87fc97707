//! The ledger's sums, printed last.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use super::ledger::{
    Admission, Asked, Cancel, Clock, Deed, Ending, Interest, Killer, Ledger, Manner, Settled, Started,
};

/// Counts of what happened, by name, in the order in which they are printed.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    lines: Vec<(&'static str, BTreeMap<String, u64>)>,
    /// How late the settlements of clocks were seen, in order, of jobs that were accepted at once.
    late: Vec<Duration>,
    /// The same, of jobs that had to wait for room first; that wait is counted in.
    late_after_waiting: Vec<Duration>,
}

impl Sums {
    pub(crate) fn of(ledger: &Ledger) -> Sums {
        Sums {
            lines: vec![
                ("accepted", accepted(ledger)),
                ("settled", settled(ledger)),
                ("handlers", handlers(ledger)),
                ("processes", processes(ledger)),
            ],
            late: lateness(ledger, Admission::AtOnce),
            late_after_waiting: lateness(ledger, Admission::Later),
        }
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, counts) in &self.lines {
            let counts: Vec<String> =
                counts.iter().map(|(what, count)| format!("{} {what}", grouped(*count))).collect();
            writeln!(f, "{name:>10}: {}", counts.join(", "))?;
        }
        let (late, waited) = (&self.late, &self.late_after_waiting);
        write!(
            f,
            "{:>10}: after its time, as {} callbacks were told (not judged): {:.1?} in the middle, {:.1?} for 99 of 100, {:.1?} \
             at worst; {:.1?} with the wait for room in a full queue",
            "a clock",
            late.len(),
            percentile(late, 50),
            percentile(late, 99),
            percentile(late, 100),
            percentile(waited, 100),
        )
    }
}

/// The number with its thousands set apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn counted(items: impl Iterator<Item = String>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    items.for_each(|item| *counts.entry(item).or_insert(0) += 1);
    counts
}

fn accepted(ledger: &Ledger) -> BTreeMap<String, u64> {
    let traits = ledger.accepted.iter().flat_map(|one| {
        let clocks = one.clocks;
        [
            Some("jobs"),
            (one.retries > 0).then_some("with retries"),
            (clocks.queue.or(clocks.run).or(clocks.total).is_some()).then_some("with clocks"),
            (one.cancel == Cancel::Asked).then_some("cancelled by the submitter"),
            (one.interest == Interest::Forgotten).then_some("forgotten"),
            (one.asked == Asked::Fail).then_some("told to fail"),
            (one.asked == Asked::Die).then_some("told to kill their worker"),
        ]
    });
    counted(traits.flatten().map(str::to_owned))
}

fn settled(ledger: &Ledger) -> BTreeMap<String, u64> {
    counted(ledger.settled.iter().map(|settled| match &settled.ending {
        Ending::Replied(_) => String::from("replied"),
        Ending::Failed(_) => String::from("failed"),
        Ending::TimedOut { clock, started } => format!("timed out ({clock:?}, {})", said(*started)),
        Ending::Cancelled { started } => format!("cancelled ({})", said(*started)),
        Ending::Lost(death) => match death.killer {
            Killer::SomeoneElse => String::from("worker lost"),
            Killer::Supervisor => String::from("worker lost by the supervisor's kill"),
        },
        Ending::Poisoned(_) => String::from("poisoned"),
        Ending::Odd(_) => String::from("otherwise"),
    }))
}

fn said(started: Started) -> &'static str {
    match started {
        Started::No => "not started",
        Started::Yes => "started",
    }
}

fn handlers(ledger: &Ledger) -> BTreeMap<String, u64> {
    let counts = ledger.marks.iter().flat_map(|mark| match mark.deed {
        Deed::Start { attempt: 1, .. } => [Some("runs"), None],
        Deed::Start { .. } => [Some("runs"), Some("further attempts")],
        Deed::End { .. } => [Some("runs to the end"), None],
        Deed::Collision { .. } => [Some("collisions"), None],
        Deed::LastWords { .. } => [Some("suicides"), None],
        Deed::Boot { .. } => [None, None],
    });
    counted(counts.flatten().map(str::to_owned))
}

fn processes(ledger: &Ledger) -> BTreeMap<String, u64> {
    let counts = ledger.processes.iter().flat_map(|process| {
        let end = process.end.as_ref();
        let manner = end.map_or("without an end", |end| match end.manner {
            Manner::Exited => "left as asked",
            Manner::Crashed => "crashed",
            Manner::WrittenOff => "written off",
        });
        let was_running = end.is_some_and(|end| !end.death.running.is_empty());
        [Some("in all"), Some(manner), was_running.then_some("ended with a job running")]
    });
    counted(counts.flatten().map(str::to_owned))
}

/// Of jobs whose worker does not matter, those whose queue or total clock ran out, and of those the ones whose
/// submitter was told at once.
fn lateness(ledger: &Ledger, admission: Admission) -> Vec<Duration> {
    let jobs: HashMap<_, _> = ledger.accepted.iter().map(|one| (one.job, one)).collect();
    let lateness = |settled: &Settled| {
        let Ending::TimedOut { clock, .. } = settled.ending else { return None };
        let accepted = jobs.get(&settled.job).filter(|one| one.interest == Interest::CalledBack)?;
        let limit = match clock {
            Clock::Queue => accepted.clocks.queue?,
            Clock::Total => accepted.clocks.total?,
            Clock::Run => return None,
        };
        let late = Duration::from_nanos(settled.at.saturating_sub(accepted.at)).saturating_sub(limit);
        (accepted.admission == admission).then_some(late)
    };
    let mut all: Vec<Duration> = ledger.settled.iter().filter_map(lateness).collect();
    all.sort();
    all
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = sorted.len() * percent / 100;
    sorted.get(at).or(sorted.last()).copied().unwrap_or_default()
}
