//! The relay: calls between processes on their way through the supervisor. A pure state machine beside the scheduler,
//! with the same verbs.
//!
//! ```text
//!             ┌─ refused at once ───────────────────────────┐
//!  a call ────┤                                             ├──▶ settled, once
//!             └─ held by its targets ── answer ─────────────┤
//!                   │                   death of a target ──┤
//!                   │                   its time is up ─────┘
//!                   └── death of its caller ──▶ forgotten
//! ```
//!
//! What was handed to a target stays in its hold until it has answered or died, also when nobody waits for it any more:
//! an answer is believed only from whoever holds the call, and a target that never answers is given no more than its
//! hold has room for. Numbers are never used twice.

mod action;
mod call;
mod check;
mod config;
mod input;
mod member;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ganger_protocol::{Address, CallReply, Refusal, Time};

use crate::scheduler::{GroupIndex, TimerId, Timers, WorkerKey};

use self::call::{Call, Calls, Key};
use self::member::{Hold, Member, Standing};

pub use self::action::Action;
pub use self::check::CallCounts;
pub use self::config::RelayConfig;
pub use self::input::{Input, Origin, Request, Target};

/// Calls between processes, and who holds them.
#[derive(Debug)]
pub struct Relay<T> {
    config: RelayConfig,
    /// What the primary process holds.
    primary: Hold,
    members: BTreeMap<WorkerKey, Member>,
    /// A worker that is being replaced may have the name of its replacement: the last is meant.
    names: BTreeMap<Arc<str>, Vec<WorkerKey>>,
    calls: Calls<T>,
    timers: Timers<Key>,
    /// The number handed out last.
    last: u64,
    actions: VecDeque<Action<T>>,
    late: u64,
    strays: u64,
}

/// One of those whom a call is for, and why it cannot be called, if it cannot.
struct Party {
    target: Target,
    name: Option<Arc<str>>,
    refusal: Option<Refusal>,
}

impl<T> Relay<T> {
    /// A relay that knows of no worker.
    #[must_use]
    pub fn new(config: RelayConfig, now: Time) -> Relay<T> {
        Relay {
            config,
            primary: Hold::default(),
            members: BTreeMap::new(),
            names: BTreeMap::new(),
            calls: Calls::default(),
            timers: Timers::new(now),
            last: 0,
            actions: VecDeque::new(),
            late: 0,
            strays: 0,
        }
    }

    /// Tells what has happened.
    pub fn handle_input(&mut self, now: Time, input: Input<T>) {
        match input {
            Input::Born { worker, name, group } => self.enter(worker, name, group),
            Input::Up(worker) => self.stand(worker, Standing::Up),
            Input::Leaving(worker) => self.stand(worker, Standing::Leaving),
            Input::Gone(worker) => self.bury(worker),
            Input::Call(request) => self.call(now, request),
            Input::Answer { by, number, reply } => self.answer(by, number, reply),
            Input::Close => self.close(),
        }
    }

    /// Ends the calls whose time is up.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(key) = self.timers.pop_due(now) {
            if let Some(call) = self.calls.get_mut(key) {
                call.timer = TimerId::UNSET;
            }
            self.end_open(key, Refusal::TimedOut);
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action<T>> {
        self.actions.pop_front()
    }

