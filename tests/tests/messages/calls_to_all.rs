//! Calls to all of a group, or of all groups: M4.

use std::time::Duration;

use ganger::{Address, CallError, Group, Supervisor, decode};
use ganger_tests::calls::{Add, Death, Die, Hold, Unheard};
use ganger_tests::harness::{Gate, PATIENCE, scenario};
use ganger_tests::peers::{Ask, AskAll, WhoCalls};
use ganger_tests::workers::{online, online_with_feed, plain};

const SOON: Duration = Duration::from_millis(300);

/// M4: everybody is in the answer: who replied, who failed, who was late, who died; by name.
#[test]
fn a_call_to_all_names_everybody() {
    scenario(|| {
        let gate = Gate::new();
        let groups = Supervisor::builder(Group::new("a", plain()).workers(3))
            .group(Group::new("b", plain()).workers(1));
        let (supervisor, mut feed) = online_with_feed(groups);
        let sums = supervisor.call(Address::all(), &Add(1, 2)).collect().expect("made");
        let mut names: Vec<_> = sums.replies().map(|(name, sum)| (name.to_owned(), *sum)).collect();
        names.sort();
        assert_eq!(names, ["a-0", "a-1", "a-2", "b-0"].map(|name| (name.to_owned(), 3)));
        assert!(sums.is_complete());
        // One is let in, one dies, the others are late.
        let call =
            supervisor.call(Address::all_of("a"), &Hold { gate: gate.path() }).timeout(PATIENCE).send();
        let mut held = gate.next_many(3);
        let (replies, dies, late) = (held.remove(0), held.remove(0), held.remove(0));
        let (reply, died) = (replies.worker().to_owned(), dies.worker().to_owned());
        replies.release();
        ganger_tests::harness::Watched::new(dies.pid()).kill();
        feed.crashed();
        late.release();
        let partial = call.collect().expect("made");
        assert_eq!(partial.answers.len(), 3);
        assert!(partial.replies().any(|(name, said)| name == reply && *said == reply));
        let errors: Vec<_> = partial.errors().collect();
        assert!(matches!(errors[..], [(name, CallError::TargetLost { .. })] if name == died), "{errors:?}");
        feed.ready();
        let call = supervisor.call(Address::all_of("a"), &Hold { gate: gate.path() }).timeout(SOON).send();
        let mut held = gate.next_many(3);
        let in_time = held.remove(0);
        let name = in_time.worker().to_owned();
        in_time.release();
        let partial = call.collect().expect("made");
        assert_eq!(partial.replies().map(|(from, _)| from.to_owned()).collect::<Vec<_>>(), [name]);
        assert!(partial.errors().all(|(_, error)| matches!(error, CallError::TimedOut { .. })));
        assert_eq!(partial.errors().count(), 2);
        held.into_iter().for_each(|late| late.release());
    });
}

/// M4: a worker calls all others of its own group, or of all: not itself; nobody is no error, an unknown group is one.
#[test]
fn a_worker_is_not_among_those_it_calls() {
    scenario(|| {
        let groups = Supervisor::builder(Group::new("a", plain()).workers(2))
            .group(Group::new("b", plain()).workers(1));
        let supervisor = online(groups);
        let ask = |to| {
            let asked = supervisor.enqueue(AskAll(Ask::of(to, &WhoCalls))).expect("accepted").wait();
            let response = asked.expect("answered");
            (response.worker.to_string(), response.data)
        };
        let (caller, told) = ask(Address::all());
        let told = told.expect("made");
        let others: Vec<_> = ["a-0", "a-1", "b-0"].into_iter().filter(|name| *name != caller).collect();
        assert_eq!(told.keys().map(String::as_str).collect::<Vec<_>>(), others);
        for said in told.values() {
            let said: String = decode(said.as_ref().expect("a reply")).expect("text");
            assert_eq!(said, format!("Worker({caller:?})"));
        }
        let (_, told) = ask(Address::all_of("a"));
        assert_eq!(told.expect("made").len(), 1);
        assert_eq!(ask(Address::all_of("c")).1.expect_err("no such group").kind, "UnknownTarget");
        let one = supervisor.call(Address::worker("b-0"), &AskAll(Ask::of(Address::all_of("b"), &WhoCalls)));
        assert_eq!(one.wait().expect("answered").expect("made").len(), 0);
    });
}

/// M4: what fails at each is told for each, and collecting from one is fine.
#[test]
fn failures_are_told_for_each() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(Group::new("a", plain()).workers(2)));
        let unknown = supervisor.call(Address::all(), &Unheard(1)).collect().expect("made");
        assert!(unknown.errors().all(|(_, error)| matches!(error, CallError::UnknownCall { .. })));
        assert_eq!(unknown.errors().count(), 2);
        let one = supervisor.call(Address::worker("a-1"), &Add(1, 1)).collect().expect("made");
        assert_eq!(one.replies().collect::<Vec<_>>(), [("a-1", &2)]);
        let died = supervisor.call(Address::all(), &Die(Death::Exit(3))).timeout(PATIENCE).collect();
        let died = died.expect("made");
        assert!(died.errors().all(|(_, error)| matches!(error, CallError::TargetLost { .. })));
        assert_eq!(died.answers.len(), 2);
    });
}
