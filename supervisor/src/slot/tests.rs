use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::task::Wake as StdWake;
use std::thread;
use std::time::Duration;

use super::*;
use crate::testing::{cancelled, replied, rouse, slot};

/// A task's waker that counts how often it was woken.
#[derive(Default)]
struct Counter(AtomicUsize);

impl StdWake for Counter {
    fn wake(self: Arc<Counter>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn data(outcome: Outcome) -> Vec<u8> {
    match outcome {
        Outcome::Replied { data, .. } => data,
        other => panic!("{other:?}"),
    }
}

/// J8, P2: the first outcome stays.
#[test]
fn a_slot_settles_once() {
    let slot = slot();
    assert!(slot.settle(replied(vec![1])).is_none());
    assert!(slot.settle(cancelled()).is_none());
    assert_eq!(slot.stage(), Stage::Settled);
    assert_eq!(slot.take().map(data), Some(vec![1]));
    assert!(slot.settle(cancelled()).is_none());
    assert!(slot.take().is_none());
}

/// J1.
#[test]
fn a_waiting_thread_is_woken_with_the_outcome() {
    let slot = slot();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| slot.wait(None).map(data));
        // It may come before or after the wait begins: both must do.
        if let Some(wake) = slot.settle(replied(vec![7])) {
            rouse(wake);
        }
        assert_eq!(waiter.join().expect("no panic"), Some(vec![7]));
    });
}

/// J1: a timeout of zero only looks, and leaves nobody behind to be woken.
#[test]
fn a_wait_that_is_over_leaves_no_waiter() {
    let slot = slot();
    assert!(slot.wait(Some(Time::now())).is_none());
    assert!(slot.wait(Some(Time::now() + Duration::from_millis(1))).is_none());
    assert!(slot.settle(replied(Vec::new())).is_none(), "nobody waits");
    assert!(slot.wait(Some(Time::now())).is_some());
}

/// J1: a task that moved is woken where it is now.
#[test]
fn the_last_waker_is_the_one_woken() {
    let slot = slot();
    let (old, new) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    for counter in [&old, &new] {
        let waker = Arc::clone(counter).into();
        assert!(slot.poll(&Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(Arc::strong_count(&old), 1, "the old waker is let go");
    rouse(slot.settle(replied(Vec::new())).expect("the task waits"));
    assert_eq!((old.0.load(SeqCst), new.0.load(SeqCst)), (0, 1));
    let waker = new.into();
    assert!(slot.poll(&Context::from_waker(&waker)).is_ready());
}

#[test]
fn polling_again_keeps_the_waker_it_has() {
    let slot = slot();
    let counter = Arc::new(Counter::default());
    let waker = Arc::clone(&counter).into();
    for _ in 0..3 {
        assert!(slot.poll(&Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(Arc::strong_count(&counter), 3, "ours, the waker's, the slot's");
}

#[test]
#[should_panic(expected = "polled after it was ready")]
fn polling_after_the_end_is_a_mistake_that_is_told() {
    let slot = slot();
    slot.settle(cancelled());
    let waker = Waker::noop();
    assert!(slot.poll(&Context::from_waker(waker)).is_ready());
    let _ = slot.poll(&Context::from_waker(waker));
}

/// J1: the callback is called with the outcome, once, by whoever the loop gives it to.
#[test]
fn a_callback_is_handed_over_with_its_outcome() {
    let slot = slot();
    let (sender, receiver) = channel();
    assert!(slot.call_back(Box::new(move |outcome| sender.send(data(outcome)).expect("open"))).is_none());
    let wake = slot.settle(replied(vec![9])).expect("the callback");
    assert!(receiver.try_recv().is_err(), "settling does not call it");
    rouse(wake);
    assert_eq!(receiver.recv(), Ok(vec![9]));
    assert!(slot.settle(cancelled()).is_none());
}

#[test]
fn a_callback_that_comes_late_is_given_back_with_the_outcome() {
    let slot = slot();
    slot.settle(replied(vec![4]));
    let (_, outcome) = slot.call_back(Box::new(|_| {})).expect("it is here already");
    assert_eq!(data(outcome), [4]);
}

/// A handle that is dropped takes its waker along, but not a callback.
#[test]
fn whoever_stops_waiting_is_not_woken() {
    let slot = slot();
    let counter = Arc::new(Counter::default());
    let waker = Arc::clone(&counter).into();
    assert!(slot.poll(&Context::from_waker(&waker)).is_pending());
    slot.stop_waiting();
    drop(waker);
    assert_eq!(Arc::strong_count(&counter), 1);
    assert!(slot.call_back(Box::new(|_| {})).is_none());
    slot.stop_waiting();
    assert!(matches!(slot.settle(cancelled()), Some(Wake::Callback(_))));
}

#[test]
fn a_large_payload_is_shared_not_copied() {
    let slot = slot();
    let bytes = slot.shared_payload();
    assert_eq!(bytes.as_ptr(), slot.payload().as_ptr());
    assert_eq!(ThinArc::strong_count(&slot.0), 2);
    drop(bytes);
    assert_eq!(ThinArc::strong_count(&slot.0), 1);
}

/// The bytes that the caller gave are the ones that are sent.
#[test]
fn a_large_payload_stays_where_it_is() {
    let payload = vec![5; INLINE_BYTES + 1];
    let address = payload.as_ptr();
    let spec = Spec::Rich(Arc::new(Terms { name: "large".into(), ..Terms::default() }));
    let slot = JobSlot::new(JobId::random(), spec, GroupIndex(0), payload, Time::ZERO);
    assert_eq!((slot.payload().as_ptr(), slot.charge(), slot.name()), (address, INLINE_BYTES + 1, "large"));
}

#[test]
fn the_place_is_absent_until_it_is_set() {
    let slot = slot();
    assert_eq!(slot.place(), None);
    slot.set_place(7);
    assert_eq!(slot.place(), Some(7));
}

/// A handle was polled, then forwarded, while the job settled: the waker that was left behind is not taken for the
/// one that takes the outcome, and the outcome arrives.
#[test]
fn an_outcome_meets_every_kind_of_waiter_under_a_race() {
    for round in 0..2000u32 {
        let slot = slot();
        let arrivals = Arc::<Arrivals>::default();
        let counter = Arc::new(Counter::default());
        let waker = Arc::clone(&counter).into();
        thread::scope(|scope| {
            scope.spawn(|| {
                if let Some(wake) = slot.settle(replied(vec![1])) {
                    rouse(wake);
                }
            });
            match slot.poll(&Context::from_waker(&waker)) {
                Poll::Ready(outcome) => drop(arrivals.push(slot.clone(), outcome)),
                Poll::Pending if round % 2 == 0 => slot.forward(&arrivals),
                Poll::Pending => {
                    let outcome = slot.wait(None).expect("without a deadline it comes");
                    arrivals.push(slot.clone(), outcome);
                }
            }
        });
        assert_eq!(arrivals.arrived(), 1, "round {round}");
    }
}

/// What a queued job costs; a change here is a change of `docs` and of the memory target.
#[test]
fn a_slot_is_small() {
    assert!(size_of::<Head>() <= 56, "{}", size_of::<Head>());
}
