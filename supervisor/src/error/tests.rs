use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{CodecError, Failure, FailureKind, JobId};

use super::*;
use crate::scheduler::{Clock, CrashReport, Exit, ExitStatus, Started};
use crate::{Job, Raw};

const JOB: JobId = JobId::from_bytes([0x11; 16]);
const NAME: &str = "11111111-1111-1111-1111-111111111111";

fn report() -> Arc<CrashReport> {
    let exit = Exit {
        status: ExitStatus::Signal(11),
        oom_likely: false,
        stderr_tail: vec![String::from("about to divide by zero")],
    };
    Arc::new(CrashReport {
        worker: "default-0".into(),
        group: "default".into(),
        slot: 0,
        pid: Some(4711),
        exit,
        killed: None,
        running: vec![JOB],
        rss_bytes: None,
        uptime: Duration::from_secs(2),
    })
}

fn all() -> Vec<JobError> {
    let call = || Cow::Borrowed("greet");
    let (job, started) = (JOB, Started::No);
    let source = Box::new(CodecError::LeftOver { type_name: "u16", length: 2, left: 1 });
    let failure = Failure::of_kind(FailureKind::Panic, "index out of bounds");
    vec![
        JobError::Failed { job, call: call(), failure, worker: "default-0".into(), attempt: 2 },
        JobError::TimedOut {
            job,
            call: call(),
            clock: Clock::Queue,
            limit: Duration::from_millis(50),
            started,
            worker: None,
        },
        JobError::Cancelled { job, call: call(), started: Started::Yes, worker: Some("default-0".into()) },
        JobError::WorkerLost { job, call: call(), report: report(), because: None, streams: 0 },
        JobError::Poisoned { job, call: call(), reports: vec![report(), report()], started: Started::Yes },
        JobError::ShuttingDown { job, call: call(), started, worker: None },
        JobError::NoWorkers {
            job,
            call: call(),
            group: "default".into(),
            reason: "it crashes at start".into(),
            started,
        },
        JobError::Codec {
            job,
            call: call(),
            call_type: "app::Greet",
            reply_type: "u16",
            worker: "default-0".into(),
            source,
        },
    ]
}

#[test]
fn every_text_names_the_job_and_the_call() {
    for error in all() {
        let text = error.to_string();
        assert!(text.contains(NAME) && text.contains("greet"), "{text}");
        assert_eq!((error.job(), error.call()), (JOB, "greet"));
        assert!(!text.contains("  "), "{text}");
    }
}

#[test]
fn texts_say_what_happened_and_whether_a_handler_ran() {
    let texts: Vec<String> = all().iter().map(ToString::to_string).collect();
    let expected = [
        "job J (greet) failed on worker default-0 at attempt 2: panic: index out of bounds",
        "job J (greet) timed out: its queue_timeout of 50ms ran out, no handler was called",
        "job J (greet) was cancelled, after its handler had been called on worker default-0",
        "job J (greet) was lost: worker default-0 (pid 4711) ended by signal 11 (SIGSEGV) after 2.0s; its last words: \
         about to divide by zero; how far the handler came is not known, retries(n) would allow another attempt",
        "job J (greet) is poisoned: 2 workers died of it; the last: worker default-0 (pid 4711) ended by signal 11 \
         (SIGSEGV) after 2.0s; its last words: about to divide by zero",
        "job J (greet) was dropped because the supervisor shut down, no handler was called",
        "job J (greet) has no workers to run on in group default: it crashes at start; no handler was called",
        "job J: the answer of worker default-0 to call \"greet\" (type app::Greet) is no reply of type u16: 2 bytes decode as \
         u16 with 1 bytes left over; both ends must be built from the same definition of the call",
    ];
    for (text, expected) in texts.iter().zip(expected) {
        assert_eq!(*text, expected.replace('J', NAME));
    }
}

#[test]
fn a_death_for_the_sake_of_another_job_names_it() {
    let because = Some(JobId::from_bytes([0x22; 16]));
    let error =
        JobError::WorkerLost { job: JOB, call: "greet".into(), report: report(), because, streams: 0 };
    assert!(
        error
            .to_string()
            .contains("(for the sake of job 22222222-2222-2222-2222-222222222222, not of this one)")
    );
}

/// A call that the worker does not know was not started: it is safe to give it to another.
#[test]
fn only_what_no_handler_saw_was_not_started() {
    let failed_at = |attempt, kind| JobError::Failed {
        job: JOB,
        call: "greet".into(),
        failure: Failure::of_kind(kind, "x"),
        worker: "default-0".into(),
        attempt,
    };
    let failed = |kind| failed_at(1, kind);
    assert_eq!(failed_at(2, FailureKind::UnknownCall).started(), Started::Yes, "the first may have been");
    assert_eq!(failed(FailureKind::UnknownCall).started(), Started::No);
    assert_eq!(failed(FailureKind::Dropped).started(), Started::Yes);
    let started: Vec<Started> = all().iter().map(JobError::started).collect();
    let [no, yes] = [Started::No, Started::Yes];
    assert_eq!(started, [yes, no, yes, yes, yes, no, no, yes]);
}

/// A job poisoned by workers that died before they could start it was told as one that they had died of.
#[test]
fn a_job_poisoned_before_it_ever_ran_says_so() {
    let error =
        JobError::Poisoned { job: JOB, call: "greet".into(), reports: vec![report()], started: Started::No };
    assert_eq!(error.started(), Started::No);
    assert!(error.to_string().contains("1 workers died before they could start it"), "{error}");
}

#[test]
fn a_job_error_fits_into_a_result() {
    assert!(size_of::<JobError>() <= 128, "{}", size_of::<JobError>());
}

/// P8: whatever the refusal, the job comes back.
#[test]
fn every_refusal_gives_the_job_back() {
    let job = || Box::new(Job::new(Raw::new("echo", *b"payload")));
    let source = CodecError::Encode { type_name: "T", reason: String::from("no length") };
    let refusals = [
        EnqueueError::QueueFull { job: job(), jobs: 5, job_limit: 5, bytes: 35, byte_limit: 100 },
        EnqueueError::TooLarge { job: job(), size: 101, limit: 100 },
        EnqueueError::HeadersTooLarge { job: job(), size: 40_000, limit: HEAD_LIMIT },
        EnqueueError::ShuttingDown { job: job() },
        EnqueueError::NoWorkers { job: job(), group: "default".into(), reason: "it crashes at start".into() },
        EnqueueError::UnknownGroup { job: job(), group: "x".into(), known: String::from("default") },
        EnqueueError::Encode { job: job(), source },
    ];
    for refusal in refusals {
        let text = format!("{refusal:?}");
        assert!(text.contains(&refusal.to_string()), "{text}");
        assert_eq!(refusal.into_job().into_call().bytes, b"payload");
    }
    let full: EnqueueError<Raw> =
        EnqueueError::QueueFull { job: job(), jobs: 5, job_limit: 5, bytes: 35, byte_limit: 100 };
    assert_eq!(
        full.to_string(),
        "the queue is full: 5 of 5 jobs, 35 of 100 bytes; wait for answers, or for room with enqueue_timeout"
    );
}
