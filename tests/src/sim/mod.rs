//! The simulator: schedules of faults, drawn from a seed, against the shipped scheduler, codec and worker session.
//!
//! A schedule is a world with a virtual clock: a caller that enqueues and cancels, a fake driver that does what the
//! real one does, links that deliver bytes in pieces and are cut at any of them, and model processes that crash,
//! hang, stop, lie and write garbage. A reference model, written from the promises, follows every job; checks say
//! what must never happen and what must happen at last. The same seed always gives the same schedule. The store, which
//! knows nothing of jobs, has a world of its own in each schedule: `shop`.
//!
//! ```text
//! caller ──commands──▶ driver ──inputs──▶ Scheduler ──actions──▶ driver ──bytes──▶ processes (Session)
//!                        ▲                                         │                   │
//!                        └────────────── bytes, deaths ◀───────────┴───────────────────┘
//!                 ledger, roster, groups: what must be true     court: what was found
//! ```

mod actions;
mod calendar;
mod caller;
mod calls;
mod check;
mod court;
mod driver;
mod groups;
mod hash;
mod hearsay;
mod judgement;
mod kernel;
mod ledger;
mod library;
mod liveness;
mod mischief;
mod pipe;
mod plan;
mod process;
mod revival;
mod rollouts;
mod roster;
mod safety;
mod shop;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use check::{Check, Violation};

use calls::Exchange;
use court::Court;
use shop::Shop;
use trace::Trace;
use world::World;

/// How a schedule is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Happenings before faults stop.
    pub steps: u64,
    /// The trace's last lines that are kept; 0 keeps none and is fastest.
    pub keep_lines: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { steps: 400, keep_lines: 0 }
    }
}

/// What came of a schedule.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// What was found; nothing is good.
    pub violations: Vec<Violation>,
    /// Happenings, inputs and actions.
    pub events: u64,
    /// Jobs that the supervisor took in.
    pub jobs: u64,
    /// The trace as one number.
    pub hash: u64,
    /// The trace's last lines, if any were kept.
    pub lines: Vec<String>,
}

/// Runs the schedule of a seed.
#[must_use]
pub fn run(seed: u64, options: Options) -> Report {
    let mut world = World::new(seed, options.keep_lines);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run(options.steps)));
    if let Err(panic) = outcome {
        let message = panic_message(panic.as_ref());
        world.accuse(Check::NoPanic, || message);
    }
    let mut shop = Shop::new(seed, options.keep_lines);
    if world.court.is_clear() {
        let outcome = catch_unwind(AssertUnwindSafe(|| shop.run(options.steps / 2)));
        if let Err(panic) = outcome {
            let message = panic_message(panic.as_ref());
            shop.court.accuse(Check::NoPanic, || message);
        }
    }
    let mut exchange = Exchange::new(seed, options.keep_lines);
    if world.court.is_clear() && shop.court.is_clear() {
        let outcome = catch_unwind(AssertUnwindSafe(|| exchange.run()));
        if let Err(panic) = outcome {
            let message = panic_message(panic.as_ref());
            exchange.court.accuse(Check::NoPanic, || message);
        }
    }
    let traces = [&world.trace, &shop.trace, &exchange.trace];
    Report {
        seed,
        events: world.steps + traces.map(|trace| trace.events()).iter().sum::<u64>(),
        jobs: world.jobs.len() as u64,
        hash: traces.iter().fold(0, |hash, trace| u64::rotate_left(hash, 1) ^ trace.hash()),
        violations: [world.court, shop.court, exchange.court].map(Court::into_found).concat(),
        lines: [world.trace, shop.trace, exchange.trace].map(Trace::into_lines).concat(),
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| String::from(*text));
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| String::from("a panic without a word"))
}
