//! The pool, and workers that lie about it, decline it, or die with payloads of theirs in it.

use ganger::{Builder, CrashReport, JobError, JobStatus, KillCause, Started, Supervisor};
use ganger_protocol::{AnswerHead, Answered, Epoch, Kind, Ordinal, Place, VERSION};
use ganger_tests::calls::{Add, Echo, Hold};
use ganger_tests::harness::{Gate, Scratch, eventually, scenario};
use ganger_tests::raw::{Reply, Step, frame, life, service};
use ganger_tests::workers::{online, online_with_feed, plain, raw, tireless};

const HALF: usize = 1 << 20;

fn sharing(scratch: &Scratch, lives: Vec<Vec<Step>>) -> Builder {
    Supervisor::builder(raw(scratch, lives)).workers(1).restart(tireless()).payload_pool(HALF)
}

fn violation(report: &CrashReport) -> &str {
    match &report.killed {
        Some(KillCause::Violation(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

/// A worker that takes part, is ready, and then does this.
fn member(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    [Step::JoinPool, Step::Hello(VERSION), Step::Ready(1)].into_iter().chain(steps).collect()
}

fn answer_at(place: Place) -> Step {
    let head = AnswerHead { ordinal: Ordinal(1), epoch: Epoch(1), run_nanos: 1, answered: Answered::Data };
    Step::Write(frame(Kind::PooledAnswer, &head, &place.to_bytes()))
}

/// J16: payloads of every size around the pool's borders make the way there and back, through it or, where they do not
/// fit, through the socket; many at a time, too.
#[test]
fn payloads_survive_the_pool() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(2).prefetch(4).payload_pool(HALF));
        let borders = [64 << 10, 100_003, 300_000, 512 << 10, HALF, 3 << 20];
        let sizes = borders.iter().flat_map(|border| [border - 1, *border, border + 1]);
        let echoes: Vec<Echo> = sizes.cycle().take(72).map(|size| Echo(bytes(size))).collect();
        for (echo, result) in echoes.clone().into_iter().zip(supervisor.map(echoes)) {
            assert!(result.expect("answered").data == echo.0, "{} bytes", echo.0.len());
        }
    });
}

/// J16: what a worker says about the pool is held against it: a place outside of it, one that is not the next and so
/// might overlap another, one larger than payloads may be. It is an offence, and the job is done by the next worker,
/// from the bytes that the supervisor still has.
#[test]
fn a_worker_that_lies_about_a_place_is_killed() {
    scenario(|| {
        let places = [
            (Place { offset: 0, length: HALF as u32 + 1 }, "is not within"),
            (Place { offset: u32::MAX, length: 100_000 }, "is not within"),
            (Place { offset: 0, length: u32::MAX }, "over the limit"),
            (Place { offset: 64, length: 100_000 }, "is neither at 0"),
            (Place { offset: 0, length: 0 }, "is neither at 0"),
        ];
        for (place, reason) in places {
            let scratch = Scratch::new();
            let liar = member([Step::ReadBytes(8), answer_at(place), Step::Hang]);
            let (supervisor, mut feed) = online_with_feed(sharing(&scratch, vec![liar, service()]));
            let response =
                supervisor.enqueue_raw("echo", bytes(200_000)).expect("accepted").wait().expect("answered");
            assert!(response.data == bytes(200_000));
            let report = feed.crashed();
            assert!(violation(&report).contains(reason), "{report:?}");
        }
    });
}

/// J16: a worker that counts payloads as copied out which it was never given would have the supervisor write over
/// others: it is found out when room is next looked for.
#[test]
fn a_worker_that_gives_room_back_twice_is_killed() {
    scenario(|| {
        let scratch = Scratch::new();
        let head =
            AnswerHead { ordinal: Ordinal(1), epoch: Epoch(1), run_nanos: 1, answered: Answered::Data };
        let answer = Step::Write(frame(Kind::Answer, &head, b"x"));
        let liar = [
            Step::JoinPool,
            Step::CountPooled(7),
            Step::Hello(VERSION),
            Step::Ready(1),
            Step::ReadBytes(8),
            answer,
            Step::Hang,
        ];
        let (supervisor, mut feed) = online_with_feed(sharing(&scratch, vec![liar.to_vec(), service()]));
        let response =
            supervisor.enqueue_raw("echo", bytes(200_000)).expect("accepted").wait().expect("answered");
        assert!(response.data == bytes(200_000));
        let report = feed.crashed();
        let reason = "7 payloads were counted as copied out";
        assert!(violation(&report).contains(reason), "{report:?}");
    });
}

