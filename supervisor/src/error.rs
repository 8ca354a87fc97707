//! What can go wrong, one enum an operation. Refused values are given back.

mod command;
mod enqueue;
mod job;
mod start;
#[cfg(test)]
mod tests;

pub(crate) use enqueue::HEAD_LIMIT;

pub use command::{CommandError, OnlineError};
pub use enqueue::{EnqueueError, MapError};
pub use job::JobError;
pub use start::{ConfigError, StartError};
