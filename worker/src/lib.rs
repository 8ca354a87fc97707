//! The worker's end of ganger: a process that handles requests for its supervisor.
//!
//! A worker is an ordinary program. It connects to the supervisor that started it, says what it can handle, and
//! serves:
//!
//! ```no_run
//! use ganger_worker::{Call, Worker};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Greet {
//!     name: String,
//! }
//!
//! impl Call for Greet {
//!     const NAME: &'static str = "greet";
//!     type Reply = String;
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut worker = Worker::connect()?;
//!     worker.on_call(|greet: Greet, _cx| Ok(format!("Hello, {}!", greet.name)));
//!     worker.serve()?;
//!     Ok(())
//! }
//! ```
//!
//! - Handlers return a reply or a [`Failure`]; `?` turns any error into one. A panic is a failure too, and leaves
//!   the worker up. The full form, [`Worker::on_request`], answers later and from any thread.
//! - [`Control`] has the levers: `ready`, `busy`, `emit`, and the requests in hand.
//! - [`Control::metrics`] counts and measures, summed in the supervisor; [`Worker::on_health`] looks after the worker.
//! - Whatever the handlers do, the worker hears: it ends with its supervisor, learns of cancelled requests,
//!   receives events and beats, also while every handler thread is in native code.
//! - [`testing`] runs the same handlers in a test, without a process.

#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("ganger runs on Linux (kernel 5.4 or newer) only: it stands on pidfds, memfds and SCM_RIGHTS");

mod account;
mod callee;
mod calls;
mod connect;
mod control;
mod courier;
mod current;
mod handlers;
mod heap;
mod link;
mod listener;
mod pending;
mod request;
mod sentry;
mod serve;
// Reachable from outside only for simulators, through `internals`.
#[allow(unreachable_pub)]
mod session;
mod store;
pub mod testing;
#[cfg(test)]
mod tests;
mod worker;

pub use connect::ConnectError;
pub use control::{Control, EmitError, InHand};
pub use courier::Done;
pub use ganger_protocol::{
    Address, Attachment, Attachments, Call, CallError, Caller, CodecError, Collected, Collecting, Counter,
    DEFAULT_CALL_TIMEOUT, Entry, Expect, Failure, FailureKind, Gauge, Histogram, JobId, KeyChange, List,
    Lock, MAX_CALL_TIMEOUT, MetricError, Metrics, NoChange, Outgoing, PendingCall, Replica, ReplicaError,
    RetryHint, Revision, Store, StoreError, StreamError, StreamReader, StreamWriter, Versioned, Watch,
    Watched, stream,
};
pub use listener::{Listener, ListenerError};
pub use request::{Context, RawRequest, RawResponder, Request, Responder};
pub use serve::ServeError;
pub use session::ProgressError;
pub use worker::Worker;

/// The pure half of the worker, for simulators. Not covered by semantic versioning.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub use crate::session::{
        CallAnswer, CallTicket, Called, Cancels, EMIT_PENDING_LIMIT, Hand, NAME_LIMIT, Notice, Outcome,
        Received, Session, Started, Ticket, Violation,
    };
}
