//! The shared store, from both sides: M5.

use std::time::Duration;

use ganger::{Expect, Job, JobError, Store, StoreError, StoreLimits, Supervisor};
use ganger_protocol::encode;
use ganger_tests::calls::Manners;
use ganger_tests::harness::{Scratch, eventually, scenario};
use ganger_tests::store::{Ask, Count, Told, Wish, perform};
use ganger_tests::workers::{online, plain, tireless, with};
use rustix::process::{Pid, Signal, kill_process};

/// Somebody who can be asked: this process, or a worker.
enum Side {
    Here(Store),
    There(Supervisor),
}

impl Side {
    fn ask(&self, wish: Wish) -> Told {
        match self {
            Side::Here(store) => perform(store, &wish),
            Side::There(supervisor) => {
                let job = supervisor.enqueue(Ask { wishes: vec![wish] }).expect("accepted");
                job.wait().expect("answered").data.remove(0)
            }
        }
    }
}

fn text(text: &str) -> String {
    String::from(text)
}

fn revision(told: &Told) -> u64 {
    match told {
        Told::At(revision) => *revision,
        other => panic!("{other:?}"),
    }
}

fn refusal(told: &Told) -> &str {
    match told {
        Told::Refused(reason) => reason,
        other => panic!("{other:?}"),
    }
}

fn every_operation(side: &Side) {
    assert_eq!(side.ask(Wish::Get(text("a"))), Told::Value(None));
    let first = revision(&side.ask(Wish::Set(text("a"), b"one".to_vec())));
    assert_eq!(side.ask(Wish::Get(text("a"))), Told::Value(Some((b"one".to_vec(), first))));
    assert!(
        refusal(&side.ask(Wish::SetIf(text("a"), None, b"two".to_vec()))).contains("not as it was expected")
    );
    let second = revision(&side.ask(Wish::SetIf(text("a"), Some(first), b"two".to_vec())));
    assert!(second > first);
    assert!(refusal(&side.ask(Wish::DeleteIf(text("a"), first))).contains(&format!("version is {second}")));
    revision(&side.ask(Wish::SetIf(text("b"), None, Vec::new())));
    let entries = vec![(text("a"), second, b"two".to_vec()), (text("b"), second + 1, Vec::new())];
    assert_eq!(side.ask(Wish::List(text(""))), Told::Entries(entries.clone()));
    assert_eq!(side.ask(Wish::List(text("b"))), Told::Entries(entries[1..].to_vec()));
    assert_eq!(side.ask(Wish::DeleteIf(text("a"), second)), Told::Done);
    assert_eq!(side.ask(Wish::Delete(text("a"))), Told::Deleted(false));
    assert_eq!(side.ask(Wish::Delete(text("b"))), Told::Deleted(true));
    assert_eq!(side.ask(Wish::Increment(text("n"), 5)), Told::Number(5));
    assert_eq!(side.ask(Wish::Increment(text("n"), -7)), Told::Number(-2));
    assert_eq!(side.ask(Wish::Delete(text("n"))), Told::Deleted(true));
    revision(&side.ask(Wish::Set(text("t"), b"text".to_vec())));
    assert!(refusal(&side.ask(Wish::Increment(text("t"), 1))).contains("no i64"));
    let (Told::Locked(Some(one)), Told::Locked(Some(two))) =
        (side.ask(Wish::TryLock(text("l"))), side.ask(Wish::Lock(text("l"), 60_000)))
    else {
        panic!("the lock is free")
    };
    assert!(two > one, "tokens grow");
    let before = revision(&side.ask(Wish::Revision));
    revision(&side.ask(Wish::SetFor(text("t"), b"mortal".to_vec(), 5)));
    eventually("its time is over", || (side.ask(Wish::Get(text("t"))) == Told::Value(None)).then_some(()));
    assert_eq!(revision(&side.ask(Wish::Revision)), before + 2, "its end is a change");
}

/// M5: every operation does the same in the supervisor's process and in a worker, and one sees what the other did.
#[test]
fn every_operation_works_on_both_sides() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let (here, there) = (Side::Here(supervisor.store()), Side::There(supervisor));
        every_operation(&here);
        every_operation(&there);
        let set = revision(&there.ask(Wish::Set(text("seen"), b"by all".to_vec())));
        assert_eq!(here.ask(Wish::Get(text("seen"))), Told::Value(Some((b"by all".to_vec(), set))));
    });
}

