//! What the current thread is doing: nothing of ours, or running a handler.

use std::cell::Cell;

use crate::session::{CallTicket, Ticket};

/// What has to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// A request.
    Request(Ticket),
    /// A call from another process.
    Call(CallTicket),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Current {
    Nothing,
    Handling(Duty),
    /// The handler panicked while it still had its request.
    Orphaned(Duty),
}

thread_local! {
    static CURRENT: Cell<Current> = const { Cell::new(Current::Nothing) };
}

/// Runs `handler` for the request and says whether the request was left an orphan.
pub(crate) fn handling<T>(duty: Duty, handler: impl FnOnce() -> T) -> (T, bool) {
    CURRENT.set(Current::Handling(duty));
    let result = handler();
    let was = CURRENT.replace(Current::Nothing);
    (result, was == Current::Orphaned(duty))
}

/// Whether this thread is running the handler of a request.
pub(crate) fn is_handling() -> bool {
    match CURRENT.get() {
        Current::Handling(Duty::Request(_)) | Current::Orphaned(Duty::Request(_)) => true,
        Current::Nothing | Current::Handling(Duty::Call(_)) | Current::Orphaned(Duty::Call(_)) => false,
    }
}

/// A request is dropped unanswered in a panic. If its own handler panics, the answer is left to the one who
/// catches the panic, because only that one knows its message; says whether it is.
pub(crate) fn orphan(duty: Duty) -> bool {
    let is_own = CURRENT.get() == Current::Handling(duty);
    if is_own {
        CURRENT.set(Current::Orphaned(duty));
    }
    is_own
}
