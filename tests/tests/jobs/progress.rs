//! What handlers report on their way.

use std::time::Duration;

use ganger::{Job, JobStatus, NoReport, Report, Supervisor};
use ganger_protocol::{Epoch, Kind, Ordinal, ProgressHead};
use ganger_tests::calls::{Add, Advance, Death, Manners};
use ganger_tests::harness::{Gate, PATIENCE, Scratch, eventually, scenario};
use ganger_tests::raw::{Reply, Step, frame, life};
use ganger_tests::workers::{online, plain, raw, tireless, with};

fn advance(count: u32) -> Advance {
    Advance { count, ..Advance::default() }
}

fn numbers(reports: impl Iterator<Item = Report<u32>>) -> Vec<u32> {
    reports.map(|report| report.data).collect()
}

/// J17: reports come in their order, while the handler runs, and end with the job.
#[test]
fn reports_come_in_order_and_end_with_the_job() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let call = Advance { gate: Some(gate.path()), ..advance(50) };
        let handle = supervisor.enqueue(call).expect("accepted");
        let mut progress = handle.progress::<u32>();
        let first: Vec<_> = progress.by_ref().take(50).map(|report| report.expect("a number")).collect();
        assert!(first.iter().all(|report| (report.attempt, report.missed) == (1, 0)));
        assert_eq!(numbers(first.into_iter()), (0..50).collect::<Vec<u32>>());
        assert!(matches!(progress.try_recv(), Err(NoReport::NotYet)));
        assert!(matches!(progress.recv_timeout(Duration::from_millis(1)), Err(NoReport::NotYet)));
        gate.next().release();
        assert!(progress.next().is_none());
        assert!(matches!(progress.try_recv(), Err(NoReport::Ended)));
        assert_eq!(handle.wait().expect("done").data, 50);
    });
}

/// J17: whoever asks late finds what was reported, also when the job has ended; a job without reports just ends.
#[test]
fn reports_of_a_job_that_has_ended_are_kept() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let handle = supervisor.enqueue(advance(3)).expect("accepted");
        eventually("it has ended", || (handle.status() == JobStatus::Settled).then_some(()));
        let raw: Vec<Vec<u8>> = handle.progress_raw().map(|report| report.data).collect();
        assert_eq!(raw, [[0], [1], [2]]);
        assert_eq!(handle.wait().expect("done").data, 3);
        let silent = supervisor.enqueue(Add(1, 2)).expect("accepted");
        assert!(silent.progress::<u32>().next().is_none());
        silent.wait().expect("done");
    });
}

/// J17: a retry shows in the reports.
#[test]
fn reports_say_which_attempt_they_are_of() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1).restart(tireless()));
        let call = Advance { gate: Some(gate.path()), first_ends: Some(Death::Signal(9)), count: 2 };
        let handle = supervisor.enqueue(Job::new(call).retries(1)).expect("accepted");
        let reader = handle.progress::<u32>();
        gate.next().release();
        gate.next().release();
        let reports: Vec<(u16, u32)> = reader
            .map(|report| report.expect("a number"))
            .map(|report| (report.attempt, report.data))
            .collect();
        assert_eq!(reports, [(1, 0), (1, 1), (2, 0), (2, 1)]);
        handle.wait().expect("the second attempt");
    });
}

/// J17: a slow reader misses the oldest reports, and is told how many.
#[test]
fn a_slow_reader_misses_the_oldest() {
    scenario(|| {
        let scratch = Scratch::new();
        let head = ProgressHead { ordinal: Ordinal(1), epoch: Epoch(1) };
        let reports: Vec<u8> =
            (0..300u16).flat_map(|number| frame(Kind::Progress, &head, &number.to_le_bytes())).collect();
        let answers =
            [Step::Take, Step::Start, Step::Write(reports), Step::Answer(Reply::echo()), Step::Serve];
        let supervisor = online(Supervisor::builder(raw(&scratch, vec![life(answers)])).workers(1));
        let handle = supervisor.enqueue_raw("echo", *b"x").expect("accepted");
        eventually("it has ended", || (handle.status() == JobStatus::Settled).then_some(()));
        let all: Vec<_> = handle.progress_raw().collect();
        assert_eq!((all.len(), all[0].missed, &all[0].data[..]), (256, 44, &44u16.to_le_bytes()[..]));
        assert!(all.iter().skip(1).all(|report| report.missed == 0));
    });
}

/// J17: a handler in a hurry is told that it reports too fast, and its worker goes on.
#[test]
fn a_handler_that_reports_too_fast_is_told() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let sent = supervisor.enqueue(advance(200_000)).expect("accepted").wait().expect("done").data;
        assert!((100..200_000).contains(&sent), "{sent} were sent");
        assert_eq!(supervisor.health().groups[0].restarts, 0);
    });
}

/// J17: progress can be awaited, and be read elsewhere than the result.
#[test]
fn progress_is_awaited_beside_the_result() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(with(&Manners::new())).workers(1));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
        runtime.block_on(async {
            let handle = supervisor.enqueue(advance(20)).expect("accepted");
            let mut progress = handle.progress::<u32>();
            let reader = tokio::spawn(async move {
                let mut seen = Vec::new();
                while let Some(report) = progress.next_async().await {
                    seen.push(report.expect("a number").data);
                }
                seen
            });
            assert_eq!(handle.await.expect("done").data, 20);
            assert_eq!(reader.await.expect("read"), (0..20).collect::<Vec<u32>>());
        });
    });
}

/// J17: readers learn that nothing more comes when the supervisor ends, and whoever asks last reads.
#[test]
fn readers_end_with_the_supervisor_and_the_last_one_reads() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let call = Advance { gate: Some(gate.path()), ..advance(2) };
        let handle = supervisor.enqueue(call).expect("accepted");
        let _held = gate.next();
        let (mut first, mut second) = (handle.progress::<u32>(), handle.progress::<u32>());
        assert_eq!(second.recv_timeout(PATIENCE).expect("in time").expect("a number").data, 0);
        assert!(matches!(first.recv_timeout(PATIENCE), Err(NoReport::Ended)));
        supervisor.hard_kill().wait();
        assert_eq!(second.map(|report| report.expect("a number").data).collect::<Vec<_>>(), [1]);
        handle.wait().expect_err("it was killed");
        assert!(supervisor.enqueue(Add(1, 1)).is_err());
    });
}
