//! Which worker gets a job.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use std::time::Duration;

use ganger::{Builder, Job, Pick, Standing, Supervisor};
use ganger_tests::calls::{About, Fail, Hold, Manners};
use ganger_tests::harness::{Gate, Held, eventually, scenario};
use ganger_tests::workers::{online, with};

const MIB: u64 = 1 << 20;

/// Workers that really hold 0, 50 and 200 MiB, by their places; the supervisor has seen it.
fn hoarders(threads: u32, pick: Pick) -> Supervisor {
    let manners = Manners { threads, holds_mib: vec![200, 0, 50], ..Manners::new() };
    let builder: Builder = Supervisor::builder(with(&manners)).workers(3).pick(pick);
    let supervisor = online(builder.sample_every(Duration::from_millis(5)));
    eventually("all have been sampled", || {
        let rss = |slot: u32| {
            let workers = supervisor.health().workers;
            workers.iter().find(|worker| worker.slot == slot).and_then(|worker| worker.rss_bytes)
        };
        let (large, small, medium) = (rss(0)?, rss(1)?, rss(2)?);
        (large > 200 * MIB && medium > 50 * MIB && medium < 100 * MIB && small < 40 * MIB).then_some(())
    });
    supervisor
}

fn hold(supervisor: &Supervisor, gate: &Gate) -> Held {
    drop(supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted"));
    gate.next()
}

/// J11: by default a job goes to an idle worker, the one with the lowest RSS first; when none is idle, to the lowest
/// RSS again. With workers that really hold 200, 0 and 50 MiB.
#[test]
fn idle_first_then_lowest_rss() {
    scenario(|| {
        let supervisor = hoarders(2, Pick::Balanced);
        let gate = Gate::new();
        let held: Vec<Held> = (0..6).map(|_| hold(&supervisor, &gate)).collect();
        let order: Vec<&str> = held.iter().map(Held::worker).collect();
        assert_eq!(order[..3], ["default-1", "default-2", "default-0"], "idle ones, by RSS");
        assert_eq!(order[3..], ["default-1", "default-2", "default-0"], "by RSS");
        held.into_iter().for_each(Held::release);
    });
}

/// J11: one job after the other goes to the worker with the lowest RSS, each time.
#[test]
fn sequential_jobs_go_to_the_lowest_rss() {
    scenario(|| {
        let supervisor = hoarders(1, Pick::Balanced);
        for _ in 0..50 {
            let response = supervisor.enqueue(About).expect("accepted").wait().expect("answered");
            assert_eq!(&*response.worker, "default-1");
        }
    });
}

/// J11: strictly the lowest RSS fills one worker before it takes the next.
#[test]
fn strictly_lowest_rss_fills_one_worker_first() {
    scenario(|| {
        let supervisor = hoarders(2, Pick::LowestRss);
        let gate = Gate::new();
        let held: Vec<Held> = (0..6).map(|_| hold(&supervisor, &gate)).collect();
        let order: Vec<&str> = held.iter().map(Held::worker).collect();
        let expected = ["default-1", "default-1", "default-2", "default-2", "default-0", "default-0"];
        assert_eq!(order, expected);
        held.into_iter().for_each(Held::release);
    });
}

/// J11: a pick can be explained: what was seen of each worker, and the order that follows.
#[test]
fn a_pick_can_be_explained() {
    scenario(|| {
        let supervisor = hoarders(1, Pick::Balanced);
        let gate = Gate::new();
        let held = hold(&supervisor, &gate);
        let explained: HashMap<String, _> = supervisor
            .explain("default")
            .expect("there is such a group")
            .into_iter()
            .map(|one| (one.worker.to_string(), one))
            .collect();
        assert_eq!(held.worker(), "default-1");
        assert_eq!(explained["default-1"].standing, Standing::Full);
        assert_eq!(explained["default-2"].standing, Standing::Eligible { rank: 0 });
        assert_eq!(explained["default-0"].standing, Standing::Eligible { rank: 1 });
        assert!(explained["default-0"].candidate.rss_bytes.expect("sampled") > 200 * MIB);
        assert_eq!(explained["default-1"].candidate.in_flight, 1);
        supervisor.explain("nowhere").expect_err("there is no such group");
        held.release();
    });
}

fn spread(supervisor: &Supervisor, jobs: impl IntoIterator<Item = Job<About>>) -> BTreeMap<Arc<str>, usize> {
    let mut spread = BTreeMap::new();
    for job in jobs {
        let response = supervisor.enqueue(job).expect("accepted").wait().expect("answered");
        *spread.entry(response.worker).or_insert(0) += 1;
    }
    spread
}

/// J11: round robin takes all in turn, least busy the one with the fewest in hand.
#[test]
fn round_robin_and_least_busy() {
    scenario(|| {
        let supervisor = hoarders(1, Pick::RoundRobin);
        let jobs = (0..30).map(|_| Job::new(About));
        assert_eq!(spread(&supervisor, jobs).into_values().collect::<Vec<_>>(), [10, 10, 10]);
        drop(supervisor);

        let supervisor = hoarders(3, Pick::LeastBusy);
        let gate = Gate::new();
        let held: Vec<Held> = (0..9).map(|_| hold(&supervisor, &gate)).collect();
        for three in held.chunks(3) {
            let mut workers: Vec<&str> = three.iter().map(Held::worker).collect();
            workers.sort_unstable();
            assert_eq!(workers, ["default-0", "default-1", "default-2"]);
        }
        held.into_iter().for_each(Held::release);
    });
}

/// J11: of two drawn at random the less busy one: everybody gets something, whatever the memory.
#[test]
fn power_of_two_spreads() {
    scenario(|| {
        let supervisor = hoarders(1, Pick::PowerOfTwo);
        let spread = spread(&supervisor, (0..120).map(|_| Job::new(About)));
        assert_eq!(spread.len(), 3);
        assert!(spread.values().all(|count| *count > 10), "{spread:?}");
    });
}

/// J11: jobs with the same key go to the same worker, those of another key often to another.
#[test]
fn affinity_keeps_a_key_with_its_worker() {
    scenario(|| {
        let supervisor = hoarders(1, Pick::Affinity);
        let mut used = BTreeMap::new();
        for key in 0..20 {
            let of_key = spread(&supervisor, (0..5).map(|_| Job::new(About).affinity(key)));
            assert_eq!(of_key.len(), 1, "key {key}: {of_key:?}");
            used.extend(of_key);
        }
        assert_eq!(used.len(), 3, "{used:?}");
    });
}

/// J11: a user's own policy decides; one that gives nonsense or panics falls back to the default and harms nobody.
#[test]
fn a_policy_of_the_users_own() {
    scenario(|| {
        let most = Pick::Custom(Arc::new(|candidates| {
            (0..candidates.len()).max_by_key(|index| candidates[*index].rss_bytes)
        }));
        let supervisor = hoarders(1, most);
        assert_eq!(
            spread(&supervisor, (0..5).map(|_| Job::new(About))).into_keys().collect::<Vec<_>>(),
            ["default-0".into()]
        );
        drop(supervisor);
        let mad = [
            Pick::Custom(Arc::new(|_| Some(usize::MAX))),
            Pick::Custom(Arc::new(|_| panic!("a mad policy"))),
        ];
        for policy in mad {
            let supervisor = hoarders(1, policy);
            let all = spread(&supervisor, (0..5).map(|_| Job::new(About)));
            assert_eq!(all.into_keys().collect::<Vec<_>>(), ["default-1".into()]);
        }
    });
}

/// J11: a burst is spread evenly over workers that are alike: none gets more than its share and one.
#[test]
fn a_burst_is_spread_evenly() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(with(&Manners::new())).workers(4));
        let handles: Vec<_> =
            (0..40).map(|_| supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted")).collect();
        let mut counts: HashMap<String, usize> = HashMap::new();
        for _ in 0..10 {
            let four = gate.next_many(4);
            for held in &four {
                *counts.entry(held.worker().to_owned()).or_default() += 1;
            }
            four.into_iter().for_each(Held::release);
        }
        assert_eq!(counts.into_values().collect::<Vec<_>>(), [10; 4]);
        handles.into_iter().for_each(|handle| drop(handle.wait().expect("answered")));
    });
}

/// J11: among equals the worker used last gets the next job, as long as it answers; one that fails at once is idle first,
/// and gets no more than its turn for that.
#[test]
fn among_equals_the_warmest_that_does_not_fail() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(with(&Manners::new())).workers(4));
        let who = || supervisor.enqueue(About).expect("accepted").wait().expect("answered").worker;
        let warm = who();
        assert!((0..50).all(|_| who() == warm), "the others are as idle, and cold");
        let failed =
            supervisor.enqueue(Fail { message: String::from("no"), details: None }).expect("accepted").wait();
        assert!(failed.is_err(), "{failed:?}");
        let next = who();
        assert_ne!(next, warm, "it has failed");
        assert!((0..50).all(|_| who() == next));
    });
}
