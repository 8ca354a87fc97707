//! What callers wait for besides their handles: the first readiness, and the end.

use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::Time;
use parking_lot::{Condvar, Mutex};

use crate::scheduler::{Edition, RolloutStatus};

/// A value that callers wait on until it is as they want it.
#[derive(Default)]
struct Latch<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T: Clone> Latch<T> {
    fn update(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.value.lock());
        self.changed.notify_all();
    }

    /// Waits until `wanted` holds or the time is over, and returns the value as it is then.
    fn wait(&self, timeout: Option<Duration>, wanted: impl Fn(&T) -> bool) -> T {
        let deadline = timeout.map_or(Time::NEVER, |timeout| Time::now() + timeout);
        let mut value = self.value.lock();
        while !wanted(&value) {
            if deadline == Time::NEVER {
                self.changed.wait(&mut value);
                continue;
            }
            let left = deadline.since(Time::now());
            if left.is_zero() {
                break;
            }
            self.changed.wait_for(&mut value, left);
        }
        value.clone()
    }
}

/// Whether all first workers have been ready once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Online {
    /// Not yet.
    #[default]
    Pending,
    /// They have.
    Reached,
    /// A group is degraded before its workers were ready; it may heal.
    Degraded {
        /// The group.
        group: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// The supervisor has stopped, and they had not.
    Stopped,
}

/// Set by the loop, waited on by callers of `wait_online`.
#[derive(Default)]
pub(crate) struct OnlineLatch(Latch<Online>);

impl OnlineLatch {
    pub(crate) fn online(&self) {
        self.0.update(|value| *value = Online::Reached);
    }

    pub(crate) fn degraded(&self, group: &Arc<str>, reason: &Arc<str>) {
        self.0.update(|value| {
            if *value == Online::Pending {
                *value = Online::Degraded { group: group.clone(), reason: reason.clone() };
            }
        });
    }

    pub(crate) fn healed(&self, healed: &str) {
        self.0.update(|value| match value {
            Online::Degraded { group, .. } if **group == *healed => *value = Online::Pending,
            Online::Degraded { .. } | Online::Pending | Online::Reached | Online::Stopped => {}
        });
    }

    pub(crate) fn stopped(&self) {
        self.0.update(|value| {
            if *value != Online::Reached {
                *value = Online::Stopped;
            }
        });
    }

    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Online {
        self.0.wait(timeout, |value| *value != Online::Pending)
    }
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Life {
    #[default]
    Running,
    /// No process, no loop; all handles have settled.
    LoopEnded,
    /// All callbacks have been called, too.
    Over,
}

/// Set by the loop and the courier at their ends, waited on by callers of `join`.
#[derive(Default)]
pub(crate) struct StopLatch(Latch<Life>);

impl StopLatch {
    pub(crate) fn loop_ended(&self) {
        self.0.update(|life| *life = Life::LoopEnded.max(*life));
    }

    pub(crate) fn courier_ended(&self) {
        self.0.update(|life| *life = Life::Over);
    }

    /// Waits for the end of everything, or, from the courier's own thread, of the loop.
    pub(crate) fn wait(&self, timeout: Option<Duration>, from_courier: bool) -> bool {
        let wanted = if from_courier { Life::LoopEnded } else { Life::Over };
        self.0.wait(timeout, |life| *life >= wanted) >= wanted
    }
}

/// How far a rollout has come. Set by the loop, waited on by whoever asked for it.
#[derive(Default)]
pub(crate) struct RolloutLatch(Latch<Option<Told>>);

#[derive(Clone, Debug)]
enum Told {
    Status(RolloutStatus),
    /// The loop has ended; what was told last.
    Stopped(Option<RolloutStatus>),
}

impl RolloutLatch {
    pub(crate) fn tell(&self, status: &RolloutStatus) {
        self.0.update(|value| *value = Some(Told::Status(status.clone())));
    }

    /// Nothing will be told any more: what is not over never will be.
    pub(crate) fn stopped(&self) {
        self.0.update(|value| match value.take() {
            Some(Told::Status(status)) if status.is_over() => *value = Some(Told::Status(status)),
            Some(Told::Status(status)) => *value = Some(Told::Stopped(Some(status))),
            Some(Told::Stopped(_)) | None => *value = Some(Told::Stopped(None)),
        });
    }

    pub(crate) fn status(&self) -> RolloutStatus {
        match self.0.wait(Some(Duration::ZERO), |_| true) {
            Some(Told::Status(status) | Told::Stopped(Some(status))) => status,
            Some(Told::Stopped(None)) | None => RolloutStatus::waiting(Edition::default()),
        }
    }

    /// Waits until it is over, or not longer than `timeout`; `None` when it never will be.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Option<RolloutStatus> {
        let is_over = |value: &Option<Told>| match value {
            Some(Told::Status(status)) => status.is_over(),
            Some(Told::Stopped(_)) => true,
            None => false,
        };
        match self.0.wait(timeout, is_over) {
            Some(Told::Stopped(_)) => None,
            Some(Told::Status(_)) | None => Some(self.status()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn degraded_before_online_is_told_and_forgotten_when_healed() {
        let latch = OnlineLatch::default();
        assert_eq!(latch.wait(Some(Duration::ZERO)), Online::Pending);
        let (group, reason): (Arc<str>, Arc<str>) = ("default".into(), "it crashes".into());
        latch.degraded(&group, &reason);
        assert_eq!(latch.wait(None), Online::Degraded { group: group.clone(), reason: reason.clone() });
        latch.healed("other");
        latch.healed("default");
        assert_eq!(latch.wait(Some(Duration::ZERO)), Online::Pending);
        latch.online();
        latch.degraded(&group, &reason);
        latch.stopped();
        assert_eq!(latch.wait(None), Online::Reached);
    }

    #[test]
    fn the_end_is_waited_for_in_two_steps() {
        let latch = StopLatch::default();
        assert!(!latch.wait(Some(Duration::ZERO), true));
        thread::scope(|scope| {
            let caller = scope.spawn(|| latch.wait(None, false));
            latch.loop_ended();
            assert!(latch.wait(None, true));
            assert!(!latch.wait(Some(Duration::ZERO), false));
            latch.courier_ended();
            assert!(caller.join().expect("no panic"));
        });
    }
}
