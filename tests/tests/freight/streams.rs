//! Streams with a request and with its answer.

use std::fs;
use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

use ganger::{Job, JobError, Raw, Started, StreamError, StreamReader, Supervisor, stream};
use ganger_tests::calls::Hold;
use ganger_tests::freight::{
    Drink, Drunk, Pipe, Pour, PourEnd, Sip, drink, open_descriptors, sum_of_pattern, write_pattern,
};
use ganger_tests::harness::{Gate, Scratch, eventually, scenario};
use ganger_tests::raw::{Reply, Step, life};
use ganger_tests::workers::{online, plain, raw, tireless};

const MIB: usize = 1 << 20;

/// As much as one stream of a test has.
const BULK: usize = 64 * MIB;

fn supervisor(workers: usize) -> Supervisor {
    online(Supervisor::builder(plain()).workers(workers).restart(tireless()))
}

fn error_of(error: &io::Error) -> &StreamError {
    error.get_ref().and_then(|inner| inner.downcast_ref()).expect("a stream's error")
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
}

/// J13: 64 MiB go to a worker while it reads them, byte for byte, and neither end ever holds more than a little of
/// them.
#[test]
fn a_stream_goes_to_a_worker() {
    scenario(|| {
        let supervisor = supervisor(1);
        let (mut writer, reader) = stream().expect("a stream");
        let handle = supervisor.enqueue(Job::new(Drink).attach(reader)).expect("accepted");
        write_pattern(&mut writer, BULK).expect("written");
        writer.finish().expect("finished");
        let Drunk { bytes, sum, error, peak_kib: peak } = handle.wait().expect("answered").data;
        assert_eq!((bytes, sum, error), (BULK, sum_of_pattern(BULK), None));
        assert!(peak < 32 * 1024 && peak_kib() < 48 * 1024, "{peak} KiB there, {} KiB here", peak_kib());
    });
}

/// J13: 64 MiB come from a worker: through a stream that came with the answer, and through one that went with the
/// request.
#[test]
fn a_stream_comes_from_a_worker() {
    scenario(|| {
        let supervisor = supervisor(1);
        let pour = || Pour { bytes: BULK, end: PourEnd::Finished };
        let check = |mut reader: StreamReader| {
            let Drunk { bytes, sum, error, .. } = drink(&mut reader);
            assert_eq!((bytes, sum, error), (BULK, sum_of_pattern(BULK), None));
        };
        let answer = supervisor.enqueue(pour()).expect("accepted").wait().expect("answered");
        check(answer.attachments.take_reader().expect("a stream"));
        let (writer, reader) = stream().expect("a stream");
        let handle = supervisor.enqueue(Job::new(pour()).attach(writer)).expect("accepted");
        check(reader);
        handle.wait().expect("answered");
        assert!(peak_kib() < 48 * 1024, "{} KiB", peak_kib());
    });
}

/// J13: through a worker and back, both ways at once.
#[test]
fn a_stream_goes_through_a_worker() {
    scenario(|| {
        let supervisor = supervisor(1);
        let (mut to, theirs) = stream().expect("a stream");
        let (back, mut from) = stream().expect("a stream");
        let handle = supervisor.enqueue(Job::new(Pipe).attach(theirs).attach(back)).expect("accepted");
        let writing = thread::spawn(move || {
            write_pattern(&mut to, BULK)?;
            to.finish()
        });
        let Drunk { bytes, sum, error, .. } = drink(&mut from);
        assert_eq!((bytes, sum, error), (BULK, sum_of_pattern(BULK), None));
        writing.join().expect("no panic").expect("written");
        assert_eq!(handle.wait().expect("answered").data, BULK);
    });
}

/// J13: what the writing end does reaches the reading end as what it is: a stream that was dropped, given up, or cut by
/// the death of its process has no end, and all that was written before is read first.
#[test]
fn how_a_stream_ended_is_told() {
    scenario(|| {
        let supervisor = supervisor(1);
        let before = open_descriptors();
        let reason = || String::from("out of paper");
        let endings = [
            (PourEnd::Finished, None),
            (PourEnd::Dropped, Some(StreamError::Cut)),
            (PourEnd::GaveUp(reason()), Some(StreamError::GaveUp { reason: reason() })),
            (PourEnd::Death, Some(StreamError::Cut)),
        ];
        for (end, expected) in endings {
            let is_death = matches!(end, PourEnd::Death);
            let (writer, mut reader) = stream().expect("a stream");
            let job = Job::new(Pour { bytes: MIB, end }).attach(writer);
            let handle = supervisor.enqueue(job).expect("accepted");
            let mut bytes = Vec::new();
            let result = reader.read_to_end(&mut bytes);
            assert_eq!(bytes.len(), MIB);
            assert_eq!(result.as_ref().err().map(error_of), expected.as_ref());
            assert_eq!(handle.wait().is_err(), is_death);
        }
        eventually("nothing is left open", || (open_descriptors() == before).then_some(()));
    });
}

/// J13: the caller drops or gives up its end, and the handler is told in the middle of a read.
#[test]
fn a_handler_hears_that_its_stream_was_cut() {
    scenario(|| {
        let supervisor = supervisor(1);
        for gives_up in [false, true] {
            let (mut writer, reader) = stream().expect("a stream");
            let handle = supervisor.enqueue(Job::new(Drink).attach(reader)).expect("accepted");
            write_pattern(&mut writer, MIB).expect("written");
            let expected = if gives_up {
                writer.give_up("the source is dry").expect("told");
                "gave up: the source is dry"
            } else {
                drop(writer);
                "the stream was cut"
            };
            let drunk = handle.wait().expect("answered").data;
            let error = drunk.error.expect("no end");
            assert!(drunk.bytes == MIB && error.contains(expected), "{error}");
        }
    });
}

