//! Whether a job is accepted, decided by its caller without asking the loop.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use ganger_protocol::Time;
use parking_lot::{Condvar, Mutex, RwLock};

use crate::scheduler::GroupIndex;

/// Set in the count of jobs once nothing is accepted any more: closing and counting are one atomic step, so that
/// no job slips in beside the close.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// How many jobs, and how many bytes of them, may be unsettled at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueLimits {
    /// Jobs. Default 16 Mi.
    pub(crate) jobs: usize,
    /// Bytes. Default 1 GiB.
    pub(crate) bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> QueueLimits {
        QueueLimits { jobs: 16 << 20, bytes: 1 << 30 }
    }
}

/// Why a job was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no room now.
    QueueFull {
        /// Unsettled jobs.
        jobs: usize,
        /// Their bytes.
        bytes: usize,
        /// What is allowed.
        limits: QueueLimits,
    },
    /// There will never be room for a job of this size.
    TooLarge {
        /// Its bytes.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A soft or hard kill has begun.
    ShuttingDown,
    /// The group has no worker and gets none, for this reason.
    NoWorkers(Arc<str>),
}

/// The gate before the queue.
pub(crate) struct Admission {
    limits: QueueLimits,
    payload_limit: usize,
    /// Unsettled jobs, and [`CLOSED`].
    jobs: AtomicUsize,
    bytes: AtomicUsize,
    gates: Vec<Gate>,
    /// How many gates are shut; they are looked at only when there are any.
    shut: AtomicUsize,
    /// Callers that wait for room; the lock and the condition are touched only when there are any.
    waiting: AtomicUsize,
    lock: Mutex<()>,
    room: Condvar,
}

/// Why a group's jobs are refused, if they are.
type Gate = RwLock<Option<Arc<str>>>;

impl Admission {
    /// An open gate for so many groups; no payload may have more than `payload_limit` bytes.
    pub(crate) fn new(groups: usize, limits: QueueLimits, payload_limit: usize) -> Admission {
        Admission {
            limits,
            payload_limit,
            jobs: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            gates: (0..groups).map(|_| Gate::default()).collect(),
            shut: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            lock: Mutex::new(()),
            room: Condvar::new(),
        }
    }

    /// The largest payload of a job, in bytes.
    pub(crate) fn payload_limit(&self) -> usize {
        self.payload_limit
    }

