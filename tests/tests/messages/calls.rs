//! Calls between any two processes: M2 and M3.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ganger::{Address, Builder, CallError, Caller, Failure, FailureKind, Group, Job, Supervisor, decode};
use ganger_tests::calls::{
    About, Acknowledge, Add, Death, Die, Echo, Fail, Forget, Hold, Manners, Misread, Panic, Pause, Unheard,
};
use ganger_tests::harness::{Gate, PATIENCE, Watched, eventually, scenario};
use ganger_tests::peers::{Ask, AskAndDie, Complaint, Pester, WhoCalls};
use ganger_tests::workers::{online, online_with_feed, plain, started_with_feed, with};

const SOON: Duration = Duration::from_millis(200);

/// How much later than its deadline a call may end here: the machine has other things to do as well.
const TOLERANCE: Duration = Duration::from_secs(5);

/// Two groups, a with one worker and b with one.
fn two_groups() -> Builder {
    Supervisor::builder(Group::new("a", plain()).workers(1)).group(Group::new("b", plain()).workers(1))
}

/// Has worker a-0 make a call.
fn ask(supervisor: &Supervisor, ask: Ask) -> Result<Vec<u8>, Complaint> {
    supervisor.enqueue(ask).expect("accepted").wait().expect("answered").data
}

fn complaint(supervisor: &Supervisor, asked: Ask) -> Complaint {
    ask(supervisor, asked).expect_err("no reply")
}

/// Whatever was on its way is over, and nothing is held for anybody.
fn expect_clean(supervisor: &Supervisor) {
    eventually("every call is over", || {
        let counts = supervisor.call_counts().expect("it runs");
        (counts.in_flight == 0 && counts.held == 0).then_some(())
    });
}

/// M2: from the primary to a worker, from a worker to the primary, to another worker and to itself, from the primary to
/// itself; the handler sees who calls.
#[test]
fn any_two_processes_call_each_other() {
    scenario(|| {
        let supervisor = online(two_groups().on_call(|_: WhoCalls, cx| Ok(format!("{:?}", cx.caller()))));
        let caller = |to| supervisor.call(to, &WhoCalls).wait().expect("answered");
        assert_eq!(caller(Address::worker("b-0")), "Primary");
        assert_eq!(caller(Address::Primary), "Primary");
        assert_eq!(caller(Address::any_of("b")), "Primary");
        assert_eq!(caller(Address::any()), "Primary");
        let by_worker = |to| {
            decode::<String>(&ask(&supervisor, Ask::of(to, &WhoCalls)).expect("answered")).expect("text")
        };
        let worker = format!("{:?}", Caller::Worker("a-0"));
        assert_eq!(by_worker(Address::Primary), worker);
        assert_eq!(by_worker(Address::worker("b-0")), worker);
        assert_eq!(by_worker(Address::worker("a-0")), worker);
        // Any is never the caller.
        assert_eq!(by_worker(Address::any()), worker);
        let none = complaint(&supervisor, Ask::of(Address::any_of("a"), &WhoCalls));
        assert_eq!(none.kind, "NoWorkers");
        assert_eq!(supervisor.enqueue(WhoCalls).expect("accepted").wait().expect("answered").data, "Job");
        expect_clean(&supervisor);
    });
}

/// M3: `()` and 1 MiB arguments and replies are fine, either way.
#[test]
fn nothing_and_a_mebibyte_are_fine() {
    scenario(|| {
        let supervisor =
            online(two_groups().on_call(|Echo(bytes), _| Ok(bytes)).on_call(|_: Acknowledge, _| Ok(())));
        for size in [0, 1, 16 * 1024, 40_000, 1 << 20] {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let echo = Echo(bytes.clone());
            assert_eq!(supervisor.call(Address::worker("b-0"), &echo).wait(), Ok(bytes.clone()));
            assert_eq!(supervisor.call(Address::Primary, &echo).wait(), Ok(bytes.clone()));
            for to in [Address::Primary, Address::worker("b-0")] {
                let told = ask(&supervisor, Ask::of(to, &echo)).expect("answered");
                assert!(decode::<Vec<u8>>(&told) == Ok(bytes.clone()), "{size} bytes");
            }
        }
        assert_eq!(supervisor.call(Address::worker("b-0"), &Acknowledge).wait(), Ok(()));
        assert_eq!(ask(&supervisor, Ask::of(Address::Primary, &Acknowledge)), Ok(vec![]));
        expect_clean(&supervisor);
    });
}

