//! What the benches have in common: their arguments, how a figure is printed, medians, the worker's role, the raw
//! socket pair they are measured against, and which processor runs what.

mod case;
mod place;
mod raw;
mod role;
mod stats;

pub use case::{Case, Common, Floor, Printer};
pub use place::{Cores, Placement};
pub use raw::Echo;
pub use role::run;
pub use stats::{median, quantile};
