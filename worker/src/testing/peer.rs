//! The supervisor's end of a leash, driven by hand.

use std::borrow::Cow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{
    Address, AnswerHead, Attachments, Body, Epoch, EventHead, Growth, Hatch, HealthReport, Inbox, JobId,
    Kind, Limits, MAGIC, MetricsReport, Ordinal, Outbox, Packet, Page, ProgressHead, Ready, RequestHead,
    SupervisorHello, Taken, Time, ToSupervisor, VERSION, WorkerCallAnswer, WorkerHello, read_into, ring,
    send_with_fds, write_from,
};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use serde::Serialize;

use super::Terms;

/// Something that the worker said, owned.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    Hello(WorkerHello),
    Ready(Ready),
    Busy,
    Answer(AnswerHead, Vec<u8>, Attachments),
    Taken(Taken),
    Event(String, Vec<u8>),
    Call(u64, Address, String, Vec<u8>),
    CallAnswer(WorkerCallAnswer, Vec<u8>),
    Metrics(MetricsReport),
    Health(HealthReport),
    Goodbye,
    Progress(ProgressHead, Vec<u8>),
    Gone,
}

/// The supervisor's end of a leash.
pub(crate) struct Peer {
    pub(crate) socket: UnixStream,
    pub(crate) page: Page,
    bell: OwnedFd,
    hatch: Arc<Hatch>,
    inbox: Inbox,
    outbox: Outbox,
    /// The ordinal of the request sent last.
    last: Ordinal,
}

impl Peer {
    /// A peer that has sent its Hello, and the worker's end.
    pub(crate) fn new() -> (Peer, OwnedFd) {
        let hello = SupervisorHello {
            magic: MAGIC,
            version: VERSION,
            supervisor: std::process::id(),
            worker: String::from("bench-0"),
            group: String::from("bench"),
            slot: 0,
            payload_limit: Limits::default().payload as u32,
            event_limit: Limits::default().event as u32,
            // Nobody misses it here, and no test may pass only because the sentry looks about once a second.
            heartbeat_millis: 3_600_000,
            listeners: Vec::new(),
        };
        Peer::saying(&hello)
    }

    /// A peer that has sent this Hello, and the worker's end.
    pub(crate) fn saying(hello: &SupervisorHello) -> (Peer, OwnedFd) {
        let (socket, leash) = UnixStream::pair().expect("a socket pair");
        let (page, page_fd) = Page::create().expect("a page");
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("a bell");
        let (hatch, their_hatch) = Hatch::pair().expect("a hatch");
        let hatch = Arc::new(Hatch::new(hatch));
        let mut outbox = Outbox::new();
        outbox.open(Arc::clone(&hatch));
        outbox.frame_with_fds(Kind::SupervisorHello, 3, hello, Body::Copy(&[]));
        let bytes = outbox.take_bytes();
        let fds = [page_fd.as_fd(), bell.as_fd(), their_hatch.as_fd()];
        let sent = send_with_fds(&socket, &bytes, &fds).expect("the Hello is sent");
        assert_eq!(sent, bytes.len(), "a Hello fits into an empty socket");
        let inbox =
            Inbox::new(Limits { payload: u32::MAX as usize, event: u32::MAX as usize }, Growth::AsReceived);
        (Peer { socket, page, bell, hatch, inbox, outbox, last: Ordinal(0) }, leash.into())
    }

    /// Sends a request that follows the last one.
    pub(crate) fn request(&mut self, name: &str, payload: &[u8]) -> Ordinal {
        let head = self.head(name);
        self.request_with(&head, payload)
    }

    /// Sends a request that follows the last one, on these terms.
    pub(crate) fn request_on(
        &mut self,
        terms: &Terms,
        name: &str,
        payload: &[u8],
        fds: Arc<[Arc<OwnedFd>]>,
    ) -> Ordinal {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let borrowed = |(key, value): &'_ (String, String)| (key.clone().into(), value.clone().into());
        let head = RequestHead {
            attempt: terms.attempt,
            age_nanos: nanos(terms.age),
            run_timeout_nanos: terms.run_timeout.map(nanos),
            headers: terms.headers.iter().map(borrowed).collect(),
            ..self.head(name)
        };
        if fds.is_empty() {
            return self.request_with(&head, payload);
        }
        let packet = Packet { label: head.label(), fds };
        self.outbox.frame_with_packet(Kind::Request, &head, Body::Copy(payload), packet);
        self.flush();
        head.ordinal
    }

