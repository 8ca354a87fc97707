//! The reference model of a worker: what the supervisor was told of it and what it did to it.

use std::time::Duration;

use ganger::internals::RecyclePolicy;
use ganger_protocol::{Generation, Ordinal, Time};

/// What the supervisor knows of a worker, from the inputs it got and the actions it took.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) ordered: Time,
    pub(crate) spawned: Option<Time>,
    pub(crate) capacity: Option<u32>,
    pub(crate) ready_at: Option<Time>,
    pub(crate) is_busy: bool,
    /// Told that no further request comes.
    pub(crate) drained: Option<Time>,
    pub(crate) said_goodbye: bool,
    pub(crate) violated: Option<Time>,
    pub(crate) link_ended: Option<Time>,
    pub(crate) process_ended: Option<Time>,
    pub(crate) spawn_failed: bool,
    pub(crate) final_started: Ordinal,
    pub(crate) final_running: Vec<Ordinal>,
    /// When its heartbeat was last seen to change, and what it was.
    pub(crate) beat_seen: Time,
    pub(crate) beat: Time,
    /// When a sample first showed that it was silent for too long.
    pub(crate) suspected: Option<Time>,
    /// The last look may have shown it silent for too long.
    pub(crate) seemed_silent: bool,
    pub(crate) missing: Option<Time>,
    pub(crate) warned: Option<Time>,
    pub(crate) terminated: Option<Time>,
    pub(crate) killed: Option<Time>,
    pub(crate) is_written_off: bool,
    pub(crate) is_judged: bool,
    pub(crate) generation: Generation,
    pub(crate) next_ordinal: Ordinal,
    /// Attempts that are not over, oldest first.
    pub(crate) held: Vec<usize>,
    pub(crate) answers: u32,
    /// When the timers were last looked at while a culprit of its was due to end it.
    pub(crate) ripe_at: Option<Time>,
    /// When it answered last, or got a request while it had none.
    pub(crate) last_progress: Time,
    pub(crate) shutdown_by: Option<Time>,
    /// Looks in a row that may have found it too large, now and at most.
    pub(crate) large_looks: u32,
    pub(crate) most_large_looks: u32,
    /// A look has found it so large that it is to be killed.
    pub(crate) over_memory: Option<Time>,
}

impl Told {
    pub(crate) fn new(ordered: Time) -> Told {
        Told {
            ordered,
            spawned: None,
            capacity: None,
            ready_at: None,
            is_busy: false,
            drained: None,
            said_goodbye: false,
            violated: None,
            link_ended: None,
            process_ended: None,
            spawn_failed: false,
            final_started: Ordinal(0),
            final_running: Vec::new(),
            beat_seen: ordered,
            beat: Time::ZERO,
            suspected: None,
            seemed_silent: false,
            missing: None,
            warned: None,
            terminated: None,
            killed: None,
            is_written_off: false,
            is_judged: false,
            generation: Generation(0),
            next_ordinal: Ordinal(1),
            held: Vec::new(),
            answers: 0,
            ripe_at: None,
            last_progress: ordered,
            shutdown_by: None,
            large_looks: 0,
            most_large_looks: 0,
            over_memory: None,
        }
    }

    /// We have begun to end it.
    pub(crate) fn kill_begun(&self) -> bool {
        self.warned.is_some() || self.terminated.is_some() || self.killed.is_some()
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.drained.is_some() || self.kill_begun() || self.is_ending()
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.violated.is_some()
            || self.link_ended.is_some()
            || self.process_ended.is_some()
            || self.spawn_failed
    }

    /// Why nothing may be sent to it, whatever it holds.
    pub(crate) fn refuses(&self) -> Option<&'static str> {
        if self.spawned.is_none() {
            Some("not started")
        } else if self.process_ended.is_some() || self.link_ended.is_some() {
            Some("dead")
        } else if self.violated.is_some() {
            Some("in breach of the protocol")
        } else if self.kill_begun() {
            Some("being killed")
        } else if self.drained.is_some() {
            Some("draining")
        } else if self.capacity.is_none() {
            Some("not ready")
        } else if self.is_busy {
            Some("busy")
        } else if self.suspected.is_some() {
            Some("suspected")
        } else {
            None
        }
    }

    /// Whether it is proven dead, or given up.
    pub(crate) fn is_proven_dead(&self, now: Time, orphan_grace: Duration) -> bool {
        let orphaned = self.process_ended.is_some_and(|at| now >= at + orphan_grace);
        self.is_written_off
            || self.spawn_failed
            || (self.process_ended.is_some() && (self.link_ended.is_some() || orphaned))
    }

    /// How large a look found it.
    pub(crate) fn note_memory(&mut self, now: Time, rss_bytes: Option<u64>, policy: &RecyclePolicy) {
        let Some(rss_bytes) = rss_bytes else { return };
        let least = |limit: u64| (limit as f64 * (1.0 - policy.jitter)) as u64;
        if policy.above_bytes.is_some_and(|limit| rss_bytes > least(limit)) {
            self.large_looks += 1;
            self.most_large_looks = self.most_large_looks.max(self.large_looks);
        } else {
            self.large_looks = 0;
        }
        if policy.kill_above_bytes.is_some_and(|limit| rss_bytes > limit) {
            self.over_memory.get_or_insert(now);
        }
    }

    /// What a look at it showed.
    pub(crate) fn note_sample(
        &mut self,
        now: Time,
        beat: Time,
        forgiven: Duration,
        suspect_after: Duration,
        missing_after: Duration,
    ) {
        if beat != self.beat {
            self.beat = beat;
            self.beat_seen = now;
            self.suspected = None;
            self.missing = None;
        }
        self.seemed_silent = now.since(self.beat_seen) >= suspect_after;
        if !self.seemed_silent {
            // A word of it counts like a beat.
            self.suspected = None;
            self.missing = None;
        }
        if self.capacity.is_none() {
            return;
        }
        let silent = now.since(self.beat_seen).saturating_sub(forgiven);
        if silent > suspect_after {
            self.suspected.get_or_insert(now);
        }
        if silent > missing_after {
            self.missing.get_or_insert(now);
        }
    }
}
