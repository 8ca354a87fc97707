//! Restarts, again and again, and what the supervisor's process holds afterwards: the same as before.
//!
//! Workers crash in a handler, are killed while idle, are shut down, are taken down by the ladder, cannot be started
//! for a while; now and then the whole supervisor ends, softly or hard, and another begins. At rest, with all workers
//! ready and nothing to do, descriptors, threads, processes, zombies, mapped memory files and other named maps are what they were after the first supervisor had settled; resident memory is shown, so that a trend is seen.
//!
//! ```text
//! cargo run --release -p ganger-tests --bin restarts -- --count 10000
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use ganger::{Event, Events, Job, JobError, Program, RestartPolicy, StartError, Supervisor};

use crate::calls::{Death, Die, Stop};
use crate::harness::{Footprint, PATIENCE, Scratch, Watched, eventually};
use crate::workers::tireless;

/// Workers in the pool.
const WORKERS: usize = 4;

/// After so many restarts the supervisor ends, and another begins.
const LIFE: u64 = 250;

/// What a process at rest holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    footprint: Footprint,
    descendants: usize,
    /// Memory maps with a name: files, the heap, the stack.
    named_maps: usize,
    /// Memory maps without one. The allocator makes some of its own for threads, and keeps them.
    unnamed_maps: usize,
}

/// So many unnamed memory maps more are the allocator's business.
const ALLOCATORS: usize = 16;

impl Holdings {
    fn now() -> Holdings {
        let mut footprint = Footprint::now();
        let descendants = std::mem::take(&mut footprint.descendants).len();
        footprint.descriptors = without_numbers(&footprint.descriptors);
        let maps = fs::read_to_string("/proc/self/maps").expect("the list of maps");
        let is_named = |line: &&str| line.split_whitespace().nth(5).is_some();
        let named_maps = maps.lines().filter(is_named).count();
        Holdings { footprint, descendants, named_maps, unnamed_maps: maps.lines().count() - named_maps }
    }

    fn is_as(&self, before: &Holdings) -> bool {
        let Holdings { footprint, descendants, named_maps, unnamed_maps } = before;
        self.footprint == *footprint
            && self.descendants == *descendants
            && self.named_maps == *named_maps
            && self.unnamed_maps <= unnamed_maps + ALLOCATORS
    }
}

/// Each worker has a descriptor named after its process.
fn without_numbers(descriptors: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (name, count) in descriptors {
        let name: String = name.chars().filter(|character| !character.is_ascii_digit()).collect();
        *counts.entry(name).or_insert(0) += count;
    }
    counts
}

/// How often workers were restarted, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// By a crash in a handler.
    pub crashed: u64,
    /// By a signal while idle.
    pub killed: u64,
    /// By being shut down.
    pub shut_down: u64,
    /// By the ladder.
    pub cut: u64,
    /// After starts that failed.
    pub unstartable: u64,
    /// Starts that failed.
    pub failed_starts: u64,
    /// Supervisors that ended.
    pub supervisors: u64,
}

impl Counts {
    /// Restarts of workers.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.crashed + self.killed + self.shut_down + self.cut + self.unstartable
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { crashed, killed, shut_down, cut, unstartable, failed_starts, supervisors } = self;
        write!(
            f,
            "{} restarts: {crashed} crashed, {killed} killed idle, {shut_down} shut down, {cut} by the ladder, \
             {unstartable} after failed starts; {failed_starts} starts failed, {supervisors} supervisors",
            self.restarts()
        )
    }
}

