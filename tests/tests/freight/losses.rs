//! Attachments of jobs whose workers die, lie, or are too slow.

use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::time::Duration;

use ganger::{Builder, Clock, Job, JobError, PoisonPolicy, Raw, Started, Supervisor};
use ganger_tests::calls::Hold;
use ganger_tests::freight::{Carry, Sign, open_descriptors};
use ganger_tests::harness::{Gate, Scratch, eventually, scenario};
use ganger_tests::raw::{Reply, Step, To, life, service};
use ganger_tests::workers::{online, online_with_feed, plain, raw, tireless};

const KILL: Step = Step::Signal(9);

fn lives(scratch: &Scratch, lives: Vec<Vec<Step>>) -> Builder {
    Supervisor::builder(raw(scratch, lives)).workers(1).restart(tireless())
}

/// A job that writes to its end of a pipe, and the other end.
fn echo(retries: u16) -> (Job<Raw>, PipeReader) {
    let (reader, writer) = io::pipe().expect("a pipe");
    (Job::new(Raw::new("echo", *b"abc")).retries(retries).attach(writer), reader)
}

fn ends_with(mut reader: PipeReader, text: &str) {
    let mut read = String::new();
    reader.read_to_string(&mut read).expect("read");
    assert_eq!(read, text);
}

/// J14, P5: a worker that dies before it began with a job, whether it had fetched the attachments or not, costs
/// nothing: the next one gets the same.
#[test]
fn a_worker_that_dies_before_it_began_costs_nothing() {
    scenario(|| {
        let scratch = Scratch::new();
        let full = [Step::Take, Step::Fetch, Step::Start, Step::Taken, Step::Sign(String::from("at last"))];
        let supervisor = online(lives(
            &scratch,
            vec![
                life([Step::ReadBytes(3), KILL]),
                life([Step::Take, KILL]),
                life([Step::Take, Step::Fetch, KILL]),
                life(full.into_iter().chain([Step::Answer(Reply::echo()), Step::Serve])),
            ],
        ));
        let (job, reader) = echo(0);
        let response = supervisor.enqueue(job).expect("accepted").wait().expect("answered");
        assert_eq!((response.data, response.attempt), (b"abc".to_vec(), 1));
        ends_with(reader, "at last");
    });
}

/// J14, P5: wherever in the request's frame the worker stops to read and dies, the attachments are not lost.
#[test]
fn a_death_at_any_byte_of_a_request_loses_no_attachment() {
    scenario(|| {
        let scratch = Scratch::new();
        let last = [Step::Take, Step::Fetch, Step::Start, Step::Taken, Step::Sign(String::from("whole"))];
        // Its header, its head of more than 32 bytes, its payload of three: from its first byte to its last but some.
        let lengths = (1..40).step_by(3);
        let dying = lengths.map(|bytes| life([Step::ReadBytes(bytes), KILL]));
        let last = life(last.into_iter().chain([Step::Answer(Reply::echo()), Step::Serve]));
        let patient = PoisonPolicy { deaths: u8::MAX, losses: u8::MAX };
        let supervisor = online(lives(&scratch, dying.chain([last]).collect()).poison(patient));
        let before = open_descriptors();
        let (job, reader) = echo(0);
        let response = supervisor.enqueue(job).expect("accepted").wait().expect("answered");
        assert_eq!((response.data, response.attempt), (b"abc".to_vec(), 1));
        ends_with(reader, "whole");
        eventually("nothing is left open", || (open_descriptors() == before).then_some(()));
    });
}

/// J14, J6: a worker that dies with the attachments in its hands spends an attempt; the next one gets the same open
/// file. When there is no further attempt, everything is closed.
#[test]
fn a_retry_gets_the_same_open_file() {
    scenario(|| {
        let (supervisor, gate) =
            (online(Supervisor::builder(plain()).workers(1).restart(tireless())), Gate::new());
        let before = open_descriptors();
        for (retries, expected) in [(2, Ok((3, 2))), (1, Err(()))] {
            let (reader, writer) = io::pipe().expect("a pipe");
            let job = Job::new(Carry { gate: gate.path(), deaths: 2 })
                .retries(retries)
                .attach(writer)
                .attach(File::open("/dev/null").expect("opened"));
            let handle = supervisor.enqueue(job).expect("accepted");
            for _ in 0..=retries {
                gate.next().release();
            }
            match (handle.wait(), expected) {
                (Ok(response), Ok(expected)) => assert_eq!(response.data, expected),
                (Err(JobError::WorkerLost { streams: 0, .. }), Err(())) => {}
                (result, _) => panic!("{result:?}"),
            }
            ends_with(reader, "");
        }
        eventually("nothing is left open", || (open_descriptors() == before).then_some(()));
    });
}

