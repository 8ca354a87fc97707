//! What happened: always as a hash, by choice as lines.

use std::collections::VecDeque;

use ganger_protocol::Time;

/// The events of one schedule.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    events: u64,
    start: Time,
    keep: usize,
    lines: VecDeque<String>,
}

impl Trace {
    /// Keeps the last `keep` lines.
    pub(crate) fn new(start: Time, keep: usize) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0, start, keep, lines: VecDeque::new() }
    }

    /// Notes an event by its code and two numbers; `line` says the same to people.
    pub(crate) fn note(&mut self, now: Time, code: u64, a: u64, b: u64, line: impl FnOnce() -> String) {
        self.events += 1;
        for word in [now.nanos() ^ code << 56, a, b] {
            self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        if self.keep > 0 {
            self.push(now, &line());
        }
    }

    /// Adds a line that explains without being an event.
    pub(crate) fn say(&mut self, now: Time, line: impl FnOnce() -> String) {
        if self.keep > 0 {
            self.push(now, &line());
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }

    fn push(&mut self, now: Time, line: &str) {
        if self.lines.len() == self.keep {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{:>12.6} ms  {line}", now.since(self.start).as_secs_f64() * 1e3));
    }
}
