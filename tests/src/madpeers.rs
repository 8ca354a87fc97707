//! Slow and mad peers: what half of the workers cost the other half.
//!
//! Rounds alternate: in a sane round both halves of the pool behave and one half idles; in a mad round that half goes
//! mad, each worker in its own way. In both a caller sends the sane half one job after the other. The median over the
//! rounds of their 99th percentiles, with madness and without, is compared in one run.
//!
//! | worker | does |
//! | --- | --- |
//! | deaf | says ready for many and never reads; requests of 1 MiB wait for it |
//! | noisy | floods with events until it is ended for it, and again after its replacement |
//! | stubborn | is told to leave and does not |
//!
//! ```text
//! cargo run --release -p ganger-tests --bin madpeers -- --rounds 20 --jobs 2000
//! ```

use std::fmt;
use std::time::{Duration, Instant};

use ganger::{Group, Handle, Job, Raw, RestartPolicy, Supervisor};
use ganger_protocol::VERSION;

use crate::harness::{PATIENCE, Scratch};
use crate::raw::{Step, service};

/// Workers of either half.
const HALF: usize = 3;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// The median of the 99th percentiles in sane rounds.
    pub sane: Duration,
    /// The same in mad rounds.
    pub mad: Duration,
    /// The medians of the medians, sane and mad.
    pub medians: (Duration, Duration),
    /// How often mad workers were replaced.
    pub replaced: u64,
}

impl Comparison {
    /// What madness costs.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.mad.as_secs_f64() / self.sane.as_secs_f64()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p99 {:.1?} with mad peers, {:.1?} without: {:.2} (p50 {:.1?} and {:.1?}); {} mad workers replaced",
            self.mad,
            self.sane,
            self.ratio(),
            self.medians.1,
            self.medians.0,
            self.replaced
        )
    }
}

/// Measures so many rounds of either sort.
///
/// # Panics
/// When a job of the sane half is not answered, or the mad half is not as mad as it should be.
#[must_use]
pub fn compare(rounds: usize, jobs: usize) -> Comparison {
    let (mut sane, mut mad, mut replaced) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        sane.push(round(jobs, Mood::Sane).0);
        let (figures, restarts) = round(jobs, Mood::Mad);
        mad.push(figures);
        replaced += restarts;
    }
    let median_of = |all: &[(Duration, Duration)], pick: fn(&(Duration, Duration)) -> Duration| {
        let mut all: Vec<Duration> = all.iter().map(pick).collect();
        percentile(&mut all, 50)
    };
    let medians = (median_of(&sane, |one| one.0), median_of(&mad, |one| one.0));
    Comparison { sane: median_of(&sane, |one| one.1), mad: median_of(&mad, |one| one.1), medians, replaced }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Sane,
    Mad,
}

/// One round: the sane half's median and 99th percentile, and how many of the other half were replaced.
fn round(jobs: usize, mood: Mood) -> ((Duration, Duration), u64) {
    let scratch = Scratch::new();
    let (good, others) = (scratch.join("good"), scratch.join("others"));
    std::fs::create_dir(&good).expect("a directory");
    std::fs::create_dir(&others).expect("a directory");
    let program = |directory: std::path::PathBuf, lives| {
        let script = crate::raw::Script { directory, lives };
        ganger::Program::beside("raw_worker").arg(script.to_arg())
    };
    let lives = match mood {
        Mood::Sane => vec![service()],
        Mood::Mad => vec![deaf(), stubborn(), noisy()],
    };
    let half = Group::new("good", program(good, vec![service()])).workers(HALF);
    let other = Group::new("others", program(others, lives)).workers(HALF).restart(unlimited());
    let other = other.heartbeat(Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(120));
    let (supervisor, events) = Supervisor::builder(half).group(other).start_with_events().expect("started");
    supervisor.wait_online(PATIENCE).expect("online");
    drop(events);
    let burden = if mood == Mood::Mad { burden(&supervisor) } else { Vec::new() };
    let figures = measure(&supervisor, jobs);
    let restarts = supervisor.health().groups[1].restarts;
    burden.iter().for_each(Handle::cancel);
    supervisor.hard_kill().wait();
    (figures, restarts)
}

fn unlimited() -> RestartPolicy {
    RestartPolicy::unlimited()
}

/// It takes forty requests and reads none.
fn deaf() -> Vec<Step> {
    vec![Step::Hello(VERSION), Step::Ready(40), Step::Hang]
}

fn stubborn() -> Vec<Step> {
    vec![Step::Hello(VERSION), Step::Ready(1), Step::Hang]
}

fn noisy() -> Vec<Step> {
    vec![Step::Hello(VERSION), Step::Ready(1), Step::Events { count: u64::MAX, bytes: 200 }]
}

/// Work that nobody will do, and a worker that is told to leave.
fn burden(supervisor: &Supervisor) -> Vec<Handle<Raw>> {
    let large = || Job::new(Raw::new("echo", vec![7; 1 << 20])).group("others");
    let handles = (0..30).map(|_| supervisor.enqueue(large()).expect("accepted")).collect();
    let others = supervisor.health().workers;
    let stubborn =
        others.iter().filter(|worker| &*worker.group == "others").map(|worker| worker.name.clone());
    if let Some(name) = stubborn.min() {
        let _ = supervisor.shutdown_worker(&name, Duration::from_secs(60));
    }
    handles
}

fn measure(supervisor: &Supervisor, jobs: usize) -> (Duration, Duration) {
    let mut times = Vec::with_capacity(jobs);
    for number in 0..jobs + jobs / 10 {
        let begin = Instant::now();
        let payload = [number as u8; 64];
        let job = Job::new(Raw::new("echo", payload)).group("good");
        let response = supervisor.enqueue(job).expect("accepted").wait().expect("answered");
        assert_eq!(response.data, payload);
        if number >= jobs / 10 {
            times.push(begin.elapsed());
        }
    }
    (percentile(&mut times, 50), percentile(&mut times, 99))
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}
