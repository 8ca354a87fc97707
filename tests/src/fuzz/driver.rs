//! The driver: a pool of inputs, one mutation after the other, a watchdog.

use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use parking_lot::Mutex;

use super::{Arguments, Features, Target, corpus, inbox, mutate};

/// An input that takes this long never ends.
const ENDLESS: Duration = Duration::from_secs(10);

/// The pool grows to this many inputs.
const POOL: usize = 20_000;

/// Attempts at making a failing input smaller.
const SHRINKS: usize = 5_000;

/// One target's run.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// What is fuzzed.
    pub target: Target,
    /// How long.
    pub time: Duration,
    /// The first number of the sequence by which inputs change.
    pub seed: u64,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// Inputs read.
    pub inputs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Different things they showed.
    pub features: usize,
    /// Inputs in the pool at the end.
    pub pool: Vec<Vec<u8>>,
    /// How long it took.
    pub time: Duration,
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64().max(0.001);
        write!(
            f,
            "{} inputs, {} bytes, {seconds:.1} s, {:.0} inputs/s, {} sights, a pool of {}",
            self.inputs,
            self.bytes,
            self.inputs as f64 / seconds,
            self.features,
            self.pool.len()
        )
    }
}

/// An input that failed.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What it said.
    pub message: String,
    /// The input, made smaller.
    pub input: Vec<u8>,
    /// How many inputs it took.
    pub inputs: u64,
}

/// Fuzzes one target until its time is over or something is found.
///
/// # Errors
/// What was found.
pub fn campaign(plan: Campaign) -> Result<Sums, Box<Finding>> {
    let watch = Watch::post(plan.target);
    let mut fuzzer = Fuzzer {
        target: plan.target,
        rng: Rng::with_seed(plan.seed),
        known: HashSet::new(),
        features: Features::default(),
        sums: Sums::default(),
        watch: &watch,
    };
    let begin = Instant::now();
    let result = fuzzer.run(begin + plan.time);
    fuzzer.sums.time = begin.elapsed();
    fuzzer.sums.features = fuzzer.known.len();
    let sums = fuzzer.sums;
    result.map(|()| sums)
}

struct Fuzzer<'a> {
    target: Target,
    rng: Rng,
    known: HashSet<u64>,
    features: Features,
    sums: Sums,
    watch: &'a Watch,
}

impl Fuzzer<'_> {
    fn run(&mut self, until: Instant) -> Result<(), Box<Finding>> {
        let kept = corpus::load(self.target).expect("the corpus is readable");
        let mut first: Vec<Vec<u8>> = kept.into_iter().map(|(_, bytes)| bytes).collect();
        first.extend(self.target.seeds(&mut self.rng));
        for input in first {
            self.read(&input)?;
            self.sums.pool.push(input);
        }
        while Instant::now() < until {
            for _ in 0..64 {
                let input = self.next_input();
                if self.read(&input)? && self.sums.pool.len() < POOL {
                    self.sums.pool.push(input);
                }
            }
        }
        Ok(())
    }

    fn next_input(&mut self) -> Vec<u8> {
        let pool = &self.sums.pool;
        // Of two the shorter, mostly: a short input is read sooner.
        let (mut one, next) = (&pool[self.rng.usize(..pool.len())], &pool[self.rng.usize(..pool.len())]);
        if next.len() < one.len() && self.rng.u8(..8) > 0 {
            one = next;
        }
        let other = &pool[self.rng.usize(..pool.len())];
        if self.target == Target::Inbox && self.rng.bool() {
            mutate::frames(&mut self.rng, one, inbox::FRONT)
        } else {
            mutate::bytes(&mut self.rng, one, other)
        }
    }

    /// Reads one input and says whether it showed anything new.
    fn read(&mut self, input: &[u8]) -> Result<bool, Box<Finding>> {
        self.watch.begin(input);
        self.features.clear();
        let target = self.target;
        if let Err(message) = attempt(target, input, &mut self.features) {
            let inputs = self.sums.inputs + 1;
            return Err(Box::new(Finding { message, input: self.shrink(input), inputs }));
        }
        self.sums.inputs += 1;
        self.sums.bytes += input.len() as u64;
        let mut is_news = false;
        for sight in self.features.seen() {
            is_news |= self.known.insert(*sight);
        }
        Ok(is_news)
    }

    /// Leaves out what the failure does not need.
    fn shrink(&self, input: &[u8]) -> Vec<u8> {
        let (mut best, mut left) = (input.to_vec(), SHRINKS);
        let mut length = best.len() / 2;
        while length > 0 && left > 0 {
            let mut at = 0;
            while at < best.len() && left > 0 {
                let end = (at + length).min(best.len());
                let shorter = [&best[..at], &best[end..]].concat();
                left -= 1;
                self.watch.begin(&shorter);
                if attempt(self.target, &shorter, &mut Features::default()).is_err() {
                    best = shorter;
                } else {
                    at = end;
                }
            }
            length /= 2;
        }
        best
    }
}

