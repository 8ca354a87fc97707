//! Everything about a schedule that is drawn before it begins.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use ganger::internals::{
    Backlog, Config, GroupConfig, JobOptions, OnTimeout, Order, Pick, PoisonPolicy, Priority, RecyclePolicy,
    RestartPolicy, RetryOn, Revive,
};

/// What one schedule is like.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    /// Happenings are rounded up to this; coarse ones coincide.
    pub(crate) grain_nanos: u64,
    /// The caller's mean pause between two calls.
    pub(crate) pause: Duration,
    pub(crate) faults: Faults,
    pub(crate) mix: Mix,
    /// Bytes that a link's kernel buffer holds.
    pub(crate) room: usize,
    pub(crate) ending: Ending,
    /// Whether the ending comes while jobs are still being enqueued and faults happen.
    pub(crate) ends_in_noise: bool,
    pub(crate) capacity_max: u32,
    /// The caller is refused when so many jobs are open.
    pub(crate) queue_limit: usize,
}

/// How likely each fault is, in parts of 1,000, at each occasion for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// A process dies at a step of its own.
    pub(crate) crash: u32,
    /// A process is of a bad sort from its start.
    pub(crate) bad_sort: u32,
    /// A process is stopped or stops reading, at a step of its own.
    pub(crate) freeze: u32,
    /// A process cannot be started.
    pub(crate) spawn: u32,
    /// A process survives SIGKILL; one ignores SIGTERM; one leaves a grandchild with the link.
    pub(crate) tough: u32,
    /// The machine itself: a stop of the supervisor, all workers dead at once.
    pub(crate) nemesis: u32,
    /// A ready worker says busy for a while.
    pub(crate) busy: u32,
}

/// What the caller does, by weight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    pub(crate) burst_max: u32,
    pub(crate) cancel: u32,
    pub(crate) resize: u32,
    pub(crate) shutdown_worker: u32,
    pub(crate) revive: u32,
    pub(crate) rollout: u32,
    /// Jobs whose handlers kill their worker, hang, fail, and run long, in parts of 1,000.
    pub(crate) killers: u32,
    pub(crate) hangs: u32,
    pub(crate) failures: u32,
    pub(crate) long: u32,
    /// Jobs with clocks, retries and unusual options, in parts of 1,000.
    pub(crate) clocks: u32,
    pub(crate) retries: u32,
    /// Jobs of other classes than the normal one, with delays, and with keys, in parts of 1,000; of how many keys.
    pub(crate) classes: u32,
    pub(crate) delays: u32,
    pub(crate) keyed: u32,
    pub(crate) keys: u64,
}

/// How everything is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Soft(Backlog),
    Hard,
}

fn millis(rng: &mut Rng, range: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())]
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng) -> Plan {
        let groups = if rng.u8(..4) == 0 { 2 } else { 1 };
        let groups = (0..groups).map(|index| group(rng, index)).collect();
        let config = Config { groups, sample_every: millis(rng, 100..=400) };
        let faults = Faults::draw(rng);
        let mix = Mix::draw(rng);
        let ending = match rng.u8(..4) {
            0 => Ending::Hard,
            1 => Ending::Soft(Backlog::Settle),
            _ => Ending::Soft(Backlog::WorkOff),
        };
        Plan {
            config,
            grain_nanos: pick(rng, &[1, 1, 1, 100_000, 1_000_000]),
            pause: Duration::from_micros(pick(rng, &[100, 1_000, 5_000, 20_000, 100_000])),
            faults,
            mix,
            room: pick(rng, &[64, 1_000, 208 << 10]),
            ending,
            ends_in_noise: rng.u8(..3) == 0,
            capacity_max: pick(rng, &[1, 1, 2, 3]),
            queue_limit: pick(rng, &[5, 20, 100]),
        }
    }
}

impl Faults {
    fn draw(rng: &mut Rng) -> Faults {
        if rng.u8(..8) == 0 {
            return Faults::default();
        }
        Faults {
            crash: pick(rng, &[0, 0, 2, 10, 40]),
            bad_sort: pick(rng, &[0, 0, 50, 200, 600]),
            freeze: pick(rng, &[0, 0, 2, 10]),
            spawn: pick(rng, &[0, 0, 50, 300]),
            tough: pick(rng, &[0, 0, 50, 300]),
            nemesis: pick(rng, &[0, 0, 100, 500]),
            busy: pick(rng, &[0, 0, 5, 30]),
        }
    }
}

