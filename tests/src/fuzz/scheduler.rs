//! Target `scheduler`: a script of what workers, owners and the clock do, against the live scheduler.
//!
//! Workers are played on the [`Rig`]: their frames come whole and in pieces, in any order, with any ids, twice, and
//! for what was never asked; their pages are scribbled on; their links and processes end at any time.

use std::time::Duration;

use ganger::internals::{
    Backlog, Config, ExitStatus, GroupConfig, GroupIndex, Input, JobKey, JobOptions, OnTimeout, Order,
    Outcome, Pick, Priority, RetryOn, SpawnFailure, WorkerKey,
};
use ganger_protocol::{
    Answered, Epoch, EventHead, Kind, Ordinal, Page, ProgressHead, Taken, Time, VERSION, Vitals,
};

use super::Features;
use super::tape::Tape;
use crate::raw::frame;
use crate::rig::{Peer, Rig, Stage};

/// A script of more steps than this says nothing new.
const STEPS: usize = 400;

/// More jobs or workers than this only make a script slow.
const CROWD: usize = 48;

pub(super) fn run(bytes: &[u8], features: &mut Features) {
    let mut tape = Tape::new(bytes);
    let mut rig = Rig::new(config(&mut tape), 1);
    for _ in 0..STEPS {
        if tape.is_empty() || rig.is_stopped {
            break;
        }
        let step = tape.below(32);
        features.step(step);
        take(&mut rig, step, &mut tape, features);
    }
    if !rig.is_stopped {
        rig.finish();
    }
    for job in &rig.jobs {
        features.note(job.outcome.as_ref().map(sight_of));
    }
}

fn sight_of(outcome: &Outcome) -> (std::mem::Discriminant<Outcome>, u16) {
    let attempt = match outcome {
        Outcome::Replied { attempt, .. } | Outcome::Failed { attempt, .. } => attempt.attempt,
        Outcome::TimedOut { .. }
        | Outcome::Cancelled { .. }
        | Outcome::WorkerLost(_)
        | Outcome::Poisoned { .. }
        | Outcome::ShuttingDown { .. }
        | Outcome::NoWorkers { .. } => 0,
    };
    (std::mem::discriminant(outcome), attempt)
}

fn config(tape: &mut Tape<'_>) -> Config {
    let groups = (0..1 + tape.below(2)).map(|index| group(index, tape)).collect();
    Config { sample_every: Duration::from_millis(250), ..Config::new(groups) }
}

fn group(index: usize, tape: &mut Tape<'_>) -> GroupConfig {
    let mut group = GroupConfig::new(format!("group-{index}"), 1 + tape.below(3) as u32);
    group.prefetch = tape.below(5) as u32;
    group.pick = match tape.below(5) {
        0 => Pick::LowestRss,
        1 => Pick::LeastBusy,
        2 => Pick::PowerOfTwo,
        3 => Pick::Affinity,
        _ => Pick::Balanced,
    };
    group.restart.limit = tape.bit().then_some(3);
    group.poison.deaths = 1 + tape.below(3) as u8;
    group.poison.losses = 1 + tape.below(3) as u8;
    group
}

fn take(rig: &mut Rig, step: usize, tape: &mut Tape<'_>, features: &mut Features) {
    match step {
        0..=3 => enqueue(rig, tape),
        4 | 5 => rig.pass(some_time(tape)),
        6..=23 => {
            if let Some(peer) = tape.pick(rig.peers.len()) {
                act_up(rig, peer, step, tape, features);
            }
        }
        24 | 25 => owner_of_a_job(rig, tape),
        26..=29 => owner_of_workers(rig, step, tape),
        _ => late_news(rig, tape),
    }
}

fn some_time(tape: &mut Tape<'_>) -> Duration {
    Duration::from_micros(1 << tape.below(27))
}

fn enqueue(rig: &mut Rig, tape: &mut Tape<'_>) {
    if rig.jobs.len() >= CROWD {
        return;
    }
    let how = tape.byte();
    let clock = |bit: u8, tape: &mut Tape<'_>| (how & bit != 0).then(|| some_time(tape));
    let options = JobOptions {
        retries: u16::from(how & 3),
        queue_timeout: clock(4, tape),
        run_timeout: clock(8, tape),
        timeout: clock(16, tape),
        on_timeout: [OnTimeout::Kill, OnTimeout::Leave, OnTimeout::Cooperative][tape.below(3)],
        retry_on: RetryOn { worker_lost: how & 32 == 0, failure: how & 64 != 0, run_timeout: how & 128 != 0 },
        retry_backoff: (how & 65 == 65).then_some(Duration::from_millis(5)),
        affinity: tape.bit().then_some(7),
        order: tape.bit().then(|| Box::new(order(tape))),
        has_attachments: how & 2 != 0,
        ..JobOptions::default()
    };
    let group = GroupIndex(tape.below(usize::from(rig.groups())) as u16);
    rig.enqueue(group, options);
}

