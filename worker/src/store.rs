//! The shared store, as this worker reaches it: a frame up the leash for each operation, and one back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{
    Appetite, Awaited, Origin, Piece, STORE_WINDOW, StoreDoor, StoreError, StoreOp, StoreReply, StoreSink,
    Time,
};

use crate::link::{Link, Locked, State};
use crate::pending::Pending;

/// How long an answer may take, besides what the operation itself waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a thread waits for; `None` comes when there is no store any more.
type Place = Arc<Awaited<Option<StoreReply>>>;

/// Who has asked for something.
pub(crate) struct Asker {
    /// `None`: nobody waits any more.
    place: Option<Place>,
    /// Whether no answer has come at all: it counts against the window.
    is_open: bool,
    /// The lock that it wants: one that comes too late is given back.
    lock: Option<Box<str>>,
}

/// What this worker has to do with the store.
#[derive(Default)]
pub(crate) struct StoreDesk {
    asked: Pending<Asker>,
    /// Operations without an answer.
    open: usize,
    sinks: BTreeMap<u32, Arc<dyn StoreSink>>,
    last_watch: u32,
}

impl StoreDesk {
    /// Whether something is to come.
    pub(crate) fn listens(&self) -> bool {
        !self.asked.is_empty() || !self.sinks.is_empty()
    }

    /// Nothing will come any more.
    pub(crate) fn close(&mut self) {
        self.sinks.values().for_each(|sink| sink.close());
        for place in self.asked.leave_all().filter_map(|asker| asker.place) {
            let _ = place.fill(None);
        }
        self.open = 0;
    }
}

impl Link {
    /// An answer has come. That of a lock which somebody holds has another to follow.
    pub(crate) fn take_store_reply(&self, state: &mut State, id: u64, reply: StoreReply) {
        let Some(asker) = state.store.asked.find(id) else { return };
        if std::mem::take(&mut asker.is_open) {
            state.store.open -= 1;
            self.store_room.notify_one();
        }
        if reply == StoreReply::Waiting {
            return;
        }
        let Some(Asker { place, lock, .. }) = state.store.asked.leave(id) else { return };
        match (place, &reply, lock) {
            (Some(place), _, _) => drop(place.fill(Some(reply))),
            (None, StoreReply::Locked { token }, Some(name)) => {
                let unlock = StoreOp::Unlock { name: String::from(name).into(), token: *token };
                enter(state, &unlock, None);
            }
            (None, _, _) => {}
        }
    }

    /// A piece of what is followed has come.
    pub(crate) fn take_store_change(state: &mut State, piece: Piece) {
        let watch = piece.head.watch;
        let Some(sink) = state.store.sinks.get(&watch) else { return };
        if sink.take(piece) == Appetite::More {
            // Whoever reads writes before he waits again.
            state.session.ask_store(0, &StoreOp::Next { watch });
        }
    }

    /// Sends an operation when there is room for it in the window.
    fn send_op(&self, op: &StoreOp<'_>, place: Option<Place>) -> Result<u64, StoreError> {
        let deadline = Time::now() + PATIENCE;
        let mut state = self.lock();
        while state.store.open >= STORE_WINDOW && !state.is_over() {
            let left = deadline.since(Time::now());
            if left.is_zero() {
                return Err(StoreError::Unanswered { waited: PATIENCE });
            }
            self.wait_for_store_room(&mut state, left);
        }
        self.send_now(&mut state, op, place)
    }

    fn send_now(&self, state: &mut State, op: &StoreOp<'_>, place: Option<Place>) -> Result<u64, StoreError> {
        if state.is_over() {
            return Err(StoreError::Gone);
        }
        let id = enter(state, op, place).ok_or(StoreError::Gone)?;
        self.flush_and_watch(state);
        Ok(id)
    }

    fn wait_for_store_room(&self, state: &mut Locked<'_>, left: Duration) {
        self.store_room.wait_for(state, left);
    }

    /// Nobody waits any more, unless the answer has come just now.
    fn give_up_op(&self, id: u64, place: &Place) -> Option<Option<StoreReply>> {
        let mut state = self.lock();
        if let Some(asker) = state.store.asked.find(id) {
            asker.place = None;
        }
        place.take()
    }

    fn new_watch(&self, sink: Arc<dyn StoreSink>) -> u32 {
        let desk = &mut self.lock().store;
        desk.last_watch += 1;
        desk.sinks.insert(desk.last_watch, sink);
        desk.last_watch
    }
}

/// Enters who asks and appends what is asked; `None` when the worker has left.
fn enter(state: &mut State, op: &StoreOp<'_>, place: Option<Place>) -> Option<u64> {
    let lock = match op {
        StoreOp::Lock { name, .. } => Some(Box::from(&**name)),
        _ => None,
    };
    let id = state.store.asked.enter(Asker { place, is_open: true, lock });
    if !state.session.ask_store(id, op) {
        state.store.asked.leave(id);
        return None;
    }
    state.store.open += 1;
    Some(id)
}

impl StoreDoor for Link {
    fn ask(&self, op: StoreOp<'_>) -> Result<StoreReply, StoreError> {
        let place = Place::default();
        let waits = PATIENCE + op.wait();
        let id = self.send_op(&op, Some(Arc::clone(&place)))?;
        match place.wait(Time::now() + waits).or_else(|| self.give_up_op(id, &place)) {
            Some(Some(reply)) => Ok(reply),
            Some(None) => Err(StoreError::Gone),
            None => Err(StoreError::Unanswered { waited: waits }),
        }
    }

    /// What cannot be told is not told: the worker has left, and all that it had in the store goes with it.
    fn tell(&self, op: StoreOp<'_>) {
        match op {
            StoreOp::Next { .. } => {
                let mut state = self.lock();
                state.session.ask_store(0, &op);
                self.flush_and_watch(&mut state);
            }
            _ => drop(self.send_op(&op, None)),
        }
    }

    fn watch(&self, prefix: &str, origin: Origin, sink: Arc<dyn StoreSink>) -> Result<u32, StoreError> {
        let watch = self.new_watch(sink);
        match self.ask(StoreOp::Watch { watch, prefix: prefix.into(), origin }) {
            Ok(StoreReply::Refused(refusal)) => {
                self.lock().store.sinks.remove(&watch);
                Err(refusal.about(prefix))
            }
            Ok(_) => Ok(watch),
            Err(error) => {
                self.unwatch(watch);
                Err(error)
            }
        }
    }

    fn unwatch(&self, watch: u32) {
        // Before it is said: who is not there any more asks for no next piece.
        self.lock().store.sinks.remove(&watch);
        self.tell(StoreOp::Unwatch { watch });
    }
}
