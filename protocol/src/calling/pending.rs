//! A call that was made, and what came of it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::outgoing::Read;
use crate::{Address, Answers, Awaited, CallError, CallReply, Part, Refusal, Time};

/// What was called, whom, and for how long.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) to: Address,
    pub(super) name: String,
    pub(super) timeout: Duration,
    /// Until when a blocked thread waits for the word of whoever relays the call.
    pub(super) until: Time,
}

/// A call that was made. Its answer, or why there is none, is here within its timeout.
///
/// [`wait`](PendingCall::wait) for it, `.await` it, or look with [`try_result`](PendingCall::try_result).
#[must_use = "dropping it forgets the answer; the call is made all the same"]
pub struct PendingCall<R> {
    source: Source,
    terms: Box<Terms>,
    read: Read<R>,
}

enum Source {
    Made(Arc<Awaited<Answers>>),
    Refused(Option<Box<CallError>>),
}

/// What came of a call to many, by who was called.
///
/// Everybody who was called is in it, in no particular order: those who answered, those who failed, and those who
/// were late, died or could not be called, with the error that says so.
#[derive(Debug)]
pub struct Collected<R> {
    /// The worker's name, with its reply or why there is none. A call to the primary process has `primary` here.
    pub answers: Vec<(Arc<str>, Result<R, CallError>)>,
}

impl<R> PendingCall<R> {
    pub(super) fn made(answers: Arc<Awaited<Answers>>, terms: Terms, read: Read<R>) -> PendingCall<R> {
        PendingCall { source: Source::Made(answers), terms: Box::new(terms), read }
    }

    pub(super) fn refused(error: CallError, terms: Terms, read: Read<R>) -> PendingCall<R> {
        PendingCall { source: Source::Refused(Some(Box::new(error))), terms: Box::new(terms), read }
    }

    /// Blocks until the answer is here, or the call's time is up.
    ///
    /// # Errors
    /// [`CallError`].
    ///
    /// # Panics
    /// When it was polled and was ready then: the answer has been taken.
    pub fn wait(mut self) -> Result<R, CallError> {
        let answers = self.await_answers();
        self.one(answers)
    }

    /// Blocks as [`wait`](PendingCall::wait), but not longer than `timeout`.
    ///
    /// # Errors
    /// The call, when its answer is not here by then.
    ///
    /// # Panics
    /// As [`wait`](PendingCall::wait).
    pub fn wait_timeout(mut self, timeout: Duration) -> Result<Result<R, CallError>, PendingCall<R>> {
        let deadline = Time::now() + timeout;
        if deadline >= self.terms.until {
            return Ok(self.wait());
        }
        match self.answers_by(deadline) {
            Some(answers) => Ok(self.one(answers)),
            None => Err(self),
        }
    }

    /// The answer, if it is here.
    ///
    /// # Errors
    /// The call, when its answer is not here yet.
    ///
    /// # Panics
    /// As [`wait`](PendingCall::wait).
    pub fn try_result(self) -> Result<Result<R, CallError>, PendingCall<R>> {
        self.wait_timeout(Duration::ZERO)
    }

    /// Blocks until everybody has answered, or the call's time is up.
    ///
    /// # Errors
    /// When the call could not be made at all.
    ///
    /// # Panics
    /// As [`wait`](PendingCall::wait).
    pub fn collect(mut self) -> Result<Collected<R>, CallError> {
        let answers = self.await_answers();
        self.all(answers)
    }

    /// As [`collect`](PendingCall::collect), to be awaited.
    pub fn collecting(self) -> Collecting<R> {
        Collecting(self)
    }

    fn await_answers(&mut self) -> Result<Answers, CallError> {
        let until = self.terms.until;
        self.answers_by(until).unwrap_or_else(|| Err(self.refusal(Refusal::TimedOut, self.terms.to.clone())))
    }

    fn answers_by(&mut self, deadline: Time) -> Option<Result<Answers, CallError>> {
        match &mut self.source {
            Source::Made(answers) => answers.wait(deadline).map(Ok),
            Source::Refused(error) => Some(Err(taken_once(error))),
        }
    }

