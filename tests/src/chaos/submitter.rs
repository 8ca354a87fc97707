//! The submitter: gives jobs, cancels some, and writes down what was accepted and what came back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ganger::{Canceller, Completions, EnqueueError, Handle, JobError, JobId, JobResult, Raw, Supervisor};

use super::journal::{hash, stamp};
use super::ledger::{Accepted, Admission, Answer, Cancel, Clock, Ending, Interest, Settled, Started};
use super::plan::{Plan, Way};
use super::reaper::death;

/// With nothing settled for so long, what is missing will never come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How many jobs one submitter has on their way.
pub(crate) const ON_THE_WAY: usize = 600;

/// How many jobs it gives at once.
const LONGEST_BURST: usize = 400;

/// What all submitters of a run share.
pub(crate) struct Errands<'a> {
    pub(crate) supervisor: &'a Supervisor,
    /// Names, and the number of deaths at which a job is given up.
    pub(crate) groups: &'a [(&'static str, u8)],
    /// How many jobs nobody has taken yet.
    pub(crate) left: &'a AtomicU64,
    pub(crate) settled: &'a AtomicU64,
    /// No job is given from then on.
    pub(crate) until: Instant,
    /// From which payloads are cut.
    pub(crate) noise: &'a [u8],
}

/// What one submitter wrote down.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) accepted: Vec<Accepted>,
    pub(crate) settled: Vec<Settled>,
    /// How often the queue was full.
    pub(crate) refusals: u64,
    /// Jobs that were not accepted for any other reason.
    pub(crate) turned_away: Vec<String>,
}

type CallbackResult = (JobId, u64, Ending);

struct Submitter<'a> {
    errands: &'a Errands<'a>,
    random: Rng,
    notes: Notes,
    /// Accepted, awaited and not yet seen to settle.
    awaited: usize,
    completions: Completions<Raw>,
    callbacks: (mpsc::Sender<CallbackResult>, mpsc::Receiver<CallbackResult>),
    polled: Vec<Handle<Raw>>,
    cancels: BTreeMap<(Instant, JobId), Canceller>,
    last_settled: Instant,
}

/// Gives jobs until there are none left, and waits for what becomes of them.
pub(crate) fn submit(errands: &Errands<'_>, seed: u64) -> Notes {
    let mut submitter = Submitter {
        errands,
        random: Rng::with_seed(seed),
        notes: Notes::default(),
        awaited: 0,
        completions: Completions::new(),
        callbacks: mpsc::channel(),
        polled: Vec::new(),
        cancels: BTreeMap::new(),
        last_settled: Instant::now(),
    };
    loop {
        let burst = submitter.prepare_burst();
        if burst.is_empty() {
            break;
        }
        burst.into_iter().for_each(|(plan, payload)| submitter.give(&plan, payload));
        submitter.collect(Duration::ZERO);
        while submitter.awaited >= ON_THE_WAY && submitter.may_go_on() {
            submitter.collect(Duration::from_millis(5));
        }
    }
    while submitter.awaited > 0 && submitter.may_go_on() {
        submitter.collect(Duration::from_millis(5));
    }
    submitter.notes
}