/// M5: values have types; what is not of the type asked for is an error that names it.
#[test]
fn values_have_types() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let store = supervisor.store();
        let version = store.set("pair", &(7u32, "seven")).expect("set");
        let found = store.get::<(u32, String)>("pair").expect("read").expect("there");
        assert_eq!((found.value, found.version), ((7, text("seven")), version));
        match store.get::<u8>("pair") {
            Err(StoreError::Codec(error)) => assert!(error.to_string().contains("u8"), "{error}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(store.increment("n", 41).expect("counted"), 41);
        assert_eq!(store.get::<i64>("n").expect("read").map(|found| found.value), Some(41));
        store.set("n", &-1i64).expect("set");
        assert_eq!(store.increment("n", 1).expect("counted"), 0);
        let conflict = store.compare_and_set("n", Expect::Absent, &5i64).expect_err("it is there");
        assert!(matches!(conflict, StoreError::Conflict { found: Some(_), .. }), "{conflict}");
        supervisor.hard_kill().wait();
        assert_eq!(store.get_raw("n").expect_err("it has stopped"), StoreError::Gone);
    });
}

/// M5: two workers with 3,000 increments each, beside each other, make 6,000: none is lost. (The library that this
/// replaces came to 4,207.)
#[test]
fn two_workers_count_to_six_thousand() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(2));
        let count = || Count { key: text("n"), times: 3000, file: None };
        let both =
            [supervisor.enqueue(count()), supervisor.enqueue(count())].map(|job| job.expect("accepted"));
        let ends = both.map(|job| job.wait().expect("answered"));
        assert_ne!(ends[0].worker, ends[1].worker);
        assert_eq!(ends.iter().map(|end| end.data).max(), Some(6000));
        assert_eq!(supervisor.store().get::<i64>("n").expect("read").map(|found| found.value), Some(6000));
    });
}

/// M5: workers are killed while they count. What was answered was counted, and of what was not each death has at most
/// one more: `answered <= counted <= answered + deaths`.
#[test]
fn increments_survive_their_workers() {
    scenario(|| {
        let scratch = Scratch::new();
        let supervisor = online(Supervisor::builder(plain()).workers(2).restart(tireless()));
        let file = scratch.join("answered");
        let answered = || std::fs::read(&file).map_or(0, |lines| lines.len());
        let store = supervisor.store();
        let mut deaths = 0;
        for round in 0..10usize {
            let count = || Count { key: text("n"), times: 300, file: Some(file.clone()) };
            let both = [count(), count()].map(|count| supervisor.enqueue(count).expect("accepted"));
            let goal = answered() + 20 * (round + 1);
            eventually("they are at it", || (answered() >= goal).then_some(()));
            let victim = supervisor.health().workers.iter().find_map(|worker| worker.pid);
            let victim = victim.and_then(|pid| Pid::from_raw(pid as i32)).expect("a worker");
            // It may be between two jobs: then it dies alone.
            let _ = kill_process(victim, Signal::KILL);
            for job in both {
                match job.wait() {
                    Ok(_) => {}
                    Err(JobError::WorkerLost { .. }) => deaths += 1,
                    Err(other) => panic!("{other}"),
                }
            }
        }
        assert!(deaths > 0, "nobody died at it, and nothing is proved");
        let counted = store.get::<i64>("n").expect("read").expect("there").value as usize;
        let answered = answered();
        assert!(
            (answered..=answered + deaths).contains(&counted),
            "{counted} counted, {answered} answered, {deaths} deaths"
        );
    });
}

/// M5: the store is heard while the only handler thread waits for it, and while all threads of several are at it.
#[test]
fn all_threads_of_a_worker_use_the_store_at_once() {
    scenario(|| {
        let manners = Manners { threads: 8, ..Manners::new() };
        let supervisor = online(Supervisor::builder(with(&manners)).workers(1));
        let count = || Count { key: text("n"), times: 200, file: None };
        let jobs: Vec<_> = (0..8).map(|_| supervisor.enqueue(count()).expect("accepted")).collect();
        for job in jobs {
            job.wait().expect("answered");
        }
        assert_eq!(supervisor.store().get::<i64>("n").expect("read").map(|found| found.value), Some(1600));
    });
}

