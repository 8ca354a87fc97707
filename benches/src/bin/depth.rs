//! A deep queue: what it costs to put a job in and to work it off, the longest that a caller was held up, and the
//! memory that a job takes while it waits. Each depth is measured in a process of its own.

use std::process::ExitCode;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ganger::{Program, Supervisor};
use ganger_benches::{
    AHEAD, Bench, Cores, Floor, Manner, Nothing, Outcome, PAYLOAD, Peer, Placement, Plan, Printer, Rounds,
    available_bytes, in_fresh_process, median, no_op, online, own_rss_bytes, register,
};
use ganger_worker::Worker;

const DEPTHS: [(usize, &str); 3] = [(1_000, "1k"), (1_000_000, "1M"), (10_000_000, "10M")];
/// A queue that is less deep is measured until so many jobs have gone through it.
const SHALLOW: usize = 100_000;
/// What a job may take, so that a depth that the machine cannot hold is not begun.
const MOST_BYTES: u64 = 1024;
/// A caller that waits longer than this for an enqueue counts as held up.
const SLOW: Duration = Duration::from_millis(1);
/// Raw frames that are on their way at a time, as many as requests.
const FRAMES: usize = AHEAD as usize;

/// What was found at one depth.
#[derive(Clone, Copy)]
struct Found {
    /// Nanoseconds a job.
    enqueue: f64,
    drain: f64,
    /// Bytes a job.
    bytes: f64,
    /// The longest enqueue, in microseconds.
    longest: f64,
    /// Enqueues that took longer than a millisecond.
    slow: f64,
}

fn main() -> ExitCode {
    let bench = Bench {
        name: "depth",
        about: "Measures a queue of 1k, 1M and 10M jobs of 64 bytes: -enqueue, -longest and -slow (over 1 ms) against a \
                loop that only allocates the payloads, -drain against raw frames, -bytes a job against the payload; and \
                each depth's cost against that of 1k",
        worker: register_gate,
        fresh,
        measure,
    };
    bench.run()
}

/// A worker that can be kept busy until it is told to go on.
fn register_gate(worker: &mut Worker) {
    static OPENED: (Mutex<u32>, Condvar) = (Mutex::new(0), Condvar::new());
    register(worker);
    worker.on_raw("hold", |request| {
        let lock = OPENED.0.lock().expect("nobody panics");
        *OPENED.1.wait_while(lock, |opened| *opened == 0).expect("nobody panics") -= 1;
        request.ack();
    });
    worker.on_event_raw("open", |_| {
        *OPENED.0.lock().expect("nobody panics") += 1;
        OPENED.1.notify_one();
    });
}

fn measure(_: &Nothing, printer: &mut Printer) -> Outcome<()> {
    let mut expected = Duration::ZERO;
    for (depth, name) in DEPTHS {
        if available_bytes()? < depth as u64 * MOST_BYTES {
            printer.skip(name, "the machine has too little memory");
            continue;
        }
        if !printer.has_time_for(expected) {
            printer.skip(name, &format!("it would take about {} s", expected.as_secs()));
            continue;
        }
        let rounds = printer.choose(3, 1);
        let begun = Instant::now();
        printer.measure(&plans(name, depth), || rounds_of(depth, rounds))?;
        // Ten times as deep takes less than ten times as long: a part is the start of processes.
        expected = begun.elapsed() * 6;
    }
    Ok(())
}

fn plans(name: &str, depth: usize) -> Vec<Plan> {
    let plan = |what: &str, unit| Plan::new(format!("{name}-{what}"), unit);
    let own = [
        plan("enqueue", "ns/job"),
        plan("drain", "ns/job"),
        plan("bytes", "bytes/job"),
        plan("longest", "us"),
        plan("slow", "enqueues"),
    ];
    let [enqueue, drain, bytes, longest, slow] = own;
    if depth < 1_000_000 {
        return vec![enqueue, drain, bytes, longest, slow];
    }
    let more = plan("enqueue-over-1k", "ns/job").floor(Floor::AtMost(6.0));
    let drain_more = plan("drain-over-1k", "ns/job").floor(Floor::AtMost(2.0));
    // Four payloads: the payload itself and 192 bytes.
    vec![enqueue, drain, bytes.floor(Floor::AtMost(4.0)), longest, slow, more, drain_more]
}

fn rounds_of(depth: usize, count: usize) -> Outcome<Vec<Rounds>> {
    let mut rounds = vec![Rounds::default(); plans("", depth).len()];
    for _ in 0..count {
        let allocated = Found::of(&in_fresh_process(&format!("allocate {depth}"))?)?;
        let shallow = Found::of(&in_fresh_process("queue 1000")?)?;
        let ours = Found::of(&in_fresh_process(&format!("queue {depth}"))?)?;
        let pairs = [
            (ours.enqueue, allocated.enqueue),
            (ours.drain, allocated.drain),
            (ours.bytes, allocated.bytes),
            (ours.longest, allocated.longest),
            (ours.slow, allocated.slow.max(1.0)),
            (ours.enqueue, shallow.enqueue),
            (ours.drain, shallow.drain),
        ];
        rounds.iter_mut().zip(pairs).for_each(|(rounds, (value, limit))| rounds.push(value, limit));
    }
    Ok(rounds)
}