    /// Unsettled jobs, those included that are on their way to the loop.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.load(SeqCst) & !CLOSED
    }

    /// Bytes of the unsettled jobs.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(SeqCst)
    }

    /// Whether nothing is accepted any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.jobs.load(SeqCst) & CLOSED != 0
    }

    /// Accepts nothing any more.
    pub(crate) fn close(&self) {
        self.jobs.fetch_or(CLOSED, SeqCst);
        self.rouse_waiting();
    }

    /// Refuses a group's jobs, or accepts them again.
    pub(crate) fn gate(&self, group: GroupIndex, refuse: Option<Arc<str>>) {
        let mut gate = self.gates[usize::from(group.0)].write();
        let was_shut = gate.is_some();
        if refuse.is_some() && !was_shut {
            self.shut.fetch_add(1, SeqCst);
        }
        if refuse.is_none() && was_shut {
            self.shut.fetch_sub(1, SeqCst);
        }
        *gate = refuse;
        drop(gate);
        self.rouse_waiting();
    }

    /// Takes room for a job of `charge` bytes; the payload's own limit is its caller's to check.
    pub(crate) fn admit(&self, group: GroupIndex, charge: usize) -> Result<(), Refused> {
        if charge > self.limits.bytes {
            return Err(Refused::TooLarge { size: charge, limit: self.limits.bytes });
        }
        if self.is_closed() {
            return Err(Refused::ShuttingDown);
        }
        if self.shut.load(SeqCst) > 0
            && let Some(reason) = &*self.gates[usize::from(group.0)].read()
        {
            return Err(Refused::NoWorkers(reason.clone()));
        }
        self.take_bytes(charge)?;
        self.take_place(charge).inspect_err(|_| {
            self.bytes.fetch_sub(charge, SeqCst);
        })
    }

    /// Takes room for a job, waiting for it while there is none.
    pub(crate) fn admit_within(
        &self,
        group: GroupIndex,
        charge: usize,
        timeout: Duration,
    ) -> Result<(), Refused> {
        match self.admit(group, charge) {
            Err(Refused::QueueFull { .. }) => {}
            decided => return decided,
        }
        self.waiting.fetch_add(1, SeqCst);
        let decided = self.wait_for_room(group, charge, timeout);
        self.waiting.fetch_sub(1, SeqCst);
        decided
    }

    fn wait_for_room(&self, group: GroupIndex, charge: usize, timeout: Duration) -> Result<(), Refused> {
        let deadline = Time::now() + timeout;
        let mut lock = self.lock.lock();
        loop {
            let full = match self.admit(group, charge) {
                Err(full @ Refused::QueueFull { .. }) => full,
                decided => return decided,
            };
            let left = deadline.since(Time::now());
            if left.is_zero() {
                return Err(full);
            }
            self.room.wait_for(&mut lock, left);
        }
    }

    /// Gives back the room of settled jobs.
    pub(crate) fn release(&self, jobs: usize, bytes: usize) {
        self.bytes.fetch_sub(bytes, SeqCst);
        self.jobs.fetch_sub(jobs, SeqCst);
        self.rouse_waiting();
    }

    fn rouse_waiting(&self) {
        if self.waiting.load(SeqCst) > 0 {
            drop(self.lock.lock());
            self.room.notify_all();
        }
    }

    fn take_bytes(&self, charge: usize) -> Result<(), Refused> {
        let fits = |bytes: usize| bytes.checked_add(charge).filter(|sum| *sum <= self.limits.bytes);
        match self.bytes.fetch_update(SeqCst, Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(bytes) => Err(self.full(self.jobs(), bytes)),
        }
    }

    /// Counts a job whose bytes are counted already.
    fn take_place(&self, charge: usize) -> Result<(), Refused> {
        let fits = |jobs: usize| (jobs < self.limits.jobs).then_some(jobs + 1);
        match self.jobs.fetch_update(SeqCst, Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(jobs) if jobs & CLOSED != 0 => Err(Refused::ShuttingDown),
            Err(jobs) => Err(self.full(jobs, self.bytes() - charge)),
        }
    }

    fn full(&self, jobs: usize, bytes: usize) -> Refused {
        Refused::QueueFull { jobs, bytes, limits: self.limits }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const GROUP: GroupIndex = GroupIndex(0);
    const LIMITS: QueueLimits = QueueLimits { jobs: 2, bytes: 100 };

    fn admission() -> Admission {
        Admission::new(1, LIMITS, 90)
    }

    /// J9, P8.
    #[test]
    fn full_by_count_and_by_bytes_is_said_with_the_numbers() {
        let admission = admission();
        admission.admit(GROUP, 60).expect("there is room");
        assert_eq!(
            admission.admit(GROUP, 41),
            Err(Refused::QueueFull { jobs: 1, bytes: 60, limits: LIMITS })
        );
        admission.admit(GROUP, 1).expect("there is room");
        assert_eq!(admission.admit(GROUP, 1), Err(Refused::QueueFull { jobs: 2, bytes: 61, limits: LIMITS }));
        assert_eq!(admission.admit(GROUP, 101), Err(Refused::TooLarge { size: 101, limit: 100 }));
        admission.release(1, 60);
        admission.admit(GROUP, 90).expect("there is room again");
        assert_eq!((admission.jobs(), admission.bytes()), (2, 91));
    }

    /// S2: nothing is accepted once the gate is closed, and what was admitted can still be released.
    #[test]
    fn a_closed_gate_stays_closed_while_jobs_are_released() {
        let admission = admission();
        admission.admit(GROUP, 1).expect("there is room");
        admission.close();
        admission.release(1, 1);
        assert_eq!((admission.jobs(), admission.bytes()), (0, 0));
        assert_eq!(admission.admit(GROUP, 1), Err(Refused::ShuttingDown));
    }

    #[test]
    fn a_group_without_workers_refuses_with_its_reason_until_it_heals() {
        let admission = admission();
        admission.gate(GROUP, Some("no such program".into()));
        assert_eq!(admission.admit(GROUP, 1), Err(Refused::NoWorkers("no such program".into())));
        admission.gate(GROUP, None);
        admission.admit(GROUP, 1).expect("healed");
    }

    /// J9: `enqueue_timeout` waits for room, and no longer than it was told.
    #[test]
    fn a_caller_can_wait_for_room() {
        let admission = admission();
        admission.admit(GROUP, 90).expect("there is room");
        let refused = admission.admit_within(GROUP, 11, Duration::from_millis(1));
        assert!(matches!(refused, Err(Refused::QueueFull { .. })));
        thread::scope(|scope| {
            let waiter = scope.spawn(|| admission.admit_within(GROUP, 90, Duration::from_secs(60)));
            while admission.waiting.load(SeqCst) == 0 {
                thread::yield_now();
            }
            admission.release(1, 90);
            assert_eq!(waiter.join().expect("no panic"), Ok(()));
        });
    }

    #[test]
    fn closing_ends_the_wait_for_room() {
        let admission = admission();
        admission.admit(GROUP, 90).expect("there is room");
        thread::scope(|scope| {
            let waiter = scope.spawn(|| admission.admit_within(GROUP, 11, Duration::from_secs(60)));
            while admission.waiting.load(SeqCst) == 0 {
                thread::yield_now();
            }
            admission.close();
            assert_eq!(waiter.join().expect("no panic"), Err(Refused::ShuttingDown));
        });
    }

    /// Counts return to zero whatever many callers and a releasing loop do at once.
    #[test]
    fn counts_balance_under_contention() {
        let admission = Admission::new(1, QueueLimits { jobs: 3, bytes: 20 }, 1000);
        thread::scope(|scope| {
            for charge in 1..=8 {
                let admission = &admission;
                scope.spawn(move || {
                    for _ in 0..2000 {
                        if admission.admit(GROUP, charge).is_ok() {
                            assert!(admission.jobs() <= 3 && admission.bytes() <= 20);
                            admission.release(1, charge);
                        }
                    }
                });
            }
        });
        assert_eq!((admission.jobs(), admission.bytes()), (0, 0));
    }
}
