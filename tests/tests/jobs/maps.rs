//! A job for each item of an iterator.

use std::cell::Cell;

use ganger::{EnqueueError, Job, JobError, MapError, Supervisor};
use ganger_tests::calls::{Add, Fail, Hold, Manners};
use ganger_tests::harness::{Gate, PATIENCE, scenario};
use ganger_tests::workers::{online, plain, with};

/// J1: results come in the order of the items, whatever the order in which they are ready.
#[test]
fn a_map_keeps_the_order() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(2));
        let sums: Vec<i64> = supervisor
            .map((0..2000).map(|number| Add(number, number)))
            .map(|result| result.expect("answered").data)
            .collect();
        assert_eq!(sums, (0..2000).map(|number| 2 * number).collect::<Vec<_>>());
    });
}

/// J1: an unordered map gives the result that is ready, with the place of its item.
#[test]
fn an_unordered_map_gives_what_is_ready() {
    scenario(|| {
        let gates = [Gate::new(), Gate::new()];
        let manners = Manners { threads: 2, ..Manners::new() };
        let supervisor = online(Supervisor::builder(with(&manners)).workers(1));
        let holds = gates.iter().map(|gate| Hold { gate: gate.path() });
        let holds: Vec<Hold> = holds.collect();
        let (given, places) = std::sync::mpsc::channel();
        let mut results = supervisor.map(holds).unordered().in_flight(2);
        let giver = std::thread::spawn(move || {
            results
                .by_ref()
                .for_each(|(place, result)| given.send((place, result.is_ok())).expect("the test waits"));
        });
        let [first, second] = gates.each_ref().map(Gate::next);
        second.release();
        assert_eq!(places.recv_timeout(PATIENCE).expect("the second is ready"), (1, true));
        first.release();
        assert_eq!(places.recv_timeout(PATIENCE).expect("the first is ready"), (0, true));
        giver.join().expect("it ends with the items");
    });
}

/// J1: no more items are taken from the input than are on their way and have been given.
#[test]
fn a_map_takes_items_only_as_results_are_taken() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(2));
        let taken = Cell::new(0);
        let endless = (0..).inspect(|_| taken.set(taken.get() + 1)).map(|number| Add(number, 0));
        let mut map = supervisor.map(endless).in_flight(5);
        for number in 0..100 {
            assert_eq!(map.next().expect("endless").expect("answered").data, number);
            assert!(taken.get() <= number + 5, "{} items for {number} results", taken.get());
        }
    });
}

/// J1: at most the number given is on its way at a time.
#[test]
fn a_map_bounds_what_is_in_flight() {
    scenario(|| {
        let gate = Gate::new();
        let manners = Manners { threads: 8, ..Manners::new() };
        let supervisor = online(Supervisor::builder(with(&manners)).workers(1));
        let holds: Vec<Hold> = (0..6).map(|_| Hold { gate: gate.path() }).collect();
        let map = supervisor.map(holds).in_flight(3);
        let all = std::thread::spawn(move || map.filter(Result::is_ok).count());
        for _ in 0..2 {
            let three = gate.next_many(3);
            let health = supervisor.health();
            assert_eq!((health.groups[0].in_flight, health.groups[0].queued), (3, 0));
            assert!(!gate.is_visited());
            three.into_iter().for_each(|held| held.release());
        }
        assert_eq!(all.join().expect("no panic"), 6);
    });
}

/// J1: a full queue does not fail a map: it waits for room.
#[test]
fn a_map_waits_for_room_in_a_full_queue() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(2).queue_limit(3));
        let sum: i64 = supervisor
            .map((1..=500).map(|number| Add(number, 0)))
            .map(|result| result.expect("answered").data)
            .sum();
        assert_eq!(sum, 500 * 501 / 2);
    });
}

/// J1, J4: an item that fails, and one that is refused, fail alone and in their place.
#[test]
fn an_item_that_fails_fails_alone() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let fail = |message: &str| Job::new(Fail { message: message.to_owned(), details: None });
        let items = [fail("one"), fail("two").group("nowhere"), fail("three")];
        let mut results = supervisor.map(items);
        assert!(
            matches!(results.next(), Some(Err(MapError::Job(JobError::Failed { failure, .. }))) if failure.message == "one")
        );
        assert!(matches!(results.next(), Some(Err(MapError::Refused(EnqueueError::UnknownGroup { .. })))));
        assert!(
            matches!(results.next(), Some(Err(MapError::Job(JobError::Failed { failure, .. }))) if failure.message == "three")
        );
        assert!(results.next().is_none());
    });
}
