//! What can go wrong, one enum an operation. Refused values are given back.

mod command;
mod enqueue;
mod job;
mod rollout;
mod start;
#[cfg(test)]
mod tests;

pub(crate) use enqueue::HEAD_LIMIT;

pub use command::{CommandError, OnlineError};
pub use enqueue::{EnqueueError, MapError};
pub use job::JobError;
pub use rollout::RolloutError;
pub use start::{ConfigError, StartError};