fn attempt(target: Target, input: &[u8], features: &mut Features) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| target.run(input, features))).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| String::from(*text));
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
    })
}

/// Ends the program when an input does not end: nothing inside it can say so any more.
struct Watch {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Shared {
    target: Target,
    count: AtomicU64,
    input: Mutex<Vec<u8>>,
    is_over: AtomicBool,
}

impl Watch {
    fn post(target: Target) -> Watch {
        let (input, count) = (Mutex::default(), AtomicU64::new(0));
        let shared = Arc::new(Shared { target, count, input, is_over: AtomicBool::new(false) });
        let watched = Arc::clone(&shared);
        let thread = thread::spawn(move || watched.look());
        Watch { shared, thread: Some(thread) }
    }

    fn begin(&self, input: &[u8]) {
        self.shared.count.fetch_add(1, Relaxed);
        let mut shown = self.shared.input.lock();
        shown.clear();
        shown.extend_from_slice(input);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn look(&self) {
        let (mut before, mut since) = (self.count.load(Relaxed), Instant::now());
        while !self.is_over.load(Relaxed) {
            thread::park_timeout(Duration::from_secs(1));
            let now = self.count.load(Relaxed);
            if now != before {
                (before, since) = (now, Instant::now());
            } else if since.elapsed() > ENDLESS && !self.is_over.load(Relaxed) {
                let path = corpus::keep(self.target, "hang", &self.input.lock());
                println!("{}: an input never ends: {path:?}", self.target.name());
                std::process::exit(1);
            }
        }
    }
}

/// Does what the command line says.
#[must_use]
pub fn main(arguments: &Arguments) -> ExitCode {
    if let Some(path) = &arguments.replay {
        return replay(path);
    }
    std::panic::set_hook(Box::new(|_| {}));
    let targets = arguments.targets();
    let share = arguments.time / targets.len().max(1) as u32;
    let mut code = ExitCode::SUCCESS;
    for target in targets {
        match campaign(Campaign { target, time: share, seed: arguments.seed }) {
            Ok(sums) => {
                println!("{}: {sums}", target.name());
                if arguments.keeps_pool {
                    keep_pool(target, &sums.pool);
                }
            }
            Err(finding) => {
                let path = corpus::keep(target, "found", &finding.input);
                let Finding { message, inputs, .. } = *finding;
                println!("{}: after {inputs} inputs: {message}", target.name());
                println!("  replay: fuzz --replay {}", shown(path));
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn shown(path: std::io::Result<PathBuf>) -> String {
    path.map_or_else(|error| error.to_string(), |path| path.display().to_string())
}

/// Small inputs first: each that shows something the smaller ones do not is kept.
fn keep_pool(target: Target, pool: &[Vec<u8>]) {
    const LARGEST: usize = 1024;
    const MOST: usize = 60;
    let mut pool: Vec<&Vec<u8>> = pool.iter().filter(|input| input.len() <= LARGEST).collect();
    pool.sort_by_key(|input| input.len());
    let (mut known, mut kept) = (HashSet::new(), Vec::new());
    for input in pool {
        let mut features = Features::default();
        target.run(input, &mut features);
        let news = features.seen().iter().filter(|sight| known.insert(**sight)).count();
        kept.push((news, input));
    }
    kept.sort_by_key(|(news, _)| std::cmp::Reverse(*news));
    for (_, input) in kept.iter().take(MOST).filter(|(news, _)| *news > 0) {
        corpus::keep(target, "seed", input).expect("the corpus is writable");
    }
}

fn replay(path: &Path) -> ExitCode {
    let directory =
        path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    let Some(target) = Target::ALL.into_iter().find(|target| target.name() == directory) else {
        println!("{}: its directory is none of a target", path.display());
        return ExitCode::from(2);
    };
    let bytes = std::fs::read(path).expect("the input is readable");
    target.run(&bytes, &mut Features::default());
    println!("{}: nothing is as it must not be", path.display());
    ExitCode::SUCCESS
}

/// Reads every input of the corpus once, and says how many there were.
///
/// # Panics
/// When one of them fails: its name is the last on standard error.
#[must_use]
pub fn replay_corpus(target: Target) -> usize {
    let corpus = corpus::load(target).expect("the corpus is readable");
    for (name, bytes) in &corpus {
        eprintln!("{}/{name}", target.name());
        target.run(bytes, &mut Features::default());
    }
    corpus.len()
}