/// J14: however a job ends, its attachments are closed by then, whoever still has its handle.
#[test]
fn every_ending_closes_what_was_attached() {
    scenario(|| {
        let (supervisor, gate) = (online(Supervisor::builder(plain()).workers(1)), Gate::new());
        let busy = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let sign = |job: fn(Job<Sign>) -> Job<Sign>| {
            let (reader, writer) = io::pipe().expect("a pipe");
            (supervisor.enqueue(job(Job::new(Sign(String::new())).attach(writer))).expect("accepted"), reader)
        };
        let (cancelled, reader) = sign(|job| job.retries(3));
        cancelled.cancel();
        ends_with(reader, "");
        let (late, reader) = sign(|job| job.queue_timeout(Duration::from_millis(1)));
        ends_with(reader, "");
        let (forgotten, reader) = sign(|job| job);
        drop(forgotten);
        held.release();
        busy.wait().expect("answered");
        ends_with(reader, "");
        let (unknown, reader) = {
            let (reader, writer) = io::pipe().expect("a pipe");
            let job = Job::new(Raw::new("unheard", *b"")).attach(writer);
            (supervisor.enqueue(job).expect("accepted"), reader)
        };
        ends_with(reader, "");
        assert!(matches!(unknown.wait(), Err(JobError::Failed { .. })));
        let (running, reader) = {
            let (reader, writer) = io::pipe().expect("a pipe");
            let job = Job::new(Carry { gate: gate.path(), deaths: 0 }).retries(5).attach(writer);
            (supervisor.enqueue(job).expect("accepted"), reader)
        };
        let _held = gate.next();
        let (queued, other) = sign(|job| job.retries(1));
        supervisor.hard_kill().wait();
        ends_with(reader, "");
        ends_with(other, "");
        let is_late = |result| matches!(result, Err(JobError::TimedOut { clock: Clock::Queue, .. }));
        assert!(is_late(late.wait()));
        let started = |result: Result<_, JobError>| result.map(|_| ()).expect_err("it ended").started();
        assert_eq!(started(cancelled.wait().map(|_| ())), Started::No);
        assert_eq!(started(queued.wait().map(|_| ())), Started::No);
        assert!(running.wait().is_err());
    });
}

/// P13, J14: what a worker may not do with descriptors ends it, and leaves nothing open.
#[test]
fn a_worker_that_lies_about_attachments_is_killed() {
    scenario(|| {
        let begin = || vec![Step::Take, Step::Fetch, Step::Start];
        let answer = |announced, posted, to| Step::AnswerWith { announced, posted, to };
        let with = |last: Step| life(begin().into_iter().chain([last, Step::Hang]));
        let offences = [
            (with(answer(1, 0, To::Oldest)), "none are in the hatch"),
            (with(answer(2, 1, To::Oldest)), "2 descriptors were announced, and 1 came"),
            (with(answer(1, 2, To::Oldest)), "1 descriptors were announced, and 2 came"),
            (with(answer(16, 1, To::Nobody)), "belong to another frame"),
            (with(answer(1, 1, To::OtherEpoch)), "belong to another frame"),
            (with(answer(17, 16, To::Oldest)), "with 17 descriptors"),
            (life([Step::Take, Step::Taken, Step::Hang]), "that it had not started"),
            (
                life(begin().into_iter().chain([Step::Taken, Step::Taken, Step::Hang])),
                "took attachments that it was not given",
            ),
        ];
        for (life, reason) in offences {
            let scratch = Scratch::new();
            let (supervisor, mut feed) = online_with_feed(lives(&scratch, vec![life, service()]));
            let before = open_descriptors();
            let (job, reader) = echo(0);
            let handle = supervisor.enqueue(job).expect("accepted");
            let report = feed.crashed();
            assert!(report.to_string().contains(reason), "{reason}: {report}");
            drop(handle);
            drop(reader);
            eventually("nothing is left open", || (open_descriptors() == before).then_some(()));
        }
    });
}

/// P13: descriptors that a worker puts into the hatch and never mentions are nobody's business but the kernel's, which
/// closes them with the worker. What it says beside them counts.
#[test]
fn packets_that_belong_to_nothing_are_closed_with_their_worker() {
    scenario(|| {
        let scratch = Scratch::new();
        let smuggler = life([
            Step::Take,
            Step::Fetch,
            Step::Start,
            Step::AnswerWith { announced: 0, posted: 16, to: To::Oldest },
            Step::Serve,
        ]);
        let supervisor = online(lives(&scratch, vec![smuggler]));
        let before = open_descriptors();
        let (job, reader) = echo(0);
        assert_eq!(supervisor.enqueue(job).expect("accepted").wait().expect("answered").data, b"abc");
        assert_eq!(
            supervisor.enqueue_raw("echo", *b"d").expect("accepted").wait().expect("answered").data,
            b"d"
        );
        drop(reader);
        assert_eq!((open_descriptors(), supervisor.health().groups[0].restarts), (before, 0));
    });
}

/// J14: a worker that reads nothing while many jobs with attachments come does not keep others from being heard, and
/// when it reads, all of them arrive.
#[test]
fn a_hatch_that_is_full_is_waited_for() {
    scenario(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let jobs = 1000;
        let one = [Step::Take, Step::Fetch, Step::Start, Step::Taken, Step::Sign(String::from("x"))];
        let one = || one.clone().into_iter().chain([Step::Answer(Reply::echo())]);
        let deaf = [Step::Hello(ganger_protocol::VERSION), Step::Ready(1020), Step::Gate(gate.path())];
        let life = deaf.into_iter().chain((0..jobs).flat_map(|_| one())).chain([Step::Serve]).collect();
        let supervisor = online(lives(&scratch, vec![life]));
        let enqueue = |_| {
            let (job, reader) = echo(0);
            (supervisor.enqueue(job).expect("accepted"), reader)
        };
        let handles: Vec<_> = (0..jobs).map(enqueue).collect();
        gate.next().release();
        for (handle, reader) in handles {
            assert_eq!(handle.wait().expect("answered").data, b"abc");
            ends_with(reader, "x");
        }
    });
}
