//! A worker without the worker library: it speaks the wire itself, and does what its script says, byte by byte.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{
    AnswerHead, Answered, Body, EventHead, Frame, HEADER_LEN, Half, Hatch, Header, Kind, Limits, MAGIC,
    MarkMoved, Outbox, Packet, Page, Payload, Pool, Ready, RequestHead, SupervisorHello, Taken, Time,
    ToWorker, Vitals, WorkerHello, receive_with_fds, send_with_fds,
};
use ganger_tests::arg::{explain_if_asked, unpack};
use ganger_tests::harness::{Arrival, arrive};
use ganger_tests::raw::{Reply, Script, SlotAfter, Step, To, frame};
use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};

fn main() {
    explain_if_asked(
        "raw_worker: a worker that speaks the protocol by hand, for tests: they start it with a script",
    );
    let mut args = std::env::args().skip(1);
    match (args.next().expect("a script"), args.next()) {
        (heir, Some(gate)) if heir == "heir" => stay(&gate),
        (script, _) => {
            // Deaf on purpose, it must still not outlive its test.
            set_parent_process_death_signal(Some(Signal::KILL)).expect("a parent-death signal");
            Life::begin().live(&unpack(&script));
        }
    }
}

/// What an heir does: it comes to the gate and leaves when it is let in, or when the test with its gate is gone, holding
/// on to what it inherited. It must not be tied to its parent: that is to die first, or is a `setsid` on its way out.
fn stay(gate: &str) {
    let arrival = Arrival { pid: std::process::id(), worker: String::from("heir"), job: None, attempt: 0 };
    let mut stream = arrive(gate.as_ref(), &arrival).expect("a gate");
    println!();
    let _ = stream.read(&mut [0]);
}

/// A request in hand.
struct InHand {
    head: RequestHead<'static>,
    payload: Vec<u8>,
    fds: u8,
    slot: usize,
}

struct Life {
    link: Option<UnixStream>,
    page: Arc<Page>,
    pool: Option<Pool>,
    hatch: Hatch,
    hello: SupervisorHello,
    in_hand: VecDeque<InHand>,
    next_slot: usize,
    /// Kept open until the end.
    present: Vec<UnixStream>,
    fetched: Vec<OwnedFd>,
}

impl Life {
    fn begin() -> Life {
        let mut link = UnixStream::from(rustix::io::dup(rustix::stdio::stdin()).expect("a link"));
        let (hello, page, hatch, pool) = read_hello(&mut link);
        // Standard input itself must not keep the link open.
        let null = File::open("/dev/null").expect("/dev/null");
        rustix::stdio::dup2_stdin(&null).expect("standard input replaced");
        Life {
            link: Some(link),
            page: Arc::new(page),
            pool,
            hatch,
            hello,
            in_hand: VecDeque::new(),
            next_slot: 0,
            present: Vec::new(),
            fetched: Vec::new(),
        }
    }

    fn live(mut self, script: &Script) {
        let life = script.lives.get(number_of_this_life(script)).or(script.lives.last());
        for step in life.expect("at least one life") {
            self.page.set_vitals(Vitals { beat: Time::now(), ..Vitals::default() });
            self.step(step);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::JoinPool => self.pool().take_part(),
            Step::CountPooled(count) => self.pool().set_count(Half::Requests, *count),
            Step::Hello(version) => self.say_hello(*version),
            Step::Ready(capacity) => {
                self.say(Kind::Ready, &Ready { capacity: *capacity, wants_hard_kill: false }, &[]);
            }
            Step::Busy => self.say(Kind::Busy, &(), &[]),
            Step::Goodbye => self.say(Kind::Goodbye, &(), &[]),
            Step::Gate(gate) => {
                let mut stream = arrive(gate, &self.arrival()).expect("a gate");
                stream.read_exact(&mut [0]).expect("let in");
            }
            Step::Present(gate) => self.present.push(arrive(gate, &self.arrival()).expect("a gate")),
            Step::ReadBytes(count) => self.link().read_exact(&mut vec![0; *count]).expect("so many bytes"),
            Step::Take => while self.read_frame() != Kind::Request {},
            Step::Await(awaited) => while self.read_frame() != awaited.kind() {},
            Step::Start => self.start().expect("not taken back"),
            Step::Claim(count) => {
                let generation = self.page.mark().generation;
                for _ in 0..*count {
                    self.page.start(generation).expect("nothing is taken back");
                }
            }
            Step::Answer(reply) => self.answer(reply),
            Step::Write(bytes) => self.write(bytes),
            Step::Gift { bytes, fds } => self.give(bytes, *fds),
            Step::Fetch => self.fetch(),
            Step::Sign(text) => {
                for fd in self.fetched.drain(..) {
                    File::from(fd).write_all(text.as_bytes()).expect("signed");
                }
            }
            Step::Taken => {
                let head = &self.in_hand.back().expect("a request in hand").head;
                let taken = Taken { ordinal: head.ordinal, epoch: head.epoch };
                self.say(Kind::Taken, &taken, &[]);
            }
            Step::AnswerWith { announced, posted, to } => self.answer_with(*announced, *posted, *to),
            Step::Events { count, bytes } => self.emit(*count, *bytes),
            Step::Repeat { count, bytes } => (0..*count).for_each(|_| self.write(bytes)),
            Step::Print(bytes) => io::stderr().write_all(&vec![b'x'; *bytes]).expect("printed"),
            Step::Signal(signal) => kill_process(getpid(), signal_of(*signal)).expect("sent"),
            Step::Exit(code) => std::process::exit(*code),
            Step::CloseLink => drop(self.link.take()),
            Step::Heir { gate, as_daemon } => self.leave_heir(gate, *as_daemon),
            Step::Serve => self.serve(),
            Step::Hang => loop {
                std::thread::park();
            },
        }
    }

