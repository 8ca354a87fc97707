//! What the benches have in common: their arguments, how a figure is measured and printed, the roles of their
//! processes, the raw socket pair they are measured against, and which processor runs what.

mod case;
mod fresh;
mod place;
mod pool;
mod printer;
mod raw;
mod role;
mod stats;
mod usage;

pub use case::{Case, Floor, Plan};
pub use fresh::in_fresh_process;
pub use place::{Cores, Placement};
pub use pool::{AHEAD, PAYLOAD, no_op, online, rate, register, round_trip};
pub use printer::{Common, Printer};
pub use raw::{Manner, Peer};
pub use role::{Bench, Nothing, Outcome, nothing_fresh};
pub use stats::{Rounds, median, quantile};
pub use usage::{available_bytes, cpu_time, own_cpu_time, own_rss_bytes, timed};
