//! Which worker gets the next job.

use std::cmp::Reverse;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Pick;

/// The least bucket of resident memory, in bytes: differences below it are noise.
const BUCKET: u64 = 2 << 20;

/// A ready worker with a free slot, as a pick policy sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its place in the group.
    pub slot: u32,
    /// Resident memory in bytes, as sampled last; `None` before the first sample or when it cannot be read.
    pub rss_bytes: Option<u64>,
    /// Requests sent and not yet answered.
    pub in_flight: u32,
    /// How many requests it takes at once.
    pub capacity: u32,
    /// A number that grows with every request sent in the group: higher is more recent, 0 is never.
    pub last_used: u64,
    /// Whether its last answer was a failure.
    pub has_failed: bool,
}

/// What is drawn on besides the candidates.
pub(super) struct Draw<'a> {
    pub(super) affinity: Option<u64>,
    pub(super) random: &'a mut fastrand::Rng,
}

/// The index of the candidate that `policy` prefers; `None` when there is none.
pub(super) fn pick(policy: &Pick, candidates: &[Candidate], draw: &mut Draw<'_>) -> Option<usize> {
    if candidates.len() < 2 {
        return if candidates.is_empty() { None } else { Some(0) };
    }
    match policy {
        Pick::Balanced => balanced(candidates),
        Pick::LowestRss => best(candidates, |one| (one.rss_bytes.unwrap_or(0), u64::from(one.slot))),
        Pick::LeastBusy => best(candidates, |one| (u64::from(one.in_flight), one.last_used)),
        Pick::RoundRobin => best(candidates, |one| (one.last_used, u64::from(one.slot))),
        Pick::PowerOfTwo => power_of_two(candidates, draw.random),
        Pick::Affinity => match draw.affinity {
            Some(key) => rendezvous(candidates, key),
            None => balanced(candidates),
        },
        Pick::Custom(choose) => catch_unwind(AssertUnwindSafe(|| choose(candidates)))
            .ok()
            .flatten()
            .filter(|index| *index < candidates.len())
            .or_else(|| balanced(candidates)),
    }
}

/// A place in the order of [`Pick::Balanced`]; lower is better.
pub(super) type Rank = (bool, u64, u32, bool, Reverse<u64>);

/// The rank of a candidate under [`Pick::Balanced`].
///
/// Among equals the one used last is warm: its memory is in the processor's caches. One that fails quickly would draw
/// every job by that; so it goes behind the others.
pub(super) fn balanced_rank(one: &Candidate, lowest: u64) -> Rank {
    let above = one.rss_bytes.unwrap_or(0).saturating_sub(lowest);
    (one.in_flight > 0, above / bucket_of(lowest), one.in_flight, one.has_failed, Reverse(one.last_used))
}

/// Whether a worker is among those of the lowest resident memory even if one of them has as little as `floor`.
pub(super) fn is_in_lowest_bucket(rss_bytes: Option<u64>, floor: u64) -> bool {
    rss_bytes.unwrap_or(0).saturating_sub(floor) < bucket_of(floor)
}

/// The lowest resident memory among the candidates.
pub(super) fn lowest_rss(candidates: &[Candidate]) -> u64 {
    candidates.iter().map(|one| one.rss_bytes.unwrap_or(0)).min().unwrap_or(0)
}

fn bucket_of(lowest: u64) -> u64 {
    BUCKET.max(lowest / 20)
}

fn balanced(candidates: &[Candidate]) -> Option<usize> {
    let lowest = lowest_rss(candidates);
    best(candidates, |one| balanced_rank(one, lowest))
}

fn best<K: Ord>(candidates: &[Candidate], key: impl Fn(&Candidate) -> K) -> Option<usize> {
    (0..candidates.len()).min_by_key(|index| key(&candidates[*index]))
}

fn power_of_two(candidates: &[Candidate], random: &mut fastrand::Rng) -> Option<usize> {
    let first = random.usize(..candidates.len());
    let second = (first + random.usize(1..candidates.len())) % candidates.len();
    [first, second].into_iter().min_by_key(|index| candidates[*index].in_flight)
}