    fn link(&mut self) -> &mut UnixStream {
        self.link.as_mut().expect("the link is open")
    }

    fn pool(&self) -> &Pool {
        self.pool.as_ref().expect("a pool came with the Hello")
    }

    fn arrival(&self) -> Arrival {
        let request = self.in_hand.back();
        Arrival {
            pid: std::process::id(),
            worker: self.hello.worker.clone(),
            job: request.map(|request| request.head.job),
            attempt: request.map_or(0, |request| request.head.attempt),
        }
    }

    fn say_hello(&mut self, version: u16) {
        let library = String::from("raw_worker");
        self.say(
            Kind::WorkerHello,
            &WorkerHello { magic: MAGIC, version, pid: std::process::id(), library },
            &[],
        );
    }

    fn say<T: serde::Serialize>(&mut self, kind: Kind, head: &T, payload: &[u8]) {
        self.write(&frame(kind, head, payload));
    }

    /// When the supervisor has hung up there is nobody to complain to.
    fn write(&mut self, bytes: &[u8]) {
        let _ = self.link().write_all(bytes);
    }

    /// The descriptors are writing ends of one pipe: it ends when the last of them is closed, wherever that is.
    fn give(&mut self, bytes: &[u8], fds: usize) {
        let (mut end, gift) = io::pipe().expect("a pipe");
        let sent = send_with_fds(self.link(), bytes, &vec![gift.as_fd(); fds]).expect("sent");
        assert_eq!(sent, bytes.len(), "there is room for so little");
        drop(gift);
        end.read_to_end(&mut Vec::new()).expect("the end");
    }

    fn fetch(&mut self) {
        let request = self.in_hand.back().expect("a request in hand");
        let fetched = self.hatch.fetch(request.head.label(), request.fds).expect("its attachments");
        self.fetched.extend(fetched.expect("room for them"));
    }

    fn answer_with(&mut self, announced: u8, posted: usize, to: To) {
        let request = self.in_hand.pop_front().expect("a request in hand");
        let mut label = request.head.label();
        let head =
            AnswerHead { ordinal: label.ordinal, epoch: label.epoch, run_nanos: 1, answered: Answered::Data };
        match to {
            To::Oldest | To::OldestAgain | To::Newest => {}
            To::Nobody => label.ordinal.0 = label.ordinal.0.wrapping_add(1000),
            To::OtherEpoch => label.epoch.0 = label.epoch.0.wrapping_add(1000),
        }
        if posted > 0 {
            let null = || Arc::new(OwnedFd::from(File::open("/dev/null").expect("opened")));
            let fds = std::iter::repeat_with(null).take(posted).collect();
            let _ = self.hatch.post(&Packet { label, fds });
        }
        if request.slot != usize::MAX {
            self.page.vacate(request.slot);
        }
        let mut outbox = Outbox::new();
        outbox.frame_with_fds(Kind::Answer, announced, &head, Body::Copy(&request.payload));
        self.write(&outbox.take_bytes());
    }

    fn emit(&mut self, count: u64, bytes: usize) {
        let event = frame(Kind::WorkerEvent, &EventHead { name: "flood".into() }, &vec![0; bytes]);
        for _ in 0..count {
            self.write(&event);
        }
    }

    fn read_frame(&mut self) -> Kind {
        self.page.set_vitals(Vitals { beat: Time::now(), ..Vitals::default() });
        let mut bytes = [0; HEADER_LEN];
        self.link().read_exact(&mut bytes).expect("a header");
        let header = Header::parse(bytes, &Limits::default()).expect("a frame");
        let mut head = vec![0; header.head];
        let mut payload = vec![0; header.payload];
        self.link().read_exact(&mut head).expect("its head");
        self.link().read_exact(&mut payload).expect("its payload");
        let whole =
            Frame { kind: header.kind, fds: header.fds, head: &head, payload: Payload::Large(payload) };
        if let ToWorker::Request(head, payload) = ToWorker::decode(whole).expect("a message") {
            self.in_hand.push_back(InHand {
                head: owned(&head),
                payload: payload.into_vec(),
                fds: header.fds,
                slot: usize::MAX,
            });
        }
        header.kind
    }

