//! What the shared store is asked in tests, by the tests themselves and by their workers.

mod calls;
mod errands;

pub use calls::{Ask, Count, Follow, HoldLock, Mirror, Mirrored, Seen, Told, Wish, perform};
pub use errands::register;