    /// When to call [`handle_timeout`](Relay::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.timers.len() == 0 { None } else { self.timers.next() }
    }

    /// Whether no call is on its way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.calls.len() == 0
    }

    fn enter(&mut self, worker: WorkerKey, name: Arc<str>, group: GroupIndex) {
        self.names.entry(Arc::clone(&name)).or_default().push(worker);
        self.members.insert(worker, Member::new(name, group));
    }

    /// Standings only move on: a worker that leaves may still say that it is ready.
    fn stand(&mut self, worker: WorkerKey, standing: Standing) {
        if let Some(member) = self.members.get_mut(&worker) {
            member.standing = member.standing.max(standing);
        }
    }

    /// A worker is gone: nobody waits for its calls, and what it held is lost.
    fn bury(&mut self, worker: WorkerKey) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        // While it is still a member: it may be its own target.
        for key in std::mem::take(&mut member.made).into_values() {
            self.forget(key);
        }
        let Some(member) = self.members.remove(&worker) else { return };
        if let Some(namesakes) = self.names.get_mut(&member.name) {
            namesakes.retain(|other| *other != worker);
            if namesakes.is_empty() {
                self.names.remove(&member.name);
            }
        }
        for (number, held) in member.hold.into_items() {
            if let Some(key) = held.call {
                self.give(key, number, CallReply::Refused(Refusal::Lost));
            }
        }
    }

    fn close(&mut self) {
        for key in self.calls.keys() {
            self.end_open(key, Refusal::ShuttingDown);
        }
    }

    fn call(&mut self, now: Time, request: Request<T>) {
        let caller = match &request.from {
            Origin::Primary(_) => None,
            Origin::Worker { worker, call } => match self.members.get(worker) {
                Some(member) if !member.made.contains_key(call) => Some(*worker),
                // It is gone, or the judge of what it says has slept.
                Some(_) | None => return self.strays += 1,
            },
        };
        let parties = match self.admit(caller) {
            Ok(()) => self.parties(&request.to, caller),
            Err(refusal) => Err(refusal),
        };
        match parties {
            Ok(parties) if !parties.is_empty() => self.hand_out(now, request, caller, parties),
            Ok(_) => self.refuse(request.from, Refusal::NoWorkers),
            Err(refusal) => self.refuse(request.from, refusal),
        }
    }

    fn admit(&self, caller: Option<WorkerKey>) -> Result<(), Refusal> {
        let made = caller.and_then(|caller| self.members.get(&caller)).map_or(0, |member| member.made.len());
        if made >= self.config.made_by_worker || self.calls.len() >= self.config.in_flight {
            return Err(Refusal::TooMany);
        }
        Ok(())
    }

    /// Whom an address means. A worker is not among those that it calls as any or all.
    fn parties(&self, to: &Address, caller: Option<WorkerKey>) -> Result<Vec<Party>, Refusal> {
        match to {
            Address::Primary => Ok(vec![Party { target: Target::Primary, name: None, refusal: None }]),
            Address::Worker(name) => {
                let namesakes = self.names.get(name.as_str()).ok_or(Refusal::UnknownTarget)?;
                // The youngest that can be called; if there is none, the youngest.
                let up = namesakes.iter().rev().find(|key| self.members[key].standing == Standing::Up);
                let meant = up.or(namesakes.last()).ok_or(Refusal::UnknownTarget)?;
                Ok(vec![self.party(*meant)])
            }
            Address::Any(group) => {
                let others = self.others(group.as_deref(), caller)?;
                let up = others.filter(|key| self.members[key].standing == Standing::Up);
                let idlest = up.min_by_key(|key| (self.members[key].hold.len(), self.members[key].last));
                idlest.map(|key| vec![self.party(key)]).ok_or(Refusal::NoWorkers)
            }
            Address::All(group) => {
                Ok(self.others(group.as_deref(), caller)?.map(|key| self.party(key)).collect())
            }
            _ => Err(Refusal::UnknownTarget),
        }
    }

    fn others(
        &self,
        group: Option<&str>,
        caller: Option<WorkerKey>,
    ) -> Result<impl Iterator<Item = WorkerKey>, Refusal> {
        let group = match group {
            None => None,
            Some(name) => Some(self.config.group(name).ok_or(Refusal::UnknownTarget)?),
        };
        let is_meant = move |(key, member): &(&WorkerKey, &Member)| {
            group.is_none_or(|group| member.group == group) && Some(**key) != caller
        };
        Ok(self.members.iter().filter(is_meant).map(|(key, _)| *key))
    }

    fn party(&self, worker: WorkerKey) -> Party {
        let member = &self.members[&worker];
        let refusal = match member.standing {
            Standing::Booting => Some(Refusal::NotReady),
            Standing::Up => None,
            Standing::Leaving => Some(Refusal::Leaving),
        };
        Party { target: Target::Worker(worker), name: Some(Arc::clone(&member.name)), refusal }
    }

    /// Gives a call to all whom it is for.
    fn hand_out(&mut self, now: Time, request: Request<T>, caller: Option<WorkerKey>, parties: Vec<Party>) {
        let Request { from, name, payload, timeout, .. } = request;
        let caller_name = caller.and_then(|caller| self.members.get(&caller)).map(|it| Arc::clone(&it.name));
        let made = match &from {
            Origin::Primary(_) => None,
            Origin::Worker { worker, call } => Some((*worker, *call)),
        };
        let key = self.calls.insert(Call::new(from, parties.len()));
        if let Some((worker, call)) = made
            && let Some(member) = self.members.get_mut(&worker)
        {
            member.made.insert(call, key);
        }
        let deadline = now + timeout;
        let mut refused = Vec::new();
        for Party { target, name: who, refusal } in parties {
            if let Some(refusal) = refusal.or_else(|| self.full(target, payload.len())) {
                refused.push((who, refusal));
                continue;
            }
            let number = self.hold(target, key, payload.len());
            if let Some(call) = self.calls.get_mut(key) {
                call.open.insert(number, (target, who));
            }
            let (caller, name, payload) = (caller_name.clone(), Arc::clone(&name), payload.clone());
            self.actions.push_back(match target {
                Target::Primary => Action::Serve { number, caller, name, payload, deadline },
                Target::Worker(worker) => Action::Ask { worker, number, caller, name, payload, timeout },
            });
        }
        if let Some(call) = self.calls.get_mut(key)
            && !call.open.is_empty()
        {
            self.timers.set(&mut call.timer, deadline, key);
        }
        for (who, refusal) in refused {
            self.tell(key, who, CallReply::Refused(refusal));
        }
    }

    fn full(&self, target: Target, bytes: usize) -> Option<Refusal> {
        let has_room = match target {
            Target::Primary => self.primary.has_room_for(bytes, &self.config),
            Target::Worker(worker) => {
                self.members.get(&worker).is_some_and(|it| it.hold.has_room_for(bytes, &self.config))
            }
        };
        (!has_room).then_some(Refusal::QueueFull)
    }

    /// Puts a call into the hold of a target, under a new number.
    fn hold(&mut self, target: Target, key: Key, bytes: usize) -> u64 {
        self.last += 1;
        let number = self.last;
        if let Target::Worker(worker) = target
            && let Some(member) = self.members.get_mut(&worker)
        {
            member.last = number;
        }
        if let Some(hold) = self.hold_of(target) {
            hold.put(number, key, bytes);
        }
        number
    }

    fn hold_of(&mut self, target: Target) -> Option<&mut Hold> {
        match target {
            Target::Primary => Some(&mut self.primary),
            Target::Worker(worker) => self.members.get_mut(&worker).map(|member| &mut member.hold),
        }
    }

    /// An answer counts only from whoever holds the call.
    fn answer(&mut self, by: Target, number: u64, reply: CallReply) {
        match self.hold_of(by).and_then(|hold| hold.take(number)) {
            Some(held) => match held.call {
                Some(key) => self.give(key, number, reply),
                None => self.late += 1,
            },
            None => self.strays += 1,
        }
    }

    /// What a target that held the call says to it.
    fn give(&mut self, key: Key, number: u64, reply: CallReply) {
        let open = self.calls.get_mut(key).and_then(|call| call.open.remove(&number));
        debug_assert!(open.is_some(), "who holds a call is waited for");
        if let Some((_, who)) = open {
            self.tell(key, who, reply);
        }
    }

    /// Tells the caller what came of a call at one of those whom it was for. The last word ends the call.
    fn tell(&mut self, key: Key, from: Option<Arc<str>>, reply: CallReply) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if let Some(action) = call.tell(from, reply) {
            self.actions.push_back(action);
        }
        if call.left == 0 {
            self.end(key);
        }
    }

    fn end(&mut self, key: Key) {
        let Some(mut call) = self.calls.remove(key) else { return };
        self.timers.clear(&mut call.timer);
        match call.from {
            Origin::Primary(ticket) => {
                self.actions.push_back(Action::Settle { ticket, answers: call.answers });
            }
            Origin::Worker { worker, call } => {
                if let Some(member) = self.members.get_mut(&worker) {
                    member.made.remove(&call);
                }
            }
        }
    }

    /// Waits no longer for those who have not answered.
    fn end_open(&mut self, key: Key, refusal: Refusal) {
        let Some(call) = self.calls.get_mut(key) else { return };
        for (number, (target, who)) in std::mem::take(&mut call.open) {
            if let Some(hold) = self.hold_of(target) {
                hold.abandon(number);
            }
            self.tell(key, who, CallReply::Refused(refusal));
        }
    }

    /// Nobody is to be told what comes of a call.
    fn forget(&mut self, key: Key) {
        let Some(mut call) = self.calls.remove(key) else { return };
        self.timers.clear(&mut call.timer);
        for (number, (target, _)) in call.open {
            if let Some(hold) = self.hold_of(target) {
                hold.abandon(number);
            }
        }
    }

    /// A call that is for nobody.
    fn refuse(&mut self, from: Origin<T>, refusal: Refusal) {
        let key = self.calls.insert(Call::new(from, 1));
        self.tell(key, None, CallReply::Refused(refusal));
    }
}
