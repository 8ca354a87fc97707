//! Slow and mad peers: what half of the workers cost the other half.
//!
//! Rounds alternate: in a sane round both halves of the pool behave and one half idles; in a mad round that half is mad
//! in one of three ways. In all a caller sends the sane half one job after the other. What is judged is the median over
//! the rounds of the 99th percentile with madness by that of the sane round just before. That half a second time sane is
//! compared in the same way: so far the machine itself is from 1.
//!
//! | half | does |
//! | --- | --- |
//! | deaf | says ready for many and never reads; requests of 1 MiB wait for it |
//! | noisy | floods with events until it is ended for it, and again after its replacement |
//! | stubborn | is told to leave and does not |
//!
//! ```text
//! cargo run --release -p ganger-tests --bin madpeers -- --rounds 5 --jobs 100000
//! ```

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use ganger::{Group, Handle, Job, Program, Raw, RestartPolicy, Supervisor};
use ganger_protocol::VERSION;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::harness::Scratch;
use crate::raw::{Script, Step, service};
use crate::workers::{online, raw};

/// Workers of either half.
const HALF: usize = 3;

/// How much longer the slowest jobs but one in a hundred may take beside mad peers.
const LARGEST_RATIO: f64 = 1.2;

/// What was measured of one sort of madness.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// Which.
    pub mood: Mood,
    /// The medians of the medians and of the 99th percentiles in sane rounds.
    pub sane: Figures,
    /// What it costs the slowest jobs but one in a hundred: the median over the rounds.
    pub ratio: f64,
    /// The same in mad rounds.
    pub mad: Figures,
    /// How often mad workers were replaced.
    pub replaced: u64,
}

/// The median and the 99th percentile of a round.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    p50: Duration,
    p99: Duration,
}

impl Comparison {
    /// Whether this sort of madness may not cost more than it may.
    #[must_use]
    pub fn is_bearable(&self) -> bool {
        self.ratio <= LARGEST_RATIO
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { mood, sane, ratio, mad, replaced } = self;
        write!(
            f,
            "{mood:?}: {ratio:.2}; p99 {:.1?}, without {:.1?}; p50 {:.1?}, without {:.1?}; {replaced} replaced",
            mad.p99, sane.p99, mad.p50, sane.p50
        )
    }
}

/// What the other half is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Idle.
    Sane,
    /// It never reads.
    Deaf,
    /// It floods.
    Noisy,
    /// It does not leave.
    Stubborn,
}

impl Mood {
    /// All that is compared with sanity: itself, and all sorts of madness.
    pub const ALL: [Mood; 4] = [Mood::Sane, Mood::Deaf, Mood::Noisy, Mood::Stubborn];
}

/// Measures so many rounds of sanity and of each of these, in turn.
///
/// # Panics
/// When a job of the sane half is not answered.
#[must_use]
pub fn compare(others: &[Mood], rounds: usize, jobs: usize) -> Vec<Comparison> {
    stay_on_one_core();
    let moods = [&[Mood::Sane], others].concat();
    let mut found: Vec<Vec<(Figures, u64)>> = vec![Vec::new(); moods.len()];
    for _ in 0..rounds {
        for (mood, found) in moods.iter().zip(&mut found) {
            found.push(round(jobs, *mood));
        }
    }
    let compared = |(mood, rounds): (&Mood, &Vec<(Figures, u64)>)| Comparison {
        mood: *mood,
        sane: medians(&found[0]),
        ratio: median_ratio(&found[0], rounds),
        mad: medians(rounds),
        replaced: rounds.iter().map(|(_, replaced)| replaced).sum(),
    };
    moods.iter().zip(&found).skip(1).map(compared).collect()
}

fn median_ratio(sane: &[(Figures, u64)], mad: &[(Figures, u64)]) -> f64 {
    let ratio = |((sane, _), (mad, _)): (&(Figures, u64), &(Figures, u64))| {
        mad.p99.as_secs_f64() / sane.p99.as_secs_f64()
    };
    let mut ratios: Vec<f64> = sane.iter().zip(mad).map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// The caller, the supervisor and the sane half share a core; the other half has the rest, if there is any: what a mad
/// process takes from its neighbours by being on the same core is the kernel's to judge.
fn stay_on_one_core() {
    let mut first = CpuSet::new();
    first.set(0);
    // Where it is not allowed the figures are worse, and no less true.
    let _ = sched_setaffinity(None, &first);
}

/// The script's worker, on any core but the first.
fn elsewhere(scratch: &Scratch, life: Vec<Step>) -> Program {
    let script = Script { directory: scratch.path().to_owned(), lives: vec![life] };
    let this = std::env::current_exe().expect("this program");
    let beside = |directory: &Path| Some(directory.join("raw_worker")).filter(|path| path.exists());
    let worker = this.ancestors().skip(1).find_map(beside).expect("a worker");
    let cores = std::fs::read_dir("/sys/devices/system/cpu").map_or(1, |entries| {
        let is_core = |name: &str| name.strip_prefix("cpu").is_some_and(|rest| rest.parse::<u32>().is_ok());
        entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_core)).count()
    });
    let others = if cores > 1 { format!("1-{}", cores - 1) } else { String::from("0") };
    Program::new("/usr/bin/taskset").args(["-c", &others]).arg(worker).arg(script.to_arg())
}

fn medians(rounds: &[(Figures, u64)]) -> Figures {
    let median = |pick: fn(&Figures) -> Duration| {
        let mut all: Vec<Duration> = rounds.iter().map(|(figures, _)| pick(figures)).collect();
        percentile(&mut all, 50)
    };
    Figures { p50: median(|figures| figures.p50), p99: median(|figures| figures.p99) }
}

/// One round: the sane half's figures, and how many of the other half were replaced.
fn round(jobs: usize, mood: Mood) -> (Figures, u64) {
    let (good, others) = (Scratch::new(), Scratch::new());
    let life = match mood {
        Mood::Sane => service(),
        Mood::Deaf => deaf(),
        Mood::Noisy => noisy(),
        Mood::Stubborn => stubborn(),
    };
    let half = Group::new("good", raw(&good, [service()])).workers(HALF);
    let other =
        Group::new("others", elsewhere(&others, life)).workers(HALF).restart(RestartPolicy::unlimited());
    // Its silence alone is not to be what ends it.
    let other = other.heartbeat(Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(120));
    let supervisor = online(Supervisor::builder(half).group(other));
    let burden = burden(&supervisor, mood);
    let figures = measure(&supervisor, jobs);
    let restarts = supervisor.health().groups[1].restarts;
    burden.iter().for_each(Handle::cancel);
    supervisor.hard_kill().wait();
    (figures, restarts)
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

/// Work that nobody will do, for the deaf; nothing, for the noisy; an order to leave, for the stubborn.
fn burden(supervisor: &Supervisor, mood: Mood) -> Vec<Handle<Raw>> {
    match mood {
        Mood::Sane | Mood::Noisy => Vec::new(),
        Mood::Deaf => {
            let large = || Job::new(Raw::new("echo", vec![7; 1 << 20])).group("others");
            (0..30).map(|_| supervisor.enqueue(large()).expect("accepted")).collect()
        }
        Mood::Stubborn => {
            let workers = supervisor.health().workers;
            for worker in workers.iter().filter(|worker| &*worker.group == "others") {
                supervisor.shutdown_worker(&worker.name, Duration::from_secs(60)).expect("it exists");
            }
            Vec::new()
        }
    }
}

fn measure(supervisor: &Supervisor, jobs: usize) -> Figures {
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
    Figures { p50: percentile(&mut times, 50), p99: percentile(&mut times, 99) }
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}
