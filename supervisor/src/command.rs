//! What callers ask of the loop.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::Sender;

use ganger_protocol::{CallReply, Parcel, StoreOp, StoreReply, StoreSink};

use crate::driver::{Birth, CallTicket, Subscriber};
use crate::event::Event;
use crate::metrics::Figures;
use crate::progress::Feeder;
use crate::relay::CallCounts;
use crate::rollout::{HeldProgram, Teller};
use crate::scheduler::{Backlog, Edition, Explanation, GroupIndex, RolloutTerms, Snapshot, Standstill};
use crate::slot::JobSlot;

/// One thing that a caller asks of the loop. A reply's sender that is dropped unused says that the loop has ended.
pub(crate) enum Command {
    /// Take over a job that was admitted.
    Enqueue(JobSlot),
    /// End a job for its owner.
    Cancel(JobSlot),
    /// Give this reader what is reported about a job.
    Feed(JobSlot, Feeder),
    /// Give a group another size.
    Resize {
        /// The group.
        group: GroupIndex,
        /// How many workers it shall have.
        workers: u32,
    },
    /// Roll another program out to a group.
    Rollout {
        /// The group.
        group: GroupIndex,
        /// How to go about it.
        terms: RolloutTerms,
        /// The program; `None`: the group's own, opened anew.
        program: Option<Box<HeldProgram>>,
        /// Who is told what becomes of it.
        teller: Teller,
        /// Under which number.
        reply: Sender<Edition>,
    },
    /// Roll it out no longer.
    CancelRollout {
        /// The group.
        group: GroupIndex,
        /// The rollout's number.
        edition: Edition,
    },
    /// Let one worker leave.
    ShutdownWorker {
        /// The worker's name.
        name: Arc<str>,
        /// How long it has to finish what it holds.
        grace: Duration,
        /// Whether there is such a worker.
        reply: Sender<bool>,
    },
    /// Have a worker that has ended again.
    Revive {
        /// The worker's name.
        name: Arc<str>,
        /// How its place was found; `None` when there is none.
        reply: Sender<Option<Standstill>>,
    },
    /// End well; intake is closed already.
    SoftKill {
        /// How long it may take.
        deadline: Duration,
        /// What becomes of jobs not in flight.
        backlog: Backlog,
    },
    /// End now; intake is closed already.
    HardKill,
    /// Send an event to workers.
    Broadcast {
        /// To one group; `None`: to all.
        group: Option<GroupIndex>,
        /// The event's name.
        name: Arc<str>,
        /// Its payload.
        payload: Bytes,
        /// To how many workers it was sent.
        reply: Option<Sender<usize>>,
    },
    /// Show everything.
    Snapshot(Sender<Snapshot>),
    /// Show everything, the metrics included.
    Figures(Sender<Box<(Snapshot, Figures)>>),
    /// Tell the subscribers.
    Publish(Event),
    /// Show how a worker would be picked now.
    Explain {
        /// For a job of this group.
        group: GroupIndex,
        /// The workers, as the pick sees them.
        reply: Sender<Vec<Explanation>>,
    },
    /// Tell this subscriber what happens from now on.
    Subscribe(Subscriber),
    /// Something about the shared store.
    Store(Box<StoreOrder>),
    /// Relay a call; what comes of it is awaited there.
    Call(Box<Parcel>, CallTicket),
    /// From a thread that handles calls: the answer to one.
    Served {
        /// The call's number.
        number: u64,
        /// The answer.
        reply: CallReply,
    },
    /// Count the calls between processes.
    CountCalls(Sender<CallCounts>),
    /// From the spawner: the answer to a request for a process.
    Born(Box<Birth>),
}

/// An operation on the store, from this process.
pub(crate) struct StoreOrder {
    pub(crate) op: StoreOp<'static>,
    /// Who waits for the answer.
    pub(crate) reply: Option<Sender<StoreReply>>,
    /// Where a watch's pieces go.
    pub(crate) sink: Option<Arc<dyn StoreSink>>,
}
