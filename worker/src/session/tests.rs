use ganger_protocol::{
    Address, CallAnswered, Epoch, Generation, Growth, JobId, LARGE_PAYLOAD, MetricsReport, Refusal,
    RetryHint, Slot, SupervisorCall, SupervisorHello, ToSupervisor, decode,
};

use super::*;

const NOW: Time = Time::from_nanos(1_000_000);

/// A session, its page, and the supervisor's ends.
struct Pair {
    session: Session,
    page: Page,
    to_worker: Outbox,
    from_worker: Inbox,
    last: Ordinal,
}

#[derive(Debug, PartialEq)]
enum Said {
    Ready(u32),
    Busy,
    Answer(u32, Answered, Vec<u8>),
    Event(String),
    Metrics(MetricsReport),
    Health(Option<String>),
    Goodbye,
    Progress(u32, Vec<u8>),
    Call(u64),
    CallAnswer(u64, CallAnswered),
}

impl Pair {
    fn new() -> Pair {
        Pair::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Pair {
        let from_worker = Inbox::new(Limits::default(), Growth::AtOnce);
        let (session, page) = (Session::new(limits), Page::in_memory());
        Pair { session, page, to_worker: Outbox::new(), from_worker, last: Ordinal(0) }
    }

    fn ready(capacity: u32) -> Pair {
        let mut pair = Pair::new();
        pair.session.ready(Ready { capacity, wants_hard_kill: false });
        assert_eq!(pair.said(), [Said::Ready(capacity)]);
        pair
    }

    fn request(&mut self) {
        self.last = self.last.next();
        let head = RequestHead {
            ordinal: self.last,
            generation: self.page.mark().generation,
            epoch: Epoch(7),
            attempt: 1,
            job: JobId::from_bytes([1; 16]),
            age_nanos: 1000,
            run_timeout_nanos: Some(5000),
            name: "greet".into(),
            headers: vec![("trace".into(), "1".into())],
        };
        self.to_worker.frame(Kind::Request, &head, Body::Copy(&[self.last.0 as u8]));
    }

    fn take_back(&mut self) {
        self.last = self.page.take_back().started;
    }

    fn say(&mut self, kind: Kind) {
        self.to_worker.frame(kind, &(), Body::Copy(&[]));
    }

    fn take_in(&mut self) -> Vec<Notice> {
        let bytes = self.to_worker.take_bytes();
        self.session.inbox().push(&bytes);
        self.session.take_in(NOW).expect("the supervisor keeps to the protocol")
    }

    fn start(&mut self) -> Option<Started> {
        self.session.start_next(&self.page, NOW).expect("in order")
    }

    fn ack(&mut self, started: &Started) -> Option<Duration> {
        self.session.answer(&self.page, started.ticket, Outcome::Ack, NOW + Duration::from_nanos(30))
    }

    fn goodbye_due(&mut self) -> bool {
        self.session.goodbye_due(&self.page)
    }

    fn said(&mut self) -> Vec<Said> {
        let bytes = self.session.outbox().take_bytes();
        self.from_worker.push(&bytes);
        let mut all = Vec::new();
        while let Some(frame) = self.from_worker.next_frame().expect("valid") {
            all.push(match ToSupervisor::decode(frame).expect("valid") {
                ToSupervisor::Ready(ready) => Said::Ready(ready.capacity),
                ToSupervisor::Busy => Said::Busy,
                ToSupervisor::Answer(answer) => {
                    Said::Answer(answer.head.ordinal.0, answer.head.answered, answer.payload.into_vec())
                }
                ToSupervisor::Event(head, _) => Said::Event(head.name.into_owned()),
                ToSupervisor::Goodbye => Said::Goodbye,
                ToSupervisor::Call(head, _) => Said::Call(head.call),
                ToSupervisor::CallAnswer(head, _) => Said::CallAnswer(head.call, head.answered),
                ToSupervisor::Metrics(report) => Said::Metrics(report),
                ToSupervisor::Health(report) => Said::Health(report.failure),
                ToSupervisor::Taken(_) => panic!("nothing was attached"),
                ToSupervisor::StoreOp(..) => panic!("nobody asks the store"),
                ToSupervisor::Progress(head, payload) => Said::Progress(head.ordinal.0, payload.into_vec()),
                ToSupervisor::Hello(_) => panic!("a session says no Hello"),
            });
        }
        all
    }
}

#[test]
fn a_request_is_started_in_its_slot_and_answered() {
    let mut pair = Pair::ready(1);
    pair.request();
    assert_eq!(pair.take_in(), []);
    let started = pair.start().expect("one request");
    assert_eq!((&*started.request.name, started.request.payload.as_slice()), ("greet", &[1][..]));
    assert_eq!(started.request.enqueued, NOW - Duration::from_nanos(1000));
    let slots: Vec<Slot> = pair.page.slots().collect();
    assert_eq!(slots, [Slot { ordinal: Ordinal(1), since: NOW }]);
    assert_eq!(pair.page.mark().started, Ordinal(1));

    assert_eq!(pair.ack(&started), Some(Duration::from_nanos(30)));
    assert_eq!(pair.page.slots().count(), 0, "the slot is free before the answer is written");
    assert_eq!(pair.said(), [Said::Answer(1, Answered::Ack, vec![])]);
    assert_eq!(pair.ack(&started), None, "a second answer is none");
    assert_eq!(pair.said(), []);
}

#[test]
fn no_more_than_the_capacity_is_in_hand() {
    let mut pair = Pair::ready(2);
    (0..3).for_each(|_| pair.request());
    pair.take_in();
    let first = pair.start().expect("the first");
    let second = pair.start().expect("the second");
    assert_ne!(first.ticket.slot(), second.ticket.slot());
    assert!(pair.start().is_none());
    assert!(!pair.session.can_start(&pair.page));
    pair.ack(&first);
    let third = pair.start().expect("there is room again");
    assert_eq!(third.ticket.slot(), first.ticket.slot(), "slots are used again");
    assert_eq!(pair.session.hands().count(), 2);
}

#[test]
fn nothing_is_started_before_ready_nor_while_busy() {
    let mut pair = Pair::new();
    pair.request();
    pair.take_in();
    assert!(pair.start().is_none());
    pair.session.ready(Ready { capacity: 1, wants_hard_kill: true });
    pair.session.busy();
    assert!(pair.start().is_none());
    pair.session.ready(Ready { capacity: 1, wants_hard_kill: true });
    assert_eq!(pair.said(), [Said::Ready(1), Said::Busy, Said::Ready(1)]);
    assert!(pair.start().is_some());
}

#[test]
fn what_was_taken_back_is_never_started() {
    let mut pair = Pair::ready(4);
    (0..3).for_each(|_| pair.request());
    pair.take_in();
    pair.start().expect("the first");
    pair.take_back();
    assert!(!pair.session.can_start(&pair.page));
    assert!(pair.start().is_none());
    pair.request();
    pair.take_in();
    let next = pair.start().expect("the one sent since");
    assert_eq!((next.request.ordinal, next.request.generation), (Ordinal(2), Generation(1)));
    assert_eq!(pair.page.slots().count(), 2);
}

#[test]
fn requests_taken_back_do_not_pile_up_behind_a_long_handler() {
    let mut pair = Pair::ready(1);
    pair.request();
    pair.take_in();
    pair.start().expect("the long one");
    for _ in 0..100 {
        pair.take_back();
        pair.request();
        pair.take_in();
        assert_eq!(pair.session.window.len(), 1);
    }
}

#[test]
fn a_request_out_of_order_is_a_violation() {
    let mut pair = Pair::ready(1);
    pair.last = Ordinal(4);
    pair.request();
    pair.take_in();
    let violation = pair.session.start_next(&pair.page, NOW).expect_err("1 is due");
    assert_eq!(violation, Violation::OutOfOrder { expected: Ordinal(1), found: Ordinal(5) });
}

#[test]
fn only_the_named_request_is_cancelled() {
    let mut pair = Pair::ready(2);
    (0..2).for_each(|_| pair.request());
    pair.take_in();
    let (first, second) = (pair.start().expect("first"), pair.start().expect("second"));
    let cancels = pair.session.cancels();
    for (ordinal, epoch) in [(2, 6), (3, 7), (2, 7)] {
        let cancel = Cancel { ordinal: Ordinal(ordinal), epoch: Epoch(epoch) };
        assert!(!cancels.has(second.ticket));
        pair.to_worker.frame(Kind::Cancel, &cancel, Body::Copy(&[]));
        assert_eq!(pair.take_in(), []);
    }
    assert!(cancels.has(second.ticket));
    assert!(!cancels.has(first.ticket));
    pair.ack(&second);
    pair.request();
    pair.take_in();
    let third = pair.start().expect("third");
    assert_eq!(third.ticket.slot(), second.ticket.slot());
    assert!(!cancels.has(third.ticket), "the slot's next tenant is not cancelled");
}

#[test]
fn a_reply_over_the_limit_becomes_a_failure_with_both_sizes() {
    let mut pair = Pair::with_limits(Limits { payload: 200, event: 10 });
    pair.session.ready(Ready { capacity: 1, wants_hard_kill: false });
    pair.request();
    pair.take_in();
    let started = pair.start().expect("one");
    let body = Body::Share(Bytes::from(vec![0; LARGE_PAYLOAD]));
    pair.session.answer(&pair.page, started.ticket, Outcome::Data(body), NOW);
    let [_, Said::Answer(1, Answered::Failed, failure)] = &pair.said()[..] else { panic!("a failure") };
    let failure: Failure = decode(failure).expect("a failure");
    assert_eq!(failure.kind, FailureKind::Codec);
    assert_eq!(
        failure.message,
        "the reply has 32768 bytes, over the limit of 200; raise Builder::payload_limit or send less"
    );
}

#[test]
fn a_failure_over_the_limit_keeps_its_kind_and_its_word_on_retries() {
    let mut pair = Pair::with_limits(Limits { payload: 200, event: 10 });
    pair.session.ready(Ready { capacity: 1, wants_hard_kill: false });
    pair.request();
    pair.take_in();
    let started = pair.start().expect("one");
    let failure = Failure::of_kind(FailureKind::Panic, "x".repeat(300)).with_retry(RetryHint::Never);
    pair.session.answer(&pair.page, started.ticket, Outcome::Failed(&failure), NOW);
    let [_, Said::Answer(1, Answered::Failed, failure)] = &pair.said()[..] else { panic!("a failure") };
    let failure: Failure = decode(failure).expect("a failure");
    assert_eq!((failure.kind, failure.retry), (FailureKind::Panic, RetryHint::Never));
}

#[test]
fn events_are_bounded_in_every_direction() {
    let mut pair = Pair::with_limits(Limits { payload: 200, event: 1000 });
    let event = [0; 1000];
    let long = "n".repeat(NAME_LIMIT + 1);
    assert!(matches!(pair.session.emit(&long, Body::Copy(&[])), Err(EmitError::NameTooLong { .. })));
    pair.session.emit(&long[1..], Body::Copy(&[])).expect("the longest name fits");
    let result = pair.session.emit("e", Body::Copy(&[0; 1001]));
    assert_eq!(result, Err(EmitError::TooLarge { length: 1001, limit: 1000 }));
    let full = loop {
        match pair.session.emit("e", Body::Copy(&event)) {
            Ok(()) => assert!(pair.session.pending() < EMIT_PENDING_LIMIT + 2000),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, EmitError::Full { .. }));
    assert!(pair.said().len() > 1000);
    assert_eq!(pair.session.emit("e", Body::Copy(&event)), Ok(()), "once read, there is room again");
    assert_eq!(pair.said(), [Said::Event(String::from("e"))]);
}

#[test]
fn notices_come_in_the_order_in_which_they_were_sent() {
    let mut pair = Pair::ready(1);
    pair.to_worker.frame(Kind::SupervisorEvent, &EventHead { name: "a".into() }, Body::Copy(&[1]));
    pair.say(Kind::Drain);
    pair.say(Kind::Drain);
    pair.say(Kind::HardKill);
    let event = Notice::Event { name: String::from("a"), payload: vec![1] };
    assert_eq!(pair.take_in(), [event, Notice::Drain, Notice::HardKill]);
}

#[test]
fn a_drained_worker_leaves_when_everything_is_answered() {
    let mut pair = Pair::ready(1);
    (0..2).for_each(|_| pair.request());
    pair.take_in();
    let first = pair.start().expect("first");
    pair.say(Kind::Drain);
    pair.take_in();
    assert!(!pair.goodbye_due());
    pair.ack(&first);
    assert!(!pair.goodbye_due(), "one was sent before the drain");
    let second = pair.start().expect("second");
    pair.ack(&second);
    assert!(pair.goodbye_due());
    pair.session.leave();
    pair.session.ready(Ready { capacity: 1, wants_hard_kill: false });
    assert_eq!(pair.session.emit("late", Body::Copy(&[])), Err(EmitError::Left));
    let answer = |ordinal| Said::Answer(ordinal, Answered::Ack, vec![]);
    assert_eq!(pair.said(), [answer(1), answer(2), Said::Goodbye]);
}

/// M2: a call is in hand until it is answered, once; a drained worker answers it before it leaves.
#[test]
fn a_call_is_answered_once_and_before_the_worker_leaves() {
    let mut pair = Pair::ready(1);
    let head =
        SupervisorCall { call: 9, caller: Some("b-0".into()), timeout_nanos: 5000, name: "greet".into() };
    pair.to_worker.frame(Kind::SupervisorCall, &head, Body::Copy(&[1]));
    pair.say(Kind::Drain);
    let notices = pair.take_in();
    let [Notice::Call(call), Notice::Drain] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!((&*call.name, call.caller.as_deref(), call.timeout.as_nanos()), ("greet", Some("b-0"), 5000));
    assert!(!pair.goodbye_due());
    pair.session.answer_call(call.ticket, Outcome::Ack);
    pair.session.refuse_call(call.ticket, Refusal::TimedOut);
    assert!(pair.goodbye_due());
    assert_eq!(pair.said(), [Said::CallAnswer(9, CallAnswered::Data)]);
    pair.session.leave();
    let call =
        |session: &mut Session| session.call(1, Address::Primary, "x", Duration::from_secs(1), Bytes::new());
    assert_eq!(call(&mut pair.session), Err(Refusal::ShuttingDown));
}

#[test]
fn a_drained_worker_does_not_wait_for_what_was_taken_back() {
    let mut pair = Pair::ready(1);
    (0..2).for_each(|_| pair.request());
    pair.take_in();
    let first = pair.start().expect("first");
    pair.take_back();
    pair.say(Kind::Drain);
    pair.take_in();
    pair.ack(&first);
    assert!(pair.goodbye_due());
}

#[test]
fn a_busy_worker_does_not_leave_until_it_is_ready_again() {
    let mut pair = Pair::ready(1);
    pair.session.busy();
    pair.say(Kind::Drain);
    pair.take_in();
    assert!(!pair.goodbye_due());
    pair.session.ready(Ready { capacity: 1, wants_hard_kill: false });
    assert!(pair.goodbye_due());
}

#[test]
fn a_drained_worker_waits_for_its_hooks() {
    let mut pair = Pair::ready(1);
    pair.session.expect_hooks(2);
    pair.say(Kind::Drain);
    pair.take_in();
    pair.session.hook_done();
    assert!(!pair.goodbye_due());
    pair.session.hook_done();
    assert!(pair.goodbye_due());
}

#[test]
fn a_second_hello_is_a_violation() {
    let mut pair = Pair::ready(1);
    let hello = SupervisorHello {
        magic: ganger_protocol::MAGIC,
        version: ganger_protocol::VERSION,
        supervisor: 1,
        worker: String::new(),
        group: String::new(),
        slot: 0,
        payload_limit: 1,
        event_limit: 1,
        heartbeat_millis: 1,
        listeners: Vec::new(),
    };
    pair.to_worker.frame(Kind::SupervisorHello, &hello, Body::Copy(&[]));
    let bytes = pair.to_worker.take_bytes();
    pair.session.inbox().push(&bytes);
    let violation = pair.session.take_in(NOW).expect_err("a second Hello");
    assert_eq!(violation, Violation::Frame(not_allowed(Kind::SupervisorHello)));
}

#[test]
fn frames_are_taken_in_however_they_are_cut() {
    let mut pair = Pair::ready(3);
    (0..3).for_each(|_| pair.request());
    for byte in pair.to_worker.take_bytes() {
        pair.session.inbox().push(&[byte]);
        assert_eq!(pair.session.take_in(NOW), Ok(vec![]));
    }
    let started: Vec<u8> = (0..3).map(|_| pair.start().expect("all three").request.payload[0]).collect();
    assert_eq!(started, [1, 2, 3]);
}
