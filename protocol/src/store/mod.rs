//! The shared store: what crosses about it, and the face that both ends show their users.
//!
//! The store itself lives in the supervisor. Whoever uses it does so through a [`Store`], which turns each method
//! into one [`StoreOp`] and hands it to a [`StoreDoor`]: in the supervisor's process a command to the loop, in a
//! worker a frame up and a frame down. What is followed ([`Watch`], [`Replica`]) comes in [`Piece`]s, each of which is
//! asked for, so that nobody is sent more than he has room for.

mod door;
mod error;
mod front;
mod list;
mod lock;
mod replica;
mod value;
mod watch;
mod wire;

pub use door::{Appetite, StoreDoor, StoreSink};
pub use error::{StoreError, StoreRefusal};
pub use front::Store;
pub use list::List;
pub use lock::Lock;
pub use replica::{Mirror, Replica, ReplicaError};
pub use value::{Entry, Expect, Revision, Versioned};
pub use watch::{NoChange, Watch, Watched};
pub use wire::{
    Condition, KeyChange, Origin, Piece, StoreChangeHead, StoreOp, StoreOpHead, StoreReply, StoreReplyHead,
};

/// The longest key, prefix or lock's name that travels, in bytes.
pub const STORE_KEY_BYTES: usize = 4096;

/// The largest value that travels, in bytes.
pub const STORE_VALUE_BYTES: usize = 1 << 20;

/// About so many bytes of changes or entries travel in one frame; at least one of them does.
pub const STORE_PIECE_BYTES: usize = 64 * 1024;

/// The most changes or entries in one frame.
pub const STORE_PIECE_ENTRIES: usize = 1024;

/// The largest payload of a frame about the store, in bytes: a piece that was almost full and one value more.
pub const STORE_PAYLOAD: usize = STORE_VALUE_BYTES + 4 * STORE_PIECE_BYTES;

/// The most operations of one worker that are on their way: sent, and their answers not written.
pub const STORE_WINDOW: usize = 256;