/// M2: what cannot be called is an error at once, which says what is the matter.
#[test]
fn what_cannot_be_called_is_an_error_at_once() {
    scenario(|| {
        let supervisor = online(two_groups().payload_limit(100_000));
        let hour = Duration::from_secs(3600);
        let call = |to: Address| supervisor.call(to, &Unheard(1)).timeout(hour).wait().expect_err("no");
        assert!(matches!(call(Address::worker("c-0")), CallError::UnknownTarget { .. }));
        assert!(matches!(call(Address::any_of("c")), CallError::UnknownTarget { .. }));
        assert!(matches!(call(Address::worker("b-0")), CallError::UnknownCall { .. }));
        assert!(matches!(call(Address::Primary), CallError::UnknownCall { .. }));
        assert!(matches!(call(Address::all()), CallError::ManyTargets { .. }));
        let too_large = supervisor.call(Address::worker("b-0"), &Echo(vec![0; 100_001])).wait();
        assert!(matches!(too_large, Err(CallError::TooLarge { limit: 100_000, .. })));
        let of_worker = |to: Address| complaint(&supervisor, Ask::of(to, &Unheard(1)).within(hour)).kind;
        assert_eq!(of_worker(Address::worker("c-0")), "UnknownTarget");
        assert_eq!(of_worker(Address::all_of("c")), "ManyTargets");
        assert_eq!(of_worker(Address::worker("b-0")), "UnknownCall");
        assert_eq!(of_worker(Address::Primary), "UnknownCall");
        let far_too_large = supervisor.call(Address::worker("x".repeat(40_000)), &Unheard(1)).wait();
        assert!(matches!(far_too_large, Err(CallError::TooLarge { .. })));
        expect_clean(&supervisor);
    });
}

/// M3: a handler's failure keeps kind, message and details, whoever calls whom.
#[test]
fn failures_keep_kind_message_and_details() {
    scenario(|| {
        let fail = Fail { message: String::from("disk full"), details: Some(28) };
        let supervisor = online(
            two_groups()
                .on_call(|fail: Fail, _| Err(Failure::new(fail.message).with_details(&fail.details)))
                .on_call(|Panic(message), _| panic!("{message}"))
                .on_raw("garbage", |_, _| Ok(vec![0xff; 4])),
        );
        match supervisor.call(Address::worker("b-0"), &fail).wait() {
            Err(CallError::Failed { target, failure, call }) => {
                assert_eq!((target, &*call), (Address::worker("b-0"), "fail"));
                assert_eq!((failure.kind, &*failure.message), (FailureKind::Handler, "disk full"));
                assert_eq!(failure.details::<i32>(), Some(Ok(28)));
            }
            other => panic!("{other:?}"),
        }
        let told = complaint(&supervisor, Ask::of(Address::Primary, &fail));
        let failure = told.failure.expect("a failure");
        assert_eq!((failure.kind, &*failure.message), (FailureKind::Handler, "disk full"));
        assert_eq!(failure.details::<Option<i32>>(), Some(Ok(Some(28))));
        let panic = Panic(String::from("oh no"));
        for to in [Address::Primary, Address::worker("b-0")] {
            let failure = complaint(&supervisor, Ask::of(to, &panic)).failure.expect("a failure");
            assert_eq!((failure.kind, &*failure.message), (FailureKind::Panic, "oh no"));
        }
        let dropped = supervisor.call(Address::worker("b-0"), &Forget).wait().expect_err("dropped");
        assert_eq!(dropped.failure().expect("a failure").kind, FailureKind::Dropped);
        let misread = supervisor.call(Address::worker("b-0"), &Misread).wait();
        assert!(matches!(misread, Err(CallError::Decode { .. })), "{misread:?}");
        expect_clean(&supervisor);
    });
}

/// M2: calls are answered while the only handler thread is busy, and while the worker says so; from both ends.
#[test]
fn calls_are_never_behind_jobs() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(Group::new("a", plain()).workers(1)));
        let job = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        assert_eq!(supervisor.call(Address::worker("a-0"), &Add(1, 2)).wait(), Ok(3));
        supervisor.call(Address::worker("a-0"), &Pause { gate: gate.path() }).wait().expect("answered");
        assert_eq!(supervisor.call(Address::any(), &Add(1, 2)).wait(), Ok(3), "it is busy");
        gate.next().release();
        held.release();
        job.wait().expect("answered");
        expect_clean(&supervisor);
    });
}

