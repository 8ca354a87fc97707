//! Files, sockets, listeners and pipes that go with a request and with its answer.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use ganger::{EnqueueError, FailureKind, Job, JobError, Raw, Supervisor};
use ganger_tests::calls::Add;
use ganger_tests::freight::{Carry, CountOpen, Crowd, Gift, Return, Sign, crowd, open_descriptors};
use ganger_tests::harness::{Gate, Scratch, scenario};
use ganger_tests::workers::{online, plain};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn supervisor() -> Supervisor {
    online(Supervisor::builder(plain()).workers(1))
}

fn read_all(mut from: impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).expect("read");
    text
}

/// J14: whatever it is, the handler gets it, in the order in which it was attached; and nobody else has it open when
/// the handler has closed it.
#[test]
fn whatever_is_attached_arrives() {
    scenario(|| {
        let (supervisor, scratch) = (supervisor(), Scratch::new());
        let path = scratch.path().join("signed");
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let (visitor, _) = listener.accept().expect("accepted");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (reader, writer) = io::pipe().expect("a pipe");
        let (other_reader, other_writer) = io::pipe().expect("a pipe");
        let job = Job::new(Sign(String::from("signed")))
            .attach(File::create(&path).expect("a file"))
            .attach(visitor)
            .attach(theirs)
            .attach(writer)
            .attach(OwnedFd::from(other_writer));
        assert_eq!(supervisor.enqueue(job).expect("accepted").wait().expect("answered").data, 5);
        // Each of these ends only when the last copy of its other end is closed, wherever that is.
        for signed in [read_all(client), read_all(ours), read_all(reader), read_all(other_reader)] {
            assert_eq!(signed, "signed");
        }
        assert_eq!(std::fs::read_to_string(path).expect("read"), "signed");
    });
}

/// J14: a worker gets listeners too, and gives back what it was given and what it has made itself, in its order.
#[test]
fn what_a_handler_attaches_comes_with_the_answer() {
    scenario(|| {
        let supervisor = supervisor();
        let before = open_descriptors();
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let (reader, writer) = io::pipe().expect("a pipe");
        let job = Job::new(Return).attach(writer).attach(listener);
        let response = supervisor.enqueue(job).expect("accepted").wait().expect("answered");
        assert_eq!((response.data, response.attachments.len()), (2, 2));
        let listener = TcpListener::from(response.attachments.take().expect("the listener"));
        let mut writer = io::PipeWriter::from(response.attachments.take().expect("the pipe"));
        assert!(response.attachments.take().is_none());
        let _client = TcpStream::connect(address).expect("connected");
        listener.accept().expect("accepted");
        writer.write_all(b"there and back").expect("written");
        drop((writer, listener));
        assert_eq!(read_all(reader), "there and back");

        let gifts = supervisor.enqueue(Gift(16)).expect("accepted").wait().expect("answered").attachments;
        for (number, gift) in gifts.into_iter().enumerate() {
            let mut bytes = [0; 4];
            io::PipeReader::from(gift).read_exact(&mut bytes).expect("its number");
            assert_eq!(u32::from_le_bytes(bytes) as usize, number);
        }
        drop(_client);
        assert_eq!(open_descriptors(), before);
    });
}

/// J14: large payloads and attachments go together, with a pool and without.
#[test]
fn a_large_payload_and_its_attachments_go_together() {
    scenario(|| {
        for pool in [0, 1 << 20] {
            let group = ganger::Group::new("default", plain()).workers(1).payload_pool(pool);
            let supervisor = online(Supervisor::builder(group));
            for length in [0, 40_000, 100_000, 600_000] {
                let text = "x".repeat(length);
                let (reader, writer) = io::pipe().expect("a pipe");
                let reading = std::thread::spawn(move || read_all(reader));
                let job = Job::new(Sign(text.clone())).attach(writer);
                assert_eq!(supervisor.enqueue(job).expect("accepted").wait().expect("answered").data, 1);
                assert!(reading.join().expect("read") == text, "{length} bytes, a pool of {pool}");
            }
        }
    });
}

