//! How a [`Store`](super::Store) reaches the store.

use std::sync::Arc;

use super::{Origin, Piece, StoreError, StoreOp, StoreReply};

/// The way to the store: a command to the loop, or a frame up the leash.
pub trait StoreDoor: Send + Sync {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`StoreError::Unanswered`], [`StoreError::Gone`].
    fn ask(&self, op: StoreOp<'_>) -> Result<StoreReply, StoreError>;

    /// Asks, and does not wait: whatever is answered is forgotten.
    fn tell(&self, op: StoreOp<'_>);

    /// Follows the keys with a prefix: `sink` is given each piece. The number names the watch.
    ///
    /// # Errors
    /// Those of [`ask`](StoreDoor::ask), and what the store refuses.
    fn watch(&self, prefix: &str, origin: Origin, sink: Arc<dyn StoreSink>) -> Result<u32, StoreError>;

    /// Lets go of a watch and its sink.
    fn unwatch(&self, watch: u32);
}

/// Whether whoever was given a piece wants the next at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appetite {
    /// It does.
    More,
    /// It will say so, by [`StoreOp::Next`].
    Later,
}

/// Where the pieces of a watch go. Called by whoever reads them: it must not block, and runs nobody else's code.
pub trait StoreSink: Send + Sync {
    /// A piece has come.
    fn take(&self, piece: Piece) -> Appetite;

    /// No piece will come any more.
    fn close(&self);
}
