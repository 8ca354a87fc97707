//! The shared store: what workers and callers ask of it, and what it says to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::Sender;
use ganger_protocol::{
    Appetite, Body, Kind, Piece, StoreOp, StoreRefusal, StoreReply, StoreReplyHead, StoreSink, Time,
};

use super::ear::StoreRequest;
use super::turn::Turn;
use super::worker::Attention;
use crate::command::StoreOrder;
use crate::scheduler::WorkerKey;
use crate::store::{Answering, ClientId, Store, StoreAction, StoreLimits, StoreMisuse};

/// The supervisor's own process; no worker's key is made of so many ones.
const OWN: ClientId = ClientId(u64::MAX);

/// The store, and those who use it in this process.
pub(super) struct Counter {
    store: Store,
    /// Who waits for an answer, by the operation's number.
    callers: BTreeMap<u64, Sender<StoreReply>>,
    last_op: u64,
    /// Who follows keys, by the watch's number.
    sinks: BTreeMap<u32, Arc<dyn StoreSink>>,
}

impl Counter {
    pub(super) fn new(limits: StoreLimits) -> Counter {
        let mut store = Store::new(limits);
        store.handle_born(OWN);
        Counter { store, callers: BTreeMap::new(), last_op: 0, sinks: BTreeMap::new() }
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.store.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        self.store.handle_timeout(now);
    }

    pub(super) fn born(&mut self, worker: WorkerKey) {
        self.store.handle_born(client_of(worker));
    }

    pub(super) fn gone(&mut self, now: Time, worker: WorkerKey) {
        self.store.handle_gone(now, client_of(worker));
    }

    pub(super) fn asked(
        &mut self,
        now: Time,
        worker: WorkerKey,
        request: StoreRequest,
    ) -> Result<(), StoreMisuse> {
        let StoreRequest { id, op } = request;
        self.store.handle_op(now, client_of(worker), id, op)
    }

    pub(super) fn refused(&mut self, worker: WorkerKey, id: u64, refusal: StoreRefusal) {
        self.store.handle_refused(client_of(worker), id, refusal);
    }

    fn ordered(&mut self, now: Time, order: StoreOrder) {
        let StoreOrder { op, reply, sink } = order;
        match (&op, sink) {
            (StoreOp::Watch { watch, .. }, Some(sink)) => drop(self.sinks.insert(*watch, sink)),
            (StoreOp::Unwatch { watch }, _) => drop(self.sinks.remove(watch)),
            (_, _) => {}
        }
        self.last_op += 1;
        if let Some(reply) = reply {
            self.callers.insert(self.last_op, reply);
        }
        let asked = self.store.handle_op(now, OWN, self.last_op, op);
        debug_assert!(asked.is_ok(), "our own watches ask in turn: {asked:?}");
    }

    fn answer_own(&mut self, now: Time, id: u64, reply: StoreReply) {
        if reply == StoreReply::Waiting {
            return;
        }
        if let Some(caller) = self.callers.remove(&id) {
            // Whoever has asked waits for as long as there is a loop.
            let told = caller.try_send(reply);
            debug_assert!(told.is_ok(), "a caller has left: {told:?} at {now:?}");
        }
    }

    fn tell_own(&mut self, now: Time, piece: Piece) {
        let watch = piece.head.watch;
        let Some(sink) = self.sinks.get(&watch) else { return };
        if sink.take(piece) == Appetite::More {
            let asked = self.store.handle_op(now, OWN, 0, StoreOp::Next { watch });
            debug_assert!(asked.is_ok(), "a piece has just come: {asked:?}");
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.sinks.values().for_each(|sink| sink.close());
    }
}

impl Turn {
    pub(super) fn take_in_store_order(&mut self, order: StoreOrder) {
        self.counter.ordered(self.now, order);
    }

    /// Says what the store has to say. Workers must hear it although all their threads are busy, because one of them
    /// may be so by waiting for it.
    pub(super) fn act_store(&mut self) {
        while let Some(action) = self.counter.store.poll_action() {
            match action {
                StoreAction::Answer { client: OWN, id, reply, .. } => {
                    self.counter.answer_own(self.now, id, reply);
                }
                StoreAction::Tell { client: OWN, piece } => self.counter.tell_own(self.now, piece),
                StoreAction::Answer { client, id, reply, answering } => {
                    self.answer_worker(worker_of(client), id, reply, answering);
                }
                StoreAction::Tell { client, piece } => self.tell_worker(worker_of(client), &piece),
            }
        }
    }

    fn answer_worker(&mut self, worker: WorkerKey, id: u64, reply: StoreReply, answering: Answering) {
        let Some(link) = self.workers.body_mut(worker).and_then(|body| body.link.as_mut()) else { return };
        let payload = Body::Share(reply.payload());
        link.send(Kind::StoreReply, &StoreReplyHead { id, reply }, payload);
        if answering == Answering::AtOnce {
            link.answered_op();
        }
        self.due(worker, Attention::FlushAndRing);
    }

    fn tell_worker(&mut self, worker: WorkerKey, piece: &Piece) {
        let Some(link) = self.workers.body_mut(worker).and_then(|body| body.link.as_mut()) else { return };
        link.send(Kind::StoreChange, &piece.head, Body::Share(piece.payload()));
        self.due(worker, Attention::FlushAndRing);
    }
}

fn client_of(worker: WorkerKey) -> ClientId {
    ClientId(worker.to_bits())
}

fn worker_of(client: ClientId) -> WorkerKey {
    WorkerKey::from_bits(client.0)
}
