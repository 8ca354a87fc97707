//! Calls that this process makes, and those that it answers.

mod context;
mod desk;
mod peers;

pub use context::CallContext;
pub use peers::Peers;
pub(crate) use peers::shutting_down;

pub(crate) use desk::{Desk, Registry, Task};
