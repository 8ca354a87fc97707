//! What must hold between any two inputs, and what can be counted.

use super::{Origin, Relay, Target};

/// CallCounts of a relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// Calls on their way.
    pub in_flight: usize,
    /// Calls that some target holds, waited for or not.
    pub held: usize,
    /// Answers that came when nobody waited for them any more.
    pub late: u64,
    /// Answers from processes that held no such call, and calls of processes that are gone.
    pub strays: u64,
}

impl<T> Relay<T> {
    /// How much is on its way, and how much was dropped so far.
    #[must_use]
    pub fn counts(&self) -> CallCounts {
        let held = self.members.values().map(|member| member.hold.len()).sum::<usize>() + self.primary.len();
        CallCounts { in_flight: self.calls.len(), held, late: self.late, strays: self.strays }
    }

    /// Holds the tables against one another.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self) -> Result<(), String> {
        let mut timers = 0;
        for (key, call) in self.calls.iter() {
            timers += usize::from(call.timer.is_set());
            if call.open.len() != call.left || call.left == 0 {
                return Err(format!("{key:?}: {} open, {} left", call.open.len(), call.left));
            }
            for (number, (target, _)) in &call.open {
                let held = self.held_by(*target).find(|(held, _)| held == number);
                if held.and_then(|(_, held)| held.call) != Some(key) {
                    return Err(format!("{key:?}: {number} is not held by {target:?}"));
                }
            }
            if let Origin::Worker { worker, call } = call.from
                && self.members.get(&worker).and_then(|member| member.made.get(&call)) != Some(&key)
            {
                return Err(format!("{key:?}: its caller does not know it"));
            }
        }
        if timers != self.calls.len() || timers != self.timers.len() {
            let calls = self.calls.len();
            return Err(format!("{calls} calls, {timers} with timers, {} timers", self.timers.len()));
        }
        self.check_holds()
    }

    fn check_holds(&self) -> Result<(), String> {
        let targets = self.members.keys().map(|key| Target::Worker(*key)).chain([Target::Primary]);
        for target in targets {
            for (number, held) in self.held_by(target) {
                let Some(key) = held.call else { continue };
                if !self.calls.get(key).is_some_and(|call| call.open.contains_key(&number)) {
                    return Err(format!("{target:?} holds {number} for nobody"));
                }
            }
        }
        let holds = self.members.values().map(|member| &member.hold).chain([&self.primary]);
        if !holds.into_iter().all(|hold| hold.adds_up() && hold.len() <= self.config.held) {
            return Err(String::from("a hold does not add up"));
        }
        let made: usize = self.members.values().map(|member| member.made.len()).sum();
        let by_workers = self.calls.iter().filter(|(_, call)| matches!(call.from, Origin::Worker { .. }));
        if made != by_workers.count() {
            return Err(String::from("workers have made calls that are not in flight"));
        }
        Ok(())
    }

    fn held_by(&self, target: Target) -> impl Iterator<Item = (u64, super::member::Held)> {
        let hold = match target {
            Target::Primary => Some(&self.primary),
            Target::Worker(worker) => self.members.get(&worker).map(|member| &member.hold),
        };
        hold.into_iter().flat_map(|hold| hold.items())
    }
}
