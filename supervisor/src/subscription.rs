//! A subscriber's end of the stream of events.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use crate::Event;

/// What happens to a supervisor and its workers, as it happens; made by
/// [`Supervisor::events`](crate::Supervisor::events) or
/// [`Builder::start_with_events`](crate::Builder::start_with_events).
///
/// Each subscriber has a backlog of its own ([`Builder::event_backlog`](crate::Builder::event_backlog)). One that
/// is too slow for it delays nobody: what does not fit is counted, and told as [`Event::Missed`] before the next
/// event that fits. Iterating ends when the supervisor has stopped. Dropping it ends the subscription.
///
/// ```no_run
/// use ganger::{Event, Program, Supervisor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (supervisor, events) = Supervisor::builder(Program::beside("resizer")).start_with_events()?;
/// std::thread::spawn(move || {
///     for event in &events {
///         if let Event::WorkerCrashed { report } = event {
///             eprintln!("{report}");
///         }
///     }
/// });
/// # drop(supervisor);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Events {
    receiver: Receiver<Event>,
}

/// No event came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoEvent {
    /// Nothing has happened in the time given.
    #[error("no event has come yet")]
    NotYet,
    /// The supervisor has stopped: nothing will happen any more.
    #[error("the supervisor has stopped")]
    Ended,
}

impl Events {
    pub(crate) fn new(receiver: Receiver<Event>) -> Events {
        Events { receiver }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// [`NoEvent::Ended`] when the supervisor has stopped and all its events were received.
    pub fn recv(&self) -> Result<Event, NoEvent> {
        self.receiver.recv().map_err(|_| NoEvent::Ended)
    }

    /// Waits for the next event, but not longer than `timeout`.
    ///
    /// # Errors
    /// [`NoEvent::NotYet`] when the time is over, [`NoEvent::Ended`] as [`recv`](Events::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Event, NoEvent> {
        self.receiver.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => NoEvent::NotYet,
            RecvTimeoutError::Disconnected => NoEvent::Ended,
        })
    }

    /// The next event, if there is one.
    ///
    /// # Errors
    /// [`NoEvent::NotYet`] when there is none, [`NoEvent::Ended`] as [`recv`](Events::recv).
    pub fn try_recv(&self) -> Result<Event, NoEvent> {
        self.receiver.try_recv().map_err(|error| match error {
            TryRecvError::Empty => NoEvent::NotYet,
            TryRecvError::Disconnected => NoEvent::Ended,
        })
    }
}

/// Waits for each next event, until the supervisor has stopped.
impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.recv().ok()
    }
}

/// Waits for each next event, until the supervisor has stopped.
impl Iterator for &Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.recv().ok()
    }
}

#[cfg(test)]
mod tests;
