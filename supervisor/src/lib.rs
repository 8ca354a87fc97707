//! A load-balancing job queue for worker processes.
//!
//! # Hello, world!
//!
//! A call is a type that both sides know:
//!
//! ```
//! use ganger::Call;
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
//! ```
//!
//! The worker, a program of its own called `greeter`, handles it:
//!
//! ```text
//! let mut worker = ganger_worker::Worker::connect()?;
//! worker.on_call(|greet: Greet, _cx| Ok(format!("Hello, {}!", greet.name)));
//! worker.serve()
//! ```
//!
//! The supervisor runs two of them and gives them work:
//!
//! ```no_run
//! # use ganger::Call;
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize)]
//! # struct Greet { name: String }
//! # impl Call for Greet { const NAME: &'static str = "greet"; type Reply = String; }
//! use ganger::{Program, Supervisor};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let supervisor = Supervisor::builder(Program::beside("greeter")).workers(2).start()?;
//! println!("{}", supervisor.enqueue(Greet { name: "world".into() })?.wait()?.data);
//! # Ok(())
//! # }
//! ```
//!
//! # What it is
//!
//! A [`Supervisor`] keeps [groups](Group) of worker processes running. [Jobs](Job) are queued and given to ready
//! workers, idle ones first, then those that use the least memory. A worker that crashes is replaced; its job is
//! retried or fails with a report of the crash, and nothing else suffers. Every accepted job's [`Handle`] settles,
//! once and for good, with a [`Response`] or a [`JobError`] that says what happened.
//!
//! | to | use |
//! | --- | --- |
//! | start | [`Supervisor::builder`], [`Program`], [`Group`] |
//! | give work | [`Supervisor::enqueue`], [`map`](Supervisor::map), [`enqueue_to`](Supervisor::enqueue_to) |
//! | say how | [`Job`]: retries, three clocks, priority, delay, key, headers |
//! | take results | [`Handle`]: wait, look, `.await`, call back; [`progress`](Handle::progress) on the way there |
//! | call | [`Supervisor::call`]: a worker, or all of a group; [`Builder::on_call`]: what workers call |
//! | watch | [`Supervisor::health`], [`events`](Supervisor::events), [`metrics`](Supervisor::metrics), [`explain`](Supervisor::explain) |
//! | steer | [`resize`](Supervisor::resize), [`rollout`](Supervisor::rollout), [`shutdown_worker`](Supervisor::shutdown_worker), [`revive`](Supervisor::revive), [`broadcast`](Supervisor::broadcast) |
//! | end | [`soft_kill`](Supervisor::soft_kill), [`hard_kill`](Supervisor::hard_kill), [`join`](Supervisor::join) |
//!
//! # What it promises
//!
//! A handler runs at most `1 + retries` times for a job, and never twice at the same time. A worker that dies
//! before a handler was called costs the job nothing. When it cannot be known whether a handler did its work, the
//! error says so: [`JobError::started`].
//!
//! Nothing is global: several supervisors may live in one process. Linux 5.4 or newer only.

#[cfg(not(target_os = "linux"))]
compile_error!("ganger runs on Linux (kernel 5.4 or newer) only: it stands on pidfds, memfds and SCM_RIGHTS");

mod builder;
#[allow(clippy::disallowed_methods, reason = "callers wait by the clock, and handlers run on threads")]
mod calls;
#[allow(clippy::disallowed_methods, reason = "a check has a thread and a clock")]
mod checks;
mod command;
#[allow(clippy::disallowed_methods, reason = "callers wait, by the clock")]
mod completions;
mod door;
#[allow(clippy::disallowed_methods, reason = "the clock, the threads and the processes are its business")]
mod driver;
mod error;
mod event;
mod group;
#[allow(clippy::disallowed_methods, reason = "callers wait, by the clock")]
mod handle;
mod health;
mod job;
mod map;
mod metrics;
mod program;
#[allow(clippy::disallowed_methods, reason = "readers wait, by the clock")]
mod progress;
// As of the scheduler.
#[cfg_attr(not(feature = "internals"), allow(unreachable_pub, dead_code))]
mod relay;
#[allow(clippy::disallowed_methods, reason = "a response knows when its job was made")]
mod response;
mod rlimit;
mod rollout;
// What only the simulator reaches is public under the feature alone.
#[cfg_attr(not(feature = "internals"), allow(unreachable_pub, dead_code))]
mod scheduler;
#[allow(clippy::disallowed_methods, reason = "callers wait, by the clock")]
mod shared;
#[allow(clippy::disallowed_methods, reason = "callers wait, by the clock")]
mod slot;
#[cfg_attr(not(feature = "internals"), allow(unreachable_pub, dead_code))]
mod store;
mod subscription;
#[allow(clippy::disallowed_methods, reason = "a job gets its id and its time of birth here")]
mod supervisor;
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "it stands in for the driver")]
mod testing;

pub use ganger_protocol::{
    Address, Attachment, Attachments, Call, CallError, Caller, CodecError, Collected, Collecting, Counter,
    DEFAULT_CALL_TIMEOUT, Entry, Expect, Failure, FailureKind, Gauge, Histogram, JobId, KeyChange, List,
    Lock, MAX_CALL_TIMEOUT, MetricError, NoChange, Outgoing, PendingCall, Replica, ReplicaError, RetryHint,
    Revision, Store, StoreError, StreamError, StreamReader, StreamWriter, Versioned, Watch, Watched, decode,
    encode, stream,
};

pub use builder::Builder;
pub use calls::{CallContext, Peers};
pub use completions::{Completions, Results};
pub use error::{
    CommandError, ConfigError, EnqueueError, JobError, MapError, OnlineError, RolloutError, StartError,
};
pub use event::Event;
pub use group::Group;
pub use handle::{Canceller, Handle, JobStatus};
pub use health::{Health, Phase, Problem};
pub use job::{Job, Raw, Work};
pub use map::{Map, MapResult, MapUnordered};
pub use metrics::Metrics;
pub use program::Program;
pub use progress::{NoReport, Progress, RawProgress, Report};
pub use relay::CallCounts;
pub use response::{JobResult, Response};
pub use rlimit::{Resource, Rlimit};
pub use rollout::{Rollout, RolloutTicket};
pub use scheduler::{
    Backlog, Candidate, Clock, CrashReport, CustomPick, DownWorker, Exit, ExitStatus, Explanation,
    GroupSnapshot, JobEnds, KillCause, Latency, OnTimeout, OnUnhealthy, Pick, PoisonPolicy, Priority,
    RecycleCause, RecyclePolicy, Recycled, RestartPolicy, RetryOn, Revive, RolloutAbort, RolloutPhase,
    RolloutStatus, Standing, Started, Unrouted, WorkerSnapshot, WorkerStatus,
};
pub use store::StoreLimits;
pub use subscription::{Events, NoEvent};
pub use supervisor::{SoftKill, Supervisor, Ticket};

/// The scheduler and its parts, and the judge of what a worker may say, for the simulator and the fuzzer; outside
/// semantic versioning.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub use crate::driver::{Ear, Heard, Said, StoreRequest};
    pub use crate::scheduler::*;

    /// The relay of calls.
    pub mod relay {
        pub use crate::relay::*;
    }

    /// The store's state machine.
    pub mod store {
        pub use crate::store::*;
    }
}