/// J16: a worker that leaves the pool alone gets its payloads through the socket, and may not answer through the pool.
#[test]
fn a_worker_may_decline_the_pool() {
    scenario(|| {
        let scratch = Scratch::new();
        let supervisor = online(sharing(&scratch, vec![service()]));
        let response = supervisor.enqueue_raw("echo", bytes(300_000)).expect("accepted").wait();
        assert!(response.expect("answered").data == bytes(300_000));
        let scratch = Scratch::new();
        let liar = life([Step::ReadBytes(8), answer_at(Place { offset: 0, length: 65_536 }), Step::Hang]);
        let (supervisor, mut feed) = online_with_feed(sharing(&scratch, vec![liar, service()]));
        drop(supervisor.enqueue_raw("echo", *b"abc").expect("accepted"));
        let report = feed.crashed();
        assert!(violation(&report).contains("without a pool"), "{report:?}");
    });
}

/// J16: a worker dies with a request in the pool that it has not copied out, and one that it has: all of it goes with
/// the worker, and the next one gets the same bytes.
#[test]
fn a_death_with_payloads_in_the_pool_loses_none() {
    scenario(|| {
        let scratch = Scratch::new();
        let dies = member([Step::ReadBytes(8), Step::Signal(9)]);
        let lives = vec![dies.clone(), dies, life([Step::Take, Step::Start, Step::Answer(Reply::echo())])];
        let supervisor = online(sharing(&scratch, lives));
        let response = supervisor.enqueue_raw("echo", bytes(300_000)).expect("accepted").wait();
        assert!(response.expect("answered").data == bytes(300_000));
    });
}

/// J10, J16: requests whose payloads lie in the pool are cancelled, or taken back for another worker, before they
/// are started: the room is given back all the same, in order, so that what comes after them is neither mixed up nor
/// stuck, round after round of the ring.
#[test]
fn requests_in_the_pool_are_cancelled_and_taken_back() {
    scenario(|| {
        let gate = Gate::new();
        let builder = Supervisor::builder(plain()).workers(1).prefetch(4).payload_pool(HALF);
        let (supervisor, mut feed) = online_with_feed(builder);
        let echo = |length| supervisor.enqueue(Echo(bytes(length))).expect("accepted");
        let hold_and_send_ahead = |lengths: [usize; 4]| {
            // Only to a worker that was quick lately some are sent ahead.
            let sums = supervisor.map((0..200).map(|number| Add(number, 0))).in_flight(1);
            assert_eq!(sums.filter(Result::is_ok).count(), 200);
            let holding = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
            let held = gate.next();
            let ahead = lengths.map(echo);
            eventually("some are sent ahead", || (supervisor.health().groups[0].in_flight > 1).then_some(()));
            (holding, held, ahead)
        };
        for round in 0..4 {
            let lengths = [200_000, 150_000, 250_000, 300_000].map(|length| length + round * 1000);
            let (holding, held, ahead) = hold_and_send_ahead(lengths);
            let cancelled = round;
            ahead[cancelled].cancel();
            eventually("it is cancelled", || (ahead[cancelled].status() == JobStatus::Settled).then_some(()));
            held.release();
            holding.wait().expect("answered");
            for (number, (handle, length)) in ahead.into_iter().zip(lengths).enumerate() {
                match handle.wait() {
                    Ok(response) => assert!(number != cancelled && response.data == bytes(length)),
                    Err(JobError::Cancelled { started: Started::No, .. }) => assert_eq!(number, cancelled),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        let lengths = [200_000, 150_000, 250_000, 300_000];
        let (holding, held, ahead) = hold_and_send_ahead(lengths);
        supervisor.resize(2).expect("resized");
        feed.ready();
        for (handle, length) in ahead.into_iter().zip(lengths) {
            let response = handle.wait().expect("answered while the first worker is held");
            assert!(&*response.worker == "default-1" && response.data == bytes(length));
        }
        held.release();
        holding.wait().expect("answered");
        let sizes = (0..60).map(|number| 100_000 + number * 5000);
        for (result, size) in supervisor.map(sizes.clone().map(|size| Echo(bytes(size)))).zip(sizes) {
            assert!(result.expect("answered").data == bytes(size));
        }
        assert_eq!(supervisor.health().groups[0].restarts, 0);
    });
}
