//! What the scenario tests stand on: each in a process of its own, with a deadline, and nothing left behind.

mod eventually;
mod feed;
mod footprint;
mod gate;
mod logbook;
mod process;
mod scenario;
mod scratch;

pub use eventually::{PATIENCE, eventually};
pub use feed::Feed;
pub use footprint::{Footprint, live_descendants};
pub use gate::{Arrival, Gate, Held, arrive};
pub use logbook::Logbook;
pub use process::Watched;
pub use scenario::{Scenario, scenario};
pub use scratch::Scratch;
