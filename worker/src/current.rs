//! What the current thread is doing: nothing of ours, or running a handler.

use std::cell::Cell;

use crate::session::Ticket;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Current {
    Nothing,
    Handling(Ticket),
    /// The handler panicked while it still had its request.
    Orphaned(Ticket),
}

thread_local! {
    static CURRENT: Cell<Current> = const { Cell::new(Current::Nothing) };
}

/// Runs `handler` for the request and says whether the request was left an orphan.
pub(crate) fn handling<T>(ticket: Ticket, handler: impl FnOnce() -> T) -> (T, bool) {
    CURRENT.set(Current::Handling(ticket));
    let result = handler();
    let was = CURRENT.replace(Current::Nothing);
    (result, was == Current::Orphaned(ticket))
}

/// Whether this thread is running a handler.
pub(crate) fn is_handling() -> bool {
    CURRENT.get() != Current::Nothing
}

/// A request is dropped unanswered in a panic. If its own handler panics, the answer is left to the one who
/// catches the panic, because only that one knows its message; says whether it is.
pub(crate) fn orphan(ticket: Ticket) -> bool {
    let is_own = CURRENT.get() == Current::Handling(ticket);
    if is_own {
        CURRENT.set(Current::Orphaned(ticket));
    }
    is_own
}
