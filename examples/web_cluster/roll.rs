//! Rolling restarts, one after the other.

use std::collections::BTreeSet;
use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use ganger::{Rollout, Supervisor};

use crate::GROUP;
use crate::args::Args;

/// What became of the rolling restarts.
#[derive(Debug)]
pub(crate) struct Rolls {
    /// How many were asked for.
    pub(crate) begun: usize,
    /// How many generations of workers came of them: requests during one that is on its way are one more together.
    pub(crate) generations: usize,
}

/// Begins a rolling restart at each interval until the time is over, and waits for the last.
pub(crate) fn every(supervisor: &Supervisor, args: &Args) -> Result<Rolls, Box<dyn Error>> {
    let begun = Instant::now();
    let interval = Duration::from_millis(args.every);
    let mut tickets = Vec::new();
    for count in 0.. {
        let at = interval * count;
        if at >= Duration::from_secs(args.seconds) {
            break;
        }
        thread::sleep(at.saturating_sub(begun.elapsed()));
        let rollout = Rollout::of(GROUP).batch(args.batch).min_uptime(Duration::from_millis(50));
        tickets.push(supervisor.rollout(rollout)?);
    }
    let editions: BTreeSet<u32> = tickets
        .iter()
        .map(|ticket| Ok(ticket.wait()?.edition))
        .collect::<Result<_, ganger::RolloutError>>()?;
    Ok(Rolls { begun: tickets.len(), generations: editions.len() })
}
