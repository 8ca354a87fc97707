//! What must be true of calls, written from the promises; it shares nothing with the relay but numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ganger::internals::relay::{RelayConfig, Target};
use ganger_protocol::{Address, Answers, CallReply, Refusal, Time};

use crate::sim::Check;
use crate::sim::court::{Court, PRECISION};

/// How far a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Booting,
    Up,
    Leaving,
    Gone,
}

#[derive(Debug)]
struct Worker {
    name: Arc<str>,
    group: usize,
    stage: Stage,
    /// What it was asked and has not answered, with its size.
    holds: BTreeMap<u64, usize>,
}

/// One of those whom a call is for.
#[derive(Debug)]
struct Party {
    target: Target,
    name: Option<Arc<str>>,
    /// Why it cannot be called, as it was when the call was made.
    refusal: Option<Refusal>,
    /// It had no room for the call when that was made.
    was_full: bool,
    number: Option<u64>,
    /// What it said first while it held the call.
    said: Option<CallReply>,
    is_told: bool,
}

/// Whom a call is for.
#[derive(Debug)]
enum Meant {
    Nobody(Refusal),
    These(Vec<Party>),
    /// One of them.
    OneOf(Vec<Party>),
}

#[derive(Debug)]
struct Call {
    caller: Option<usize>,
    at: Time,
    timeout: Duration,
    size: usize,
    meant: Meant,
    is_over: bool,
}

/// The reference.
#[derive(Debug)]
pub(super) struct Model {
    config: RelayConfig,
    workers: Vec<Worker>,
    primary: BTreeMap<u64, usize>,
    calls: Vec<Call>,
    open: BTreeSet<u64>,
    tokens: BTreeMap<(usize, u64), u64>,
    numbers: BTreeMap<u64, u64>,
    last: u64,
}

impl Model {
    pub(super) fn new(config: RelayConfig) -> Model {
        Model {
            config,
            workers: Vec::new(),
            primary: BTreeMap::new(),
            calls: Vec::new(),
            open: BTreeSet::new(),
            tokens: BTreeMap::new(),
            numbers: BTreeMap::new(),
            last: 0,
        }
    }

    pub(super) fn stage(&self, worker: usize) -> Stage {
        self.workers[worker].stage
    }

    pub(super) fn last_number(&self) -> u64 {
        self.last
    }

    pub(super) fn born(&mut self, name: Arc<str>, group: usize) {
        self.workers.push(Worker { name, group, stage: Stage::Booting, holds: BTreeMap::new() });
    }

    pub(super) fn rises(&mut self, worker: usize) {
        let worker = &mut self.workers[worker];
        worker.stage = worker.stage.max(Stage::Up);
    }

    pub(super) fn leaves(&mut self, worker: usize) {
        let worker = &mut self.workers[worker];
        worker.stage = worker.stage.max(Stage::Leaving);
    }

    /// Nobody waits for what it has called any more.
    pub(super) fn dies(&mut self, worker: usize) {
        self.workers[worker].stage = Stage::Gone;
        self.workers[worker].holds.clear();
        for token in self.open.clone() {
            let call = &mut self.calls[token as usize];
            if call.caller == Some(worker) {
                call.is_over = true;
                self.open.remove(&token);
            }
        }
    }

    /// A call is made; says its token.
    pub(super) fn calls(
        &mut self,
        now: Time,
        caller: Option<(usize, u64)>,
        to: &Address,
        timeout: Duration,
        size: usize,
    ) -> u64 {
        let token = self.calls.len() as u64;
        let caller_index = caller.map(|(worker, _)| worker);
        let mut meant = self.meant(caller_index, to);
        for party in meant.parties_if_any() {
            party.was_full = !self.has_room(party.target, size);
        }
        if let Some(own) = caller {
            self.tokens.insert(own, token);
        }
        self.calls.push(Call { caller: caller_index, at: now, timeout, size, meant, is_over: false });
        self.open.insert(token);
        token
    }

