//! What proves ganger's promises: the simulator, and the harness of the scenario tests.
//!
//! The [simulator](sim) drives the shipped scheduler, the shipped codec and the pure half of the worker library
//! against model processes under a virtual clock. `cargo run --release -p ganger-tests --bin simulate` runs it.
//!
//! The scenarios in `tests/` run real processes: the [harness] gives each a process of its own, [`workers`] are the
//! programs they supervise, [`calls`] is what the well-behaved one can be asked, [`raw`] is what the other does
//! wrong.

pub mod arg;
pub mod calls;
pub mod chaos;
pub mod freight;
pub mod fuzz;
pub mod harness;
pub mod madpeers;
pub mod mutation;
pub mod passing;
pub mod peers;
pub mod raw;
pub mod restarts;
pub mod rig;
pub mod rolling;
pub mod runner;
pub mod sim;
pub mod store;
pub mod sweep;
pub mod workers;

/// The README's code, so that it is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub mod readme {}