    fn serve(&mut self) {
        let (page, heartbeat) = (Arc::clone(&self.page), u64::from(self.hello.heartbeat_millis));
        std::thread::spawn(move || {
            loop {
                page.set_vitals(Vitals { beat: Time::now(), ..Vitals::default() });
                std::thread::park_timeout(Duration::from_millis(heartbeat));
            }
        });
        loop {
            self.step(&Step::Take);
            match self.start() {
                Ok(()) => self.step(&Step::Answer(Reply::echo())),
                // Taken back: forgotten.
                Err(MarkMoved(_)) => drop(self.in_hand.pop_back()),
            }
        }
    }

    fn start(&mut self) -> Result<(), MarkMoved> {
        let slot = self.next_slot;
        self.next_slot = (slot + 1) % Page::SLOTS;
        let request = self.in_hand.back_mut().expect("a request in hand");
        request.slot = slot;
        self.page.occupy(slot, request.head.ordinal, Time::now());
        let started = self.page.start(request.head.generation).inspect_err(|_| self.page.vacate(slot))?;
        assert_eq!(started, request.head.ordinal, "requests are started in their order");
        Ok(())
    }

    fn answer(&mut self, reply: &Reply) {
        let request = match reply.to {
            To::Newest => self.in_hand.back(),
            To::Oldest | To::OldestAgain | To::Nobody | To::OtherEpoch => self.in_hand.front(),
        };
        let request = request.expect("a request in hand");
        let (mut ordinal, mut epoch) = (request.head.ordinal, request.head.epoch);
        match reply.to {
            To::Oldest | To::Newest | To::OldestAgain => {}
            To::Nobody => ordinal.0 = ordinal.0.wrapping_add(1000),
            To::OtherEpoch => epoch.0 = epoch.0.wrapping_add(1000),
        }
        let head = AnswerHead { ordinal, epoch, run_nanos: 1, answered: Answered::Data };
        let payload = reply.payload.as_ref().unwrap_or(&request.payload);
        let mut bytes = frame(Kind::Answer, &head, payload);
        bytes.truncate(reply.bytes.unwrap_or(usize::MAX));
        if request.slot != usize::MAX && reply.slot == SlotAfter::Free {
            self.page.vacate(request.slot);
        }
        self.write(&bytes);
        match reply.to {
            To::Oldest => drop(self.in_hand.pop_front()),
            To::Newest => drop(self.in_hand.pop_back()),
            To::OldestAgain | To::Nobody | To::OtherEpoch => {}
        }
    }

    fn leave_heir(&mut self, gate: &Path, as_daemon: bool) {
        let link = self.link().try_clone().expect("one more descriptor");
        let this = std::env::current_exe().expect("this program");
        let mut program = Command::new(if as_daemon { Path::new("setsid") } else { &this });
        if as_daemon {
            program.arg("--fork").arg(&this);
        }
        program.arg("heir").arg(gate).stdin(Stdio::from(OwnedFd::from(link))).stdout(Stdio::piped());
        let mut heir = program.spawn().expect("an heir");
        // It is where it should be, and in its own session, before anything happens to its group.
        heir.stdout.take().expect("piped").read_exact(&mut [0]).expect("a sign of life");
        if as_daemon {
            // The one in between has ended at once.
            heir.wait().expect("it ended");
        } else {
            // It is left, on purpose.
            std::mem::forget(heir);
        }
    }
}

fn read_hello(link: &mut UnixStream) -> (SupervisorHello, Page, Hatch, Option<Pool>) {
    let mut bytes = [0; HEADER_LEN];
    let (count, fds) = receive_with_fds(link.as_fd(), &mut bytes).expect("the Hello");
    assert!(
        count == HEADER_LEN && matches!(fds.len(), 3 | 4),
        "a whole header, the page, the bell, the hatch, perhaps a pool"
    );
    let header = Header::parse(bytes, &Limits::default()).expect("a header");
    let mut head = vec![0; header.head];
    link.read_exact(&mut head).expect("its head");
    let whole = Frame { kind: header.kind, fds: header.fds, head: &head, payload: Payload::Small(&[]) };
    let Ok(ToWorker::Hello(hello)) = ToWorker::decode(whole) else { panic!("no Hello") };
    let pool = fds.get(3).map(|fd| Pool::map(fd).expect("the pool"));
    let page = Page::map(&fds[0]).expect("the page");
    let hatch = fds.into_iter().nth(2).expect("three at least");
    (hello, page, Hatch::new(hatch), pool)
}

fn owned(head: &RequestHead<'_>) -> RequestHead<'static> {
    let own = |text: &str| std::borrow::Cow::Owned(text.to_owned());
    RequestHead {
        name: own(&head.name),
        headers: head.headers.iter().map(|(key, value)| (own(key), own(value))).collect(),
        ..*head
    }
}

/// Each process creates the first file that is not there yet.
fn number_of_this_life(script: &Script) -> usize {
    let is_mine = |number: &usize| {
        let path = script.directory.join(format!("life-{number}"));
        OpenOptions::new().write(true).create_new(true).open(path).is_ok()
    };
    (0..100_000).find(is_mine).expect("a life")
}

fn signal_of(number: i32) -> Signal {
    Signal::from_named_raw(number).expect("a signal")
}