    fn meant(&self, caller: Option<usize>, to: &Address) -> Meant {
        let made = |caller: usize| {
            self.open.iter().filter(|token| self.calls[**token as usize].caller == Some(caller)).count()
        };
        if self.open.len() >= self.config.in_flight
            || caller.is_some_and(|caller| made(caller) >= self.config.made_by_worker)
        {
            return Meant::Nobody(Refusal::TooMany);
        }
        match to {
            Address::Primary => Meant::These(vec![Party::new(Target::Primary, None, None)]),
            Address::Worker(name) => self.meant_by_name(name),
            Address::Any(group) | Address::All(group) => {
                let group = match group.as_deref() {
                    None => None,
                    Some(name) => match self.config.groups.iter().position(|known| **known == *name) {
                        None => return Meant::Nobody(Refusal::UnknownTarget),
                        place => place,
                    },
                };
                let others = self.alive().filter(|it| {
                    Some(*it) != caller && group.is_none_or(|group| self.workers[*it].group == group)
                });
                self.meant_of(others.collect(), matches!(to, Address::Any(_)))
            }
            _ => Meant::Nobody(Refusal::UnknownTarget),
        }
    }

    fn meant_by_name(&self, name: &str) -> Meant {
        let namesakes: Vec<usize> = self.alive().filter(|it| *self.workers[*it].name == *name).collect();
        let up = namesakes.iter().rev().find(|it| self.workers[**it].stage == Stage::Up);
        match up.or(namesakes.last()) {
            Some(meant) => Meant::These(vec![self.party(*meant)]),
            None => Meant::Nobody(Refusal::UnknownTarget),
        }
    }

    fn meant_of(&self, others: Vec<usize>, one: bool) -> Meant {
        let others = others.into_iter();
        if !one {
            let all: Vec<Party> = others.map(|it| self.party(it)).collect();
            return if all.is_empty() { Meant::Nobody(Refusal::NoWorkers) } else { Meant::These(all) };
        }
        let up: Vec<usize> = others.filter(|it| self.workers[*it].stage == Stage::Up).collect();
        let Some(least) = up.iter().map(|it| self.workers[*it].holds.len()).min() else {
            return Meant::Nobody(Refusal::NoWorkers);
        };
        let idlest = up.into_iter().filter(|it| self.workers[*it].holds.len() == least);
        Meant::OneOf(idlest.map(|it| self.party(it)).collect())
    }

    fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.workers.len()).filter(|it| self.workers[*it].stage != Stage::Gone)
    }

    fn party(&self, worker: usize) -> Party {
        let Worker { name, stage, .. } = &self.workers[worker];
        let refusal = match stage {
            Stage::Booting => Some(Refusal::NotReady),
            Stage::Up => None,
            Stage::Leaving | Stage::Gone => Some(Refusal::Leaving),
        };
        let key = ganger::internals::WorkerKey::from_bits(worker as u64);
        Party::new(Target::Worker(key), Some(Arc::clone(name)), refusal)
    }

    fn holds(&mut self, target: Target) -> &mut BTreeMap<u64, usize> {
        match target {
            Target::Primary => &mut self.primary,
            Target::Worker(worker) => &mut self.workers[worker.index()].holds,
        }
    }

    fn has_room(&mut self, target: Target, size: usize) -> bool {
        let (held, bytes) = (self.config.held, self.config.held_bytes);
        let holds = self.holds(target);
        holds.is_empty() || holds.len() < held && holds.values().sum::<usize>() + size <= bytes
    }

    /// A call was handed to somebody.
    pub(super) fn asked(
        &mut self,
        now: Time,
        target: Target,
        number: u64,
        payload: &[u8],
        court: &mut Court,
    ) {
        let token = u64::from_le_bytes(payload[..8].try_into().expect("eight bytes"));
        court.demand(number > self.last, Check::CallNumbersAreFresh, || {
            format!("{number} after {}", self.last)
        });
        self.last = number;
        let has_room = self.has_room(target, self.calls[token as usize].size);
        let call = &mut self.calls[token as usize];
        let size = call.size;
        call.meant.settle_on(target, None);
        let is_at_once = call.at == now && !call.is_over;
        let party = call.meant.parties().iter_mut().find(|party| party.target == target);
        let is_meant = party.is_some_and(|party| {
            let is_meant = party.refusal.is_none() && party.number.is_none();
            party.number = Some(number);
            is_meant
        });
        let text = || format!("call {token} is handed to {target:?} as {number}");
        court.demand(is_meant && has_room && is_at_once, Check::CallIsForWhomItNames, text);
        self.numbers.insert(number, token);
        self.holds(target).insert(number, size);
    }

    /// Somebody answers, whether he holds the call or not.
    pub(super) fn answers(&mut self, by: Target, number: u64, reply: &CallReply) {
        if self.holds(by).remove(&number).is_none() {
            return;
        }
        let Some(token) = self.numbers.get(&number) else { return };
        let parties = self.calls[*token as usize].meant.parties();
        if let Some(party) = parties.iter_mut().find(|party| party.number == Some(number)) {
            party.said = Some(reply.clone());
        }
    }

    pub(super) fn token_of(&self, worker: usize, call: u64) -> Option<u64> {
        self.tokens.get(&(worker, call)).copied()
    }

    /// A caller in this process is told everything at once.
    pub(super) fn settled(&mut self, now: Time, token: u64, answers: Answers, court: &mut Court) {
        let mut left = answers.len() as u32;
        for part in answers {
            left -= 1;
            self.told(now, Some(token), part.from.as_deref(), Some(left), &part.reply, court);
        }
        let is_over = self.calls[token as usize].is_over;
        court.demand(is_over, Check::CallSettlesOnce, || format!("call {token} is settled in part"));
    }

    /// A caller is told what came of a call at one of those whom it was for.
    pub(super) fn told(
        &mut self,
        now: Time,
        token: Option<u64>,
        from: Option<&str>,
        left: Option<u32>,
        reply: &CallReply,
        court: &mut Court,
    ) {
        let Some(token) = token.filter(|token| self.open.contains(token)) else {
            return court.accuse(Check::CallSettlesOnce, || format!("call {token:?} is over, or never was"));
        };
        let is_known = self.verdict(now, token, from, reply);
        court.demand(is_known, Check::CallAnswerIsGenuine, || {
            format!("call {token}: {from:?} is said to say {reply:?}: {:?}", self.calls[token as usize])
        });
        let call = &mut self.calls[token as usize];
        let untold = call.meant.parties().iter().filter(|party| !party.is_told).count();
        court.demand(left == Some(untold as u32), Check::CallSettlesOnce, || {
            format!("call {token}: {left:?} are said to be left, of {untold}")
        });
        if untold == 0 {
            call.is_over = true;
            self.open.remove(&token);
        }
    }

    /// Whether this may be said now.
    fn verdict(&mut self, now: Time, token: u64, from: Option<&str>, reply: &CallReply) -> bool {
        let stages: Vec<Stage> = self.workers.iter().map(|worker| worker.stage).collect();
        let call = &mut self.calls[token as usize];
        if let Meant::Nobody(refusal) = &call.meant {
            let is_said = *reply == CallReply::Refused(*refusal) && from.is_none() && call.at == now;
            call.meant = Meant::These(Vec::new());
            return is_said;
        }
        // A caller in this process is told everything when the last word is known.
        let is_at_once = call.at == now || call.caller.is_none();
        let deadline = call.at + call.timeout;
        if let (Meant::OneOf(some), Some(name)) = (&call.meant, from)
            && let Some(one) = who_refuses(some, name, reply)
        {
            let target = one.target;
            call.meant.settle_on(target, Some(name));
        }
        let may_say = |party: &Party| match (&party.said, reply) {
            (Some(said), reply) => said == reply && now < deadline + PRECISION,
            (None, CallReply::Refused(Refusal::TimedOut)) => party.number.is_some() && now >= deadline,
            (None, CallReply::Refused(Refusal::Lost)) => {
                let is_gone = |target| match target {
                    Target::Primary => false,
                    Target::Worker(worker) => stages[worker.index()] == Stage::Gone,
                };
                party.number.is_some() && is_gone(party.target)
            }
            (None, CallReply::Refused(Refusal::QueueFull)) => {
                party.number.is_none() && is_at_once && party.was_full
            }
            (None, CallReply::Refused(Refusal::ShuttingDown)) => true,
            (None, CallReply::Refused(refusal)) => party.refusal == Some(*refusal) && is_at_once,
            (None, CallReply::Data(_) | CallReply::Failed(_)) => false,
        };
        let parties = call.meant.parties().iter_mut();
        let mut named = parties.filter(|party| party.name.as_deref() == from && !party.is_told);
        match named.find(|party| may_say(party)) {
            Some(party) => {
                party.is_told = true;
                true
            }
            None => false,
        }
    }

    /// Nobody waits for what is known, or for longer than he said.
    pub(super) fn demand_order(&mut self, now: Time, court: &mut Court) {
        for token in self.open.clone() {
            let stages = &self.workers;
            let call = &mut self.calls[token as usize];
            let deadline = call.at + call.timeout;
            court.demand(now < deadline + PRECISION, Check::EveryCallEnds, || {
                format!("call {token} was due {:?} ago", now.since(deadline))
            });
            let is_gone = |party: &&mut Party| match party.target {
                Target::Primary => false,
                Target::Worker(worker) => stages[worker.index()].stage == Stage::Gone,
            };
            let is_known =
                |party: &mut Party| !party.is_told && (party.said.is_some() || is_gone(&&mut *party));
            let mut parties = call.meant.parties().iter_mut();
            let is_late = match call.caller {
                Some(_) => parties.any(is_known),
                None => parties.all(|party| is_known(party) || party.number.is_none()),
            };
            court.demand(!is_late, Check::CallersAreToldAtOnce, || {
                format!("call {token} waits for what is known")
            });
        }
    }

    pub(super) fn demand_nothing_open(&self, court: &mut Court) {
        court.demand(self.open.is_empty(), Check::EveryCallEnds, || format!("{:?} are open", self.open));
    }
}

