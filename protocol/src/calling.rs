//! Calling another process: whom, with what, and what comes back.
//!
//! Supervisor and workers call alike. What differs is how a call is carried away, which each of the two crates does in
//! its own way as a [`Carrier`].

mod address;
mod awaited;
mod error;
mod outgoing;
mod pending;

pub use address::{Address, Caller};
pub use awaited::Awaited;
pub use error::{CallError, Refusal};
pub use outgoing::{
    Answers, CallReply, Carrier, DEFAULT_CALL_TIMEOUT, MAX_CALL_TIMEOUT, Outgoing, Parcel, Part,
};
pub use pending::{Collected, Collecting, PendingCall};
