//! Whether to look again for a moment before sleeping.
//!
//! Waking a processor that sleeps costs more than anything else on the way of a small message: whoever looks again for
//! a moment, giving way to others between the looks, is served several times sooner. Where both ends share a processor
//! it is the other way round, because the sleeper lets the other one get to work at once. So each end says in the
//! [page](crate::Page) where it is, and looks only for somebody elsewhere.
//!
//! Nobody looks after a wait that was long, so that who idles, sleeps; and who has looked in vain looks less and less
//! often. It was in vain, too, when somebody else had work on the looker's own processor, which shows in how long he is
//! away when he gives way: that one is better served by a sleeper. The kernel's halt polling for guests (`Documentation/virt/guest-halt-polling.rst`) follows the same idea.

use std::time::Duration;

use crate::Time;

/// The longest look.
const LOOK: Duration = Duration::from_micros(50);
/// Whoever is away for longer when he gives way shares his processor with somebody who works.
const AWAY: Duration = Duration::from_micros(8);
/// A sleep of up to this long might have been a look: waking up takes about half of it.
const SHORT: Duration = Duration::from_micros(100);
/// Looks in vain are followed by up to 2 to the power of this many short waits without one.
const MOST_MISSES: u32 = 10;

/// The number of the processor that this thread runs on.
#[must_use]
pub fn processor() -> u32 {
    u32::try_from(rustix::thread::sched_getcpu()).unwrap_or(u32::MAX)
}

/// Whether to look again for a moment, at most 50 µs, before sleeping.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spin {
    /// When the wait began.
    began: Time,
    /// Whether the last wait was short.
    is_brisk: bool,
    /// Looks in vain since the last that found something.
    misses: u32,
    /// Short waits to be slept through before the next look.
    pause: u32,
}

/// What a look was good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    Something,
    Nothing,
}

impl Spin {
    /// One that sleeps until there is reason to look.
    #[must_use]
    pub const fn new() -> Spin {
        Spin { began: Time::ZERO, is_brisk: false, misses: 0, pause: 0 }
    }

    /// A wait for a peer begins, who was on processor `peer` last: looks until `look` finds something, if that is the
    /// way to go. `None`: sleep, and then tell [`woke`](Spin::woke).
    pub fn look<T>(&mut self, peer: Option<u32>, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        self.began = Time::now();
        if !self.is_due() || peer.is_none_or(|peer| peer == processor()) {
            return None;
        }
        let (found, worth) = self.look_while_it_pays(Time::now, || {
            std::thread::yield_now();
            look()
        });
        self.note(worth);
        found
    }

    /// The sleep that had to follow is over.
    pub fn woke(&mut self) {
        self.slept_until(Time::now());
    }

    fn look_while_it_pays<T>(
        &self,
        mut now: impl FnMut() -> Time,
        mut look: impl FnMut() -> Option<T>,
    ) -> (Option<T>, Worth) {
        let mut before = self.began;
        loop {
            let found = look();
            let now = now();
            let is_alone = now.since(before) <= AWAY;
            match found {
                Some(found) if is_alone => return (Some(found), Worth::Something),
                None if is_alone && now.since(self.began) < LOOK => before = now,
                found => return (found, Worth::Nothing),
            }
        }
    }

    fn note(&mut self, worth: Worth) {
        (self.misses, self.pause) = match worth {
            Worth::Something => (0, 0),
            Worth::Nothing => {
                let misses = (self.misses + 1).min(MOST_MISSES);
                (misses, 1 << misses)
            }
        };
    }

    fn slept_until(&mut self, now: Time) {
        self.is_brisk = now.since(self.began) <= SHORT;
    }

    fn is_due(&mut self) -> bool {
        if self.is_brisk && self.pause > 0 {
            self.pause -= 1;
            return false;
        }
        self.is_brisk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brisk() -> Spin {
        Spin { is_brisk: true, ..Spin::new() }
    }

    /// A clock that moves on by so much whenever it is read.
    fn clock(step: Duration) -> impl FnMut() -> Time {
        let mut now = Time::ZERO;
        move || {
            now = now + step;
            now
        }
    }

    /// Looks with a clock of such steps for what is found at the `enough`th look; says how many there were, too.
    fn look(step: Duration, enough: u32) -> (Option<u32>, Worth, u32) {
        let mut looks = 0;
        let (found, worth) = brisk().look_while_it_pays(clock(step), || {
            looks += 1;
            (looks == enough).then_some(looks)
        });
        (found, worth, looks)
    }

    #[test]
    fn a_look_goes_on_until_it_finds_but_not_for_long() {
        let step = Duration::from_micros(5);
        assert_eq!(look(step, 3), (Some(3), Worth::Something, 3));
        assert_eq!(look(step, 100), (None, Worth::Nothing, 10));
    }

    /// The handlers of two busy workers on two processors once lost a tenth of their time to the loop's looks.
    #[test]
    fn a_look_ends_where_somebody_else_has_work() {
        assert_eq!(look(AWAY * 2, 1), (Some(1), Worth::Nothing, 1));
        assert_eq!(look(AWAY * 2, 2), (None, Worth::Nothing, 1));
    }

    #[test]
    fn nobody_looks_who_idles_or_shares_the_processor_or_does_not_know_where_the_peer_is() {
        let looks = |mut spin: Spin, peer| {
            let mut looked = false;
            spin.look(peer, || {
                looked = true;
                None::<()>
            });
            looked
        };
        assert!(!looks(Spin::new(), Some(u32::MAX - 1)));
        assert!(!looks(brisk(), None));
        // Only a thread that is moved between the two readings would look.
        assert!((0..10).any(|_| !looks(brisk(), Some(processor()))));
    }

    #[test]
    fn a_long_sleep_ends_the_looking_and_a_short_one_begins_it() {
        let mut spin = brisk();
        spin.slept_until(Time::ZERO + SHORT * 2);
        assert!(!spin.is_due());
        spin.slept_until(Time::ZERO + SHORT);
        assert!(spin.is_due());
    }

    #[test]
    fn looks_in_vain_become_rare_until_one_finds() {
        let mut spin = brisk();
        let mut looks = 0;
        for _ in 0..200 {
            if spin.is_due() {
                looks += 1;
                spin.note(Worth::Nothing);
            }
        }
        assert_eq!(looks, 7, "2 + 4 + … + 128 waits lie between them");
        spin.note(Worth::Something);
        assert!(spin.is_due() && spin.is_due());
    }
}
