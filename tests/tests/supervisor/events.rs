//! The stream of events, and events of the users' own.

use std::time::Duration;

use ganger::{CommandError, Event, Group, NoEvent, Supervisor, decode};
use ganger_tests::calls::{Add, Death, Die, Emit, Manners};
use ganger_tests::harness::{Feed, Scratch, eventually, scenario};
use ganger_tests::workers::{online, online_with_feed, plain, with};

fn name_of(event: &Event) -> &'static str {
    match event {
        Event::Online => "online",
        Event::WorkerSpawned { .. } => "spawned",
        Event::WorkerReady { .. } => "ready",
        Event::WorkerExited { .. } => "exited",
        Event::WorkerCrashed { .. } => "crashed",
        Event::WorkerRestarting { .. } => "restarting",
        Event::WorkerKilled { .. } => "killed",
        Event::Draining => "draining",
        Event::Stopped => "stopped",
        Event::Custom { .. } => "custom",
        _ => "other",
    }
}

/// S5: a worker's life is told in its order, from the first event on, and the stream ends with the supervisor.
#[test]
fn a_life_is_told_in_its_order() {
    scenario(|| {
        let (supervisor, feed) = online_with_feed(Supervisor::builder(plain()).workers(1));
        drop(supervisor.enqueue(Die(Death::Abort)).expect("accepted").wait());
        supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("answered");
        supervisor.soft_kill().wait();
        let names: Vec<&str> = feed.finish().iter().map(name_of).collect();
        let expected =
            ["spawned", "ready", "online", "crashed", "spawned", "ready", "draining", "exited", "stopped"];
        assert_eq!(names, expected);
    });
}

/// S5: every subscriber gets everything from its subscription on; dropping one ends it and no other.
#[test]
fn every_subscriber_gets_everything() {
    scenario(|| {
        let (supervisor, feed) = online_with_feed(Supervisor::builder(plain()).workers(1));
        let late = supervisor.events();
        drop(supervisor.events());
        // The subscription is taken in before this question is answered.
        let _ = supervisor.health();
        assert_eq!(late.try_recv().expect_err("nothing has happened since"), NoEvent::NotYet);
        assert_eq!(late.recv_timeout(Duration::from_millis(5)).expect_err("nor now"), NoEvent::NotYet);
        supervisor.soft_kill().wait();
        let late: Vec<&str> = Feed::new(late).finish().iter().map(name_of).collect();
        assert_eq!(late, ["draining", "exited", "stopped"]);
        let names: Vec<&str> = feed.finish().iter().map(name_of).collect();
        assert_eq!(names, ["spawned", "ready", "online", "draining", "exited", "stopped"]);
    });
}

/// M1, S5: what a worker emits comes as it was emitted, with its name and in its order, in a name space of its own:
/// an event that is called "online" is not the supervisor's.
#[test]
fn what_workers_emit_comes_in_order() {
    scenario(|| {
        let (supervisor, feed) = online_with_feed(Supervisor::builder(plain()).workers(1));
        let emit = Emit { name: String::from("online"), count: 500 };
        supervisor.enqueue(emit).expect("accepted").wait().expect("answered");
        supervisor.soft_kill().wait();
        let events = feed.finish();
        let numbers: Vec<u32> = events
            .iter()
            .filter_map(|event| match event {
                Event::Custom { worker, name, payload } => {
                    assert_eq!((&**worker, &**name), ("default-0", "online"));
                    Some(decode(payload).expect("a number"))
                }
                _ => None,
            })
            .collect();
        assert_eq!(numbers, (0..500).collect::<Vec<u32>>());
        assert_eq!(events.iter().filter(|event| matches!(event, Event::Online)).count(), 1);
    });
}

/// M1: a broadcast reaches all workers, or those of one group, and says how many; nobody who does not listen minds.
#[test]
fn a_broadcast_reaches_all_or_a_group() {
    scenario(|| {
        let scratch = Scratch::new();
        let told = |name: &str| Manners { told: Some(scratch.join(name)), ..Manners::new() };
        let supervisor = online(
            Supervisor::builder(Group::new("a", with(&told("a"))).workers(2))
                .group(Group::new("b", with(&told("b"))).workers(1))
                .group(Group::new("deaf", plain()).workers(1)),
        );
        assert_eq!(supervisor.broadcast("tell", "all").expect("sent"), 4);
        assert_eq!(supervisor.broadcast_to("b", "tell", "only b").expect("sent"), 1);
        assert_eq!(supervisor.broadcast_to("a", "unheard", "nobody listens").expect("sent"), 2);
        assert_eq!(
            supervisor.broadcast_to("b", "tell", &7u8).expect("sent"),
            1,
            "no text: logged and skipped"
        );
        assert_eq!(supervisor.broadcast_to("b", "tell", "last").expect("sent"), 1);
        let b = eventually("b has heard the last", || {
            let lines = scratch.lines("b");
            (lines.last()? == "last").then_some(lines)
        });
        assert_eq!(b, ["all", "only b", "last"]);
        eventually("a has heard", || (scratch.lines("a") == ["all", "all"]).then_some(()));
        assert!(matches!(supervisor.broadcast_to("c", "tell", "x"), Err(CommandError::UnknownGroup { .. })));
    });
}

/// M1: an event over the limit is refused, with both sizes, on either side.
#[test]
fn an_event_over_the_limit_is_refused() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1).event_limit(100));
        let refused = supervisor.broadcast_raw("tell", vec![0; 101]).expect_err("too large");
        assert!(matches!(refused, CommandError::TooLarge { size: 101, limit: 100 }), "{refused:?}");
        assert_eq!(supervisor.broadcast_raw("tell", vec![0; 100]).expect("sent"), 1);
    });
}