    /// The head of the request that follows the last one.
    pub(crate) fn head<'a>(&mut self, name: &'a str) -> RequestHead<'a> {
        self.last = self.last.next();
        RequestHead {
            ordinal: self.last,
            generation: self.page.mark().generation,
            epoch: Epoch(1),
            attempt: 1,
            job: JobId::random(),
            age_nanos: 0,
            run_timeout_nanos: None,
            name: Cow::Borrowed(name),
            headers: Vec::new(),
        }
    }

    pub(crate) fn request_with(&mut self, head: &RequestHead<'_>, payload: &[u8]) -> Ordinal {
        self.send(Kind::Request, head, payload);
        head.ordinal
    }

    #[cfg(test)]
    /// Takes back what is not started.
    pub(crate) fn take_back(&mut self) -> ganger_protocol::Mark {
        let mark = self.page.take_back();
        self.last = mark.started;
        mark
    }

    pub(crate) fn cancel(&mut self, ordinal: Ordinal) {
        self.send_urgent(Kind::Cancel, &ganger_protocol::Cancel { ordinal, epoch: Epoch(1) }, &[]);
    }

    pub(crate) fn event(&mut self, name: &str, payload: &[u8]) {
        self.send_urgent(Kind::SupervisorEvent, &EventHead { name: name.into() }, payload);
    }

    pub(crate) fn drain(&mut self) {
        self.send_urgent(Kind::Drain, &(), &[]);
    }

    #[cfg(test)]
    pub(crate) fn hard_kill(&mut self) {
        self.send_urgent(Kind::HardKill, &(), &[]);
    }

    pub(crate) fn ring(&self) {
        ring(&self.bell).expect("the bell rings");
    }

    #[cfg(test)]
    /// The bytes of a frame, not sent.
    pub(crate) fn bytes_of(kind: Kind, head: &impl Serialize, payload: &[u8]) -> Vec<u8> {
        let mut outbox = Outbox::new();
        outbox.frame(kind, head, Body::Copy(payload));
        outbox.take_bytes()
    }

    /// What the worker says next; [`Said::Gone`] when it has let go of the leash.
    ///
    /// # Panics
    /// When it says nothing within `patience`, or breaks the protocol.
    pub(crate) fn next(&mut self, patience: Duration) -> Said {
        let deadline = Time::now() + patience;
        loop {
            if let Some(frame) = self.inbox.next_frame().expect("the worker keeps to the protocol") {
                let fds = frame.fds;
                let message = ToSupervisor::decode(frame).expect("the worker keeps to the protocol");
                return said(message, &self.hatch, fds);
            }
            let left = deadline.since(Time::now());
            assert!(!left.is_zero(), "the worker said nothing for {patience:?}");
            self.wait(PollFlags::IN, left);
            match self.inbox.fill(|buffer| read_into(&self.socket, buffer)) {
                Ok(0) => return Said::Gone,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("the worker cannot be read: {error}"),
            }
        }
    }

    /// Appends a frame without writing it.
    pub(crate) fn append(&mut self, kind: Kind, head: &impl Serialize, payload: &[u8]) {
        self.outbox.frame(kind, head, Body::Copy(payload));
    }

    /// Writes everything. A worker that is gone is noticed by [`next`](Peer::next).
    pub(crate) fn flush(&mut self) {
        loop {
            let result = self.outbox.flush(|pieces| write_from(&self.socket, pieces));
            if result.is_err() || self.outbox.is_empty() {
                return;
            }
            self.wait(PollFlags::OUT, Duration::from_secs(1));
        }
    }

    fn send(&mut self, kind: Kind, head: &impl Serialize, payload: &[u8]) {
        self.append(kind, head, payload);
        self.flush();
    }

    fn send_urgent(&mut self, kind: Kind, head: &impl Serialize, payload: &[u8]) {
        self.send(kind, head, payload);
        self.ring();
    }

    fn wait(&self, interest: PollFlags, timeout: Duration) {
        let timeout = Timespec::try_from(timeout).ok();
        let _ = poll(&mut [PollFd::new(&self.socket, interest)], timeout.as_ref());
    }
}

fn said(message: ToSupervisor<'_>, hatch: &Hatch, fds: u8) -> Said {
    match message {
        ToSupervisor::Hello(hello) => Said::Hello(hello),
        ToSupervisor::Ready(ready) => Said::Ready(ready),
        ToSupervisor::Busy => Said::Busy,
        ToSupervisor::Answer(answer) => {
            let attachments = match fds {
                0 => Attachments::NONE,
                fds => hatch.fetch(answer.head.label(), fds).expect("a packet").expect("room for it"),
            };
            Said::Answer(answer.head, answer.payload.into_vec(), attachments)
        }
        ToSupervisor::Taken(taken) => Said::Taken(taken),
        ToSupervisor::Event(head, payload) => Said::Event(head.name.into_owned(), payload.into_vec()),
        ToSupervisor::Goodbye => Said::Goodbye,
        ToSupervisor::Progress(head, payload) => Said::Progress(head, payload.into_vec()),
        ToSupervisor::Call(head, payload) => {
            Said::Call(head.call, head.to, head.name.into_owned(), payload.into_vec())
        }
        ToSupervisor::CallAnswer(head, payload) => Said::CallAnswer(head, payload.into_vec()),
        ToSupervisor::Metrics(report) => Said::Metrics(report),
        ToSupervisor::Health(report) => Said::Health(report),
        ToSupervisor::StoreOp(..) => panic!("there is no store on the bench"),
    }
}