impl Mix {
    fn draw(rng: &mut Rng) -> Mix {
        Mix {
            burst_max: pick(rng, &[1, 1, 3, 10, 40]),
            cancel: pick(rng, &[0, 5, 20, 100]),
            resize: pick(rng, &[0, 0, 2, 10]),
            shutdown_worker: pick(rng, &[0, 0, 2, 10]),
            revive: pick(rng, &[0, 5, 50]),
            rollout: pick(rng, &[0, 0, 3, 15, 60]),
            killers: pick(rng, &[0, 0, 10, 50, 300]),
            hangs: pick(rng, &[0, 10, 50, 200]),
            failures: pick(rng, &[0, 20, 100, 400]),
            long: pick(rng, &[0, 20, 100, 400]),
            clocks: pick(rng, &[0, 100, 500, 1_000]),
            retries: pick(rng, &[0, 100, 500, 1_000]),
            classes: pick(rng, &[0, 0, 0, 100, 700]),
            delays: pick(rng, &[0, 0, 0, 50, 300]),
            keyed: pick(rng, &[0, 0, 0, 100, 700]),
            keys: pick(rng, &[1, 2, 5, 40]),
        }
    }
}

fn group(rng: &mut Rng, index: usize) -> GroupConfig {
    let heartbeat = millis(rng, 100..=1_000);
    let revive = pick(rng, &[Revive::Always, Revive::Always, Revive::Always, Revive::ByCommand]);
    GroupConfig {
        prefetch: pick(rng, &[0, 0, 0, 1, 2, 4, 16]),
        pick: policy(rng),
        ageing: Duration::from_millis(pick(rng, &[1, 20, 200, 2_000, 100_000])),
        key_limit: pick(rng, &[1, 1, 1, 2, 3]),
        boot_timeout: millis(rng, 500..=5_000),
        cancel_grace: millis(rng, 10..=1_000),
        bystander_grace: millis(rng, 10..=3_000),
        leave_grace: millis(rng, 50..=5_000),
        term_grace: millis(rng, 10..=1_000),
        kill_grace: millis(rng, 10..=1_000),
        orphan_grace: millis(rng, 50..=200),
        close_grace: millis(rng, 50..=1500),
        heartbeat,
        suspect_after: heartbeat * 3,
        missing_after: heartbeat * 10,
        restart: restart(rng),
        poison: poison(rng),
        // Of one that is revived by command the models know nothing else.
        recycle: if revive == Revive::Always { recycle(rng) } else { RecyclePolicy::default() },
        revive,
        ..GroupConfig::new(format!("g{index}"), rng.u32(1..=5))
    }
}

fn policy(rng: &mut Rng) -> Pick {
    match rng.u8(..10) {
        0 => Pick::LowestRss,
        1 => Pick::LeastBusy,
        2 => Pick::RoundRobin,
        3 => Pick::PowerOfTwo,
        4 => Pick::Affinity,
        5 => Pick::Custom(Arc::new(|candidates| candidates.len().checked_sub(1))),
        6 => Pick::Custom(Arc::new(|candidates| Some(candidates.len()))),
        _ => Pick::Balanced,
    }
}

fn restart(rng: &mut Rng) -> RestartPolicy {
    RestartPolicy {
        limit: pick(rng, &[None, Some(1), Some(2), Some(5), Some(5)]),
        window: millis(rng, 1_000..=60_000),
        backoff: millis(rng, 10..=200),
        backoff_max: millis(rng, 200..=5_000),
        jitter: pick(rng, &[0.0, 0.2, 0.2]),
        healthy_after: millis(rng, 200..=5_000),
        job_deaths: pick(rng, &[3, 20, 20]),
    }
}

