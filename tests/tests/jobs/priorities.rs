//! Classes: who goes first, and that nobody waits for ever.

use std::time::{Duration, Instant};

use ganger::{Builder, Handle, Job, Priority, Supervisor};
use ganger_tests::calls::{Add, Hold, Record};
use ganger_tests::harness::{Gate, Held, Scratch, eventually, scenario};
use ganger_tests::workers::{online, plain};

/// A supervisor whose only worker waits at the gate, and who it is.
fn held_up(builder: Builder, gate: &Gate) -> (Supervisor, Held) {
    let supervisor = online(builder);
    drop(supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted"));
    (supervisor, gate.next())
}

fn record(scratch: &Scratch, line: &str, priority: Priority) -> Job<Record> {
    Job::new(Record { file: scratch.join("order"), line: line.into() }).priority(priority)
}

fn finish(handles: Vec<Handle<Record>>) {
    handles.into_iter().for_each(|handle| drop(handle.wait().expect("done")));
}

/// J12, P7: high before normal before low, and within a class in the order of enqueueing.
#[test]
fn the_higher_class_goes_first() {
    scenario(|| {
        let (gate, scratch) = (Gate::new(), Scratch::new());
        let (supervisor, held) = held_up(Supervisor::builder(plain()).workers(1), &gate);
        let classes = [Priority::Low, Priority::Normal, Priority::High];
        let mut handles = Vec::new();
        for round in 0..20 {
            for class in classes {
                let job = record(&scratch, &format!("{class:?} {round}"), class);
                handles.push(supervisor.enqueue(job).expect("accepted"));
            }
        }
        held.release();
        finish(handles);
        let expected: Vec<String> = classes
            .into_iter()
            .rev()
            .flat_map(|class| (0..20).map(move |round| format!("{class:?} {round}")))
            .collect();
        assert_eq!(scratch.lines("order"), expected);
    });
}

/// J12: a job that has waited for longer than the ageing goes before higher ones that came later, however many.
#[test]
fn a_low_job_is_not_starved() {
    scenario(|| {
        let (gate, scratch) = (Gate::new(), Scratch::new());
        let ageing = Duration::from_millis(2);
        let (supervisor, held) = held_up(Supervisor::builder(plain()).workers(1).ageing(ageing), &gate);
        let mut handles = vec![supervisor.enqueue(record(&scratch, "low", Priority::Low)).expect("accepted")];
        // Two classes are above it. That time goes by is what is tested here.
        let since = Instant::now();
        while since.elapsed() <= 2 * ageing {
            std::hint::spin_loop();
        }
        for number in 0..100 {
            let job = record(&scratch, &format!("high {number}"), Priority::High);
            handles.push(supervisor.enqueue(job).expect("accepted"));
        }
        held.release();
        finish(handles);
        assert_eq!((scratch.lines("order")[0].as_str(), scratch.lines("order").len()), ("low", 101));
    });
}

/// J12: what was sent ahead to a worker that turns out to be slow is taken back when a higher job comes, which then
/// is the next one wherever a slot is free.
#[test]
fn a_high_job_overtakes_what_was_sent_ahead() {
    scenario(|| {
        let (gate, scratch) = (Gate::new(), Scratch::new());
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        for number in 0..500 {
            supervisor.enqueue(Add(number, 1)).expect("accepted").wait().expect("a quick worker");
        }
        let slow = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let mut handles: Vec<_> = (0..50)
            .map(|number| record(&scratch, &format!("normal {number}"), Priority::Normal))
            .map(|job| supervisor.enqueue(job).expect("accepted"))
            .collect();
        let held = gate.next();
        handles.push(supervisor.enqueue(record(&scratch, "high", Priority::High)).expect("accepted"));
        eventually("all but the one that runs are taken back", || {
            let group = &supervisor.health().groups[0];
            ((group.in_flight, group.queued) == (1, 51)).then_some(())
        });
        held.release();
        slow.wait().expect("let in");
        finish(handles);
        let order = scratch.lines("order");
        assert_eq!((order[0].as_str(), order[1].as_str()), ("high", "normal 0"));
    });
}
