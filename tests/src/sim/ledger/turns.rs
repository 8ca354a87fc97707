//! Whose turn it is, where age alone does not say it: classes and keys.

use std::time::Duration;

use ganger_protocol::Time;

use super::super::check::Check;
use super::super::court::{Court, PRECISION};
use super::{Job, Ledger, Phase};

impl Ledger {
    /// When a job's turn comes, compared with others: its age, moved by its class.
    pub(crate) fn rank(&self, index: usize) -> Time {
        let job = &self.jobs[index];
        job.counts_from + self.ageing[job.group] * job.terms.class
    }

    /// No job is sent while one waits that comes before it and could have gone in its place.
    pub(super) fn check_class(&self, court: &mut Court, now: Time, index: usize) {
        let job = &self.jobs[index];
        if job.may_be_suspect() {
            return;
        }
        let first = self.waiting[job.group].iter().copied().find(|other| {
            *other != index
                && self.is_due_for_long(court, now, *other)
                && self.comes_before(court, *other, index)
                && self.is_seated(*other)
        });
        court.demand(first.is_none(), Check::ClassesAreKept, || {
            let show = |index: usize| (index, &self.jobs[index].terms, self.rank(index));
            format!("job {:?} was sent before job {:?}, which was due", show(index), first.map(show))
        });
    }

    /// Whether it certainly waited for a worker, and nothing else, before this turn.
    pub(crate) fn is_due_for_long(&self, court: &Court, now: Time, index: usize) -> bool {
        let job = &self.jobs[index];
        job.is_due(court, now) && job.waits_since_before(now) && !job.may_be_suspect()
    }

    pub(crate) fn comes_before(&self, court: &Court, one: usize, other: usize) -> bool {
        let oldest = self.jobs[one].enqueued.min(self.jobs[other].enqueued);
        // A delay is over when its timer goes off, and the plain queue takes jobs as they come.
        let has_delays = self.jobs.iter().any(|job| !job.is_simple() && job.is_plain());
        let slack = if has_delays { PRECISION } else { Duration::ZERO };
        self.rank(one) + slack + court.stopped_since(oldest) < self.rank(other)
    }

    /// Of a key there are never more under way than may be, in the order in which they came.
    pub(super) fn check_line(&self, court: &mut Court, index: usize) {
        let job = &self.jobs[index];
        let Some(key) = job.terms.key else { return };
        let limit = self.key_limits[job.group];
        let is_under_way = |other: usize| !self.jobs[other].attempts.is_empty() && !self.is_over(other);
        let beside: Vec<usize> = self
            .others(index)
            .filter(|other| is_under_way(*other) && !self.was_held_vaguely(*other))
            .collect();
        court.demand(beside.len() < limit as usize, Check::KeysAreKeptApart, || {
            format!("job {index} of key {key} was sent beside {beside:?}, with a limit of {limit}")
        });
        if !job.attempts.is_empty() || !job.terms.delay.is_zero() {
            return;
        }
        let is_alike =
            |other: &Job| other.terms.delay.is_zero() && (limit == 1 || other.terms.class == job.terms.class);
        let older = self.others(index).take_while(|other| *other < index).find(|other| {
            let other = &self.jobs[*other];
            is_alike(other) && other.attempts.is_empty() && matches!(other.phase, Phase::Waiting { .. })
        });
        court.demand(older.is_none(), Check::KeysKeepTheirOrder, || {
            format!("job {index} of key {key} was sent before the older job {older:?}")
        });
    }

    /// Truth: of a key there never run more than may.
    pub(super) fn check_running(&self, court: &mut Court, index: usize) {
        let limit = self.key_limits[self.jobs[index].group] as usize;
        let is_running = |other: &usize| {
            self.jobs[*other].attempts.iter().any(|attempt| {
                let attempt = &self.attempts[*attempt];
                attempt.is_running && !attempt.is_over && !attempt.is_vague
            })
        };
        let beside: Vec<usize> = self.others(index).filter(is_running).collect();
        court.demand(beside.len() < limit, Check::KeysAreKeptApart, || {
            format!("job {index} was started while {beside:?} of its key run, with a limit of {limit}")
        });
    }

    /// Whether it waits for a worker and not behind others of its key, as far as that is certain.
    pub(crate) fn is_seated(&self, index: usize) -> bool {
        let job = &self.jobs[index];
        if job.terms.key.is_none() || !job.attempts.is_empty() {
            return true;
        }
        let may_be_ahead = |other: &usize| {
            let one = &self.jobs[*other];
            let is_after = *other > index && job.terms.delay.is_zero() && one.terms.delay.is_zero();
            let has_come = !is_after || !one.attempts.is_empty();
            has_come && one.phase != Phase::Offered && !self.is_over(*other)
        };
        let ahead = self.others(index).filter(may_be_ahead).count();
        ahead < self.key_limits[job.group] as usize
    }

    /// The other jobs of its group and key, in the order in which they came; none without a key.
    fn others(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let (group, key) = (self.jobs[index].group, self.jobs[index].terms.key);
        let line = key.and_then(|key| self.lines.get(&(group, key)));
        line.into_iter().flatten().copied().filter(move |other| *other != index)
    }

    /// Whether it has ended, and nobody is at it any more.
    fn is_over(&self, index: usize) -> bool {
        let job = &self.jobs[index];
        job.is_settled() && job.attempts.iter().all(|attempt| self.attempts[*attempt].is_over)
    }
}
