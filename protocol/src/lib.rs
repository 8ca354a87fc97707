//! What crosses between a ganger supervisor and its worker processes.
//!
//! This crate is the language both ends speak: the [`Call`] trait and the payload codec, the messages of each
//! direction, the frames that carry them, the buffered ends of a link, and the page of memory that supervisor
//! and worker share. It starts no process, owns no thread and decides nothing.
//!
//! Users meet [`Call`], [`Failure`], [`JobId`] and [`Event`](ToSupervisor::Event) names through the crates
//! `ganger` and `ganger-worker`; the rest is for those two crates, and for a worker written without them.
//! `docs/protocol.md` in the repository describes the bytes exactly.

#[cfg(not(target_os = "linux"))]
compile_error!("ganger runs on Linux (kernel 5.4 or newer) only: it stands on pidfds, memfds and SCM_RIGHTS");

mod attachment;
mod call;
mod calling;
mod failure;
mod fds;
mod frame;
mod hatch;
mod id;
mod inbox;
mod memory;
mod message;
mod metrics;
mod outbox;
mod place;
mod pool;
mod shared;
mod spin;
mod store;
mod stream;
mod time;

pub use attachment::{Attachment, Attachments};
pub use call::{Call, CodecError, decode, encode, encode_onto};
pub use calling::{
    Address, Answers, Awaited, CallError, CallReply, Caller, Carrier, Collected, Collecting,
    DEFAULT_CALL_TIMEOUT, MAX_CALL_TIMEOUT, Outgoing, Parcel, Part, PendingCall, Refusal,
};
pub use failure::{Failure, FailureKind, RetryHint};
pub use fds::{MAX_FDS, read_into, receive_with_fds, ring, send_with_fds, silence, write_from};
pub use frame::{Frame, FrameError, HEADER_LEN, Header, Kind, LARGE_PAYLOAD, Limits, MAX_HEAD, Payload};
pub use hatch::{Cut, Fetched, Hatch, HatchError, Label, MAX_ATTACHMENTS, Packet, Posted};
pub use id::{Epoch, Generation, JobId, Ordinal};
pub use inbox::{Growth, Inbox};
pub use memory::PageError;
pub use message::{
    Answer, AnswerHead, Answered, CallAnswered, Cancel, EventHead, HealthReport, MAGIC, MAX_HEALTH_REASON,
    MAX_LISTENERS, ProgressHead, Ready, RequestHead, SupervisorCall, SupervisorCallAnswer, SupervisorHello,
    Taken, ToSupervisor, ToWorker, VERSION, WorkerCall, WorkerCallAnswer, WorkerHello,
};
pub use metrics::{
    Amount, Change, Counter, Declaration, Gauge, HISTOGRAM_SUFFIXES, Histogram, MAX_BUCKETS, MAX_HELP,
    MAX_LABEL_VALUE, MAX_LABELS, MAX_METRIC_NAME, MAX_METRICS, MetricError, Metrics, MetricsReport, Reading,
    Registry, Reporter, Shape,
};
pub use outbox::{Body, Outbox};
pub use place::{Place, PlaceError};
pub use pool::{Half, POOLED_PAYLOAD, Pool, PoolReader, PoolWriter};
pub use shared::{End, Mark, MarkMoved, Page, Slot, Vitals};
pub use spin::{Spin, processor};
pub use store::{
    Appetite, Condition, Entry, Expect, KeyChange, List, Lock, Mirror, NoChange, Origin, Piece, Replica,
    ReplicaError, Revision, STORE_KEY_BYTES, STORE_PAYLOAD, STORE_PIECE_BYTES, STORE_PIECE_ENTRIES,
    STORE_VALUE_BYTES, STORE_WINDOW, Store, StoreChangeHead, StoreDoor, StoreError, StoreOp, StoreOpHead,
    StoreRefusal, StoreReply, StoreReplyHead, StoreSink, Versioned, Watch, Watched,
};
pub use stream::{StreamError, StreamReader, StreamWriter, stream};
pub use time::Time;

/// The environment variable that tells a program it was started as a worker.
///
/// Its value is the process id of the supervisor, in decimal. A worker believes it only when its parent has
/// that id and its standard input is a socket.
pub const WORKER_ENV: &str = "GANGER_WORKER";