fn order(tape: &mut Tape<'_>) -> Order {
    let how = tape.byte();
    Order {
        priority: [Priority::High, Priority::Normal, Priority::Low][usize::from(how) % 3],
        delay: (how & 8 != 0).then(|| some_time(tape)),
        not_before: (how & 16 != 0).then(|| Time::ZERO + some_time(tape)),
        key: (how & 32 != 0).then_some(u64::from(how >> 6)),
    }
}

fn act_up(rig: &mut Rig, peer: usize, step: usize, tape: &mut Tape<'_>, features: &mut Features) {
    let now = rig.now();
    let said = match step {
        6 | 7 => {
            rig.born(peer);
            Peer::up(1 + tape.below(3) as u32)
        }
        8 => Peer::ready(tape.u32()),
        9..=12 => {
            rig.peers[peer].start_next(now);
            match rig.peers[peer].answer_next() {
                Some(task) if step != 12 => answer(task.ordinal, task.epoch, tape),
                Some(_) | None => Vec::new(),
            }
        }
        13 | 14 => {
            rig.peers[peer].start_next(now);
            Vec::new()
        }
        15 => wrong_answer(rig, peer, tape),
        16 if tape.bit() => taken(rig, peer, tape),
        16 => frame(Kind::Busy, &(), &[]),
        17 => frame(Kind::Goodbye, &(), &[]),
        18 if tape.bit() => progress(rig, peer, tape),
        18 => frame(Kind::WorkerEvent, &EventHead { name: "news".into() }, &[0; 40]),
        19 => Peer::hello(VERSION + u16::from(tape.bit())),
        20 => {
            let count = tape.below(64);
            tape.take(count).to_vec()
        }
        21 => return end(rig, peer, tape),
        22 => return stillborn(rig, peer, tape),
        _ => return scribble(&rig.peers[peer].page, now, tape),
    };
    say(rig, peer, &said, tape, features);
}

/// A report about the oldest request, or about one that may not be.
fn progress(rig: &mut Rig, peer: usize, tape: &mut Tape<'_>) -> Vec<u8> {
    let now = rig.now();
    rig.peers[peer].start_next(now);
    let head = ProgressHead { ordinal: Ordinal(tape.below(8) as u32), epoch: Epoch(tape.below(4) as u32) };
    frame(Kind::Progress, &head, &[1; 20])
}

/// Now and then only a part of what is to be said is said, or a byte of it is another.
fn say(rig: &mut Rig, peer: usize, said: &[u8], tape: &mut Tape<'_>, features: &mut Features) {
    if said.is_empty() || rig.peers[peer].stage != Stage::Alive {
        return;
    }
    let mut said = said.to_vec();
    match tape.byte() {
        0..=7 => said.truncate(tape.below(said.len())),
        8..=15 => {
            let at = tape.below(said.len());
            said[at] ^= 1 << tape.below(8);
        }
        16..=23 => said.extend_from_within(..),
        _ => {}
    }
    if let Err(reason) = rig.hear(peer, &said) {
        features.note(reason.split_whitespace().next_back().map(str::len));
    }
}

fn answer(ordinal: Ordinal, epoch: Epoch, tape: &mut Tape<'_>) -> Vec<u8> {
    let failure = ganger_protocol::encode(&ganger_protocol::Failure::new("no")).expect("a failure encodes");
    match tape.below(8) {
        0 => Peer::answer(ordinal, epoch, Answered::Ack, &[]),
        1 => Peer::answer(ordinal, epoch, Answered::Failed, &failure),
        2 => Peer::answer(ordinal, epoch, Answered::Failed, &[9; 5]),
        3 => Peer::answer(ordinal, epoch, Answered::Ack, &[1]),
        _ => Peer::answer(ordinal, epoch, Answered::Data, &tape.u64().to_le_bytes()),
    }
}

/// It has the attachments of what it holds, started or not; or of anything.
fn taken(rig: &Rig, peer: usize, tape: &mut Tape<'_>) -> Vec<u8> {
    let tasks = &rig.peers[peer].tasks;
    let (ordinal, epoch) = match tape.pick(tasks.len()) {
        Some(place) => (tasks[place].ordinal, tasks[place].epoch),
        None => (Ordinal(tape.u32()), Epoch(tape.u32())),
    };
    frame(Kind::Taken, &Taken { ordinal, epoch }, &[])
}