/// M2: the death of the target is told at once, and nothing is left of the call.
#[test]
fn the_death_of_the_target_is_an_error_at_once() {
    scenario(|| {
        let (supervisor, mut feed) = online_with_feed(two_groups());
        let die = Die(Death::Abort);
        let hour = Duration::from_secs(3600);
        match supervisor.call(Address::worker("b-0"), &die).timeout(hour).wait() {
            Err(CallError::TargetLost { target, .. }) => assert_eq!(target, Address::worker("b-0")),
            other => panic!("{other:?}"),
        }
        feed.crashed();
        assert_eq!(&*feed.ready(), "b-0");
        let lost = complaint(&supervisor, Ask::of(Address::worker("b-0"), &die).within(hour));
        assert_eq!(lost.kind, "TargetLost");
        expect_clean(&supervisor);
    });
}

/// M2: a caller that dies leaves nothing behind; the answer that it waited for is dropped and counted.
#[test]
fn the_death_of_the_caller_frees_everything() {
    scenario(|| {
        let (gate, held) = (Gate::new(), Gate::new());
        let supervisor = online(two_groups());
        let hold = Ask::of(Address::worker("b-0"), &Hold { gate: held.path() });
        let job = supervisor.enqueue(AskAndDie { ask: hold, gate: gate.path() }).expect("accepted");
        let (caller, callee) = (gate.next(), held.next());
        assert_eq!(supervisor.call_counts().expect("it runs").in_flight, 1);
        Watched::new(caller.pid()).kill();
        job.wait().expect_err("its worker was killed");
        eventually("the call is over", || {
            (supervisor.call_counts().expect("it runs").in_flight == 0).then_some(())
        });
        assert_eq!(supervisor.call_counts().expect("it runs").held, 1);
        callee.release();
        expect_clean(&supervisor);
        assert_eq!(supervisor.call_counts().expect("it runs").late, 1);
    });
}

/// M2: every call ends by its deadline; the late answer is dropped and counted.
#[test]
fn a_call_ends_by_its_deadline() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(two_groups());
        let since = Instant::now();
        let hold = Hold { gate: gate.path() };
        let late = supervisor.call(Address::worker("b-0"), &hold).timeout(SOON).wait();
        assert!(matches!(late, Err(CallError::TimedOut { timeout: SOON, .. })), "{late:?}");
        assert!(since.elapsed() >= SOON && since.elapsed() < SOON + TOLERANCE);
        gate.next().release();
        expect_clean(&supervisor);
        assert_eq!(supervisor.call_counts().expect("it runs").late, 1);
        let since = Instant::now();
        let late = complaint(&supervisor, Ask::of(Address::worker("b-0"), &hold).within(SOON));
        assert_eq!(late.kind, "TimedOut");
        assert!(since.elapsed() >= SOON);
        gate.next().release();
        expect_clean(&supervisor);
    });
}

/// M2: a worker that calls one that calls it back is answered; a circle that comes back once more ends by its deadline,
/// and so does one through the primary; the supervisor does its work meanwhile.
#[test]
fn circles_end_by_their_deadline_and_block_nobody() {
    scenario(|| {
        let supervisor = online(two_groups().call_threads(1).on_call(|ask: Ask, cx| {
            let call = cx.peers().call_raw(ask.to, ask.name, ask.payload).timeout(ask.timeout);
            Ok(call.wait().map_err(Complaint::from))
        }));
        let (a, b) = (Address::worker("a-0"), Address::worker("b-0"));
        // a's job calls b, which calls a: its callee is free.
        let back = Ask::of(b.clone(), &Ask::of(a.clone(), &Add(1, 2)));
        let told = ask(&supervisor, back).expect("answered");
        let told = decode::<Result<Vec<u8>, Complaint>>(&told).expect("told").expect("answered");
        assert_eq!(decode(&told), Ok(3i64));
        // Once more around: b's callee waits for a's, which waits for b's.
        let around = Ask::of(a.clone(), &Ask::of(b.clone(), &Add(1, 2)).within(SOON));
        let circle = supervisor.enqueue(Ask::of(b.clone(), &around)).expect("accepted");
        assert_eq!(
            supervisor.call(Address::Primary, &Ask::of(a.clone(), &Add(2, 2))).wait().map(|it| it.is_ok()),
            Ok(true)
        );
        let told = circle.wait().expect("answered").data.expect("b answers");
        let told = decode::<Result<Vec<u8>, Complaint>>(&told).expect("told").expect("a answers");
        let end = decode::<Result<Vec<u8>, Complaint>>(&told).expect("told").expect_err("b is at it");
        assert_eq!(end.kind, "TimedOut");
        // The primary's only thread calls a worker, which calls the primary.
        let through = Ask::of(b, &Ask::of(Address::Primary, &Ask::of(a, &Add(1, 2))).within(SOON));
        let told = supervisor.call(Address::Primary, &through).wait().expect("answered").expect("b answers");
        let end =
            decode::<Result<Vec<u8>, Complaint>>(&told).expect("told").expect_err("the thread is at it");
        assert_eq!(end.kind, "TimedOut");
        assert_eq!(supervisor.enqueue(Add(2, 3)).expect("accepted").wait().expect("answered").data, 5);
        expect_clean(&supervisor);
    });
}

