//! Telling a job's owner how far it is, and parts of its result.

use bytes::Bytes;
use ganger_protocol::{Body, encode};
use serde::Serialize;

use super::Context;
use crate::current::Duty;
use crate::session::ProgressError;

impl Context {
    /// Reports how far the job is, or a part of its result, to whoever holds its handle: there the reports come in order,
    /// before the answer, each with the number of the attempt.
    ///
    /// The supervisor keeps a bounded number of reports for a reader who is slow, and drops the oldest; what must not
    /// be lost belongs into the answer. A worker sends at most 1,000 reports and 20 MiB of them a second. A handler need
    /// not care whether a report was sent: ignoring the error is fine.
    ///
    /// ```no_run
    /// # use ganger_worker::{Call, Worker};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)] struct Sum { numbers: Vec<u64> }
    /// # impl Call for Sum { const NAME: &'static str = "sum"; type Reply = u64; }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut worker = Worker::connect()?;
    /// worker.on_call(|sum: Sum, cx| {
    ///     let mut total = 0;
    ///     for (done, number) in sum.numbers.iter().enumerate() {
    ///         total += number;
    ///         if done % 1_000 == 0 {
    ///             let _ = cx.progress(&done);
    ///         }
    ///     }
    ///     Ok(total)
    /// });
    /// worker.serve()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProgressError`] when the value cannot be encoded or is too large, when it comes too soon after others, or when
    /// what is handled is no job but a call from another process.
    pub fn progress<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), ProgressError> {
        self.progress_raw(encode(value)?)
    }

    /// As [`progress`](Context::progress), with bytes.
    ///
    /// # Errors
    /// As [`progress`](Context::progress).
    pub fn progress_raw(&self, bytes: impl Into<Vec<u8>>) -> Result<(), ProgressError> {
        match self.duty {
            Duty::Request(ticket) => self.link.progress(ticket, Body::Share(Bytes::from(bytes.into()))),
            Duty::Call(_) => Err(ProgressError::NoJob),
        }
    }
}
