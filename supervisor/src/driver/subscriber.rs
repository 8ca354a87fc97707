//! Who is told what happens.

use crossbeam_channel::{Sender, TrySendError};

use crate::event::Event;

/// One subscriber's bounded channel, and what it missed because the channel was full.
pub(crate) struct Subscriber {
    channel: Sender<Event>,
    missed: u64,
}

impl Subscriber {
    /// Whoever reads the other end of this bounded channel.
    pub(crate) fn new(channel: Sender<Event>) -> Subscriber {
        Subscriber { channel, missed: 0 }
    }

    /// Tells one event, or counts it as missed; never blocks. False when nobody reads any more.
    pub(super) fn tell(&mut self, event: &Event) -> bool {
        if self.missed > 0 {
            match self.channel.try_send(Event::Missed(self.missed)) {
                Ok(()) => self.missed = 0,
                Err(error) => return self.miss(&error),
            }
        }
        match self.channel.try_send(event.clone()) {
            Ok(()) => true,
            Err(error) => self.miss(&error),
        }
    }

    fn miss(&mut self, error: &TrySendError<Event>) -> bool {
        self.missed += 1;
        matches!(error, TrySendError::Full(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S5: a slow subscriber is told what it missed, before the next event that fits.
    #[test]
    fn a_full_channel_counts_and_the_count_comes_first() {
        let (channel, events) = crossbeam_channel::bounded(2);
        let mut subscriber = Subscriber::new(channel);
        for _ in 0..5 {
            assert!(subscriber.tell(&Event::Online));
        }
        assert_eq!(events.try_iter().count(), 2);
        assert!(subscriber.tell(&Event::Draining));
        assert!(matches!(events.recv(), Ok(Event::Missed(3))));
        assert!(matches!(events.recv(), Ok(Event::Draining)));
    }

    #[test]
    fn a_subscriber_that_left_is_forgotten() {
        let (channel, events) = crossbeam_channel::bounded(1);
        let mut subscriber = Subscriber::new(channel);
        drop(events);
        assert!(!subscriber.tell(&Event::Online));
    }
}
