//! The store in a world of its own: processes that ask, hold, wait, follow, read slowly, die and misbehave, against the
//! shipped state machine, beside a model of what it should say.
//!
//! Replicas are the ones that users have. What is between a death and the store's being told of it is drawn, too.

mod model;
mod process;

use std::time::Duration;

use fastrand::Rng;
use ganger::StoreLimits;
use ganger::internals::store::{ClientId, Store, StoreAction};
use ganger_protocol::{Condition, Mirror, Origin, Revision, StoreOp, StoreReply, Time};

use super::check::Check;
use super::court::Court;
use super::trace::Trace;
use model::Model;
use process::{Followed, Process};

const NAMES: [&str; 8] = ["", "a", "b", "a/1", "a/2", "a/3", "b/1", "toolong"];

/// The world.
pub(super) struct Shop {
    rng: Rng,
    now: Time,
    store: Store,
    model: Model,
    processes: Vec<Process>,
    last_client: u64,
    last_op: u64,
    last_token: Revision,
    pub(super) court: Court,
    pub(super) trace: Trace,
}

impl Shop {
    pub(super) fn new(seed: u64, keep: usize) -> Shop {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x5709);
        let limits = draw_limits(&mut rng);
        let start = Time::from_nanos(rng.u64(1..1 << 40));
        Shop {
            store: Store::new(limits),
            model: Model::new(limits),
            processes: Vec::new(),
            last_client: 0,
            last_op: 0,
            last_token: Revision(0),
            court: Court::default(),
            trace: Trace::new(start, keep),
            now: start,
            rng,
        }
    }

    pub(super) fn run(&mut self, steps: u64) {
        (0..3).for_each(|_| self.birth());
        for _ in 0..steps {
            self.step();
            self.turn();
            if !self.court.is_clear() {
                return;
            }
        }
        self.settle();
    }

    fn step(&mut self) {
        match self.rng.u8(0..100) {
            0..4 => self.birth(),
            4..5 => self.death(),
            5..10 => self.proof_of_death(),
            10..18 => self.pass(),
            18..46 => self.read(),
            46..60 => self.ask_for_next(),
            60..65 => self.give_back(),
            65..66 => self.misuse(),
            _ => self.ask_something(),
        }
    }

    fn birth(&mut self) {
        if self.processes.len() < 6 {
            self.last_client += 1;
            let client = ClientId(self.last_client);
            self.trace.note(self.now, 60, client.0, 0, || format!("{client:?} is born"));
            self.store.handle_born(client);
            self.model.born(client);
            self.processes.push(Process::new(client));
        }
    }

    /// The store does not know yet.
    fn death(&mut self) {
        if let Some(place) = self.anybody() {
            let process = &mut self.processes[place];
            process.is_alive = false;
            let client = process.client;
            self.trace.note(self.now, 61, client.0, 0, || format!("{client:?} dies"));
        }
    }

    fn proof_of_death(&mut self) {
        let Some(place) = self.processes.iter().position(|process| !process.is_alive) else { return };
        let client = self.processes.remove(place).client;
        self.trace.note(self.now, 62, client.0, 0, || format!("{client:?} is proven dead"));
        self.model.pass(self.now);
        self.model.gone(client);
        self.store.handle_gone(self.now, client);
    }

    fn pass(&mut self) {
        let longest = 1 << self.rng.u32(10..33);
        let later = self.now + Duration::from_nanos(self.rng.u64(0..longest));
        self.go_on(later);
    }

    fn go_on(&mut self, now: Time) {
        self.now = now;
        self.model.pass(now);
        // The loop may take things in before it looks at the time.
        if self.rng.bool() {
            self.store.handle_timeout(now);
            let due = self.store.poll_timeout();
            self.court.demand(due.is_none_or(|due| due > now), Check::LoopNeverSpins, || {
                format!("the store is due at {due:?}, and was told {now:?}")
            });
        }
    }

    fn anybody(&mut self) -> Option<usize> {
        let alive: Vec<usize> = (0..self.processes.len()).filter(|at| self.processes[*at].is_alive).collect();
        self.rng.choice(alive)
    }

    /// Somebody reads one thing that was said to him.
    fn read(&mut self) {
        let Some(place) = self.anybody() else { return };
        self.read_one(place);
    }

    fn read_one(&mut self, place: usize) {
        let process = &mut self.processes[place];
        let Some(StoreAction::Tell { piece, .. }) = process.inbox.pop_front() else { return };
        let head = piece.head;
        let Some(followed) = process.followed.get_mut(&head.watch) else { return };
        let is_in_order = followed.take(piece);
        self.court.demand(is_in_order, Check::ReplicasKeepOrder, || format!("{head:?} is out of order"));
        if let (Some(mirror), Some(complete)) = (&followed.mirror, head.complete) {
            let expected = self.model.content_at(complete, &followed.prefix);
            let found = mirror.content();
            let found = found.into_iter().map(|entry| (entry.key, (entry.version, entry.value.to_vec())));
            let is_true = found.clone().eq(expected.clone());
            self.court.demand(is_true, Check::ReplicasAreTrue, || {
                format!("at {complete} it is {:?} and should be {expected:?}", found.collect::<Vec<_>>())
            });
        }
    }

    fn ask_for_next(&mut self) {
        let Some(place) = self.anybody() else { return };
        self.ask_for_all(place);
    }

    fn ask_for_all(&mut self, place: usize) -> bool {
        let process = &mut self.processes[place];
        let (client, mut any) = (process.client, false);
        for (watch, followed) in &mut process.followed {
            if std::mem::take(&mut followed.owes_next) {
                any = true;
                self.model.pass(self.now);
                let asked = self.store.handle_op(self.now, client, 0, StoreOp::Next { watch: *watch });
                self.court.demand(asked.is_ok(), Check::StoreSaysWhatItShould, || {
                    format!("the next of watch {watch} was due, and it says {asked:?}")
                });
            }
        }
        any
    }

    fn give_back(&mut self) {
        let Some(place) = self.anybody() else { return };
        let Some((name, token)) = self.processes[place].held.pop_first() else { return };
        self.ask(place, StoreOp::Unlock { name: name.into(), token });
    }

    /// What nobody does who follows the protocol is refused, and changes nothing.
    fn misuse(&mut self) {
        let Some(place) = self.anybody() else { return };
        let client = self.processes[place].client;
        self.model.pass(self.now);
        let asked = self.store.handle_op(self.now, client, 0, StoreOp::Next { watch: 99 });
        self.court.demand(asked.is_err(), Check::StoreSaysWhatItShould, || String::from("a next of nothing"));
    }

    fn ask_something(&mut self) {
        let Some(place) = self.anybody() else { return };
        let name = *self.rng.choice(&NAMES).expect("a name");
        let key = || String::from(name).into();
        let op = match self.rng.u8(0..32) {
            0..3 => StoreOp::Get { key: key() },
            3..13 => self.draw_set(name),
            13..16 => StoreOp::Delete { key: key(), when: self.draw_condition() },
            16..18 => StoreOp::Increment { key: key(), by: self.rng.i64(-3..1 << 62) },
            18 => StoreOp::List { prefix: key(), after: None },
            19 => StoreOp::List { prefix: "".into(), after: Some(key()) },
            20 => StoreOp::Revision,
            21..25 => {
                // Few locks, so that several wait for one.
                let name = ["a", "a", "a", "b", ""][self.rng.usize(0..5)].into();
                let wait_nanos = if self.rng.u8(0..4) == 0 { 0 } else { self.rng.u64(1..1 << 34) };
                StoreOp::Lock { name, wait_nanos }
            }
            25 => StoreOp::Unlock { name: key(), token: Revision(self.rng.u64(0..20)) },
            26..28 => return self.follow(place, name),
            28..30 => StoreOp::Sync { watch: self.rng.u32(1..4) },
            _ => return self.follow_no_longer(place),
        };
        self.ask(place, op);
    }

    fn draw_set(&mut self, name: &'static str) -> StoreOp<'static> {
        let ttl_nanos = (self.rng.u8(0..3) == 0).then(|| self.rng.u64(0..1 << 32));
        let value = vec![self.rng.u8(..); self.rng.usize(0..12)].into();
        StoreOp::Set { key: name.into(), when: self.draw_condition(), ttl_nanos, value }
    }

    fn draw_condition(&mut self) -> Condition {
        match self.rng.u8(0..8) {
            0 => Condition::Absent,
            1 => Condition::At(Revision(self.rng.u64(0..=self.model.revision().0))),
            _ => Condition::Always,
        }
    }

    fn follow(&mut self, place: usize, name: &'static str) {
        if name == "toolong" {
            return;
        }
        let watch = self.rng.u32(1..4);
        let (origin, mirror) = match self.rng.bool() {
            true => (Origin::Content, Some(Mirror::default())),
            false => (Origin::Now, None),
        };
        let is_new = !self.processes[place].followed.contains_key(&watch);
        let id = self.ask(place, StoreOp::Watch { watch, prefix: name.into(), origin });
        let is_had = self.said_to(place, id).is_none_or(|reply| matches!(reply, StoreReply::Done { .. }));
        if is_new && is_had {
            self.processes[place].followed.insert(watch, Followed::new(name, mirror));
        }
    }

    fn follow_no_longer(&mut self, place: usize) {
        if let Some((watch, _)) = self.processes[place].followed.pop_first() {
            self.processes[place]
                .inbox
                .retain(|said| !matches!(said, StoreAction::Tell { piece, .. } if piece.head.watch == watch));
            self.ask(place, StoreOp::Unwatch { watch });
        }
    }

    fn ask(&mut self, place: usize, op: StoreOp<'static>) -> u64 {
        self.last_op += 1;
        let (id, client) = (self.last_op, self.processes[place].client);
        self.trace.note(self.now, 63, client.0, id, || format!("{client:?} asks {op:?}"));
        if let StoreOp::Lock { name, .. } = &op {
            self.processes[place].waits.insert(id, name.to_string());
        }
        if let StoreOp::Unlock { name, token } = &op {
            // Who guesses a token may guess right.
            self.processes[place].held.retain(|held, with| *held != **name || with != token);
        }
        self.model.pass(self.now);
        self.model.ask(client, id, &op);
        let asked = self.store.handle_op(self.now, client, id, op);
        self.court.demand(asked.is_ok(), Check::StoreSaysWhatItShould, || format!("{asked:?}"));
        self.turn();
        id
    }

    /// What the last turn answered to an operation: answers are looked at at once, pieces lie in the inbox.
    fn said_to(&self, place: usize, id: u64) -> Option<StoreReply> {
        self.processes[place].inbox.iter().find_map(|said| match said {
            StoreAction::Answer { id: number, reply, .. } if *number == id => Some(reply.clone()),
            StoreAction::Answer { .. } | StoreAction::Tell { .. } => None,
        })
    }

    /// What the store says, now.
    fn turn(&mut self) {
        while let Some(action) = self.store.poll_action() {
            match action {
                StoreAction::Answer { client, id, reply, answering } => {
                    self.trace.note(self.now, 64, client.0, id, || format!("{client:?} is told {reply:?}"));
                    self.hear(client, id, &reply);
                    let _ = answering;
                    if let Some(process) = self.process(client) {
                        process.inbox.retain(|said| matches!(said, StoreAction::Tell { .. }));
                        process.inbox.push_back(StoreAction::Answer { client, id, reply, answering });
                    }
                }
                StoreAction::Tell { client, piece } => {
                    let head = piece.head;
                    self.trace.note(self.now, 65, client.0, u64::from(head.watch), || {
                        format!("{client:?}: {piece:?}")
                    });
                    if let Some(process) = self.process(client) {
                        process.inbox.push_back(StoreAction::Tell { client, piece });
                    }
                }
            }
        }
        let wrong = self.store.check();
        self.court.demand(wrong.is_none(), Check::StoreHoldsTogether, || wrong.unwrap_or_default());
        let (is, should) = (self.store.revision(), self.model.revision());
        // What is over and was not yet looked at is no difference.
        self.court.demand(is <= should, Check::StoreSaysWhatItShould, || {
            format!("the store is at {is}, and should be at {should}")
        });
    }

    fn process(&mut self, client: ClientId) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.client == client)
    }

    fn hear(&mut self, client: ClientId, id: u64, reply: &StoreReply) {
        let expected = self.model.next_answer(client, id);
        self.court.demand(expected.as_ref() == Some(reply), Check::StoreSaysWhatItShould, || {
            format!("{client:?} is told {reply:?} to {id} and should be told {expected:?}")
        });
        if let StoreReply::Locked { token } = reply {
            self.locked(client, id, *token);
        } else if *reply == StoreReply::NotLocked
            && let Some(process) = self.process(client)
        {
            process.waits.remove(&id);
        }
    }

    fn locked(&mut self, client: ClientId, id: u64, token: Revision) {
        let grew = token > self.last_token;
        self.court.demand(grew, Check::TokensGrow, || format!("{token} after {}", self.last_token));
        self.last_token = token;
        let Some(process) = self.process(client) else {
            return self.court.accuse(Check::LocksHaveOneHolder, || format!("{client:?} is proven dead"));
        };
        let Some(name) = process.waits.remove(&id) else { return };
        process.held.insert(name.clone(), token);
        // The dead hold nothing; that they are proven dead is another matter, and the model's.
        let holds = |process: &&Process| process.is_alive && process.held.contains_key(&name);
        let holders = self.processes.iter().filter(holds).count();
        self.court.demand(holders <= 1, Check::LocksHaveOneHolder, || format!("{holders} hold {name}"));
    }

    /// No more faults: everybody reads, locks are given back, time goes by.
    fn settle(&mut self) {
        while self.processes.iter().any(|process| !process.is_alive) {
            self.proof_of_death();
            self.turn();
        }
        self.store.handle_timeout(self.now);
        self.turn();
        if self.rng.bool() {
            self.give_all_back();
            let waiting = self.model.waiting();
            self.court.demand(waiting == 0, Check::LocksAreGivenOrRefused, || {
                format!("{waiting} wait for locks that were given back")
            });
        }
        while let Some(due) = self.store.poll_timeout().filter(|_| self.court.is_clear()) {
            let expected = self.model.next_due();
            self.court.demand(Some(due) == expected, Check::StoreKeepsItsTimes, || {
                format!("it wants to be called at {due:?}, and something is over at {expected:?}")
            });
            self.now = self.now.max(due);
            self.model.pass(self.now);
            self.store.handle_timeout(self.now);
            self.turn();
        }
        self.give_all_back();
        let (waiting, unanswered) = (self.model.waiting(), self.model.unanswered());
        self.court.demand(waiting == 0 && unanswered == 0, Check::LocksAreGivenOrRefused, || {
            format!("{waiting} wait for locks that nobody holds, {unanswered} were not answered")
        });
        self.catch_up();
    }

    /// Who has waited holds it next, and gives it back, too.
    fn give_all_back(&mut self) {
        while let Some(place) = self.processes.iter().position(|process| !process.held.is_empty()) {
            if let Some((name, token)) = self.processes[place].held.pop_first() {
                self.ask(place, StoreOp::Unlock { name: name.into(), token });
            }
        }
    }

    /// Everybody who follows comes to where the store is, in a few rounds.
    fn catch_up(&mut self) {
        for place in 0..self.processes.len() {
            let watches: Vec<u32> = self.processes[place].followed.keys().copied().collect();
            for watch in watches {
                self.ask(place, StoreOp::Sync { watch });
            }
            for _ in 0..20 {
                while self.processes[place].inbox.iter().any(|said| matches!(said, StoreAction::Tell { .. }))
                {
                    self.read_one(place);
                }
                self.ask_for_all(place);
                self.turn();
            }
            for (watch, followed) in &self.processes[place].followed {
                let reached = followed.mirror.as_ref().map(Mirror::revision);
                let expected = self.model.revision();
                self.court.demand(
                    reached.is_none_or(|reached| reached == Some(expected)),
                    Check::ReplicasCatchUp,
                    || format!("watch {watch} is at {reached:?}, the store at {expected}"),
                );
            }
        }
    }
}

fn draw_limits(rng: &mut Rng) -> StoreLimits {
    StoreLimits {
        keys: rng.usize(3..9),
        key_bytes: 4,
        value_bytes: rng.usize(6..12),
        bytes: rng.u64(400..1200),
        deletions: rng.usize(1..4),
        watches: rng.usize(1..4),
        locks: rng.usize(1..4),
        ..StoreLimits::default()
    }
}
