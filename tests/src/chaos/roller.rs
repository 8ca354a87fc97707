//! The roller: replaces all workers of one group after the other, while everything else goes on.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use ganger::{Rollout, RolloutPhase, RolloutTicket, Supervisor};

/// What it did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rolls {
    begun: u64,
    done: u64,
    given_up: u64,
}

impl fmt::Display for Rolls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rolls { begun, done, given_up } = self;
        write!(f, "{begun} rollouts, {done} done, {given_up} given up because new workers were killed")
    }
}

/// Begins a rollout every so often, until the other end of `is_over` is gone; requests during one are one.
pub(crate) fn roll(
    supervisor: &Supervisor,
    groups: &[(&'static str, u8)],
    every: Duration,
    is_over: &Receiver<()>,
) -> Rolls {
    let (mut rolls, mut open) = (Rolls::default(), Vec::new());
    let mut next = groups.iter().map(|(name, _)| *name).cycle();
    while is_over.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        let name = next.next().expect("there is a group");
        let terms = Rollout::of(name).batch(2).min_uptime(Duration::from_millis(5)).max_failures(3);
        match supervisor.rollout(terms) {
            Ok(ticket) => {
                rolls.begun += 1;
                open.push(ticket);
            }
            Err(error) => panic!("a rollout of {name} is refused: {error}"),
        }
        open.retain(|ticket| rolls.count(ticket));
    }
    rolls
}

impl Rolls {
    /// Whether it goes on.
    fn count(&mut self, ticket: &RolloutTicket) -> bool {
        match ticket.status().phase {
            RolloutPhase::Done => self.done += 1,
            RolloutPhase::Aborted => self.given_up += 1,
            _ => return true,
        }
        false
    }
}