impl Found {
    fn of(figures: &[f64]) -> Outcome<Found> {
        match *figures {
            [enqueue, drain, bytes, longest, slow] => Ok(Found { enqueue, drain, bytes, longest, slow }),
            _ => Err("five figures, please".into()),
        }
    }

    fn figures(self) -> Vec<f64> {
        let Found { enqueue, drain, bytes, longest, slow } = self;
        vec![enqueue, drain, bytes, longest, slow]
    }
}

fn fresh(words: &[&str]) -> Outcome<Vec<f64>> {
    let [what, depth] = words else { return Err("what, and how many, please".into()) };
    let depth = depth.parse()?;
    Ok(match *what {
        "allocate" => allocate(depth)?.figures(),
        _ => queue(depth)?.figures(),
    })
}

/// Once, or as often as makes a shallow queue measurable. The memory is that of the first time.
fn repeated(depth: usize, mut once: impl FnMut() -> Outcome<Found>) -> Outcome<Found> {
    let times = (SHALLOW / depth).max(1);
    let all = (0..times).map(|_| once()).collect::<Outcome<Vec<Found>>>()?;
    let middle = |of: fn(&Found) -> f64| median(&all.iter().map(of).collect::<Vec<f64>>());
    Ok(Found {
        enqueue: middle(|found| found.enqueue),
        drain: middle(|found| found.drain),
        bytes: all[0].bytes,
        longest: all.iter().map(|found| found.longest).fold(0.0, f64::max),
        slow: all.iter().map(|found| found.slow).sum(),
    })
}

/// So many payloads and nothing else; the drain is raw frames, and the memory the payload itself.
fn allocate(depth: usize) -> Outcome<Found> {
    let filled = repeated(depth, || {
        let mut payloads: Vec<Vec<u8>> = Vec::with_capacity(depth);
        fill(depth, || {
            payloads.push(vec![7; PAYLOAD]);
            Ok(())
        })
    })?;
    let cores = Cores::available()?;
    let mut peer = Peer::start(&cores, Placement::Anywhere, Manner::Echo)?;
    let mut bytes = vec![7; PAYLOAD * FRAMES];
    let begun = Instant::now();
    let trips = depth.min(1_000_000).div_ceil(FRAMES);
    for _ in 0..trips {
        peer.round_trip(&mut bytes)?;
    }
    let drain = begun.elapsed().as_nanos() as f64 / (trips * FRAMES) as f64;
    Ok(Found { drain, bytes: PAYLOAD as f64, ..filled })
}

/// A worker is kept busy while so many jobs are enqueued, and then works them off. The handles are kept.
fn queue(depth: usize) -> Outcome<Found> {
    let supervisor = online(Supervisor::builder(Program::this()).workers(1).prefetch(AHEAD))?;
    repeated(depth, || queue_once(&supervisor, depth))
}

fn queue_once(supervisor: &Supervisor, depth: usize) -> Outcome<Found> {
    let held = supervisor.enqueue_raw("hold", [])?;
    let mut handles = Vec::with_capacity(depth);
    let before = own_rss_bytes()?;
    let filled = fill(depth, || {
        handles.push(supervisor.enqueue(no_op())?);
        Ok(())
    })?;
    wait_until_taken_in(supervisor, depth + 1);
    let bytes = own_rss_bytes()?.saturating_sub(before) as f64 / depth as f64;
    supervisor.broadcast_raw("open", Vec::new())?;
    held.wait()?;
    let mut handles = handles.into_iter();
    handles.next().ok_or("a depth of nothing")?.wait()?;
    let begun = Instant::now();
    for handle in handles {
        handle.wait()?;
    }
    let drain = begun.elapsed().as_nanos() as f64 / depth as f64;
    Ok(Found { drain, bytes, ..filled })
}

/// Does `one` so often and says how long it took, and the longest; the rest is not known yet.
fn fill(depth: usize, mut one: impl FnMut() -> Outcome<()>) -> Outcome<Found> {
    let begun = Instant::now();
    let (mut last, mut longest, mut slow) = (begun, Duration::ZERO, 0.0);
    for _ in 0..depth {
        one()?;
        let now = Instant::now();
        let took = now - last;
        last = now;
        longest = longest.max(took);
        if took > SLOW {
            slow += 1.0;
        }
    }
    let enqueue = (last - begun).as_nanos() as f64 / depth as f64;
    Ok(Found { enqueue, drain: 0.0, bytes: 0.0, longest: longest.as_secs_f64() * 1e6, slow })
}

/// Until the loop has seen all of them: a snapshot is answered after what came before it.
fn wait_until_taken_in(supervisor: &Supervisor, jobs: usize) {
    let is_taken_in = || {
        let health = supervisor.health();
        health.groups.iter().map(|group| group.queued + group.in_flight).sum::<usize>() == jobs
    };
    while !is_taken_in() {
        thread::yield_now();
    }
}