/// M2: a worker's flood of calls is bounded on every side: its own, and the target's; each of them ends, typed.
#[test]
fn floods_are_bounded_and_every_call_ends() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(two_groups());
        let hold = supervisor.call(Address::worker("b-0"), &Hold { gate: gate.path() }).send();
        let held = gate.next();
        let ask = Ask::of(Address::worker("b-0"), &Add(1, 1)).within(SOON);
        let pester = Pester { ask: ask.clone(), times: 1000 };
        let ends = supervisor.enqueue(pester).expect("accepted").wait().expect("answered").data;
        let expected = [("TimedOut", 256), ("TooMany", 744)].map(|(kind, count)| (kind.to_owned(), count));
        assert_eq!(ends, BTreeMap::from(expected));
        let calls: Vec<_> = (0..1024)
            .map(|_| supervisor.call(Address::worker("b-0"), &Add(1, 1)).timeout(PATIENCE).send())
            .collect();
        // What is asked of the loop is asked in order: it has seen all of them.
        assert_eq!(supervisor.call_counts().expect("it runs").held, 1024);
        held.release();
        hold.wait().expect("answered");
        let ends: Vec<_> = calls.into_iter().map(|call| call.wait()).collect();
        // What the worker's callee has not come to yet counts against it, although nobody waits for it.
        let full = ends.iter().filter(|end| matches!(end, Err(CallError::QueueFull { .. }))).count();
        let well = ends.iter().filter(|end| end.is_ok()).count();
        assert_eq!((full, well), (257, 1024 - 257));
        expect_clean(&supervisor);
        let many = Pester { ask: ask.within(PATIENCE), times: 250 };
        for _ in 0..20 {
            let ends = supervisor.enqueue(many.clone()).expect("accepted").wait().expect("answered").data;
            assert_eq!(ends, BTreeMap::from([(String::from("Ok"), 250)]));
        }
    });
}

/// M2: a worker that is not ready, or leaves, is not called, and says so; what it was called before, it answers.
#[test]
fn workers_that_boot_or_leave_are_not_called() {
    scenario(|| {
        let (start, gate) = (Gate::new(), Gate::new());
        let manners = Manners { gate_at_start: Some(start.path()), ..Manners::new() };
        let (supervisor, mut feed) =
            started_with_feed(Supervisor::builder(Group::new("a", with(&manners)).workers(1)));
        let boots = start.next();
        let call = |call: &Add| supervisor.call(Address::worker("a-0"), call).wait();
        assert!(matches!(call(&Add(1, 2)), Err(CallError::NotReady { .. })));
        assert!(matches!(
            supervisor.call(Address::any(), &Add(1, 2)).wait(),
            Err(CallError::NoWorkers { .. })
        ));
        boots.release();
        feed.ready();
        assert_eq!(call(&Add(1, 2)), Ok(3));
        let hold = supervisor.call(Address::worker("a-0"), &Hold { gate: gate.path() }).timeout(PATIENCE);
        let hold = hold.send();
        let held = gate.next();
        supervisor.shutdown_worker("a-0", PATIENCE).expect("there is one");
        let leaving = eventually("it leaves", || match call(&Add(1, 2)) {
            Err(error @ (CallError::Leaving { .. } | CallError::NotReady { .. })) => Some(error),
            _ => None,
        });
        assert!(matches!(leaving, CallError::Leaving { .. } | CallError::NotReady { .. }));
        held.release();
        assert_eq!(hold.wait(), Ok(String::from("a-0")), "it was called before it was told to leave");
        start.next().release();
    });
}

