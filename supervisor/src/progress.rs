//! What handlers report before they answer, for whoever holds the handle.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ganger_protocol::{CodecError, Time, decode};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use crate::shared::Shared;
use crate::slot::Wake;

/// Reports of one job that wait for their reader; with more the oldest are dropped and counted.
pub(crate) const MOST_REPORTS: usize = 256;

/// Bytes of them; a single larger one is kept all the same.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// One report of a job's handler.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report<T> {
    /// What the handler reported.
    pub data: T,
    /// The attempt that reported it: 1 + the retries spent.
    pub attempt: u16,
    /// How many reports before this one were dropped, since the one received last, because they were not received in
    /// time.
    pub missed: u64,
}

/// No report was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoReport {
    /// There is none at the moment.
    #[error("nothing has been reported yet")]
    NotYet,
    /// The job has ended, and all its reports were received.
    #[error("the job has ended: nothing more will be reported")]
    Ended,
}

/// Reports that wait for their reader, bounded by count and bytes.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    reports: VecDeque<Report<Vec<u8>>>,
    bytes: usize,
    /// Dropped before the next one that comes.
    missed: u64,
}

impl Backlog {
    pub(crate) fn push(&mut self, attempt: u16, data: Vec<u8>) {
        self.append(Report { data, attempt, missed: 0 });
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn append(&mut self, mut report: Report<Vec<u8>>) {
        while self.reports.len() == MOST_REPORTS || self.bytes + report.data.len() > MOST_BYTES {
            let Some(dropped) = self.pop() else { break };
            let missed = self.reports.front_mut().map_or(&mut self.missed, |next| &mut next.missed);
            *missed += dropped.missed + 1;
        }
        report.missed += std::mem::take(&mut self.missed);
        self.bytes += report.data.len();
        self.reports.push_back(report);
    }

    fn pop(&mut self) -> Option<Report<Vec<u8>>> {
        let report = self.reports.pop_front()?;
        self.bytes -= report.data.len();
        Some(report)
    }

    fn adopt(&mut self, older: Backlog) {
        let newer = std::mem::replace(self, older);
        newer.reports.into_iter().for_each(|report| self.append(report));
    }
}

/// Between the loop and a reader.
#[derive(Default)]
pub(crate) struct Feed {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    backlog: Backlog,
    waiter: Option<Wake>,
    is_over: bool,
    /// Nobody reads any more.
    is_abandoned: bool,
}

/// The loop's end of a feed. When it is dropped the reader learns that nothing more comes.
pub(crate) struct Feeder(Arc<Feed>);

impl Feeder {
    /// Adds a report, and says who is to be woken for it.
    pub(crate) fn push(&self, attempt: u16, data: Vec<u8>) -> Option<Wake> {
        let mut state = self.0.state.lock();
        if !state.is_abandoned {
            state.backlog.push(attempt, data);
        }
        state.waiter.take()
    }

    /// Puts what came before in front, and says who is to be woken for it.
    pub(crate) fn adopt(&self, older: Backlog) -> Option<Wake> {
        let mut state = self.0.state.lock();
        state.backlog.adopt(older);
        state.waiter.take()
    }

    /// What nobody has received yet.
    pub(crate) fn take(&self) -> Backlog {
        std::mem::take(&mut self.0.state.lock().backlog)
    }

    /// Nothing more comes. Says who is to be woken.
    pub(crate) fn end(&self) -> Option<Wake> {
        let mut state = self.0.state.lock();
        state.is_over = true;
        state.waiter.take()
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        match self.end() {
            Some(Wake::Thread(thread)) => thread.unpark(),
            Some(Wake::Task(waker)) => waker.wake(),
            Some(Wake::Callback(_)) | None => {}
        }
    }
}

/// What a job's handlers report, as bytes, in order; made by [`Handle::progress_raw`](crate::Handle::progress_raw).
///
/// As [`Progress`] in all else.
pub struct RawProgress {
    feed: Arc<Feed>,
    shared: Arc<Shared>,
}

/// What a job's handlers report, in order; made by [`Handle::progress`](crate::Handle::progress).
///
/// Iterating blocks for each next report, and ends when the job has ended and all its reports were received; the handle
/// is settled then, or about to be. There are ways to look without waiting, to wait for some time, and to await.
///
/// At most 256 reports and 1 MiB wait for their reader. When more come the oldest are dropped, and the next one that is
/// received says how many: what must not be lost belongs into the answer. Dropping it ends nothing but the reading.
///
/// ```no_run
/// # use ganger::{Call, Program, Supervisor};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct Convert { file: String }
/// # impl Call for Convert { const NAME: &'static str = "convert"; type Reply = u64; }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let supervisor = Supervisor::builder(Program::beside("converter")).start()?;
/// let handle = supervisor.enqueue(Convert { file: "film.mkv".into() })?;
/// for report in handle.progress::<u8>() {
///     let report = report?;
///     println!("attempt {}: {} %", report.attempt, report.data);
/// }
/// println!("{} bytes", handle.wait()?.data);
/// # Ok(())
/// # }
/// ```
pub struct Progress<T> {
    raw: RawProgress,
    value: PhantomData<fn() -> T>,
}

impl RawProgress {
    pub(crate) fn new(shared: Arc<Shared>) -> (RawProgress, Feeder) {
        let feed = Arc::new(Feed::default());
        let feeder = Feeder(Arc::clone(&feed));
        (RawProgress { feed, shared }, feeder)
    }

