//! The store, as callers in the supervisor's process reach it: a command to the loop, and its answer.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_channel::bounded;
use ganger_protocol::{Origin, StoreDoor, StoreError, StoreOp, StoreReply, StoreSink};

use crate::command::{Command, StoreOrder};
use crate::shared::Shared;

/// The way to the loop.
pub(crate) struct LoopDoor {
    shared: Arc<Shared>,
    last_watch: AtomicU32,
}

impl LoopDoor {
    pub(crate) fn new(shared: Arc<Shared>) -> LoopDoor {
        LoopDoor { shared, last_watch: AtomicU32::new(0) }
    }

    fn send(&self, order: StoreOrder) {
        self.shared.send(Command::Store(Box::new(order)));
    }

    /// Waits without a limit: as long as there is a loop it answers, and a lock that came too late would be lost.
    fn ask_with(
        &self,
        op: StoreOp<'static>,
        sink: Option<Arc<dyn StoreSink>>,
    ) -> Result<StoreReply, StoreError> {
        let (sender, answer) = bounded(1);
        self.send(StoreOrder { op, reply: Some(sender), sink });
        answer.recv().map_err(|_| StoreError::Gone)
    }
}

impl StoreDoor for LoopDoor {
    fn ask(&self, op: StoreOp<'_>) -> Result<StoreReply, StoreError> {
        self.ask_with(op.into_owned(), None)
    }

    fn tell(&self, op: StoreOp<'_>) {
        self.send(StoreOrder { op: op.into_owned(), reply: None, sink: None });
    }

    fn watch(&self, prefix: &str, origin: Origin, sink: Arc<dyn StoreSink>) -> Result<u32, StoreError> {
        let watch = self.last_watch.fetch_add(1, Relaxed) + 1;
        let op = StoreOp::Watch { watch, prefix: String::from(prefix).into(), origin };
        match self.ask_with(op, Some(sink))? {
            StoreReply::Refused(refusal) => {
                // The sink is there, and nothing will come for it.
                self.unwatch(watch);
                Err(refusal.about(prefix))
            }
            _ => Ok(watch),
        }
    }

    fn unwatch(&self, watch: u32) {
        self.tell(StoreOp::Unwatch { watch });
    }
}
