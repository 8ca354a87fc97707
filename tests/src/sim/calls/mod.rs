//! The relay's world: processes that call each other, answer, answer late, twice or for others, and die, against the
//! shipped relay. It is a world of its own, because nothing in it knows of jobs, and is run for every seed.

mod model;
mod peer;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use ganger::internals::relay::{Action, Input, Origin, Relay, RelayConfig, Request, Target};
use ganger::internals::{GroupIndex, WorkerKey};
use ganger_protocol::{Address, CallReply, Failure, Refusal, Time};

use super::court::Court;
use super::trace::Trace;
use model::{Model, Stage};
use peer::Peer;

/// Happenings of one schedule.
const STEPS: usize = 120;

/// Workers alive at a time, at most.
const MOST: usize = 7;

const GROUPS: [&str; 3] = ["a", "b", "c"];

/// The world of the calls of one seed.
pub(super) struct Exchange {
    rng: Rng,
    now: Time,
    relay: Relay<u64>,
    peers: Vec<Peer>,
    /// Numbers that this process holds.
    primary: VecDeque<u64>,
    model: Model,
    pub(super) court: Court,
    pub(super) trace: Trace,
}

impl Exchange {
    pub(super) fn new(seed: u64, keep_lines: usize) -> Exchange {
        let mut rng = Rng::with_seed(seed ^ 0x00ca_11ed);
        let now = Time::from_nanos(rng.u64(0..1 << 40));
        let config = RelayConfig {
            held: rng.usize(1..8),
            held_bytes: rng.usize(20..200),
            made_by_worker: rng.usize(1..6),
            in_flight: rng.usize(4..24),
            ..RelayConfig::new(GROUPS.map(Arc::from).to_vec())
        };
        let model = Model::new(config.clone());
        let (court, trace) = (Court::default(), Trace::new(now, keep_lines));
        let relay = Relay::new(config, now);
        Exchange { rng, now, relay, peers: Vec::new(), primary: VecDeque::new(), model, court, trace }
    }

    /// Everything that happens, and then the end: what is still open must end by itself.
    pub(super) fn run(&mut self) {
        for _ in 0..STEPS {
            if !self.court.is_clear() {
                return;
            }
            self.step();
        }
        if self.rng.bool() {
            self.pass(Duration::from_secs(10));
        } else {
            self.tell(Input::Close);
        }
        self.model.demand_nothing_open(&mut self.court);
        for peer in 0..self.peers.len() {
            self.die(peer);
        }
        while let Some(number) = self.primary.pop_front() {
            self.answer(Target::Primary, number, CallReply::Data(vec![1]));
        }
        let counts = self.relay.counts();
        let is_empty = counts.in_flight == 0 && counts.held == 0 && self.relay.poll_timeout().is_none();
        self.court.demand(is_empty, super::Check::NothingIsHeldAtTheEnd, || format!("{counts:?}"));
    }

    fn step(&mut self) {
        match self.rng.u8(..100) {
            0..8 => self.birth(),
            8..16 => self.rise(),
            16..19 => self.leave(),
            19..23 => {
                let peer = self.any_peer();
                peer.into_iter().for_each(|peer| self.die(peer));
            }
            23..58 => self.call(),
            58..80 => self.answer_one(),
            80..86 => self.lie(),
            _ => {
                let time = Duration::from_micros(self.rng.u64(0..400_000));
                self.pass(time);
            }
        }
    }

    fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.peers.len()).filter(|peer| self.model.stage(*peer) != Stage::Gone)
    }

    fn any_peer(&mut self) -> Option<usize> {
        let alive: Vec<usize> = self.alive().collect();
        self.rng.choice(alive)
    }

    fn birth(&mut self) {
        if self.alive().count() >= MOST {
            return;
        }
        let (index, group) = (self.peers.len(), self.rng.usize(..GROUPS.len()));
        // A replacement may come before the one that it replaces has left.
        let name: Arc<str> = format!("{}-{}", GROUPS[group], self.rng.u8(..3)).into();
        let key = WorkerKey::from_bits(index as u64);
        self.peers.push(Peer::new(key));
        self.model.born(Arc::clone(&name), group);
        self.trace.note(self.now, 60, index as u64, 0, || format!("worker {index} {name} is born"));
        self.tell(Input::Born { worker: key, name, group: GroupIndex(group as u16) });
    }

    fn rise(&mut self) {
        if let Some(peer) = self.any_peer() {
            self.model.rises(peer);
            self.tell(Input::Up(self.peers[peer].key));
        }
    }

    fn leave(&mut self) {
        if let Some(peer) = self.any_peer() {
            self.model.leaves(peer);
            self.tell(Input::Leaving(self.peers[peer].key));
        }
    }

    fn die(&mut self, peer: usize) {
        self.trace.note(self.now, 61, peer as u64, 0, || format!("worker {peer} dies"));
        self.model.dies(peer);
        self.peers[peer].desk.clear();
        self.tell(Input::Gone(self.peers[peer].key));
        if self.rng.bool() {
            self.tell(Input::Gone(self.peers[peer].key));
        }
    }

    fn call(&mut self) {
        let caller = if self.rng.u8(..3) == 0 { None } else { self.any_peer() };
        let to = self.address();
        let timeout = match self.rng.u8(..8) {
            0 => Duration::ZERO,
            _ => Duration::from_micros(self.rng.u64(1..1_500_000)),
        };
        let size = if self.rng.u8(..6) == 0 { self.rng.usize(8..150) } else { 8 };
        let own = caller.map(|peer| self.peers[peer].next_call(&mut self.rng));
        let token = self.model.calls(self.now, caller.zip(own), &to, timeout, size);
        self.trace.note(self.now, 62, token, 0, || format!("call {token}: {caller:?} calls {to}"));
        let mut payload = vec![0; size];
        payload[..8].copy_from_slice(&token.to_le_bytes());
        let from = match (caller, own) {
            (Some(peer), Some(call)) => Origin::Worker { worker: self.peers[peer].key, call },
            _ => Origin::Primary(token),
        };
        let payload = Bytes::from(payload);
        self.tell(Input::Call(Request { from, to, name: "count".into(), payload, timeout }));
    }

    fn address(&mut self) -> Address {
        let group = match self.rng.u8(..8) {
            0..3 => None,
            3 => Some(String::from("nowhere")),
            _ => Some(GROUPS[self.rng.usize(..GROUPS.len())].to_owned()),
        };
        match self.rng.u8(..8) {
            0 | 1 => Address::Primary,
            2..5 => {
                Address::worker(format!("{}-{}", GROUPS[self.rng.usize(..GROUPS.len())], self.rng.u8(..3)))
            }
            5 => Address::Any(group),
            _ => Address::All(group),
        }
    }

    /// Somebody who holds a call answers it, in any order; sometimes twice.
    fn answer_one(&mut self) {
        let holders: Vec<usize> = self.alive().filter(|peer| !self.peers[*peer].desk.is_empty()).collect();
        let holder = if self.rng.u8(..5) == 0 { None } else { self.rng.choice(holders) };
        let desk = holder.map_or(&mut self.primary, |peer| &mut self.peers[peer].desk);
        if desk.is_empty() {
            return;
        }
        let place = self.rng.usize(..desk.len());
        let Some(number) = desk.remove(place) else { return };
        let by = holder.map_or(Target::Primary, |peer| Target::Worker(self.peers[peer].key));
        let reply = self.reply();
        self.answer(by, number, reply);
        if self.rng.u8(..4) == 0 {
            let reply = self.reply();
            self.answer(by, number, reply);
        }
    }

    fn reply(&mut self) -> CallReply {
        match self.rng.u8(..6) {
            0 => CallReply::Failed(Failure::new(format!("no {}", self.rng.u32(..)))),
            1 => CallReply::Refused(Refusal::UnknownCall),
            _ => CallReply::Data(self.rng.u64(..).to_le_bytes().to_vec()),
        }
    }

    /// Somebody answers what he does not hold.
    fn lie(&mut self) {
        let Some(liar) = self.any_peer() else { return };
        let number = self.rng.u64(0..self.model.last_number() + 3);
        if !self.peers[liar].desk.contains(&number) {
            let reply = self.reply();
            self.answer(Target::Worker(self.peers[liar].key), number, reply);
        }
    }

    fn answer(&mut self, by: Target, number: u64, reply: CallReply) {
        self.trace.note(self.now, 63, number, 0, || format!("{by:?} answers {number}: {reply:?}"));
        self.model.answers(by, number, &reply);
        self.tell(Input::Answer { by, number, reply });
    }

    /// Time passes, and the relay is asked whenever it wants to be.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.relay.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.relay.handle_timeout(self.now);
            self.act();
        }
        self.now = end;
        self.act();
    }

    fn tell(&mut self, input: Input<u64>) {
        self.relay.handle_input(self.now, input);
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.relay.poll_action() {
            self.trace.note(self.now, 64, 0, 0, || format!("{action:?}"));
            let (now, court) = (self.now, &mut self.court);
            match action {
                Action::Ask { worker, number, payload, .. } => {
                    self.model.asked(now, Target::Worker(worker), number, &payload, court);
                    self.peers[worker.index()].desk.push_back(number);
                }
                Action::Serve { number, payload, .. } => {
                    self.model.asked(now, Target::Primary, number, &payload, court);
                    self.primary.push_back(number);
                }
                Action::Tell { worker, call, from, left, reply } => {
                    let token = self.model.token_of(worker.index(), call);
                    self.model.told(now, token, from.as_deref(), Some(left), &reply, court);
                }
                Action::Settle { ticket, answers } => {
                    self.model.settled(now, ticket, answers, court);
                }
            }
        }
        self.model.demand_order(self.now, &mut self.court);
        if let Err(error) = self.relay.check() {
            self.court.accuse(super::Check::RelayTablesFit, || error);
        }
    }
}
