//! Workers that are mad: they harm themselves, their own jobs, and nobody else.

use std::time::Duration;

use ganger::{Builder, CrashReport, Event, JobError, KillCause, Started, Supervisor};
use ganger_protocol::{Header, Kind};
use ganger_tests::calls::{Flood, Leave, Manners};
use ganger_tests::harness::{Gate, Scenario, Scratch, Watched, eventually, scenario};
use ganger_tests::raw::{Reply, Step, frame, life, service};
use ganger_tests::workers::{online, online_with_feed, plain, raw, started_with_feed, tireless, with};

fn pool(scratch: &Scratch, lives: Vec<Vec<Step>>) -> Builder {
    Supervisor::builder(raw(scratch, lives)).workers(1).restart(tireless())
}

/// Resident memory of this process, in bytes.
fn own_rss() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("readable");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4096
}

fn violation(report: &CrashReport) -> &str {
    match &report.killed {
        Some(KillCause::Violation(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// The first worker breaks the protocol by `bytes`; it is killed for it, and its replacement does the job.
fn breaks_the_protocol(bytes: Vec<u8>) -> String {
    let scratch = Scratch::new();
    let breaks = life([Step::Take, Step::Write(bytes), Step::Hang]);
    let (supervisor, mut feed) = online_with_feed(pool(&scratch, vec![breaks, service()]));
    let response = supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
    assert_eq!((&response.data[..], response.attempt), (&b"abc"[..], 1));
    violation(&feed.crashed()).to_owned()
}

/// Fault: a worker writes garbage. P13: it is killed, and its unstarted job is done by the replacement.
#[test]
fn a_worker_that_writes_garbage_is_killed() {
    scenario(|| {
        assert!(breaks_the_protocol(b"GET / HTTP/1.1\r\n\r\n".to_vec()).contains("unknown frame kind"));
        assert!(breaks_the_protocol(vec![0xff; 64]).contains("unknown frame kind"));
    });
}

/// Fault: a worker sends what only a supervisor may send, or what its state does not allow.
#[test]
fn a_worker_that_speaks_out_of_turn_is_killed() {
    scenario(|| {
        assert!(breaks_the_protocol(frame(Kind::Drain, &(), &[])).contains("Drain"));
        assert!(breaks_the_protocol(frame(Kind::Ready, &(0u32, false), &[])).contains("capacity"));
        assert!(breaks_the_protocol(frame(Kind::Ready, &(1_000_000u32, false), &[])).contains("capacity"));
        breaks_the_protocol(frame(Kind::Busy, &7u32, &[]));
        let scratch = Scratch::new();
        let unintroduced = vec![Step::Ready(1), Step::Hang];
        let (_supervisor, mut feed) = started_with_feed(pool(&scratch, vec![unintroduced, service()]));
        violation(&feed.crashed());
        feed.ready();
    });
}

/// sozu 2.0: there, one length field made the other side allocate gigabytes. Here a frame of 4 GiB is refused at its
/// header, and a payload within the limit takes memory only as it comes.
#[test]
fn an_announced_length_allocates_nothing() {
    scenario(|| {
        let before = own_rss();
        let four_gib = [&u32::MAX.to_le_bytes()[..], &[Kind::Answer as u8, 0, 4, 0]].concat();
        assert!(breaks_the_protocol(four_gib).contains("limit"));
        let huge_head = [&100_000u32.to_le_bytes()[..], &[Kind::Answer as u8, 0, 0xff, 0xff]].concat();
        assert!(breaks_the_protocol(huge_head).contains("head"));
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let announced = Header { kind: Kind::Answer, fds: 0, head: 4, payload: 60 << 20 };
        let announces = Step::Write([&announced.to_bytes()[..], &[1, 1, 1, 0]].concat());
        let lives = vec![life([Step::Take, announces, Step::Gate(gate.path())]), service()];
        let supervisor = online(pool(&scratch, lives));
        let handle = supervisor.enqueue_raw("echo", *b"abc").expect("accepted");
        let held = gate.next();
        // Two round trips through the supervisor: what has come is taken in.
        let _ = supervisor.health();
        let _ = supervisor.health();
        let grown = own_rss().saturating_sub(before);
        assert!(grown < 24 << 20, "{grown} bytes for what was only announced");
        held.release();
        assert_eq!(handle.wait().expect("answered by the replacement").data, b"abc");
    });
}

/// Fault: a worker announces descriptors where there can be none.
#[test]
fn announced_descriptors_are_refused() {
    scenario(|| {
        let mut bytes = frame(Kind::Busy, &(), &[]);
        bytes[5] = 3;
        assert!(breaks_the_protocol(bytes).contains("descriptors"));
    });
}

/// Fault: a worker floods. It has its quota; beyond that it is killed, and the other worker's jobs never wait for it.
#[test]
fn a_worker_that_floods_is_killed_and_harms_nobody() {
    scenario(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let floods =
            life([Step::Present(gate.path()), Step::Events { count: 10_000_000, bytes: 16 }, Step::Hang]);
        let (supervisor, mut feed) = online_with_feed(
            pool(&scratch, vec![service(), floods, service()]).workers(2).event_backlog(1 << 20),
        );
        for number in 0..200u8 {
            let response =
                supervisor.enqueue_raw("echo", [number]).expect("accepted").wait().expect("answered");
            assert_eq!(response.data, [number]);
        }
        violation(&feed.crashed());
        gate.next().wait_gone();
    });
}

/// Fault: a worker sends more bytes of events than its quota allows.
#[test]
fn a_worker_that_floods_with_bytes_is_killed() {
    scenario(|| {
        let scratch = Scratch::new();
        let floods = life([Step::Events { count: 1000, bytes: 1 << 20 }, Step::Hang]);
        let (supervisor, mut feed) =
            online_with_feed(pool(&scratch, vec![floods, service()]).event_backlog(1 << 20));
        violation(&feed.crashed());
        supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
    });
}

/// Fault: a worker stops reading. Its own job waits, until it is found silent and killed; then the job is done
/// elsewhere. The other worker's jobs do not wait for a single one of them.
#[test]
fn a_worker_that_stops_reading_delays_only_its_own_job() {
    scenario(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let deaf = life([Step::Present(gate.path()), Step::ReadBytes(100), Step::Hang]);
        let beats = [50, 400, 1500].map(Duration::from_millis);
        let builder = pool(&scratch, vec![deaf, service()]).heartbeat(beats[0], beats[1], beats[2]);
        let (supervisor, mut feed) = online_with_feed(builder.term_grace(beats[1]));
        let _deaf = gate.next();
        let large = supervisor.enqueue_raw("echo", vec![7; 3 << 20]).expect("accepted");
        supervisor.resize(2).expect("resized");
        feed.ready();
        for number in 0..300u32 {
            let response = supervisor.enqueue_raw("echo", number.to_le_bytes()).expect("accepted").wait();
            assert_eq!(response.expect("answered").data, number.to_le_bytes());
        }
        let large = large.try_result().expect_err("its worker does not read");
        let response = large.wait().expect("done by another");
        assert_eq!((response.data.len(), response.attempt), (3 << 20, 1));
        assert_eq!(feed.crashed().killed, Some(KillCause::Silent));
    });
}

/// Fault: a worker hangs in a request and beats no more. It is killed; the job was running, and is lost or retried.
#[test]
fn a_worker_that_hangs_is_killed() {
    scenario(|| {
        let scratch = Scratch::new();
        let hangs = life([Step::Take, Step::Start, Step::Hang]);
        let beats = [50, 200, 500].map(Duration::from_millis);
        let builder =
            pool(&scratch, vec![hangs.clone(), hangs, service()]).heartbeat(beats[0], beats[1], beats[2]);
        let supervisor = online(builder.term_grace(beats[0]));
        match supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait() {
            Err(JobError::WorkerLost { report, .. }) => assert_eq!(report.killed, Some(KillCause::Silent)),
            other => panic!("{other:?}"),
        }
        let job = ganger::Job::new(ganger::Raw::new("echo", *b"abc")).retries(1);
        assert_eq!(supervisor.enqueue(job).expect("accepted").wait().expect("answered").attempt, 2);
    });
}

/// Fault: a worker closes its link and lives on. It is killed, and its job is done by the replacement.
#[test]
fn a_worker_that_closes_its_link_and_lives_on_is_killed() {
    scenario(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let closes = life([Step::Present(gate.path()), Step::Take, Step::CloseLink, Step::Hang]);
        let (supervisor, mut feed) = online_with_feed(pool(&scratch, vec![closes, service()]));
        let response = supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
        assert_eq!(response.attempt, 1);
        gate.next().wait_gone();
        assert_eq!(feed.crashed().killed, Some(KillCause::LinkClosed));
    });
}

/// Fault: a worker dies and leaves a grandchild in its process group that holds the link. The group ends with it.
#[test]
fn a_grandchild_that_holds_the_link_ends_with_its_worker() {
    Scenario::default().orphans(1).run(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let leaves = life([
            Step::Take,
            Step::Start,
            Step::Heir { gate: gate.path(), as_daemon: false },
            Step::Gate(gate.path()),
            Step::Signal(9),
        ]);
        let supervisor = online(pool(&scratch, vec![leaves, service()]));
        let handle = supervisor.enqueue_raw("echo", *b"abc").expect("accepted");
        let (mut first, mut second) = (gate.next(), gate.next());
        if first.worker() == "heir" {
            std::mem::swap(&mut first, &mut second);
        }
        let heir = Watched::new(second.pid());
        first.release();
        assert!(matches!(handle.wait(), Err(JobError::WorkerLost { .. })));
        heir.wait_end();
        supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
    });
}

