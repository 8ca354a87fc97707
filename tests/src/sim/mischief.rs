//! What no worker should do, and some do.

use std::borrow::Cow;
use std::time::Duration;

use ganger::internals::ExitStatus;
use ganger_protocol::{AnswerHead, Answered, Body, Epoch, EventHead, Kind, Ordinal, Time, Vitals};

use super::calendar::Happening;
use super::hash::hash_bytes;
use super::process::Sort;
use super::world::World;

impl World {
    pub(crate) fn mischief(&mut self, proc: usize) {
        if !self.is_noisy() || self.procs[proc].session.is_none() {
            return;
        }
        let now = self.now();
        let sort = self.procs[proc].sort;
        self.trace.note(now, 50, proc as u64, 0, || format!("process {proc} acts up: {sort:?}"));
        match sort {
            Sort::Garbage => self.write_garbage(proc),
            Sort::HugeFrame => self.announce_too_much(proc),
            Sort::Echo => self.append(proc, Kind::Drain, &()),
            Sort::ClosesLink => self.close_link(proc),
            Sort::Liar => self.lie(proc),
            Sort::Scribbler => self.scribble(proc),
            Sort::Chatty => self.chatter(proc),
            Sort::ExitsUnasked => return self.die(proc, ExitStatus::Code(0)),
            Sort::LeavesUnasked => self.append(proc, Kind::Goodbye, &()),
            Sort::Sound
            | Sort::NeverSaysHello
            | Sort::NeverReady
            | Sort::DiesAtBoot { .. }
            | Sort::WrongVersion
            | Sort::BadManners
            | Sort::BadCapacity => return,
        }
        self.write_soon(proc);
        let delay = Duration::from_micros(self.rng.u64(..100_000));
        self.after(delay, Happening::Mischief { proc });
    }

    fn append(&mut self, proc: usize, kind: Kind, head: &()) {
        if let Some(session) = &mut self.procs[proc].session {
            session.outbox().frame(kind, head, Body::Copy(&[]));
        }
    }

    fn write_raw(&mut self, proc: usize, bytes: &[u8]) {
        let process = &mut self.procs[proc];
        if !process.up.is_closed_by_writer() {
            process.up.write(bytes);
            self.wake_loop();
        }
    }

    fn write_garbage(&mut self, proc: usize) {
        let mut bytes = vec![0; self.rng.usize(1..200)];
        self.rng.fill(&mut bytes);
        self.write_raw(proc, &bytes);
    }

    fn announce_too_much(&mut self, proc: usize) {
        self.write_raw(proc, &[255, 255, 255, 255, Kind::Answer as u8, 0, 4, 0]);
    }

    fn close_link(&mut self, proc: usize) {
        let process = &mut self.procs[proc];
        process.up.close_writer();
        process.down.close_reader();
        self.wake_loop();
    }

    /// Answers to what it holds and to what it does not, some of them twice.
    fn lie(&mut self, proc: usize) {
        let held: Vec<(Ordinal, Epoch)> = self.procs[proc]
            .told
            .held
            .iter()
            .map(|attempt| {
                let attempt = &self.ledger.attempts[*attempt];
                (attempt.ordinal, attempt.epoch)
            })
            .collect();
        let (mut ordinal, mut epoch) = match held.len() {
            0 => (Ordinal(self.rng.u32(..5)), Epoch(self.rng.u32(..3))),
            count => held[self.rng.usize(..count)],
        };
        if self.rng.u8(..3) == 0 {
            epoch = Epoch(epoch.0.wrapping_add(self.rng.u32(..3)));
        }
        if self.rng.u8(..3) == 0 {
            ordinal = Ordinal(ordinal.0.wrapping_add(self.rng.u32(..3)).wrapping_sub(1));
        }
        let head = AnswerHead { ordinal, epoch, run_nanos: u64::MAX, answered: Answered::Data };
        let Some(session) = &mut self.procs[proc].session else { return };
        for _ in 0..=u8::from(epoch.0 % 2 == 0) {
            session.outbox().frame(Kind::Answer, &head, Body::Copy(b"a lie"));
        }
        if let Some(attempt) = self.held(proc, ordinal, epoch) {
            self.ledger.attempts[attempt].said.push((hash_bytes(b"a lie"), u64::MAX));
        }
    }

    fn scribble(&mut self, proc: usize) {
        let slot = self.rng.usize(..8);
        let ordinal = Ordinal(self.rng.u32(..8));
        let time = Time::from_nanos(self.rng.u64(..));
        let now = self.now();
        let page = &self.procs[proc].page;
        match self.rng.u8(..5) {
            0 => drop(page.start(page.mark().generation)),
            1 => page.occupy(slot, ordinal, time),
            2 => page.vacate(slot),
            3 => drop(page.take_back()),
            _ => page.set_vitals(Vitals {
                beat: time.max(now),
                heap_total_bytes: u64::MAX,
                heap_used_bytes: u64::MAX,
            }),
        }
    }

    fn chatter(&mut self, proc: usize) {
        let Some(session) = &mut self.procs[proc].session else { return };
        for index in 0..20u32 {
            let head = EventHead { name: Cow::Borrowed("chatter") };
            session.outbox().frame(Kind::WorkerEvent, &head, Body::Copy(&index.to_le_bytes()));
        }
    }
}
