//! The worker used last, taken at a glance.
//!
//! With one job at a time it is the one that the default policy prefers, as long as it uses no more memory than the
//! others. To see that takes no look at all of them: it is enough to know what none of them is below.

use super::dispatch::Scratch;
use super::pick::{Draw, is_in_lowest_bucket, pick};
use super::{GroupIndex, Pick, Scheduler, Ticket, WorkerKey};

impl<T: Ticket> Scheduler<T> {
    /// Gives the next job to the worker used last, if a look at all of them could only come to the same end.
    pub(super) fn fill_warmest(&mut self, index: GroupIndex, scratch: &mut Scratch) {
        let Some(warmest) = self.warmest(index) else { return };
        debug_assert_eq!(self.balanced(index, scratch), Some(warmest), "the first by the default policy");
        let Some(lead) = self.front(index) else { return };
        self.take(index, lead);
        self.assign(lead.job, warmest);
    }

    fn warmest(&self, index: GroupIndex) -> Option<WorkerKey> {
        let group = &self.groups[usize::from(index.0)];
        if !matches!(self.config.groups[usize::from(index.0)].pick, Pick::Balanced) {
            return None;
        }
        let key = group.used_last?;
        let worker = self.workers.get(key)?;
        let is_first = worker.hand.is_empty()
            && !worker.has_failed
            && is_in_lowest_bucket(worker.rss_bytes, group.rss_floor)
            && worker.has_free_slot()
            && worker.is_routable(self.now);
        is_first.then_some(key)
    }

    fn balanced(&mut self, index: GroupIndex, scratch: &mut Scratch) -> Option<WorkerKey> {
        self.gather(index, scratch);
        let mut draw = Draw { affinity: None, random: &mut self.random };
        pick(&Pick::Balanced, &scratch.candidates, &mut draw).map(|chosen| scratch.keys[chosen])
    }

    /// What no member's resident memory is below, anew from all of them: in between it only sinks.
    pub(super) fn measure_floor(&mut self, index: GroupIndex) {
        let rss = self.members_where(index, |_| true).map(|(_, worker)| worker.rss_bytes.unwrap_or(0));
        let floor = rss.min().unwrap_or(0);
        self.groups[usize::from(index.0)].rss_floor = floor;
    }

    /// A member was found to have so much resident memory, or nobody knows how much.
    pub(super) fn lower_floor(&mut self, index: GroupIndex, rss_bytes: Option<u64>) {
        let group = &mut self.groups[usize::from(index.0)];
        group.rss_floor = group.rss_floor.min(rss_bytes.unwrap_or(0));
    }
}