/// J14: more than there may be are refused, and given back; a handler that attaches more fails, and says so.
#[test]
fn more_than_sixteen_are_refused() {
    scenario(|| {
        let supervisor = supervisor();
        let null = || File::open("/dev/null").expect("opened");
        let full = (0..16).fold(Job::new(Return), |job, _| job.attach(null()));
        let response = supervisor.enqueue(full.clone()).expect("accepted").wait().expect("answered");
        assert_eq!(response.attachments.len(), 16);
        drop(response);
        let before = open_descriptors();
        match supervisor.enqueue(full.attach(null())) {
            Err(error @ EnqueueError::TooManyAttachments { count: 17, limit: 16, .. }) => {
                assert_eq!(open_descriptors(), before + 1);
                drop(error.into_job());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(open_descriptors(), before - 16);
        let error = supervisor.enqueue(Gift(17)).expect("accepted").wait().expect_err("too many");
        let failure = error.failure().expect("a failure");
        assert_eq!(
            (failure.kind, failure.message.contains("17 attachments")),
            (FailureKind::Attachments, true)
        );
    });
}

/// J14: a job without attachments has none, and neither has its answer; `like` copies terms only.
#[test]
fn what_has_none_has_none() {
    scenario(|| {
        let supervisor = supervisor();
        let job = Job::new(Return).attach(File::open("/dev/null").expect("opened")).retries(1);
        let answered =
            |job: Job<Return>| supervisor.enqueue(job).expect("accepted").wait().expect("answered");
        assert_eq!(answered(job.like(Return)).data, 0);
        assert!(answered(job.like(Return)).attachments.came_none());
        assert_eq!((answered(job.clone()).data, answered(job).data), (1, 1));
        let sum = supervisor.enqueue(Add(1, 2)).expect("accepted").wait().expect("answered");
        assert!(sum.attachments.is_empty());
        let raw = Job::new(Raw::new("reverse", *b"ab")).attach(File::open("/dev/null").expect("opened"));
        assert_eq!(supervisor.enqueue(raw).expect("accepted").wait().expect("answered").data, b"ba");
    });
}

/// J14: while a handler runs that nobody else can run after it, the supervisor has no copy of its attachments; while
/// another attempt may follow, it has.
#[test]
fn a_copy_is_kept_for_as_long_as_it_may_be_needed() {
    scenario(|| {
        let (supervisor, gate) = (supervisor(), Gate::new());
        for (retries, copies) in [(0, 0), (1, 1)] {
            let before = open_descriptors();
            let job = Job::new(Carry { gate: gate.path(), deaths: 0 })
                .retries(retries)
                .attach(File::open("/dev/null").expect("opened"));
            let handle = supervisor.enqueue(job).expect("accepted");
            let held = gate.next();
            // What the worker said before it came to the gate has been heard when something later has.
            let _ = supervisor.health();
            assert_eq!(
                open_descriptors(),
                before + copies + 1,
                "with {retries} retries, and one of the gate"
            );
            held.release();
            assert_eq!(handle.wait().expect("answered").data, (1, 1));
            assert_eq!(open_descriptors(), before);
        }
    });
}

/// J14, systemd#42043: there, descriptors were cut off because their receiver could open no more, and both sides waited
/// for ever. Here a worker without room fails the job at once and says why, and is otherwise as well as before.
#[test]
fn a_worker_without_room_for_attachments_says_so() {
    scenario(|| {
        let supervisor = supervisor();
        supervisor.enqueue(Crowd(1)).expect("accepted").wait().expect("answered");
        let before = open_descriptors();
        let attach = |count| {
            let null = || File::open("/dev/null").expect("opened");
            let job = (0..count).fold(Job::new(Return), |job, _| job.attach(null()));
            supervisor.enqueue(job).expect("accepted").wait()
        };
        for _ in 0..3 {
            let error = attach(3).expect_err("there is no room");
            let JobError::Failed { failure, .. } = error else { panic!("{error:?}") };
            assert_eq!(failure.kind, FailureKind::Attachments);
            assert!(
                failure.message.contains("only 1 of 3") && failure.message.contains("ulimit -n"),
                "{failure:?}"
            );
            assert_eq!(attach(1).expect("there is room for one").attachments.len(), 1);
        }
        assert_eq!((open_descriptors(), supervisor.health().groups[0].restarts), (before, 0));
    });
}

/// J14: the same in the supervisor: the job fails, the worker is not to blame for it, and nothing stays open.
#[test]
fn a_supervisor_without_room_for_attachments_fails_the_job() {
    scenario(|| {
        let supervisor = supervisor();
        let (before, open_there) = (open_descriptors(), count_there(&supervisor));
        for room in [0, 3] {
            let limit = crowd(room).expect("a limit");
            let error = supervisor.enqueue(Gift(5)).expect("accepted").wait().expect_err("there is no room");
            let now = getrlimit(Resource::Nofile);
            setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum: now.maximum })
                .expect("no limit");
            let failure = error.failure().expect("a failure");
            assert_eq!(failure.kind, FailureKind::Attachments, "{error}");
            assert!(failure.message.contains(&format!("only {room} of 5")), "{error}");
        }
        assert_eq!((open_descriptors(), count_there(&supervisor)), (before, open_there));
        assert_eq!(
            supervisor.enqueue(Gift(5)).expect("accepted").wait().expect("answered").attachments.len(),
            5
        );
        assert_eq!(supervisor.health().groups[0].restarts, 0);
    });
}

fn count_there(supervisor: &Supervisor) -> usize {
    supervisor.enqueue(CountOpen).expect("accepted").wait().expect("answered").data
}