/// For what it holds, nearly; or for anything.
fn wrong_answer(rig: &Rig, peer: usize, tape: &mut Tape<'_>) -> Vec<u8> {
    let tasks = &rig.peers[peer].tasks;
    let (mut ordinal, mut epoch) = match tape.pick(tasks.len()) {
        Some(place) => (tasks[place].ordinal, tasks[place].epoch),
        None => (Ordinal(tape.u32()), Epoch(tape.u32())),
    };
    match tape.below(4) {
        0 => ordinal.0 = ordinal.0.wrapping_add(tape.below(5) as u32).wrapping_sub(2),
        1 => epoch.0 = epoch.0.wrapping_add(tape.below(5) as u32).wrapping_sub(2),
        2 => epoch.0 = tape.u32(),
        _ => {}
    }
    answer(ordinal, epoch, tape)
}

fn end(rig: &mut Rig, peer: usize, tape: &mut Tape<'_>) {
    match tape.below(4) {
        0 => rig.end_link(peer),
        1 => rig.end_process(peer, ExitStatus::Code(tape.below(2) as i32)),
        2 => rig.end_process(peer, ExitStatus::Unknown),
        _ => rig.die(peer),
    }
}

fn stillborn(rig: &mut Rig, peer: usize, tape: &mut Tape<'_>) {
    let reason = "not today".into();
    let error = if tape.bit() { SpawnFailure::Permanent(reason) } else { SpawnFailure::Temporary(reason) };
    rig.stillborn(peer, error);
}

fn scribble(page: &Page, now: Time, tape: &mut Tape<'_>) {
    match tape.below(6) {
        0 => drop(page.start(page.mark().generation)),
        1 => page.occupy(tape.below(8), Ordinal(tape.u32()), Time::from_nanos(tape.u64())),
        2 => page.vacate(tape.below(8)),
        3 => drop(page.take_back()),
        4 => page.set_vitals(Vitals { beat: Time::from_nanos(tape.u64()), ..Vitals::default() }),
        _ => page.set_vitals(Vitals { beat: now, ..Vitals::default() }),
    }
}

fn owner_of_a_job(rig: &mut Rig, tape: &mut Tape<'_>) {
    let key = match tape.pick(rig.jobs.len()) {
        Some(job) if !tape.bit() => rig.jobs[job].key,
        Some(_) | None => JobKey::from_bits(tape.u64()),
    };
    rig.input(Input::Cancel(key));
}

fn owner_of_workers(rig: &mut Rig, step: usize, tape: &mut Tape<'_>) {
    let input = match step {
        26 if rig.peers.len() > CROWD => return,
        26 => Input::Resize { group: GroupIndex(tape.below(3) as u16), workers: tape.below(4) as u32 },
        27 | 28 => {
            let worker = worker(rig, tape);
            Input::ShutdownWorker { worker, grace: some_time(tape) }
        }
        // Rarely: nothing of interest comes after it.
        _ if tape.byte() > 40 => return,
        _ if tape.bit() => Input::HardKill,
        _ => {
            let backlog = if tape.bit() { Backlog::WorkOff } else { Backlog::Settle };
            Input::SoftKill { deadline: some_time(tape), backlog }
        }
    };
    rig.input(input);
}

fn worker(rig: &Rig, tape: &mut Tape<'_>) -> WorkerKey {
    match tape.pick(rig.peers.len()) {
        Some(peer) if !tape.bit() => rig.peers[peer].key,
        Some(_) | None => WorkerKey::from_bits(tape.u64()),
    }
}

/// News of workers that are long gone, or never were.
fn late_news(rig: &mut Rig, tape: &mut Tape<'_>) {
    let gone = rig.peers.iter().filter(|peer| peer.stage == Stage::Gone).map(|peer| peer.key).next_back();
    let worker = gone.filter(|_| tape.bit()).unwrap_or(WorkerKey::from_bits(tape.u64() | 1 << 62));
    let page = Page::in_memory();
    rig.input(match tape.below(6) {
        0 => Input::Sample { worker, rss_bytes: None, vitals: page.vitals() },
        1 => Input::Page { worker, started: Ordinal(tape.u32()), running: page.slots().collect() },
        2 => Input::TakenBack { worker, mark: page.take_back() },
        3 => Input::LinkEnded(worker),
        4 => Input::Busy(worker),
        _ => Input::Violation { worker, reason: String::from("late") },
    });
}
