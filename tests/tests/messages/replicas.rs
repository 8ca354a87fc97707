//! Replicas and watches of the shared store: M6.

use std::time::Duration;

use ganger::{NoChange, ReplicaError, Revision, StoreError, StoreLimits, Supervisor, Watched};
use ganger_protocol::{Kind, Origin, StoreOp, StoreOpHead};
use ganger_tests::harness::{Gate, Scratch, scenario};
use ganger_tests::raw::{Step, frame, life};
use ganger_tests::store::{Ask, Follow, Mirror, Mirrored, Wish};
use ganger_tests::workers::{online, plain, raw, tireless};
use rustix::process::{Pid, Signal, kill_process};

const LONG: Duration = Duration::from_secs(60);

fn mirror(supervisor: &Supervisor, at_least: Revision) -> Mirrored {
    let call = Mirror { prefix: String::from("c/"), at_least: at_least.0 };
    supervisor.enqueue(call).expect("accepted").wait().expect("answered").data
}

fn keys(mirrored: &Mirrored) -> Vec<&str> {
    mirrored.entries.iter().map(|(key, _, _)| &**key).collect()
}

/// M6: a replica starts with what there is and follows what changes; a new worker starts with what there is by then.
#[test]
fn a_replica_starts_with_the_content_and_follows() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1).restart(tireless()));
        let store = supervisor.store();
        for number in 0..2000u32 {
            store.set(&format!("c/{number:04}"), &vec![7u8; 200]).expect("set");
        }
        let other = store.set("d/1", &1u8).expect("set");
        let first = mirror(&supervisor, other);
        assert_eq!((first.entries.len(), first.resyncs), (2000, 0));
        store.delete("c/0000").expect("deleted");
        let changed = store.set("c/0001", b"new").expect("set");
        let second = mirror(&supervisor, changed);
        assert_eq!(second.entries.len(), 1999);
        assert_eq!(second.entries[0].1, changed.0);
        supervisor.shutdown_worker("default-0", LONG).expect("asked");
        let third = mirror(&supervisor, changed);
        assert_eq!(third.entries, second.entries);
    });
}

/// M6: what a worker has just written it reads in its own replica when it has waited for that version; so does
/// everybody else, also for versions of other keys.
#[test]
fn a_replica_is_waited_for() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let replica = supervisor.store().replica("c/").expect("a replica");
        assert!(replica.is_empty());
        let write = Ask { wishes: vec![Wish::Set(String::from("c/1"), b"x".to_vec())] };
        supervisor.enqueue(write).expect("accepted").wait().expect("answered");
        let other = supervisor.store().set("d", &1u8).expect("set");
        replica.wait_for(other, LONG).expect("so far");
        assert_eq!(replica.get_raw("c/1").map(|found| found.value.to_vec()), Some(b"x".to_vec()));
        assert_eq!((replica.len(), replica.prefix(), replica.resyncs()), (1, "c/", 0));
        let far = Revision(other.0 + 100);
        let error = replica.wait_for(far, Duration::from_millis(5)).expect_err("nothing happens");
        assert!(matches!(error, ReplicaError::NotYet { wanted, .. } if wanted == far), "{error}");
        let _ = supervisor.hard_kill();
        assert!(supervisor.join_timeout(LONG));
        assert!(matches!(replica.wait_for(far, LONG), Err(ReplicaError::Gone { .. })));
        assert_eq!(replica.len(), 1, "it stays as it was");
    });
}

/// M6: a worker that does not read for long is told the last change of each key, or, when deletions have been forgotten
/// meanwhile, all anew, and knows it.
#[test]
fn a_replica_that_fell_behind_catches_up() {
    scenario(|| {
        let limits = StoreLimits { deletions: 10, ..StoreLimits::default() };
        let second = Duration::from_secs(1);
        let builder = Supervisor::builder(plain()).workers(1).store_limits(limits);
        let supervisor = online(builder.heartbeat(second, 100 * second, 200 * second));
        let store = supervisor.store();
        store.set("c/old", &1u8).expect("set");
        assert_eq!(keys(&mirror(&supervisor, Revision(0))), ["c/old"]);
        let pid = supervisor.health().workers.iter().find_map(|worker| worker.pid).expect("a process");
        let pid = Pid::from_raw(pid as i32).expect("a process");
        kill_process(pid, Signal::STOP).expect("stopped");
        for number in 0..1000u32 {
            store.set("c/new", &number).expect("set");
        }
        kill_process(pid, Signal::CONT).expect("goes on");
        let version = store.get::<u32>("c/new").expect("read").expect("there").version;
        let behind = mirror(&supervisor, version);
        assert_eq!((keys(&behind), behind.resyncs), (vec!["c/new", "c/old"], 0));
        kill_process(pid, Signal::STOP).expect("stopped");
        store.delete("c/old").expect("deleted");
        for number in 0..100u32 {
            store.set(&format!("c/{number}"), &number).expect("set");
            store.delete(&format!("c/{number}")).expect("deleted");
        }
        kill_process(pid, Signal::CONT).expect("goes on");
        let anew = mirror(&supervisor, store.revision().expect("asked"));
        assert_eq!(keys(&anew), ["c/new"]);
        assert!(anew.resyncs > 0, "it was told that it was filled anew");
    });
}

