//! The virtual clock: what happens next, and when.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use ganger_protocol::Time;

/// Something that will happen in the world outside the supervisor's loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// The supervisor's loop turns; stale when another turn was scheduled since.
    Turn { serial: u64 },
    /// The caller does something.
    Call,
    /// The spawner has an answer for a worker.
    SpawnDone { proc: usize },
    /// A process has reached its own program.
    Boot { proc: usize },
    /// A process says that it is ready, or busy.
    Readiness { proc: usize },
    /// A process reads what has arrived.
    Read { proc: usize },
    /// A process starts a request that it has.
    Start { proc: usize },
    /// A handler has come to its end.
    HandlerEnd { proc: usize, serial: u64 },
    /// A process writes what it has to say.
    Write { proc: usize },
    /// A process does what no worker should.
    Mischief { proc: usize },
    /// A process gets out of the state that a fault put it into.
    Recover { proc: usize },
    /// A signal reaches a process.
    Signal { proc: usize, signal: Signal },
    /// The last holder of a dead process's link lets go.
    LetGo { proc: usize },
    /// A fault of the machine: a stop of the supervisor, the death of many workers.
    Nemesis,
}

/// A signal on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Terminate,
    Kill,
}

/// Everything that will happen, in order of time; what happens at the same time, in an order drawn by lot.
#[derive(Debug)]
pub(crate) struct Calendar {
    now: Time,
    grain_nanos: u64,
    serial: u64,
    heap: BinaryHeap<Entry>,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    at: Time,
    lot: u32,
    serial: u64,
    happening: Happening,
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        (other.at, other.lot, other.serial).cmp(&(self.at, self.lot, self.serial))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Calendar {
    /// With a coarse grain many things happen at the same time.
    pub(crate) fn new(now: Time, grain_nanos: u64) -> Calendar {
        Calendar { now, grain_nanos, serial: 0, heap: BinaryHeap::new() }
    }

    pub(crate) fn now(&self) -> Time {
        self.now
    }

    pub(crate) fn after(&mut self, delay: Duration, lot: u32, happening: Happening) {
        self.at(self.now + delay, lot, happening);
    }

    pub(crate) fn at(&mut self, at: Time, lot: u32, happening: Happening) {
        let at = Time::from_nanos(at.nanos().next_multiple_of(self.grain_nanos)).max(self.now);
        self.serial += 1;
        self.heap.push(Entry { at, lot, serial: self.serial, happening });
    }

    pub(crate) fn pop(&mut self) -> Option<Happening> {
        let entry = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.happening)
    }
}