/// M2: the end of the supervisor ends every call, and there are none afterwards.
#[test]
fn the_end_of_the_supervisor_ends_every_call() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(two_groups());
        let peers = supervisor.peers();
        let call = |peers: &ganger::Peers| peers.call(Address::worker("b-0"), &Hold { gate: gate.path() });
        let open = call(&peers).timeout(Duration::from_secs(3600)).send();
        let _held = gate.next();
        supervisor.hard_kill().wait();
        let end = open.wait();
        assert!(matches!(end, Err(CallError::ShuttingDown { .. } | CallError::TargetLost { .. })), "{end:?}");
        assert!(matches!(call(&peers).wait(), Err(CallError::ShuttingDown { .. })));
        drop(supervisor);
        assert!(matches!(call(&peers).wait(), Err(CallError::ShuttingDown { .. })));
    });
}

/// M3: a handler may be registered while workers are at work, owns what it likes and is dropped with the supervisor;
/// blocking ones do not hold up jobs, events or each other.
#[test]
fn handlers_of_the_primary_run_on_threads_of_their_own() {
    scenario(|| {
        let supervisor = online(two_groups());
        let unknown = complaint(&supervisor, Ask::of(Address::Primary, &Add(1, 2)));
        assert_eq!(unknown.kind, "UnknownCall");
        let owned = Arc::new(());
        let (entered, enters) = channel();
        let (release, released) = channel::<()>();
        let (entered, released, mine) = (Mutex::new(entered), Mutex::new(released), Arc::clone(&owned));
        supervisor.on_call(move |Echo(bytes), _| {
            let _owned = &mine;
            entered.lock().expect("fine").send(()).expect("the test waits");
            released.lock().expect("fine").recv().expect("let in");
            Ok(bytes)
        });
        supervisor.on_call(|Add(left, right), _| Ok(left + right));
        let blocked = supervisor.enqueue(Ask::of(Address::Primary, &Echo(vec![1]))).expect("accepted");
        enters.recv_timeout(PATIENCE).expect("it is at it");
        assert_eq!(supervisor.call(Address::Primary, &Add(1, 2)).wait(), Ok(3));
        let other = supervisor.enqueue(Job::new(Add(2, 2)).group("b")).expect("accepted");
        assert_eq!(other.wait().expect("answered").data, 4);
        release.send(()).expect("it waits");
        assert_eq!(blocked.wait().expect("answered").data, Ok(vec![1, 1]));
        assert_eq!(Arc::strong_count(&owned), 2);
        drop(supervisor);
        eventually("the handlers are dropped", || (Arc::strong_count(&owned) == 1).then_some(()));
    });
}

/// M2: calls go on while a caller has the loop to himself, and end his loan.
#[test]
fn a_caller_who_has_the_loop_does_not_hold_up_calls() {
    scenario(|| {
        let supervisor = online(two_groups().on_call(|Add(left, right), _| Ok(left + right)));
        for round in 0..200 {
            for number in 0..10 {
                let sum = supervisor.enqueue(Add(number, round)).expect("accepted").wait().expect("answered");
                assert_eq!(sum.data, number + round);
            }
            let call = supervisor.call(Address::worker("b-0"), &Add(1, round)).wait();
            assert_eq!(call, Ok(1 + round));
            let asked = ask(&supervisor, Ask::of(Address::Primary, &Add(2, round))).expect("answered");
            assert_eq!(decode(&asked), Ok(2 + round));
        }
        assert_eq!(supervisor.call(Address::worker("a-0"), &About).wait().expect("answered").name, "a-0");
    });
}

/// M2: an answer can be awaited, looked for, and waited for in pieces.
#[test]
fn an_answer_is_taken_as_one_likes() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(two_groups());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let to = || Address::worker("b-0");
        let sums = runtime.block_on(async {
            (
                supervisor.call(to(), &Add(1, 2)).await,
                supervisor.call(Address::all(), &Add(1, 2)).collecting().await,
            )
        });
        assert_eq!(sums.0, Ok(3));
        assert_eq!(sums.1.expect("made").replies().count(), 2);
        let call = supervisor.call(to(), &Hold { gate: gate.path() }).timeout(PATIENCE).send();
        let held = gate.next();
        let call = call.try_result().expect_err("not yet").wait_timeout(SOON).expect_err("not yet");
        held.release();
        assert_eq!(call.wait(), Ok(String::from("b-0")));
        drop(runtime);
    });
}
