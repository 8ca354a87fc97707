//! Who is told what happens.

use crossbeam_channel::{Sender, TrySendError};

use crate::event::Event;

/// One subscriber's bounded channel, and what it missed because the channel was full.
pub(crate) struct Subscriber {
    channel: Sender<Event>,
    missed: u64,
    missed_ever: u64,
}

impl Subscriber {
    /// Whoever reads the other end of this bounded channel.
    pub(crate) fn new(channel: Sender<Event>) -> Subscriber {
        Subscriber { channel, missed: 0, missed_ever: 0 }
    }

    /// Tells one event, or counts it as missed; never blocks. False when nobody reads any more.
    ///
    /// Events that workers emit take at most half of the channel, so that one that floods does not push out what
    /// happens to the others.
    pub(super) fn tell(&mut self, event: &Event) -> bool {
        if matches!(event, Event::Custom { .. }) && self.is_half_full() {
            self.note_missed();
            return true;
        }
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

    /// How many it has missed since it came.
    pub(super) fn missed_ever(&self) -> u64 {
        self.missed_ever
    }

    fn note_missed(&mut self) {
        self.missed += 1;
        self.missed_ever += 1;
    }

    fn is_half_full(&self) -> bool {
        self.channel.capacity().is_some_and(|capacity| self.channel.len() >= capacity.div_ceil(2))
    }

    fn miss(&mut self, error: &TrySendError<Event>) -> bool {
        self.note_missed();
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

    /// A worker that floods filled every subscriber's backlog, and what happened to other workers was missed with it.
    /// P13: its events have their own share.
    #[test]
    fn a_flood_of_a_workers_own_events_leaves_room_for_the_others() {
        let (channel, events) = crossbeam_channel::bounded(8);
        let mut subscriber = Subscriber::new(channel);
        let custom = Event::Custom { worker: "w-0".into(), name: "news".into(), payload: [].into() };
        for _ in 0..100 {
            assert!(subscriber.tell(&custom));
        }
        assert!(subscriber.tell(&Event::Draining));
        let told: Vec<Event> = events.try_iter().collect();
        assert_eq!(told.len(), 6);
        assert!(matches!(told[4..], [Event::Missed(96), Event::Draining]), "{told:?}");
    }

    #[test]
    fn a_subscriber_that_left_is_forgotten() {
        let (channel, events) = crossbeam_channel::bounded(1);
        let mut subscriber = Subscriber::new(channel);
        drop(events);
        assert!(!subscriber.tell(&Event::Online));
    }
}
