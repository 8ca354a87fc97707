//! Target `session`: a script of what a supervisor writes and a worker's threads do, against the worker's pure half.
//!
//! The supervisor may be mad: the worker then gives up with a violation. Until it does it keeps its own house in
//! order, and all that it writes is what a supervisor may hear.

use ganger_protocol::{
    Body, Cancel, Epoch, EventHead, Failure, Generation, Growth, Inbox, Kind, LARGE_PAYLOAD, Limits, Ordinal,
    Page, Ready, RequestHead, Time, ToSupervisor,
};
use ganger_worker::internals::{Outcome, Session, Ticket, Violation};

use super::Features;
use super::tape::Tape;
use crate::raw::frame;
use crate::rig::FIXED_BYTES;

const LIMITS: Limits = Limits { payload: 2 * LARGE_PAYLOAD, event: 1000 };

/// A script of more steps than this says nothing new.
const STEPS: usize = 600;

pub(super) fn run(bytes: &[u8], features: &mut Features) {
    let mut tape = Tape::new(bytes);
    let mut bench = Bench::new();
    for _ in 0..STEPS {
        if tape.is_empty() || bench.is_over {
            break;
        }
        let step = tape.below(16);
        features.step(step);
        if let Err(violation) = bench.take(step, &mut tape) {
            features.note(("violation", std::mem::discriminant(&violation)));
            break;
        }
        bench.check();
    }
    bench.check();
}

struct Bench {
    session: Session,
    page: Page,
    now: Time,
    /// The ordinal of the request sent last.
    last: Ordinal,
    received: usize,
    /// Tickets of everything that was ever started.
    tickets: Vec<Ticket>,
    /// What the supervisor hears.
    heard: Inbox,
    is_over: bool,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            session: Session::new(LIMITS),
            page: Page::in_memory(),
            now: Time::from_nanos(1 << 40),
            last: Ordinal(0),
            received: 0,
            tickets: Vec::new(),
            heard: Inbox::new(LIMITS, Growth::AsReceived),
            is_over: false,
        }
    }

    fn take(&mut self, step: usize, tape: &mut Tape<'_>) -> Result<(), Violation> {
        match step {
            0..=3 => return self.request(tape),
            4 | 5 => return self.start(),
            6 | 7 => self.answer(tape),
            8 => return self.supervisor_says(tape),
            9 => {
                let count = usize::from(tape.byte());
                return self.hear(tape.take(count));
            }
            10 => self.ready(1 + tape.below(4) as u32),
            11 => self.session.busy(),
            12 => {
                self.last = self.page.take_back().started;
            }
            13 => drop(self.session.emit("news", Body::Copy(&vec![0; tape.below(256) * 5]))),
            14 => self.end(tape),
            _ => self.now = self.now + std::time::Duration::from_nanos(tape.u64() >> 20),
        }
        Ok(())
    }

    fn request(&mut self, tape: &mut Tape<'_>) -> Result<(), Violation> {
        self.last = self.last.next();
        let mut head =
            RequestHead { generation: self.page.mark().generation, ..super::inbox::request(self.last.0) };
        match tape.byte() {
            0 => head.ordinal = Ordinal(tape.u32()),
            1 => head.generation = Generation(tape.u32()),
            2 => head.epoch = Epoch(tape.u32()),
            3 => head.age_nanos = tape.u64(),
            4 => head.run_timeout_nanos = Some(tape.u64()),
            _ => {}
        }
        let payload = match tape.byte() {
            0 => LARGE_PAYLOAD + 1,
            size => usize::from(size),
        };
        let mut bytes = frame(Kind::Request, &head, &vec![7; payload]);
        match tape.byte() {
            0 => bytes.truncate(tape.below(bytes.len())),
            1 => {
                let at = tape.below(bytes.len());
                bytes[at] ^= 1 << tape.below(8);
            }
            _ => {}
        }
        self.hear(&bytes)
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.session.inbox().push(bytes);
        self.received += bytes.len();
        self.session.take_in(self.now)?;
        let capacity = self.session.inbox().capacity();
        assert!(capacity <= LIMITS.payload + 2 * self.received + FIXED_BYTES, "{capacity} bytes");
        Ok(())
    }

    fn start(&mut self) -> Result<(), Violation> {
        let could = self.session.can_start(&self.page);
        let started = self.session.start_next(&self.page, self.now)?;
        assert_eq!(started.is_some(), could, "nobody else is here");
        self.tickets.extend(started.map(|started| started.ticket));
        Ok(())
    }

    /// A ticket that is used twice answers nothing.
    fn answer(&mut self, tape: &mut Tape<'_>) {
        let Some(place) = tape.pick(self.tickets.len()) else { return };
        let ticket = self.tickets[place];
        let is_in_hand = self.session.hands().any(|hand| hand.ticket == ticket);
        let failure = Failure::new("no");
        let data = vec![1; tape.below(3) * LARGE_PAYLOAD];
        let outcome = match tape.below(3) {
            0 => Outcome::Ack,
            1 => Outcome::Failed(&failure),
            _ => Outcome::Data(Body::Copy(&data)),
        };
        let ran = self.session.answer(&self.page, ticket, outcome, self.now);
        assert_eq!(ran.is_some(), is_in_hand);
    }

    fn supervisor_says(&mut self, tape: &mut Tape<'_>) -> Result<(), Violation> {
        let bytes = match tape.below(5) {
            0 => {
                let ticket = tape.pick(self.tickets.len()).map(|place| self.tickets[place]);
                let ordinal = ticket.map_or(Ordinal(tape.u32()), Ticket::ordinal);
                frame(Kind::Cancel, &Cancel { ordinal, epoch: Epoch(1) }, &[])
            }
            1 => frame(Kind::SupervisorEvent, &EventHead { name: "news".into() }, &[1, 2]),
            2 => frame(Kind::Drain, &(), &[]),
            3 => frame(Kind::HardKill, &(), &[]),
            _ => frame(Kind::Busy, &(), &[]),
        };
        self.hear(&bytes)
    }

    fn ready(&mut self, capacity: u32) {
        self.session.ready(Ready { capacity, wants_hard_kill: false });
    }

    fn end(&mut self, tape: &mut Tape<'_>) {
        match tape.below(3) {
            0 => self.session.expect_hooks(tape.below(2)),
            1 => self.session.hook_done(),
            _ if self.session.goodbye_due(&self.page) => {
                self.session.leave();
                self.is_over = true;
            }
            _ => {}
        }
    }

    fn check(&mut self) {
        let shown: Vec<Ordinal> = self.page.slots().map(|slot| slot.ordinal).collect();
        let held: Vec<Ordinal> = self.session.hands().map(|hand| hand.ticket.ordinal()).collect();
        let all_shown = held.iter().all(|ordinal| shown.contains(ordinal));
        assert!(all_shown, "in hand {held:?}, in the page {shown:?}");
        let slots: std::collections::BTreeSet<usize> =
            self.session.hands().map(|hand| hand.ticket.slot()).collect();
        assert_eq!(slots.len(), held.len(), "two requests have one slot");
        assert!(held.len() <= 4, "no more than the largest capacity");
        let bytes = self.session.outbox().take_bytes();
        self.heard.push(&bytes);
        while let Some(frame) = self.heard.next_frame().expect("a worker writes frames") {
            ToSupervisor::decode(frame).expect("a worker writes what a supervisor may hear");
        }
        assert!(!self.heard.is_mid_frame(), "a worker writes whole frames");
    }
}