/// Fault: the grandchild is in a session of its own, and holds the link for ever. Its worker's death is judged after
/// a short grace; what the worker itself had answered counts.
#[test]
fn a_daemon_that_holds_the_link_delays_a_death_only_a_moment() {
    Scenario::default().orphans(2).run(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let heir = |gate: &Gate| Step::Heir { gate: gate.path(), as_daemon: true };
        let lost = life([heir(&gate), Step::Take, Step::Start, Step::Signal(9)]);
        let answered =
            life([heir(&gate), Step::Take, Step::Start, Step::Answer(Reply::echo()), Step::Signal(9)]);
        let supervisor = online(pool(&scratch, vec![lost, answered, service()]));
        let lost = supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait();
        assert!(matches!(lost, Err(JobError::WorkerLost { .. })), "{lost:?}");
        let response = supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
        assert_eq!(response.data, b"abc");
        supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
        // They are nobody's but the test's.
        for daemon in gate.next_many(2) {
            let process = Watched::new(daemon.pid());
            assert!(process.is_alive());
            daemon.release();
            process.wait_end();
        }
    });
}

/// Fault: a worker double-forks: a daemon keeps its output pipes. The worker's death is told at once all the same.
#[test]
fn a_daemon_that_holds_the_output_pipes_delays_nothing() {
    Scenario::default().orphans(1).run(|| {
        let gate = Gate::new();
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(plain()).workers(1));
        let leave = Leave { gate: gate.path(), as_daemon: true };
        supervisor.enqueue(leave).expect("accepted").wait().expect("answered");
        let daemon = gate.next();
        let process = Watched::new(daemon.pid());
        let worker = supervisor.health().workers[0].pid.expect("it runs");
        Watched::new(worker).kill();
        assert_eq!(feed.crashed().pid, Some(worker));
        feed.ready();
        supervisor.enqueue_raw("reverse", *b"abc").expect("accepted").wait().expect("answered");
        drop(supervisor);
        assert!(process.is_alive());
        daemon.release();
        process.wait_end();
    });
}