    fn poll_answers(&mut self, context: &Context<'_>) -> Poll<Result<Answers, CallError>> {
        match &mut self.source {
            Source::Made(answers) => answers.poll(context).map(Ok),
            Source::Refused(error) => Poll::Ready(Err(taken_once(error))),
        }
    }

    fn one(&self, answers: Result<Answers, CallError>) -> Result<R, CallError> {
        if matches!(self.terms.to, Address::All(_)) {
            return Err(CallError::ManyTargets {
                call: self.terms.name.clone(),
                target: self.terms.to.clone(),
            });
        }
        match answers?.pop() {
            Some(part) => {
                let target = self.target(&part);
                self.reply(part.reply, target)
            }
            None => Err(self.refusal(Refusal::NoWorkers, self.terms.to.clone())),
        }
    }

    fn all(&self, answers: Result<Answers, CallError>) -> Result<Collected<R>, CallError> {
        let mut collected = Vec::new();
        for part in answers? {
            let target = self.target(&part);
            match (part.from, part.reply, &self.terms.to) {
                // Nobody is meant: that is what all of them said.
                (None, CallReply::Refused(Refusal::NoWorkers), Address::All(_)) => {}
                (None, CallReply::Refused(refusal), Address::All(_)) => {
                    return Err(self.refusal(refusal, target));
                }
                (from, reply, _) => {
                    let name = from.unwrap_or_else(|| "primary".into());
                    collected.push((name, self.reply(reply, target)));
                }
            }
        }
        Ok(Collected { answers: collected })
    }

    fn target(&self, part: &Part) -> Address {
        match &part.from {
            Some(name) => Address::worker(&**name),
            None => self.terms.to.clone(),
        }
    }

    fn reply(&self, reply: CallReply, target: Address) -> Result<R, CallError> {
        let call = self.terms.name.clone();
        match reply {
            CallReply::Data(bytes) => {
                (self.read)(bytes).map_err(|source| CallError::Decode { call, target, source })
            }
            CallReply::Failed(failure) => Err(CallError::Failed { call, target, failure }),
            CallReply::Refused(refusal) => Err(self.refusal(refusal, target)),
        }
    }

    fn refusal(&self, refusal: Refusal, target: Address) -> CallError {
        CallError::of(refusal, self.terms.name.clone(), target, self.terms.timeout)
    }
}

fn taken_once(error: &mut Option<Box<CallError>>) -> CallError {
    *error.take().expect("an answer was polled after it was ready")
}

/// Ready when the answer is here, or the call's time is up.
///
/// # Panics
/// When it is polled again after it was ready.
impl<R> Future for PendingCall<R> {
    type Output = Result<R, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.poll_answers(context);
        polled.map(|answers| self.one(answers))
    }
}

impl<R> fmt::Debug for PendingCall<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingCall")
            .field("call", &self.terms.name)
            .field("to", &self.terms.to)
            .finish_non_exhaustive()
    }
}

/// A call to many, to be awaited: made by [`PendingCall::collecting`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Collecting<R>(PendingCall<R>);

/// Ready when everybody has answered, or the call's time is up.
///
/// # Panics
/// When it is polled again after it was ready.
impl<R> Future for Collecting<R> {
    type Output = Result<Collected<R>, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.0.poll_answers(context);
        polled.map(|answers| self.0.all(answers))
    }
}

impl<R> Collected<R> {
    /// The replies of those who answered, by name.
    pub fn replies(&self) -> impl Iterator<Item = (&str, &R)> {
        self.answers.iter().filter_map(|(name, answer)| Some((&**name, answer.as_ref().ok()?)))
    }

    /// Why the others gave none, by name.
    pub fn errors(&self) -> impl Iterator<Item = (&str, &CallError)> {
        self.answers.iter().filter_map(|(name, answer)| Some((&**name, answer.as_ref().err()?)))
    }

    /// Whether everybody who was called has answered with a reply.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.answers.iter().all(|(_, answer)| answer.is_ok())
    }
}
