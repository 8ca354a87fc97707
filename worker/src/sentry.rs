//! The sentry: the thread that keeps the worker from ever being deaf.
//!
//! Handler threads may sit in native code for hours. Meanwhile the sentry ends the process when the leash is cut,
//! reads when the bell says that something urgent has come, runs hard-kill hooks, writes answers that would
//! otherwise wait for a long handler, and beats.
//!
//! The supervisor rings the bell when an urgent frame (a cancel, an event, a drain, a hard kill) has been written;
//! should it ring before the last byte, the sentry reads on. While the worker is idle it wakes for the heartbeat only, and
//! while handlers are short it costs nothing but one wake a [`STEP`].

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ganger_protocol::{Time, silence};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::account::{Checking, REPORT_EVERY, REPORT_SLACK};
use crate::courier::guarded;
use crate::heap;
use crate::link::{Alert, Link, Locked, OnLoss, Reader, State};
use crate::session::EMIT_PENDING_LIMIT;

/// How long a finished answer may wait behind a handler that has begun.
const STEP: Duration = Duration::from_millis(1);

/// After so many steps in which there was nothing to write, the sentry goes back to its long sleep.
const IDLE_STEPS: u32 = 16;

/// What the sentry keeps in mind between two waits.
struct Sentry<'a> {
    link: &'a Link,
    next_beat: Time,
    next_report: Time,
    idle_steps: u32,
}

/// What a wait ended with.
struct Woken {
    leash: PollFlags,
    bell: PollFlags,
    rouse: PollFlags,
}

impl Woken {
    const BY_NOTHING: Woken =
        Woken { leash: PollFlags::empty(), bell: PollFlags::empty(), rouse: PollFlags::empty() };
}

/// Starts the sentry of a link. It ends when the link is over.
pub(crate) fn post(link: &Arc<Link>) -> io::Result<()> {
    let link = Arc::clone(link);
    let thread = thread::Builder::new().name(String::from("ganger-sentry"));
    thread.spawn(move || {
        if link.on_loss == OnLoss::EndProcess {
            // The signal belongs to the thread that asked for it, and this one stays.
            let _ = set_parent_process_death_signal(Some(Signal::KILL));
        }
        let mut sentry =
            Sentry { link: &link, next_beat: Time::ZERO, next_report: Time::ZERO, idle_steps: 0 };
        while sentry.turn() {}
    })?;
    Ok(())
}

impl Sentry<'_> {
    /// One turn: beat, wait, act. Says whether there will be another.
    fn turn(&mut self) -> bool {
        let now = Time::now();
        let is_beating = now >= self.next_beat;
        if is_beating {
            self.beat(now);
        }
        // Early rather than in a wake of its own.
        let slack = if is_beating { REPORT_SLACK } else { Duration::ZERO };
        if now + slack >= self.next_report {
            self.report(now);
        }
        let Some((interest, until)) = self.plan(now) else { return false };
        let woken = self.wait(interest, until.since(now));
        if !woken.bell.is_empty() {
            let _ = silence(&self.link.bell);
        }
        if !woken.rouse.is_empty() {
            let _ = silence(&self.link.rouse);
        }
        let mut state = self.link.lock();
        self.act(&mut state, &woken);
        self.link.wake_tasks(&mut state);
        self.run_hard_kill_hooks(state);
        true
    }

    fn beat(&mut self, now: Time) {
        self.link.page.set_vitals(heap::vitals(now));
        self.next_beat = now + self.link.identity.heartbeat;
        // Should a bell be missed while all are busy, it does not matter for longer than a heartbeat.
        let mut state = self.link.lock();
        state.alert = match (state.reader, state.alert) {
            (Reader::Reading | Reader::ReadingAndWriting, alert) => alert,
            (Reader::Absent, Alert::No) => Alert::Perhaps,
            (Reader::Absent, Alert::Perhaps | Alert::Yes | Alert::Reading) => Alert::Yes,
        };
    }

    fn report(&mut self, now: Time) {
        self.next_report = now + REPORT_EVERY;
        let mut state = self.link.lock();
        // While the supervisor does not read, the next report can say it all.
        if state.has_account && state.session.pending() < EMIT_PENDING_LIMIT {
            self.link.tell_metrics(&mut state);
            self.link.flush_and_watch(&mut state);
        }
    }

    /// Until when to sleep, if nothing happens.
    fn alarm(&self, state: &State) -> Time {
        if !state.has_account {
            return self.next_beat;
        }
        let alarm = self.next_beat.min(self.next_report);
        match state.checking {
            Checking::Yes { until, .. } => alarm.min(until),
            Checking::No | Checking::TooLong => alarm,
        }
    }

    /// What to wait for and until when; `None` when the link is over.
    fn plan(&mut self, now: Time) -> Option<(PollFlags, Time)> {
        let mut state = self.link.lock();
        if state.is_over() {
            return None;
        }
        let mut interest = PollFlags::RDHUP;
        if is_alert(&state) && state.reader == Reader::Absent && state.listens() {
            state.alert = Alert::Reading;
            interest |= PollFlags::IN;
        }
        self.link.watch_check(&mut state, now);
        let alarm = self.alarm(&state);
        if !state.watched {
            return Some((interest, alarm));
        }
        self.idle_steps = if state.session.pending() > 0 { 0 } else { self.idle_steps + 1 };
        if self.idle_steps == IDLE_STEPS {
            self.idle_steps = 0;
            state.watched = false;
        }
        if state.is_stuck
            && state.reader != Reader::ReadingAndWriting
            && !state.session.outbox().is_held_back()
        {
            interest |= PollFlags::OUT;
        }
        Some((interest, alarm.min(now + STEP)))
    }

    fn wait(&self, interest: PollFlags, timeout: Duration) -> Woken {
        let Link { leash, bell, rouse, .. } = self.link;
        let own = PollFlags::IN;
        let mut fds = [PollFd::new(leash, interest), PollFd::new(bell, own), PollFd::new(rouse, own)];
        let timeout = Timespec::try_from(timeout).ok();
        // An error is an interrupted wait: nothing has happened, and the next turn waits again.
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => Woken { leash: fds[0].revents(), bell: fds[1].revents(), rouse: fds[2].revents() },
            Err(_) => Woken::BY_NOTHING,
        }
    }

    fn act(&mut self, state: &mut Locked<'_>, woken: &Woken) {
        if woken.leash.intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR) {
            return self.link.lose(state);
        }
        if !woken.bell.is_empty() || state.alert == Alert::Reading {
            state.alert = Alert::Yes;
        }
        if is_alert(state) && state.listens() {
            self.link.read(state);
            self.link.nudge_if_due(state);
            self.stand_down_if_relieved(state);
        }
        if state.session.pending() > 0 {
            self.link.flush(state);
        }
    }

    /// A handler thread waits for the socket: what comes next is its business, unless a frame is half read.
    fn stand_down_if_relieved(&self, state: &mut State) {
        if state.reader != Reader::Absent && !state.session.inbox().is_mid_frame() {
            state.alert = Alert::No;
        }
    }

    /// On this thread, because it is there and free. Should a hook hang, SIGKILL ends that too.
    fn run_hard_kill_hooks(&self, mut state: Locked<'_>) {
        if !state.hard_kill.announced {
            return;
        }
        let hooks = std::mem::take(&mut state.hard_kill.hooks);
        drop(state);
        hooks.into_iter().for_each(|hook| guarded("a hard-kill hook", hook));
    }
}

fn is_alert(state: &State) -> bool {
    match state.alert {
        Alert::Yes | Alert::Reading => true,
        Alert::No | Alert::Perhaps => false,
    }
}
