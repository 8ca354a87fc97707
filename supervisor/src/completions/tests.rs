use std::thread;

use super::*;
use crate::Raw;
use crate::shared::QueueLimits;
use crate::testing::{finish, replied, shared, slot};

fn handle() -> (Handle<Raw>, JobSlot) {
    let slot = slot();
    (Handle::new(slot.clone(), shared(QueueLimits::default())), slot)
}

/// J1: results come in the order in which they are ready, those that were ready before included.
#[test]
fn results_come_as_they_are_ready_and_then_no_more() {
    let done = Completions::<Raw>::new();
    assert!(done.recv().is_none(), "nothing is expected");
    let slots: Vec<_> = (0..3).map(|_| handle()).collect();
    let ids: Vec<_> = slots.iter().map(|(handle, _)| handle.id()).collect();
    slots[2].1.settle(replied(vec![2]));
    let slots: Vec<_> = slots
        .into_iter()
        .map(|(handle, slot)| {
            handle.forward(&done);
            slot
        })
        .collect();
    slots[1].settle(replied(vec![1]));
    slots[0].settle(replied(vec![0]));
    assert_eq!(done.outstanding(), 3);
    let came: Vec<_> = (&done).into_iter().map(|(id, result)| (id, result.expect("a reply").data)).collect();
    assert_eq!(came, [(ids[2], vec![2]), (ids[1], vec![1]), (ids[0], vec![0])]);
}

#[test]
fn waiting_with_a_timeout_of_zero_only_looks() {
    let done = Completions::<Raw>::new();
    let (handle, slot) = handle();
    handle.forward(&done);
    assert!(done.recv_timeout(Duration::ZERO).is_none());
    assert!(done.try_recv().is_none());
    slot.settle(replied(Vec::new()));
    assert!(done.try_recv().is_some());
}

/// Each result is fetched once, and a thread that waits for nothing more is let go.
#[test]
fn many_threads_share_the_results() {
    let done = Completions::<Raw>::new();
    let shared = shared(QueueLimits::default());
    let slots: Vec<_> = (0..100).map(|_| slot()).collect();
    for slot in &slots {
        shared.admit(slot.group(), slot.charge()).expect("room");
        Handle::new(slot.clone(), Arc::clone(&shared)).forward(&done);
    }
    let fetched: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| (&done).into_iter().count())).collect();
        for slot in &slots {
            finish(&shared, slot, replied(Vec::new()));
        }
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!(fetched, 100);
}