impl Submitter<'_> {
    fn may_go_on(&self) -> bool {
        self.awaited == 0 || self.last_settled.elapsed() < PATIENCE
    }

    fn is_one_left(&self) -> bool {
        let take_one = |left: u64| left.checked_sub(1);
        Instant::now() < self.errands.until
            && self.errands.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one).is_ok()
    }

    /// Jobs to be given all at once, so that the queue is deep at times and empty at others.
    fn prepare_burst(&mut self) -> Vec<(Plan, Vec<u8>)> {
        let mut burst = Vec::new();
        for _ in 0..self.random.usize(1..=LONGEST_BURST) {
            if !self.may_go_on() || !self.is_one_left() {
                break;
            }
            let plan = Plan::draw(&mut self.random, self.errands.groups.len());
            let payload = self.payload(plan.payload_bytes);
            burst.push((plan, payload));
        }
        burst
    }

    fn give(&mut self, plan: &Plan, payload: Vec<u8>) {
        let payload_hash = hash(&payload);
        let (group, poison_deaths) = self.errands.groups[plan.group];
        let at = stamp();
        let mut admission = Admission::AtOnce;
        let mut given = self.errands.supervisor.enqueue(plan.job(payload, group));
        while let Err(EnqueueError::QueueFull { job, .. }) = given {
            admission = Admission::Later;
            self.notes.refusals += 1;
            self.collect(Duration::from_millis(1));
            if !self.may_go_on() {
                return;
            }
            given = self.errands.supervisor.enqueue_timeout(*job, Duration::from_millis(20));
        }
        let handle = match given {
            Ok(handle) => handle,
            Err(error) => return self.notes.turned_away.push(format!("{error:?}")),
        };
        self.notes.accepted.push(Accepted {
            job: handle.id(),
            at,
            admission,
            retries: plan.retries,
            payload: payload_hash,
            asked: plan.asked(),
            clocks: plan.clocks,
            cancel: if plan.cancel_after.is_some() { Cancel::Asked } else { Cancel::Never },
            interest: match plan.way {
                Way::Completions | Way::Polling | Way::Waiting => Interest::Awaited,
                Way::Callback => Interest::CalledBack,
                Way::Nobody => Interest::Forgotten,
            },
            poison_deaths: usize::from(poison_deaths),
        });
        self.cancel_later(&handle, plan.cancel_after);
        self.await_outcome(handle, plan.way);
    }

    /// Noise, begun with a number that makes it unlike all others.
    fn payload(&mut self, bytes: usize) -> Vec<u8> {
        let offset = self.random.usize(0..=self.errands.noise.len() - bytes);
        let mut payload = self.errands.noise[offset..offset + bytes].to_vec();
        let number = self.random.u64(..).to_le_bytes();
        payload.iter_mut().zip(number).for_each(|(byte, digit)| *byte = digit);
        payload
    }

    fn cancel_later(&mut self, handle: &Handle<Raw>, after: Option<Duration>) {
        match after {
            None => {}
            Some(Duration::ZERO) => handle.cancel(),
            Some(after) => {
                self.cancels.insert((Instant::now() + after, handle.id()), handle.canceller());
            }
        }
    }

    fn await_outcome(&mut self, handle: Handle<Raw>, way: Way) {
        if way != Way::Nobody {
            self.last_settled = if self.awaited == 0 { Instant::now() } else { self.last_settled };
            self.awaited += 1;
        }
        match way {
            Way::Completions => handle.forward(&self.completions),
            Way::Callback => {
                let (job, results) = (handle.id(), self.callbacks.0.clone());
                handle.then(move |result| {
                    // A submitter that has given up hears nothing more.
                    let _ = results.send((job, stamp(), ending(result)));
                });
            }
            Way::Polling => self.polled.push(handle),
            Way::Waiting => {
                let job = handle.id();
                match handle.wait_timeout(Duration::from_millis(20)) {
                    Ok(result) => self.note(job, stamp(), ending(result)),
                    Err(handle) => self.polled.push(handle),
                }
            }
            Way::Nobody => drop(handle),
        }
    }

    /// Takes what has come; waits a little for it if there is nothing.
    fn collect(&mut self, patience: Duration) {
        self.cancel_what_is_due();
        for handle in std::mem::take(&mut self.polled) {
            let job = handle.id();
            match handle.try_result() {
                Ok(result) => self.note(job, stamp(), ending(result)),
                Err(handle) => self.polled.push(handle),
            }
        }
        while let Ok((job, at, ending)) = self.callbacks.1.try_recv() {
            self.note(job, at, ending);
        }
        if let Some((job, result)) = self.completions.recv_timeout(patience) {
            self.note(job, stamp(), ending(result));
        }
        while let Some((job, result)) = self.completions.try_recv() {
            self.note(job, stamp(), ending(result));
        }
    }

    fn cancel_what_is_due(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.cancels.first_entry().filter(|entry| entry.key().0 <= now) {
            entry.remove().cancel();
        }
    }

    fn note(&mut self, job: JobId, at: u64, ending: Ending) {
        self.awaited = self.awaited.saturating_sub(1);
        self.last_settled = Instant::now();
        self.errands.settled.fetch_add(1, Ordering::Relaxed);
        self.notes.settled.push(Settled { job, at, ending });
    }
}

fn ending(result: JobResult<Raw>) -> Ending {
    let error = match result {
        Ok(response) => {
            return Ending::Replied(Answer {
                worker: hash(response.worker.as_bytes()),
                attempt: response.attempt,
                hash: hash(&response.data),
            });
        }
        Err(error) => error,
    };
    match error {
        JobError::Failed { worker, attempt, failure, .. } => Ending::Failed(Answer {
            worker: hash(worker.as_bytes()),
            attempt,
            hash: hash(failure.message.as_bytes()),
        }),
        JobError::TimedOut { clock, started: said, .. } => match clock {
            ganger::Clock::Queue => Ending::TimedOut { clock: Clock::Queue, started: started(said) },
            ganger::Clock::Run => Ending::TimedOut { clock: Clock::Run, started: started(said) },
            ganger::Clock::Total => Ending::TimedOut { clock: Clock::Total, started: started(said) },
            other => Ending::Odd(format!("ran out of an unknown clock {other}")),
        },
        JobError::Cancelled { started: said, .. } => Ending::Cancelled { started: started(said) },
        JobError::WorkerLost { report, .. } => Ending::Lost(death(&report)),
        JobError::Poisoned { reports, .. } => {
            Ending::Poisoned(reports.iter().map(|report| death(report)).collect())
        }
        other => Ending::Odd(other.to_string()),
    }
}

fn started(said: ganger::Started) -> Started {
    match said {
        ganger::Started::No => Started::No,
        ganger::Started::Yes => Started::Yes,
    }
}