impl Party {
    fn new(target: Target, name: Option<Arc<str>>, refusal: Option<Refusal>) -> Party {
        Party { target, name, refusal, was_full: false, number: None, said: None, is_told: false }
    }
}

/// Of those who might be meant, the one of this name; while a worker is replaced there are two of it.
fn who_refuses<'a>(some: &'a [Party], name: &str, reply: &CallReply) -> Option<&'a Party> {
    let is_full = *reply == CallReply::Refused(Refusal::QueueFull);
    let mut namesakes = some.iter().filter(|party| party.name.as_deref() == Some(name));
    namesakes.find(|party| party.was_full || !is_full)
}

impl Meant {
    fn parties(&mut self) -> &mut Vec<Party> {
        match self {
            Meant::These(parties) | Meant::OneOf(parties) => parties,
            Meant::Nobody(_) => {
                *self = Meant::These(Vec::new());
                self.parties()
            }
        }
    }

    fn parties_if_any(&mut self) -> &mut [Party] {
        match self {
            Meant::These(parties) | Meant::OneOf(parties) => parties,
            Meant::Nobody(_) => &mut [],
        }
    }

    /// Of those who might be meant, this one is.
    fn settle_on(&mut self, target: Target, name: Option<&str>) {
        if let Meant::OneOf(some) = self {
            let is_it = |party: &Party| {
                party.target == target && name.is_none_or(|name| party.name.as_deref() == Some(name))
            };
            let one: Vec<Party> = std::mem::take(some).into_iter().filter(is_it).collect();
            *self = Meant::These(one);
        }
    }
}