/// Supervisor#1554: there, an output pipe that nobody drained blocked the worker. Here a worker prints 10 MB without
/// a newline, several times, with and without the library, and works on; memory stays bounded.
#[test]
fn ten_megabytes_without_a_newline() {
    scenario(|| {
        let before = own_rss();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        for _ in 0..2 {
            supervisor.enqueue(Flood(10_000_000)).expect("accepted").wait().expect("answered");
        }
        let scratch = Scratch::new();
        let prints = life([Step::Print(10_000_000), Step::Serve]);
        let raw = online(pool(&scratch, vec![prints]));
        raw.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
        assert!(own_rss().saturating_sub(before) < 40 << 20, "{before} bytes before, {} after", own_rss());
    });
}

/// cpython#105829, ipc-channel#275: there, both sides wrote and neither read, and both waited for ever. Here large
/// payloads go both ways at the same time, through workers of several threads, more than all buffers hold.
#[test]
fn large_payloads_both_ways_do_not_block_each_other() {
    scenario(|| {
        let manners = Manners { threads: 4, ..Manners::new() };
        let supervisor = online(Supervisor::builder(with(&manners)).workers(2).prefetch(8));
        let payload =
            |number: usize| -> Vec<u8> { (0..2_000_000).map(|at| ((at + number) % 251) as u8).collect() };
        let handles: Vec<_> = (0..24)
            .map(|number| supervisor.enqueue_raw("reverse", payload(number)).expect("accepted"))
            .collect();
        for (number, handle) in handles.into_iter().enumerate() {
            let data = handle.wait().expect("answered").data;
            assert!(data.iter().rev().eq(payload(number).iter()), "job {number}");
        }
    });
}

