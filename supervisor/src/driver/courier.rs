//! The courier: the thread that runs what is not ours or may block — completion callbacks, log records, output
//! lines.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, fence};
use std::thread::{self, ThreadId};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select, unbounded};
use log::Level;
use parking_lot::Mutex;

use super::config::LOG_BACKLOG;
use super::output::Stream;

/// The target of what the supervisor says itself.
pub(super) const TARGET: &str = "ganger";

/// The target of what workers print.
pub(super) const WORKER_TARGET: &str = "ganger::worker";

/// Something that the courier calls once.
pub(crate) type Errand = Box<dyn FnOnce() + Send>;

/// Something to be logged.
enum Record {
    Note { level: Level, text: String },
    Line { worker: Arc<str>, stream: Stream, text: String },
}

/// What is handed to the courier's thread. Errands are as many as there are jobs with a callback, which admission
/// bounds; log records are dropped, and counted, when too many wait.
pub(crate) struct Courier {
    errands: Sender<Option<Errand>>,
    waiting_errands: Receiver<Option<Errand>>,
    records: Sender<Record>,
    waiting_records: Receiver<Record>,
    dropped: AtomicU64,
    is_over: AtomicBool,
    thread: Mutex<Option<ThreadId>>,
}

impl Courier {
    pub(crate) fn new() -> Courier {
        let (errands, waiting_errands) = unbounded();
        let (records, waiting_records) = bounded(LOG_BACKLOG);
        Courier {
            errands,
            waiting_errands,
            records,
            waiting_records,
            dropped: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            thread: Mutex::new(None),
        }
    }

    /// Has `errand` run by the courier; never blocks. When the courier has ended, it runs here.
    pub(crate) fn call(&self, errand: Errand) {
        let _ = self.errands.send(Some(errand));
        // Pairs with the fence in `run`: either the courier sees the errand, or we see that it has ended.
        fence(SeqCst);
        if self.is_over.load(SeqCst) {
            self.run_waiting();
        }
    }

    /// Whether this is the courier's own thread.
    pub(crate) fn is_this_thread(&self) -> bool {
        *self.thread.lock() == Some(thread::current().id())
    }

    /// Has a sentence of the supervisor's own logged; never blocks.
    pub(crate) fn note(&self, level: Level, text: impl FnOnce() -> String) {
        if level <= log::max_level() {
            self.record(Record::Note { level, text: text() });
        }
    }

    /// Has a worker's line logged; never blocks.
    pub(super) fn line(&self, worker: &Arc<str>, stream: Stream, text: String) {
        if level_of(stream) <= log::max_level() {
            self.record(Record::Line { worker: worker.clone(), stream, text });
        }
    }

    fn record(&self, record: Record) {
        match self.records.try_send(record) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Relaxed);
            }
        }
    }

    /// Lets the courier end when all that waits is done.
    pub(super) fn end(&self) {
        let _ = self.errands.send(None);
    }

    /// The courier's thread.
    pub(super) fn run(&self) {
        *self.thread.lock() = Some(thread::current().id());
        while self.serve_once() {}
        for record in self.waiting_records.try_iter() {
            self.log(&record);
        }
        self.is_over.store(true, SeqCst);
        fence(SeqCst);
        self.run_waiting();
    }

    /// Does one thing; false when it was the last.
    fn serve_once(&self) -> bool {
        select! {
            recv(self.waiting_errands) -> errand => match errand {
                Ok(Some(errand)) => run(errand),
                Ok(None) | Err(_) => return false,
            },
            recv(self.waiting_records) -> record => if let Ok(record) = record {
                self.log(&record);
            },
        }
        true
    }

    fn run_waiting(&self) {
        self.waiting_errands.try_iter().flatten().for_each(run);
    }

    fn log(&self, record: &Record) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.log_uncaught(record)));
    }

    fn log_uncaught(&self, record: &Record) {
        let dropped = self.dropped.swap(0, Relaxed);
        if dropped > 0 {
            log::warn!(target: TARGET, "{dropped} log records were dropped: the logger is too slow");
        }
        match record {
            Record::Note { level, text } => log::log!(target: TARGET, *level, "{text}"),
            Record::Line { worker, stream, text } => {
                log::log!(target: WORKER_TARGET, level_of(*stream), "{worker}: {text}");
            }
        }
    }
}

fn level_of(stream: Stream) -> Level {
    match stream {
        Stream::Stdout => Level::Info,
        Stream::Stderr => Level::Warn,
    }
}

fn run(errand: Errand) {
    if catch_unwind(AssertUnwindSafe(errand)).is_err() {
        log::error!(target: TARGET, "a completion callback panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// J1: a callback that panics does not keep the others from being called, nor does the courier's end.
    #[test]
    fn every_errand_is_run_once() {
        let courier = Courier::new();
        let (done, runs) = unbounded();
        let errand = |number: u32| -> Errand {
            let done = done.clone();
            Box::new(move || {
                done.send(number).expect("the test listens");
                assert_ne!(number, 1, "one of them panics");
            })
        };
        thread::scope(|scope| {
            scope.spawn(|| courier.run());
            for number in 0..3 {
                courier.call(errand(number));
            }
            courier.end();
        });
        courier.call(errand(3));
        assert_eq!(runs.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}
