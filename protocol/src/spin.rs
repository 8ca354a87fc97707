//! Whether to look again for a moment before sleeping.
//!
//! Waking a processor that sleeps costs more than anything else on the way of a small message: whoever looks again for
//! a moment, giving way to others between the looks, is served several times sooner. Where both ends share a processor
//! it is the other way round, because the sleeper lets the other one get to work at once. So each end says in the
//! [page](crate::Page) where it is, and looks only for somebody elsewhere.
//!
//! Nobody looks after a wait that was long, so that who idles, sleeps; and who has looked in vain looks less and less
//! often. The kernel's halt polling for guests (`Documentation/virt/guest-halt-polling.rst`) follows the same idea.

use std::time::Duration;

use crate::Time;

/// The longest look.
const LOOK: Duration = Duration::from_micros(50);
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
        let found = self.look_while_it_pays(Time::now, || {
            std::thread::yield_now();
            look()
        });
        self.note(found.is_some());
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
    ) -> Option<T> {
        while now().since(self.began) < LOOK {
            let found = look();
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn note(&mut self, has_found: bool) {
        self.misses = if has_found { 0 } else { (self.misses + 1).min(MOST_MISSES) };
        self.pause = if has_found { 0 } else { 1 << self.misses };
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

    /// A clock that moves on by 10 µs whenever it is read.
    fn clock() -> impl FnMut() -> Time {
        let mut now = Time::ZERO;
        move || {
            now = now + Duration::from_micros(10);
            now
        }
    }

    #[test]
    fn a_look_goes_on_until_it_finds_but_not_for_long() {
        let mut looks = 0;
        let mut look = |enough| {
            brisk().look_while_it_pays(clock(), || {
                looks += 1;
                (looks == enough).then_some(looks)
            })
        };
        assert_eq!(look(3), Some(3));
        assert_eq!(look(100), None);
        assert_eq!(looks, 3 + 4);
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
                spin.note(false);
            }
        }
        assert_eq!(looks, 7, "2 + 4 + … + 128 waits lie between them");
        spin.note(true);
        assert!(spin.is_due() && spin.is_due());
    }
}