/// S5, fault: a subscriber that never reads delays nobody, and is told how much it missed.
#[test]
fn a_subscriber_that_never_reads_misses_and_delays_nobody() {
    scenario(|| {
        let scratch = Scratch::new();
        let talks = life([Step::Events { count: 5000, bytes: 8 }, Step::Serve]);
        let (supervisor, events) =
            pool(&scratch, vec![talks]).event_backlog(10).start_with_events().expect("started");
        let response = supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
        assert_eq!(response.data, b"abc");
        let first = events.recv().expect("the first");
        assert!(matches!(first, Event::WorkerSpawned { .. }), "{first:?}");
        // A worker's own events leave room for what happens to workers, and that is preceded by the count.
        supervisor.resize(2).expect("resized");
        let mut missed = 0;
        eventually("it is told of the second worker", || match events.try_recv() {
            Ok(Event::Missed(count)) => {
                missed += count;
                None
            }
            Ok(Event::WorkerSpawned { .. }) => Some(()),
            Ok(_) | Err(_) => None,
        });
        assert!(missed >= 4990, "{missed}");
    });
}

/// P13: a page full of lies misleads nobody but the liar. A worker that claims to have started more than it was sent
/// is found out when its requests are taken back; its job counts as started, since nobody can know.
#[test]
fn a_worker_that_lies_in_its_page_is_found_out() {
    scenario(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let lies = life([Step::Take, Step::Claim(1000), Step::Gate(gate.path())]);
        let (supervisor, mut feed) = online_with_feed(pool(&scratch, vec![lies, service()]));
        let handle = supervisor.enqueue_raw("echo", *b"abc").expect("accepted");
        let _lying = gate.next();
        // A cancel has what was not started taken back.
        handle.cancel();
        let error = handle.wait().expect_err("cancelled");
        assert_eq!(error.started(), Started::Yes, "nobody can know that it was not");
        violation(&feed.crashed());
        supervisor
            .enqueue_raw("echo", *b"abc")
            .expect("accepted")
            .wait()
            .expect("answered by the replacement");
    });
}
