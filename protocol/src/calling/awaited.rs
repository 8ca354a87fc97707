//! One value that comes once, from another thread.

use std::fmt;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use crate::Time;

/// A place where one value is awaited, by a blocked thread or by a task.
pub struct Awaited<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

enum State<T> {
    Waiting(Option<Waker>),
    Here(T),
    Taken,
}

impl<T> Awaited<T> {
    /// A place with nothing in it.
    #[must_use]
    pub fn new() -> Awaited<T> {
        Awaited { state: Mutex::new(State::Waiting(None)), arrived: Condvar::new() }
    }

    /// Leaves the value, the first one only, and wakes whoever waits for it. A task is to be woken by the caller, who
    /// knows what to do when that panics.
    #[must_use]
    pub fn fill(&self, value: T) -> Option<Waker> {
        let mut state = self.state.lock();
        let State::Waiting(waker) = &mut *state else { return None };
        let waker = waker.take();
        *state = State::Here(value);
        drop(state);
        self.arrived.notify_all();
        waker
    }

    /// Whether the value has come, taken or not.
    #[must_use]
    pub fn has_come(&self) -> bool {
        !matches!(*self.state.lock(), State::Waiting(_))
    }

    /// The value, if it has come and was not taken before.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        take(&mut self.state.lock())
    }

    /// Blocks until the value comes, or until `deadline`.
    ///
    /// # Panics
    /// When the value has been taken.
    #[must_use]
    pub fn wait(&self, deadline: Time) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            match &*state {
                State::Here(_) => return take(&mut state),
                State::Taken => panic!("an answer was waited for after it had been taken"),
                State::Waiting(_) if deadline == Time::NEVER => self.arrived.wait(&mut state),
                State::Waiting(_) => {
                    let left = deadline.since(Time::now());
                    if left.is_zero() {
                        return None;
                    }
                    self.arrived.wait_for(&mut state, left);
                }
            }
        }
    }

    /// The value, or a promise to wake the task.
    ///
    /// # Panics
    /// When the value has been taken.
    pub fn poll(&self, context: &Context<'_>) -> Poll<T> {
        let mut state = self.state.lock();
        match &mut *state {
            State::Waiting(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            State::Here(_) | State::Taken => {
                Poll::Ready(take(&mut state).expect("an answer was polled after it was ready"))
            }
        }
    }
}

fn take<T>(state: &mut State<T>) -> Option<T> {
    match std::mem::replace(state, State::Taken) {
        State::Here(value) => Some(value),
        State::Taken => None,
        waiting @ State::Waiting(_) => {
            *state = waiting;
            None
        }
    }
}

impl<T> Default for Awaited<T> {
    fn default() -> Awaited<T> {
        Awaited::new()
    }
}

impl<T> fmt::Debug for Awaited<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Awaited").field("has_come", &self.has_come()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_value_counts_and_is_taken_once() {
        let place = Awaited::new();
        assert_eq!(place.take(), None);
        assert_eq!(place.wait(Time::now() + Duration::from_millis(1)), None);
        assert!(place.fill(1).is_none());
        assert!(place.fill(2).is_none());
        assert_eq!((place.wait(Time::NEVER), place.take()), (Some(1), None));
        assert!(place.has_come());
    }

    #[test]
    fn a_blocked_thread_is_woken() {
        let place = Awaited::new();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| place.wait(Time::NEVER));
            assert!(place.fill(7).is_none());
            assert_eq!(waits.join().expect("no panic"), Some(7));
        });
    }
}
