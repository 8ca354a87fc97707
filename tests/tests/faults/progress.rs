//! Workers that report what they should not.

use ganger::{Builder, KillCause, Supervisor};
use ganger_protocol::{Epoch, Kind, Ordinal, ProgressHead};
use ganger_tests::harness::{Gate, Scratch, scenario};
use ganger_tests::raw::{Reply, Step, frame, life, service};
use ganger_tests::workers::{online, online_with_feed, raw, tireless};

fn pool(scratch: &Scratch, lives: Vec<Vec<Step>>) -> Builder {
    Supervisor::builder(raw(scratch, lives)).workers(1).restart(tireless())
}

fn report(ordinal: u32, epoch: u32, data: &[u8]) -> Step {
    let head = ProgressHead { ordinal: Ordinal(ordinal), epoch: Epoch(epoch) };
    Step::Write(frame(Kind::Progress, &head, data))
}

/// Fault: a worker reports about jobs that it does not hold, under another epoch, and after its answer. J17: none of it
/// reaches anybody.
#[test]
fn a_report_about_a_job_that_it_does_not_hold_is_dropped() {
    scenario(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let misreports = life([
            report(1, 1, b"before it was sent"),
            Step::Take,
            Step::Start,
            report(2, 1, b"another request"),
            report(1, 2, b"another assignment"),
            report(1, 1, b"true"),
            Step::Answer(Reply::echo()),
            report(1, 1, b"after the answer"),
            Step::Gate(gate.path()),
            Step::Take,
            Step::Start,
            report(1, 1, b"of the last one"),
            Step::Answer(Reply::echo()),
            Step::Serve,
        ]);
        let supervisor = online(pool(&scratch, vec![misreports]));
        let first = supervisor.enqueue_raw("echo", *b"1").expect("accepted");
        let reports: Vec<Vec<u8>> = first.progress_raw().map(|report| report.data).collect();
        assert_eq!(reports, [b"true"]);
        first.wait().expect("answered");
        gate.next().release();
        let second = supervisor.enqueue_raw("echo", *b"2").expect("accepted");
        assert_eq!(second.progress_raw().count(), 0);
        second.wait().expect("answered");
        assert_eq!(supervisor.health().groups[0].restarts, 0);
    });
}

/// Fault: a report whose head is garbage, and one over the limit.
#[test]
fn a_report_that_is_none_is_a_violation() {
    scenario(|| {
        let scratch = Scratch::new();
        let garbage = Step::Write(frame(Kind::Progress, &(), b"what is it about?"));
        let head = ProgressHead { ordinal: Ordinal(1), epoch: Epoch(1) };
        let mut large = frame(Kind::Progress, &head, &vec![0; (1 << 20) + 1]);
        // What its header says is enough.
        large.truncate(100);
        let large = Step::Write(large);
        let lives = vec![life([garbage, Step::Hang]), life([large, Step::Hang]), service()];
        let (supervisor, mut feed) = online_with_feed(pool(&scratch, lives));
        for _ in 0..2 {
            let report = feed.crashed();
            assert!(matches!(report.killed, Some(KillCause::Violation(_))), "{report:?}");
        }
        supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
    });
}

/// Fault: a worker floods with reports. It has its quota, and is killed when it goes on and on; its job is done by the
/// next.
#[test]
fn a_worker_that_floods_with_reports_is_killed() {
    scenario(|| {
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let one = frame(Kind::Progress, &ProgressHead { ordinal: Ordinal(1), epoch: Epoch(1) }, &[7; 8]);
        let floods = life([
            Step::Gate(gate.path()),
            Step::Take,
            Step::Start,
            Step::Repeat { count: 10_000_000, bytes: one },
            Step::Hang,
        ]);
        let (supervisor, mut feed) = online_with_feed(pool(&scratch, vec![floods, service()]));
        gate.next().release();
        let handle = supervisor.enqueue_raw("echo", *b"x").expect("accepted");
        let report = feed.crashed();
        assert!(matches!(report.killed, Some(KillCause::Violation(_))), "{report:?}");
        assert!(handle.progress_raw().count() <= 256);
        handle.wait().expect_err("it was running");
        supervisor.enqueue_raw("echo", *b"y").expect("accepted").wait().expect("answered");
    });
}
