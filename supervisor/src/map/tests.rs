use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;
use crate::command::Command;
use crate::scheduler::{Outcome, Started};
use crate::shared::QueueLimits;
use crate::slot::JobSlot;
use crate::testing::{finish, replied, supervisor};
use crate::{JobError, Raw};

const ROOM: QueueLimits = QueueLimits { jobs: 100, bytes: 1 << 20 };

fn item(number: u8) -> Raw {
    Raw::new("echo", [number])
}

/// A loop that answers with the payload as soon as `batch` jobs wait, the latest first.
fn backwards(batch: usize) -> impl FnMut(&crate::shared::Shared, Command) + Send {
    let mut waiting: Vec<JobSlot> = Vec::new();
    move |shared, command| {
        if let Command::Enqueue(slot) = command {
            waiting.push(slot);
        }
        if waiting.len() == batch {
            while let Some(slot) = waiting.pop() {
                let data = slot.payload().to_vec();
                finish(shared, &slot, replied(data));
            }
        }
    }
}

/// J1: a map gives results in the order of its items, whatever the order of the answers.
#[test]
fn results_are_in_the_order_of_the_items() {
    let (supervisor, _fake) = supervisor(ROOM, backwards(4));
    let data: Vec<u8> = supervisor
        .map((0..20).map(item))
        .in_flight(4)
        .map(|result| result.expect("a reply").data[0])
        .collect();
    assert_eq!(data, (0..20).collect::<Vec<u8>>());
}

/// J1: unordered, results come as they are ready, with the places of their items.
///
/// Once it was asserted that place 3 comes first, which failed now and then: its answer may come while the map still gives the job in, and then the map
/// learns of it only afterwards. The three before it are being watched by then, so theirs is the order that is promised.
#[test]
fn unordered_results_carry_their_places() {
    let (supervisor, _fake) = supervisor(ROOM, backwards(4));
    let came: Vec<(usize, u8)> = supervisor
        .map((0..8).map(item))
        .unordered()
        .in_flight(4)
        .map(|(place, result)| (place, result.expect("a reply").data[0]))
        .collect();
    assert!(came.iter().all(|(place, number)| *place == usize::from(*number)));
    let watched: Vec<usize> = came.iter().map(|(place, _)| *place).filter(|place| *place < 3).collect();
    assert_eq!(watched, [2, 1, 0], "the latest was answered first: {came:?}");
    assert_eq!(came.len(), 8);
}

/// J1: never more jobs on their way than allowed, and items are taken only as needed, so that they may be endless.
#[test]
fn the_number_in_flight_is_bounded() {
    let taken = AtomicUsize::new(0);
    let (supervisor, _fake) = supervisor(ROOM, backwards(1));
    let items = std::iter::repeat_with(|| {
        taken.fetch_add(1, SeqCst);
        item(1)
    });
    let mut map = supervisor.map(items).in_flight(3);
    for given in 0..10 {
        map.next().expect("endless").expect("a reply");
        assert!(taken.load(SeqCst) <= given + 3);
    }
    assert_eq!(taken.load(SeqCst), 12);
}

/// J9: a queue that is full makes a map wait for its own results, not fail.
#[test]
fn a_full_queue_is_waited_for() {
    let narrow = QueueLimits { jobs: 2, bytes: 1 << 20 };
    let (supervisor, _fake) = supervisor(narrow, backwards(1));
    assert_eq!(supervisor.map((0..20).map(item)).filter(Result::is_ok).count(), 20);
    assert_eq!(
        supervisor.map((0..20).map(item)).unordered().filter(|(_, result)| result.is_ok()).count(),
        20
    );
}

/// An item that is refused, or fails, is an error in its place; the others go on.
#[test]
fn an_item_that_fails_is_an_error_in_its_place() {
    let (supervisor, _fake) = supervisor(ROOM, |shared, command| {
        if let Command::Enqueue(slot) = command {
            let outcome = match slot.payload() {
                [3] => Outcome::Cancelled { started: Started::No, worker: None },
                data => replied(data.to_vec()),
            };
            finish(shared, &slot, outcome);
        }
    });
    let items =
        || (0..6).map(|number| if number == 2 { Raw::new("echo", vec![0; 2 << 20]) } else { item(number) });
    let check = |place: usize, result: MapResult<Raw>| match (place, result) {
        (2, Err(MapError::Refused(EnqueueError::TooLarge { job, size, .. }))) => {
            assert_eq!((job.call().bytes.len(), size), (2 << 20, 2 << 20));
        }
        (3, Err(MapError::Job(JobError::Cancelled { .. }))) => {}
        (place, Ok(response)) => assert_eq!(usize::from(response.data[0]), place),
        (place, other) => panic!("{place}: {other:?}"),
    };
    supervisor.map(items()).enumerate().for_each(|(place, result)| check(place, result));
    supervisor.map(items()).unordered().for_each(|(place, result)| check(place, result));
}
