use super::*;

/// S5: a subscriber can wait, look, and iterate to the end.
#[test]
fn events_can_be_waited_for_looked_at_and_iterated() {
    let (sender, receiver) = crossbeam_channel::bounded(4);
    let events = Events::new(receiver);
    assert_eq!(events.try_recv().map(drop), Err(NoEvent::NotYet));
    assert_eq!(events.recv_timeout(Duration::ZERO).map(drop), Err(NoEvent::NotYet));
    for event in [Event::Online, Event::Draining, Event::Stopped] {
        sender.send(event).expect("room");
    }
    drop(sender);
    assert!(matches!(events.recv(), Ok(Event::Online)));
    assert_eq!((&events).count(), 2);
    assert_eq!(events.try_recv().map(drop), Err(NoEvent::Ended));
    assert_eq!(events.recv_timeout(Duration::MAX).map(drop), Err(NoEvent::Ended));
    assert_eq!(events.count(), 0);
}