/// Restarts workers `count` times and looks ten times at what is held.
///
/// # Panics
/// When anything more, or less, is held than at first.
#[must_use]
pub fn run(count: u64) -> Counts {
    let scratch = Scratch::new();
    let mut counts = Counts::default();
    let mut pool = Pool::start(&scratch);
    // The allocator and the first threads take what they keep.
    (0..count.min(2 * LIFE) / 4).for_each(|number| pool.restart(number, &mut counts));
    pool.end(0, &mut counts);
    pool = Pool::start(&scratch);
    let before = pool.at_rest();
    show(0, &before);
    let begin = Instant::now();
    let mut done = 0;
    while done < count {
        pool.restart(done, &mut counts);
        done += 1;
        if done % LIFE == 0 {
            pool.end(done / LIFE, &mut counts);
            pool = Pool::start(&scratch);
        }
        if done % (count / 10).max(1) == 0 {
            expect_same(&pool, &before);
            show(done, &pool.at_rest());
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{counts}; {seconds:.0} s, {:.0} restarts/s", count as f64 / seconds);
    pool.end(1, &mut counts);
    counts
}

fn show(done: u64, holdings: &Holdings) {
    let statm = fs::read_to_string("/proc/self/statm").expect("readable");
    let rss = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4;
    let Holdings { footprint, descendants, named_maps, unnamed_maps } = holdings;
    println!(
        "after {done}: {} descriptors, {} threads, {descendants} processes, {} zombies, {} memory files, \
         {named_maps} named and {unnamed_maps} unnamed maps, {rss} KiB resident",
        footprint.descriptors.values().sum::<usize>(),
        footprint.threads.values().sum::<usize>(),
        footprint.zombies,
        footprint.memory_files
    );
}

/// What is closing takes a moment.
fn expect_same(pool: &Pool, before: &Holdings) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = pool.at_rest();
        if now.is_as(before) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "more or less is held than at first\nbefore: {before:#?}\nnow: {now:#?}"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

struct Pool {
    supervisor: Supervisor,
    events: Events,
    directory: std::path::PathBuf,
}

impl Pool {
    fn start(scratch: &Scratch) -> Pool {
        let directory = scratch.join("home");
        let _ = fs::create_dir(&directory);
        let program = Program::beside("lib_worker").current_dir(&directory);
        let moment = Duration::from_millis(1);
        let restart = RestartPolicy { healthy_after: moment, ..tireless() };
        let builder = Supervisor::builder(program).workers(WORKERS).restart(restart);
        let builder = builder.sample_every(5 * moment).cancel_grace(moment).bystander_grace(moment);
        let (supervisor, events) = builder.start_with_events().expect("started");
        supervisor.wait_online(PATIENCE).expect("online");
        let mut pool = Pool { supervisor, events, directory };
        (0..WORKERS).for_each(|_| pool.wait_ready());
        pool
    }

    /// All workers are ready, and nothing is to be done.
    fn at_rest(&self) -> Holdings {
        eventually("all workers are ready", || {
            let health = self.supervisor.health();
            (health.workers.len() == WORKERS && health.groups[0].ready as usize == WORKERS).then_some(())
        });
        Holdings::now()
    }

    fn restart(&mut self, number: u64, counts: &mut Counts) {
        match number % 20 {
            0 => self.fail_to_start(counts),
            1 => self.start_nothing(counts),
            rest => match rest % 4 {
                0 => self.crash(counts),
                1 => self.kill_idle(counts),
                2 => self.shut_down(counts),
                _ => self.cut(counts),
            },
        }
    }

    fn crash(&mut self, counts: &mut Counts) {
        let error = self.supervisor.enqueue(Die(Death::Abort)).expect("accepted").wait().expect_err("lost");
        assert!(matches!(error, JobError::WorkerLost { .. }), "{error:?}");
        self.wait_ready();
        counts.crashed += 1;
    }

    fn kill_idle(&mut self, counts: &mut Counts) {
        self.any_worker().1.kill();
        self.wait_ready();
        counts.killed += 1;
    }

    fn shut_down(&mut self, counts: &mut Counts) {
        let (name, _) = self.any_worker();
        self.supervisor.shutdown_worker(&name, PATIENCE).expect("it exists");
        self.wait_ready();
        counts.shut_down += 1;
    }

    /// A worker that stops itself has to be ended by the ladder.
    fn cut(&mut self, counts: &mut Counts) {
        let job = Job::new(Stop).run_timeout(Duration::from_millis(2));
        let error = self.supervisor.enqueue(job).expect("accepted").wait().expect_err("it stops");
        assert!(matches!(error, JobError::TimedOut { .. }), "{error:?}");
        self.wait_ready();
        counts.cut += 1;
    }

    /// For a while no worker can be started, because its directory is gone.
    fn fail_to_start(&mut self, counts: &mut Counts) {
        fs::remove_dir(&self.directory).expect("it is empty");
        self.any_worker().1.kill();
        self.wait_for(|event| matches!(event, Event::SpawnFailed { .. }));
        fs::create_dir(&self.directory).expect("it is gone");
        // Until its probe is known to be well, a degraded group starts nobody else.
        self.wait_for(|event| matches!(event, Event::Healed { .. }));
        counts.unstartable += 1;
        counts.failed_starts += 1;
    }

    /// A supervisor of a program that does not exist, and a restart to make up for it.
    fn start_nothing(&mut self, counts: &mut Counts) {
        let nothing = Supervisor::builder(Program::new("/nonexistent/worker")).workers(2).start();
        assert!(matches!(nothing, Err(StartError::Program { .. })), "{nothing:?}");
        counts.failed_starts += 1;
        self.kill_idle(counts);
    }

    fn any_worker(&self) -> (std::sync::Arc<str>, Watched) {
        let workers = self.supervisor.health().workers;
        let worker = workers.iter().find_map(|worker| Some((worker.name.clone(), worker.pid?)));
        let (name, pid) = worker.expect("a worker");
        (name, Watched::new(pid))
    }

    fn wait_ready(&mut self) {
        self.wait_for(|event| matches!(event, Event::WorkerReady { .. }));
    }

    fn wait_for(&mut self, is_it: impl Fn(&Event) -> bool) {
        while !is_it(&self.events.recv_timeout(PATIENCE).expect("an event")) {}
    }

    fn end(self, number: u64, counts: &mut Counts) {
        let ticket =
            if number.is_multiple_of(2) { self.supervisor.soft_kill() } else { self.supervisor.hard_kill() };
        ticket.wait();
        self.supervisor.join();
        counts.supervisors += 1;
    }
}