/// Resident memory of this process, in bytes.
fn own_rss() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("readable");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4096
}

/// M6: a worker that follows everything and reads nothing costs the supervisor a piece for each watch, whatever changes.
#[test]
fn a_replica_that_never_reads_costs_nothing() {
    scenario(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let follow = |watch| {
            let op = StoreOp::Watch { watch, prefix: "".into(), origin: Origin::Content };
            frame(Kind::StoreOp, &StoreOpHead { id: u64::from(watch), op }, &[])
        };
        let asks = Step::Write((1..=8).flat_map(follow).collect());
        let lives = [life([asks, Step::Present(gate.path()), Step::Hang])];
        let second = Duration::from_secs(1);
        let builder = Supervisor::builder(raw(&scratch, lives)).workers(1);
        let supervisor = online(builder.heartbeat(second, 100 * second, 200 * second));
        let _present = gate.next();
        let store = supervisor.store();
        store.set_raw("warm", vec![7; 1 << 20]).expect("set");
        let before = own_rss();
        for number in 0..500u32 {
            store.set_raw(&format!("{}", number % 4), vec![7; 1 << 20]).expect("set");
        }
        let grown = own_rss().saturating_sub(before);
        assert!(grown < 64 << 20, "{grown} bytes for what nobody reads");
    });
}

/// M6: a watch tells changes in their order, in a worker and here, and ends with the store.
#[test]
fn a_watch_tells_changes_in_their_order() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let store = supervisor.store();
        store.set("c/before", &1u8).expect("set");
        let watch = store.watch("c/").expect("a watch");
        let follow = Follow { prefix: "c/".into(), until: "c/last".into(), gate: gate.path() };
        let job = supervisor.enqueue(follow).expect("accepted");
        let held = gate.next();
        store.set_raw("c/1", *b"x").expect("set");
        store.set_raw("d/1", *b"x").expect("set");
        store.delete("c/before").expect("deleted");
        store.set_raw("c/last", *b"y").expect("set");
        held.release();
        let told = job.wait().expect("answered").data;
        let expected = [("c/1", Some(*b"x")), ("c/before", None), ("c/last", Some(*b"y"))]
            .map(|(key, value)| (String::from(key), value.map(|value| value.to_vec())));
        assert_eq!(told, expected);
        let here: Vec<_> = (0..3).map(|_| watch.recv_timeout(LONG).expect("a change")).collect();
        let here = here.into_iter().map(|watched| match watched {
            Watched::Changed(change) => (change.key.to_string(), change.value.map(|value| value.to_vec())),
            Watched::Missed => panic!("nothing was missed"),
        });
        assert!(here.eq(expected));
        assert_eq!(watch.recv_timeout(Duration::from_millis(5)), Err(NoChange::NotYet));
        let _ = supervisor.hard_kill();
        assert_eq!(watch.recv_timeout(LONG), Err(NoChange::Ended));
    });
}

/// M6: watches and replicas are limited, and one that is dropped makes room.
#[test]
fn watches_are_limited() {
    scenario(|| {
        let limits = StoreLimits { watches: 2, ..StoreLimits::default() };
        let supervisor = online(Supervisor::builder(plain()).workers(1).store_limits(limits));
        let store = supervisor.store();
        let (watch, replica) = (store.watch("").expect("one"), store.replica("").expect("two"));
        assert_eq!(store.watch("").map(drop), Err(StoreError::TooManyWatches { limit: 2 }));
        drop(watch);
        store.watch("").expect("there is room again");
        drop(replica);
    });
}