/// M5: each limit refuses by name, on both sides, and nothing is changed by what is refused.
#[test]
fn limits_refuse_by_name() {
    scenario(|| {
        let limits =
            StoreLimits { keys: 3, key_bytes: 8, value_bytes: 100, bytes: 600, ..StoreLimits::default() };
        let supervisor = online(Supervisor::builder(plain()).workers(1).store_limits(limits));
        let store = supervisor.store();
        for side in [Side::Here(store), Side::There(supervisor)] {
            let set = |key: &str, length: usize| side.ask(Wish::Set(text(key), vec![0; length]));
            assert!(refusal(&set("123456789", 0)).contains("StoreLimits::key_bytes"));
            assert!(refusal(&set("", 0)).contains("a key of 0 bytes"));
            assert!(refusal(&set("a", 101)).contains("StoreLimits::value_bytes"));
            // More than travels at all.
            assert!(refusal(&set("a", 2 << 20)).contains("the limit is 1048576"));
            revision(&set("a", 100));
            revision(&set("b", 100));
            revision(&set("c", 1));
            assert!(refusal(&set("c", 100)).contains("StoreLimits::bytes"));
            assert!(refusal(&set("d", 0)).contains("StoreLimits::keys"));
            assert_eq!(side.ask(Wish::Get(text("d"))), Told::Value(None));
            for key in ["a", "b", "c"] {
                assert_eq!(side.ask(Wish::Delete(text(key))), Told::Deleted(true));
            }
        }
        let unusable = StoreLimits { value_bytes: 2 << 20, ..limits };
        let error = Supervisor::builder(plain()).store_limits(unusable).start().expect_err("too large");
        assert!(error.to_string().contains("store_limits.value_bytes"), "{error}");
    });
}

/// M5: a worker that asks more often than it may is refused, and lives.
#[test]
fn a_worker_that_asks_too_often_is_refused() {
    scenario(|| {
        let limits = StoreLimits { ops_per_second: 100, ..StoreLimits::default() };
        let supervisor = online(Supervisor::builder(plain()).workers(1).store_limits(limits));
        let wishes = vec![Wish::Increment(text("n"), 1); 200];
        let told = supervisor.enqueue(Ask { wishes }).expect("accepted").wait().expect("answered").data;
        let done = told.iter().filter(|told| matches!(told, Told::Number(_))).count();
        assert!((10..200).contains(&done), "{done} of 200");
        let refused = told.iter().find(|told| matches!(told, Told::Refused(_))).expect("some were refused");
        assert!(refusal(refused).contains("StoreLimits::ops_per_second"));
        let counted = supervisor.store().get::<i64>("n").expect("read").expect("there").value;
        assert_eq!(counted, done as i64, "what was refused was not done");
        assert_eq!(
            supervisor.enqueue(Ask { wishes: Vec::new() }).expect("accepted").wait().expect("alive").attempt,
            1
        );
    });
}

/// M5: a long list comes whole, over many pages, and large values do.
#[test]
fn long_lists_and_large_values_come_whole() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let store = supervisor.store();
        for number in 0..3000u32 {
            store.set(&format!("many/{number:05}"), &number).expect("set");
        }
        store.set_raw("large", vec![7; 1 << 20]).expect("set");
        let job =
            Ask { wishes: vec![Wish::List(text("many/")), Wish::Get(text("large")), Wish::List(text(""))] };
        let told = supervisor.enqueue(job).expect("accepted").wait().expect("answered").data;
        match &told[..] {
            [Told::Entries(many), Told::Value(Some((large, _))), Told::Entries(all)] => {
                assert_eq!((many.len(), large.len(), all.len()), (3000, 1 << 20, 3001));
                let values = many.iter().map(|(_, _, value)| value.clone());
                assert!(values.eq((0..3000u32).map(|number| encode(&number).expect("encodes"))));
            }
            other => panic!("{} answers", other.len()),
        }
    });
}

/// M5: several threads of this process and a worker count together.
#[test]
fn threads_and_workers_count_together() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let count = Count { key: text("n"), times: 500, file: None };
        let job = supervisor.enqueue(Job::new(count).timeout(Duration::from_secs(30))).expect("accepted");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let store = supervisor.store();
                scope.spawn(move || {
                    for _ in 0..500 {
                        store.increment("n", 1).expect("counted");
                    }
                });
            }
        });
        job.wait().expect("answered");
        assert_eq!(supervisor.store().get::<i64>("n").expect("read").map(|found| found.value), Some(2500));
    });
}