fn recycle(rng: &mut Rng) -> RecyclePolicy {
    if rng.bool() {
        return RecyclePolicy::default();
    }
    let mebibytes = |rng: &mut Rng, most: u64| (rng.u8(..3) == 0).then(|| rng.u64(50..most) << 20);
    let above_bytes = mebibytes(rng, 200);
    RecyclePolicy {
        above_bytes,
        samples: rng.u32(1..=3),
        kill_above_bytes: mebibytes(rng, 250).map(|kill| kill.max(above_bytes.unwrap_or(0)).max(150 << 20)),
        max_jobs: (rng.u8(..3) == 0).then(|| rng.u64(1..=50)),
        max_age: (rng.u8(..3) == 0).then(|| millis(rng, 3_000..=10_000)),
        idle_timeout: (rng.u8(..3) == 0).then(|| millis(rng, 100..=2_000)),
        min_workers: rng.u32(0..=1),
        jitter: pick(rng, &[0.0, 0.2, 1.0]),
        at_once: rng.u32(1..=2),
        min_uptime: millis(rng, 0..=300),
        grace: if rng.bool() { Duration::MAX } else { millis(rng, 0..=2_000) },
    }
}

fn poison(rng: &mut Rng) -> PoisonPolicy {
    PoisonPolicy { deaths: pick(rng, &[1, 2, 3, 3, 3]), losses: pick(rng, &[1, 2, 8, 8]) }
}

/// What a handler does, drawn for each job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// Replies.
    Works,
    /// Kills its worker each time.
    Kills,
    /// Kills its worker or replies.
    MayKill,
    /// Never ends by itself.
    Hangs,
    /// Fails each time.
    Fails,
    /// Fails or replies.
    MayFail,
}

/// A job as its caller makes it.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) options: JobOptions,
    pub(crate) script: Script,
    pub(crate) run_mean: Duration,
    pub(crate) payload_len: usize,
}

impl Draft {
    pub(crate) fn draw(rng: &mut Rng, mix: &Mix) -> Draft {
        let chance = |rng: &mut Rng, share: u32| rng.u32(..1_000) < share;
        let script = if chance(rng, mix.killers) {
            pick(rng, &[Script::Kills, Script::MayKill])
        } else if chance(rng, mix.hangs) {
            Script::Hangs
        } else if chance(rng, mix.failures) {
            pick(rng, &[Script::Fails, Script::MayFail])
        } else {
            Script::Works
        };
        let run_mean = if chance(rng, mix.long) {
            millis(rng, 20..=3_000)
        } else {
            Duration::from_micros(rng.u64(1..=3_000))
        };
        let payload_len = if rng.u16(..500) == 0 { rng.usize(..70_000) } else { rng.usize(..200) };
        Draft { options: options(rng, mix), script, run_mean, payload_len }
    }
}

fn options(rng: &mut Rng, mix: &Mix) -> JobOptions {
    let mut clock = |longest: u64| {
        let wanted = rng.u32(..1_000) < mix.clocks && rng.bool();
        let longest = pick(rng, &[3, 50, longest]);
        wanted.then(|| millis(rng, 0..=longest))
    };
    let (queue_timeout, run_timeout, timeout) = (clock(1_000), clock(2_000), clock(3_000));
    let retries = if rng.u32(..1_000) < mix.retries { rng.u16(1..=4) } else { 0 };
    let on_timeout = pick(rng, &[OnTimeout::Kill, OnTimeout::Kill, OnTimeout::Leave, OnTimeout::Cooperative]);
    JobOptions {
        retries,
        queue_timeout,
        run_timeout,
        timeout,
        on_timeout,
        retry_on: RetryOn { worker_lost: rng.u8(..4) != 0, failure: rng.bool(), run_timeout: rng.bool() },
        retry_backoff: if rng.u8(..3) == 0 { Some(millis(rng, 1..=300)) } else { None },
        retry_backoff_max: millis(rng, 100..=1_000),
        affinity: if rng.bool() { Some(rng.u64(..5)) } else { None },
        order: order(rng, mix),
        has_attachments: rng.u8(..8) == 0,
    }
}

fn order(rng: &mut Rng, mix: &Mix) -> Option<Box<Order>> {
    let chance = |rng: &mut Rng, share: u32| share > 0 && rng.u32(..1_000) < share;
    let priority =
        if chance(rng, mix.classes) { pick(rng, &[Priority::High, Priority::Low]) } else { Priority::Normal };
    let longest = pick(rng, &[2, 50, 1_500]);
    let delay = chance(rng, mix.delays).then(|| millis(rng, 0..=longest));
    let key = chance(rng, mix.keyed).then(|| rng.u64(..mix.keys));
    let order = Order { priority, delay, not_before: None, key };
    (order != Order::default()).then(|| Box::new(order))
}