    /// The next report, if there is one.
    ///
    /// # Errors
    /// [`NoReport`] says whether more may come.
    pub fn try_recv(&mut self) -> Result<Report<Vec<u8>>, NoReport> {
        let mut state = self.feed.state.lock();
        match state.backlog.pop() {
            Some(report) => Ok(report),
            None if state.is_over => Err(NoReport::Ended),
            None => Err(NoReport::NotYet),
        }
    }

    /// Waits for the next report, but not longer than `timeout`.
    ///
    /// # Errors
    /// [`NoReport::NotYet`] when the time is over, [`NoReport::Ended`] when the job has ended.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Report<Vec<u8>>, NoReport> {
        self.wait(Some(Time::now() + timeout))
    }

    /// The next report; `None` when the job has ended. For tasks: it is woken when there is something new.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Report<Vec<u8>>>> {
        self.shared.leave_to_loop();
        let mut state = self.feed.state.lock();
        match state.backlog.pop() {
            None if !state.is_over => {
                state.waiter = Some(Wake::Task(context.waker().clone()));
                Poll::Pending
            }
            received => Poll::Ready(received),
        }
    }

    /// Waits, in any async runtime, for the next report; `None` when the job has ended.
    pub async fn next_async(&mut self) -> Option<Report<Vec<u8>>> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    fn wait(&mut self, deadline: Option<Time>) -> Result<Report<Vec<u8>>, NoReport> {
        // Who waits here runs no turns for the job.
        self.shared.leave_to_loop();
        loop {
            match self.receive_or_enlist() {
                Err(NoReport::NotYet) => {}
                received => return received,
            }
            match deadline.map(|deadline| deadline.since(Time::now())) {
                None => std::thread::park(),
                Some(left) if left.is_zero() => return self.try_recv(),
                Some(left) => std::thread::park_timeout(left),
            }
        }
    }

    fn receive_or_enlist(&mut self) -> Result<Report<Vec<u8>>, NoReport> {
        let mut state = self.feed.state.lock();
        match state.backlog.pop() {
            Some(report) => Ok(report),
            None if state.is_over => Err(NoReport::Ended),
            None => {
                state.waiter = Some(Wake::Thread(std::thread::current()));
                Err(NoReport::NotYet)
            }
        }
    }
}

/// Waits for each next report, until the job has ended.
impl Iterator for RawProgress {
    type Item = Report<Vec<u8>>;

    fn next(&mut self) -> Option<Report<Vec<u8>>> {
        self.wait(None).ok()
    }
}

impl Drop for RawProgress {
    fn drop(&mut self) {
        let mut state = self.feed.state.lock();
        state.is_abandoned = true;
        state.backlog = Backlog::default();
    }
}

impl fmt::Debug for RawProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawProgress").finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> Progress<T> {
    pub(crate) fn new(raw: RawProgress) -> Progress<T> {
        Progress { raw, value: PhantomData }
    }

    /// The next report, if there is one; an error in it when it is no `T`.
    ///
    /// # Errors
    /// [`NoReport`] says whether more may come.
    pub fn try_recv(&mut self) -> Result<Result<Report<T>, CodecError>, NoReport> {
        self.raw.try_recv().map(read)
    }

    /// Waits for the next report, but not longer than `timeout`.
    ///
    /// # Errors
    /// [`NoReport::NotYet`] when the time is over, [`NoReport::Ended`] when the job has ended.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Result<Report<T>, CodecError>, NoReport> {
        self.raw.recv_timeout(timeout).map(read)
    }

    /// The next report; `None` when the job has ended. For tasks: it is woken when there is something new.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Report<T>, CodecError>>> {
        self.raw.poll_recv(context).map(|received| received.map(read))
    }

    /// Waits, in any async runtime, for the next report; `None` when the job has ended.
    pub async fn next_async(&mut self) -> Option<Result<Report<T>, CodecError>> {
        self.raw.next_async().await.map(read)
    }
}

/// Waits for each next report, until the job has ended.
impl<T: DeserializeOwned> Iterator for Progress<T> {
    type Item = Result<Report<T>, CodecError>;

    fn next(&mut self) -> Option<Result<Report<T>, CodecError>> {
        self.raw.next().map(read)
    }
}

impl<T> fmt::Debug for Progress<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

fn read<T: DeserializeOwned>(report: Report<Vec<u8>>) -> Result<Report<T>, CodecError> {
    let Report { data, attempt, missed } = report;
    Ok(Report { data: decode(&data)?, attempt, missed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(backlog: &mut Backlog) -> Vec<(u8, u64)> {
        std::iter::from_fn(|| backlog.pop()).map(|report| (report.data[0], report.missed)).collect()
    }

    #[test]
    fn the_oldest_are_dropped_and_counted() {
        let mut backlog = Backlog::default();
        for number in 0..MOST_REPORTS + 3 {
            backlog.push(1, vec![number as u8]);
        }
        let all = received(&mut backlog);
        assert_eq!((all.len(), all[0], all[1]), (MOST_REPORTS, (3, 3), (4, 0)));
    }

    #[test]
    fn a_report_of_any_size_drops_what_is_older_and_is_kept() {
        let mut backlog = Backlog::default();
        backlog.push(1, vec![1; 100]);
        backlog.push(1, vec![2; 100]);
        backlog.push(2, vec![3; MOST_BYTES + 1]);
        assert_eq!(received(&mut backlog), [(3, 2)]);
        backlog.push(2, vec![4]);
        assert_eq!(received(&mut backlog), [(4, 0)]);
    }

    #[test]
    fn what_came_before_is_put_in_front() {
        let (mut older, mut newer) = (Backlog::default(), Backlog::default());
        older.push(1, vec![1]);
        newer.push(1, vec![2]);
        newer.adopt(older);
        assert_eq!(received(&mut newer), [(1, 0), (2, 0)]);
    }
}
