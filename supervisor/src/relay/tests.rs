//! Each rule of the relay by itself.

use std::time::Duration;

use bytes::Bytes;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn key(index: u64) -> WorkerKey {
    WorkerKey::from_bits(index)
}

fn at(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

/// Three workers a-0, a-1, b-0 that can be called, as 0, 1, 2.
fn relay() -> Relay<u32> {
    let mut relay = Relay::new(RelayConfig::new(vec!["a".into(), "b".into()]), at(0));
    for (index, (name, group)) in [("a-0", 0), ("a-1", 0), ("b-0", 1)].into_iter().enumerate() {
        let (worker, group) = (key(index as u64), GroupIndex(group));
        relay.handle_input(at(0), Input::Born { worker, name: name.into(), group });
        relay.handle_input(at(0), Input::Up(worker));
    }
    relay
}

fn request(from: Origin<u32>, to: Address) -> Input<u32> {
    let (name, payload) = ("count".into(), Bytes::from_static(b"abc"));
    Input::Call(Request { from, to, name, payload, timeout: SECOND })
}

fn actions(relay: &mut Relay<u32>) -> Vec<Action<u32>> {
    relay.check().expect("the tables fit");
    std::iter::from_fn(|| relay.poll_action()).collect()
}

/// Calls, and says by what numbers whom it was handed to.
fn asked(relay: &mut Relay<u32>, from: Origin<u32>, to: Address) -> Vec<(u64, Target)> {
    relay.handle_input(at(0), request(from, to));
    let target = |action| match action {
        Action::Ask { worker, number, .. } => (number, Target::Worker(worker)),
        Action::Serve { number, .. } => (number, Target::Primary),
        other => panic!("{other:?}"),
    };
    actions(relay).into_iter().map(target).collect()
}

fn refused(relay: &mut Relay<u32>, to: Address) -> Refusal {
    relay.handle_input(at(0), request(Origin::Primary(7), to));
    match &actions(relay)[..] {
        [Action::Settle { ticket: 7, answers }] => match &answers[..] {
            [ganger_protocol::Part { reply: CallReply::Refused(refusal), .. }] => *refusal,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn settled(relay: &mut Relay<u32>) -> Vec<(Option<Arc<str>>, CallReply)> {
    match actions(relay).pop() {
        Some(Action::Settle { answers, .. }) => {
            answers.into_iter().map(|part| (part.from, part.reply)).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// M2: what cannot be called is refused at once, and it is said why.
#[test]
fn what_cannot_be_called_is_refused_at_once() {
    let mut relay = relay();
    assert_eq!(refused(&mut relay, Address::worker("c-0")), Refusal::UnknownTarget);
    assert_eq!(refused(&mut relay, Address::any_of("c")), Refusal::UnknownTarget);
    assert_eq!(refused(&mut relay, Address::all_of("c")), Refusal::UnknownTarget);
    relay.handle_input(at(0), Input::Leaving(key(2)));
    relay.handle_input(at(0), Input::Up(key(2)));
    assert_eq!(refused(&mut relay, Address::worker("b-0")), Refusal::Leaving);
    assert_eq!(refused(&mut relay, Address::any_of("b")), Refusal::NoWorkers);
    relay.handle_input(at(0), Input::Gone(key(2)));
    assert_eq!(refused(&mut relay, Address::all_of("b")), Refusal::NoWorkers);
    relay.handle_input(at(0), Input::Born { worker: key(3), name: "b-0".into(), group: GroupIndex(1) });
    assert_eq!(refused(&mut relay, Address::worker("b-0")), Refusal::NotReady);
    assert_eq!(relay.counts(), CallCounts::default());
}

/// M2: an answer is believed from whoever holds the call, once; whoever else says it is not heard.
#[test]
fn an_answer_counts_once_and_only_from_who_holds_the_call() {
    let mut relay = relay();
    let [(number, by)] = asked(&mut relay, Origin::Primary(1), Address::worker("a-1"))[..] else { panic!() };
    let reply = |byte| CallReply::Data(vec![byte]);
    for liar in [Target::Primary, Target::Worker(key(0))] {
        relay.handle_input(at(1), Input::Answer { by: liar, number, reply: reply(6) });
    }
    relay.handle_input(at(1), Input::Answer { by, number: number + 1, reply: reply(6) });
    assert!(actions(&mut relay).is_empty());
    relay.handle_input(at(1), Input::Answer { by, number, reply: reply(5) });
    relay.handle_input(at(1), Input::Answer { by, number, reply: reply(4) });
    assert_eq!(settled(&mut relay), [(Some("a-1".into()), reply(5))]);
    assert_eq!(relay.counts(), CallCounts { strays: 4, ..CallCounts::default() });
}

/// M2: the deadline ends a call; what is answered later is dropped and counted, and frees the target's hold.
#[test]
fn a_call_ends_by_its_deadline_and_a_late_answer_is_dropped() {
    let mut relay = relay();
    let [(number, by)] = asked(&mut relay, Origin::Primary(1), Address::Primary)[..] else { panic!() };
    let mut due = at(0);
    while relay.counts().in_flight > 0 {
        due = relay.poll_timeout().expect("every call has a deadline");
        relay.handle_timeout(due);
    }
    assert!(due >= at(1000) && due <= at(1003), "{due:?}");
    assert_eq!(settled(&mut relay), [(None, CallReply::Refused(Refusal::TimedOut))]);
    assert_eq!(relay.counts(), CallCounts { held: 1, ..CallCounts::default() });
    relay.handle_input(due, Input::Answer { by, number, reply: CallReply::Data(vec![]) });
    assert!(actions(&mut relay).is_empty());
    assert_eq!(relay.counts(), CallCounts { late: 1, ..CallCounts::default() });
    assert_eq!(relay.poll_timeout(), None);
}

/// M2: the death of a target is told at once, the death of a caller frees all that it has asked.
#[test]
fn deaths_end_calls_at_once() {
    let mut relay = relay();
    let from = Origin::Worker { worker: key(0), call: 9 };
    let open = asked(&mut relay, from, Address::all());
    assert_eq!(open.len(), 2, "a worker does not call itself");
    relay.handle_input(at(1), Input::Gone(key(1)));
    match &actions(&mut relay)[..] {
        [Action::Tell { worker, call: 9, from: Some(from), left: 1, reply }] => {
            let lost = CallReply::Refused(Refusal::Lost);
            assert_eq!((*worker, &**from, reply), (key(0), "a-1", &lost));
        }
        other => panic!("{other:?}"),
    }
    relay.handle_input(at(2), Input::Gone(key(0)));
    assert!(actions(&mut relay).is_empty());
    assert_eq!(relay.counts(), CallCounts { held: 1, ..CallCounts::default() });
    relay.handle_input(at(3), Input::Gone(key(2)));
    assert_eq!(relay.counts(), CallCounts::default());
}

/// M2: a worker that has called itself by name and dies is both, who called and who was called.
#[test]
fn a_worker_that_called_itself_dies() {
    let mut relay = relay();
    asked(&mut relay, Origin::Worker { worker: key(0), call: 1 }, Address::worker("a-0"));
    relay.handle_input(at(1), Input::Gone(key(0)));
    assert!(actions(&mut relay).is_empty());
    assert_eq!(relay.counts(), CallCounts::default());
}

/// M2: any is the worker with the fewest calls in hand, then whoever was asked longest ago; never the caller.
#[test]
fn any_is_the_idlest_but_not_the_caller() {
    let mut relay = relay();
    let mut ask = |from, to| match asked(&mut relay, from, to)[..] {
        [(_, Target::Worker(worker))] => worker,
        _ => panic!("one worker"),
    };
    let all: Vec<_> = (0..6).map(|_| ask(Origin::Primary(1), Address::any())).collect();
    assert_eq!(all, [key(0), key(1), key(2), key(0), key(1), key(2)]);
    for call in 0..3 {
        let from = Origin::Worker { worker: key(0), call };
        assert_eq!(ask(from, Address::any_of("a")), key(1));
    }
}

/// M2: a target that does not answer is given what its hold has room for, and no more.
#[test]
fn a_full_hold_refuses_and_the_limits_of_callers_hold() {
    let mut relay = relay();
    relay.config =
        RelayConfig { held: 2, held_bytes: 8, made_by_worker: 3, in_flight: 5, ..relay.config.clone() };
    for _ in 0..2 {
        asked(&mut relay, Origin::Primary(1), Address::worker("a-0"));
    }
    assert_eq!(refused(&mut relay, Address::worker("a-0")), Refusal::QueueFull);
    for call in 0..3 {
        let from = Origin::Worker { worker: key(2), call };
        relay.handle_input(at(0), request(from, Address::worker(if call < 2 { "a-1" } else { "b-0" })));
    }
    actions(&mut relay);
    assert_eq!(refused(&mut relay, Address::Primary), Refusal::TooMany, "all together");
    relay.config.in_flight = 100;
    relay.handle_input(at(0), request(Origin::Worker { worker: key(2), call: 4 }, Address::Primary));
    let told = actions(&mut relay);
    assert!(matches!(told[..], [Action::Tell { reply: CallReply::Refused(Refusal::TooMany), left: 0, .. }]));
    relay.config.held = 100;
    assert_eq!(refused(&mut relay, Address::worker("a-0")), Refusal::QueueFull, "3 bytes of 8 are left");
}

/// M4: everybody is named: who answered, who failed, who was late, who could not be called.
#[test]
fn a_call_to_all_names_everybody() {
    let mut relay = relay();
    relay.handle_input(at(0), Input::Leaving(key(2)));
    let open = asked(&mut relay, Origin::Primary(1), Address::all());
    let [(first, by), _] = open[..] else { panic!("{open:?}") };
    let reply = CallReply::Failed(ganger_protocol::Failure::new("no"));
    relay.handle_input(at(1), Input::Answer { by, number: first, reply: reply.clone() });
    relay.handle_timeout(at(1010));
    let told = settled(&mut relay);
    let of = |name: &str| told.iter().find(|(from, _)| from.as_deref() == Some(name)).map(|it| &it.1);
    assert_eq!(of("a-0"), Some(&reply));
    assert_eq!(of("a-1"), Some(&CallReply::Refused(Refusal::TimedOut)));
    assert_eq!(of("b-0"), Some(&CallReply::Refused(Refusal::Leaving)));
}

/// M2: the end of the supervisor ends every call.
#[test]
fn the_end_ends_every_call() {
    let mut relay = relay();
    asked(&mut relay, Origin::Primary(1), Address::all());
    asked(&mut relay, Origin::Worker { worker: key(0), call: 1 }, Address::Primary);
    relay.handle_input(at(1), Input::Close);
    let told = actions(&mut relay);
    assert!(matches!(
        told[..],
        [Action::Settle { .. }, Action::Tell { reply: CallReply::Refused(Refusal::ShuttingDown), .. }]
    ));
    assert!(relay.is_idle());
}