/// J13: a handler that has read enough lets its end go, and the writer hears it although the job goes on: nobody else
/// has that end open.
#[test]
fn a_writer_hears_that_the_handler_reads_no_more() {
    scenario(|| {
        let (supervisor, gate) = (supervisor(1), Gate::new());
        let (mut writer, reader) = stream().expect("a stream");
        let job = Job::new(Sip { bytes: 10, gate: gate.path() }).attach(reader);
        let handle = supervisor.enqueue(job).expect("accepted");
        let error = write_pattern(&mut writer, BULK).expect_err("nobody reads");
        assert_eq!((error.kind(), error_of(&error)), (io::ErrorKind::BrokenPipe, &StreamError::ReaderGone));
        gate.next().release();
        handle.wait().expect("answered");
    });
}

/// J13: the same for a worker that dies, a job that never starts, and one that nobody can do.
#[test]
fn a_writer_hears_that_nobody_will_read() {
    scenario(|| {
        let (supervisor, gate) = (supervisor(1), Gate::new());
        let (mut writer, reader) = stream().expect("a stream");
        let job = Job::new(Sip { bytes: 10, gate: gate.path() }).attach(reader);
        let handle = supervisor.enqueue(job).expect("accepted");
        writer.write_all(&[0; 11]).expect("written");
        let held = gate.next();
        let busy = supervisor.enqueue(Job::new(Hold { gate: gate.path() })).expect("accepted");
        let (mut unread, reader) = stream().expect("a stream");
        let queued = supervisor.enqueue(Job::new(Drink).attach(reader)).expect("accepted");
        unread.write_all(b"into the kernel").expect("written");
        queued.cancel();
        assert!(matches!(queued.wait(), Err(JobError::Cancelled { started: Started::No, .. })));
        assert_eq!(unread.write(b"more").expect_err("nobody").kind(), io::ErrorKind::BrokenPipe);
        let pid = rustix::process::Pid::from_raw(held.pid() as i32).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
        assert!(matches!(handle.wait(), Err(JobError::WorkerLost { streams: 1, .. })));
        assert_eq!(writer.write(b"more").expect_err("nobody").kind(), io::ErrorKind::BrokenPipe);
        gate.next().release();
        busy.wait().expect("answered");
    });
}

/// J13: a stream that was begun is not read twice, whatever the job's retries: the job is lost, and says why. One that
/// was not begun is given to the next worker.
#[test]
fn a_stream_that_was_begun_is_not_retried() {
    scenario(|| {
        let scratch = Scratch::new();
        let begin = [Step::Take, Step::Fetch, Step::Start, Step::Taken];
        let supervisor = online(
            Supervisor::builder(raw(
                &scratch,
                [
                    life([Step::Take, Step::Fetch, Step::Signal(9)]),
                    life(begin.clone().into_iter().chain([Step::Answer(Reply::echo()), Step::Serve])),
                ],
            ))
            .workers(1)
            .restart(tireless()),
        );
        let (_writer, reader) = stream().expect("a stream");
        let job = Job::new(Raw::new("echo", *b"abc")).attach(reader).retries(5);
        let response = supervisor.enqueue(job).expect("accepted").wait().expect("answered");
        assert_eq!((response.data, response.attempt), (b"abc".to_vec(), 1));

        let scratch = Scratch::new();
        let dies = life(begin.into_iter().chain([Step::Signal(9)]));
        let supervisor = online(Supervisor::builder(raw(&scratch, [dies])).workers(1).restart(tireless()));
        let (_writer, reader) = stream().expect("a stream");
        let job = Job::new(Raw::new("echo", *b"abc")).retries(5).attach(reader);
        let error = supervisor.enqueue(job).expect("accepted").wait().expect_err("it was begun");
        assert!(matches!(error, JobError::WorkerLost { streams: 1, .. }), "{error:?}");
        assert!(error.to_string().contains("what it has read of its stream cannot be read again"), "{error}");
    });
}

/// J13: a stream nobody reads makes its writer wait, and only it: other jobs of the same supervisor go on.
#[test]
fn a_stream_that_nobody_reads_delays_nobody_else() {
    scenario(|| {
        let (supervisor, gate) = (supervisor(2), Gate::new());
        let busy = supervisor.enqueue(Job::new(Hold { gate: gate.path() })).expect("accepted");
        let held = gate.next();
        let other = supervisor.enqueue(Job::new(Hold { gate: gate.path() })).expect("accepted");
        let other_held = gate.next();
        let (mut writer, reader) = stream().expect("a stream");
        let handle = supervisor.enqueue(Job::new(Drink).attach(reader)).expect("accepted");
        let writing = thread::spawn(move || {
            write_pattern(&mut writer, 4 * MIB)?;
            writer.finish()
        });
        other_held.release();
        other.wait().expect("answered");
        let drunk = handle.wait_timeout(Duration::from_secs(60)).expect("in time").expect("answered").data;
        assert_eq!((drunk.bytes, drunk.sum), (4 * MIB, sum_of_pattern(4 * MIB)));
        writing.join().expect("no panic").expect("written");
        held.release();
        busy.wait().expect("answered");
    });
}