fn rendezvous(candidates: &[Candidate], key: u64) -> Option<usize> {
    (0..candidates.len()).max_by_key(|index| mix(key ^ mix(u64::from(candidates[*index].slot) + 1)))
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn candidate(slot: u32, rss_mib: u64, in_flight: u32, last_used: u64) -> Candidate {
        Candidate {
            slot,
            rss_bytes: Some(rss_mib * MIB),
            in_flight,
            capacity: 4,
            last_used,
            has_failed: false,
        }
    }

    fn choose(policy: &Pick, candidates: &[Candidate]) -> usize {
        let mut random = fastrand::Rng::with_seed(1);
        pick(policy, candidates, &mut Draw { affinity: Some(9), random: &mut random }).expect("a candidate")
    }

    /// J11: the order of the default policy.
    #[test]
    fn idle_then_memory_then_in_flight_then_the_warmest_that_did_not_fail() {
        let idle_large = [candidate(0, 10, 1, 0), candidate(1, 900, 0, 5)];
        assert_eq!(choose(&Pick::Balanced, &idle_large), 1);
        let lower = [candidate(0, 300, 0, 0), candidate(1, 100, 0, 5), candidate(2, 200, 0, 0)];
        assert_eq!(choose(&Pick::Balanced, &lower), 1);
        let same_bucket = [candidate(0, 101, 2, 0), candidate(1, 100, 3, 99), candidate(2, 102, 2, 9)];
        assert_eq!(choose(&Pick::Balanced, &same_bucket), 2);
        let failed = [candidate(0, 1, 0, 3), Candidate { has_failed: true, ..candidate(1, 1, 0, 9) }];
        assert_eq!(choose(&Pick::Balanced, &failed), 0);
    }

    /// J11: the strict policy herds where the default does not, and a worker without a sample is no error.
    #[test]
    fn strict_lowest_rss_ignores_everything_else() {
        let busy_small = [candidate(0, 100, 0, 0), candidate(1, 99, 3, 9)];
        assert_eq!(choose(&Pick::LowestRss, &busy_small), 1);
        let unknown = [candidate(0, 1, 0, 0), Candidate { rss_bytes: None, ..candidate(1, 0, 0, 0) }];
        assert_eq!(choose(&Pick::LowestRss, &unknown), 1);
    }

    /// J11: a key keeps its worker when another one leaves.
    #[test]
    fn affinity_is_stable_when_others_come_and_go() {
        let all: Vec<Candidate> = (0..8).map(|slot| candidate(slot, 10, 0, 0)).collect();
        let chosen = all[choose(&Pick::Affinity, &all)];
        for gone in all.iter().filter(|one| one.slot != chosen.slot) {
            let rest: Vec<Candidate> = all.iter().filter(|one| *one != gone).copied().collect();
            assert_eq!(rest[choose(&Pick::Affinity, &rest)].slot, chosen.slot);
        }
    }

    /// J11: a user's policy that panics or names nobody falls back to the default.
    #[test]
    fn a_policy_that_fails_is_replaced_for_that_pick() {
        let two = [candidate(0, 300, 0, 0), candidate(1, 100, 0, 0)];
        std::panic::set_hook(Box::new(|_| {}));
        assert_eq!(choose(&Pick::Custom(Arc::new(|_| panic!("no opinion"))), &two), 1);
        let _ = std::panic::take_hook();
        assert_eq!(choose(&Pick::Custom(Arc::new(|_| Some(7))), &two), 1);
        assert_eq!(choose(&Pick::Custom(Arc::new(|_| Some(0))), &two), 0);
    }

    #[test]
    fn power_of_two_draws_two_different_ones() {
        let two = [candidate(0, 1, 5, 0), candidate(1, 1, 0, 0)];
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            assert_eq!(power_of_two(&two, &mut random), Some(1));
        }
    }
}
