//! A call that is about to be made.

use std::borrow::Cow;
use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use super::pending::{Collected, Collecting, PendingCall, Terms};
use crate::{
    Address, Awaited, Call, CallError, CodecError, Failure, MAX_HEAD, Refusal, Time, decode, encode,
};

/// How long a call waits for its answer unless it says so.
pub const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a call can wait for its answer at most; what is longer is cut to this.
pub const MAX_CALL_TIMEOUT: Duration = Duration::from_secs(3600);

/// Bytes of a head that are not names.
const HEAD_RESERVE: usize = 64;

/// A reply's bytes, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallReply {
    /// The reply; empty for a plain acknowledgement.
    Data(Vec<u8>),
    /// The handler's failure.
    Failed(Failure),
    /// No handler has answered.
    Refused(Refusal),
}

/// What came of a call at one of the processes that were called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The worker's name; `None`: the primary process, or nobody.
    pub from: Option<Arc<str>>,
    /// What it answered.
    pub reply: CallReply,
}

/// Everything that came of a call.
pub type Answers = Vec<Part>;

/// A call as it is carried away.
#[derive(Debug)]
pub struct Parcel {
    /// Whom it is for.
    pub to: Address,
    /// The call's name.
    pub name: Cow<'static, str>,
    /// The argument.
    pub payload: Vec<u8>,
    /// How long the caller waits.
    pub timeout: Duration,
}

/// From a reply's bytes to the reply.
pub(super) type Read<R> = fn(Vec<u8>) -> Result<R, CodecError>;

/// What takes calls to where they are relayed.
pub trait Carrier: Send + Sync {
    /// Takes a call away. Whatever comes of it is left in `answers`, within the call's timeout.
    fn carry(&self, parcel: Parcel, answers: &Arc<Awaited<Answers>>);
    /// The largest payload, in bytes.
    fn payload_limit(&self) -> usize;
    /// How long after the call's timeout to wait for the word of whoever relays it.
    fn patience(&self) -> Duration;
}

/// A call that is about to be made: to be waited for, awaited, sent, or collected from many.
///
/// Every call has a deadline, 5 s unless [`timeout`](Outgoing::timeout) says otherwise.
#[must_use = "a call is made when it is waited for or sent"]
pub struct Outgoing<R> {
    carrier: Arc<dyn Carrier>,
    to: Address,
    name: Cow<'static, str>,
    payload: Result<Vec<u8>, CodecError>,
    timeout: Duration,
    read: Read<R>,
}

impl<R> Outgoing<R> {
    /// A call of `C` that `carrier` will take away.
    pub fn typed<C: Call<Reply = R>>(
        carrier: Arc<dyn Carrier>,
        to: impl Into<Address>,
        call: &C,
    ) -> Outgoing<R>
    where
        R: serde::de::DeserializeOwned,
    {
        let payload = encode(call);
        Outgoing {
            carrier,
            to: to.into(),
            name: C::NAME.into(),
            payload,
            timeout: DEFAULT_CALL_TIMEOUT,
            read: |bytes| decode(&bytes),
        }
    }

    /// How long to wait for the answer, at most an hour. Default 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Outgoing<R> {
        self.timeout = timeout.min(MAX_CALL_TIMEOUT);
        self
    }

    /// Makes the call and waits for the answer.
    ///
    /// # Errors
    /// [`CallError`], [`ManyTargets`](CallError::ManyTargets) for an address of many.
    pub fn wait(self) -> Result<R, CallError> {
        match self.to {
            Address::All(_) => Err(self.many_targets()),
            Address::Primary | Address::Worker(_) | Address::Any(_) => self.send().wait(),
        }
    }

    /// Makes the call and waits until everybody has answered, or the time is up.
    ///
    /// # Errors
    /// When the call cannot be made at all: an unknown group, too large an argument, a supervisor that shuts down.
    pub fn collect(self) -> Result<Collected<R>, CallError> {
        self.send().collect()
    }

    /// Makes the call; the answer is waited for later. Dropped, it forgets the answer, not the call.
    pub fn send(self) -> PendingCall<R> {
        let Outgoing { carrier, to, name, payload, timeout, read } = self;
        let until = Time::now() + timeout + carrier.patience();
        let terms = Terms { to: to.clone(), name: name.clone().into_owned(), timeout, until };
        match check(&to, &name, payload, carrier.payload_limit()) {
            Ok(payload) => {
                let answers = Arc::new(Awaited::new());
                carrier.carry(Parcel { to, name, payload, timeout }, &answers);
                PendingCall::made(answers, terms, read)
            }
            Err(error) => PendingCall::refused(error, terms, read),
        }
    }

    fn many_targets(self) -> CallError {
        CallError::ManyTargets { call: self.name.into_owned(), target: self.to }
    }

    /// As [`collect`](Outgoing::collect), to be awaited.
    pub fn collecting(self) -> Collecting<R> {
        self.send().collecting()
    }
}

impl Outgoing<Vec<u8>> {
    /// A call of bytes for bytes that `carrier` will take away.
    pub fn raw(
        carrier: Arc<dyn Carrier>,
        to: impl Into<Address>,
        name: impl Into<Cow<'static, str>>,
        payload: Vec<u8>,
    ) -> Outgoing<Vec<u8>> {
        let (to, name, timeout) = (to.into(), name.into(), DEFAULT_CALL_TIMEOUT);
        Outgoing { carrier, to, name, payload: Ok(payload), timeout, read: Ok }
    }
}

fn check(
    to: &Address,
    name: &str,
    payload: Result<Vec<u8>, CodecError>,
    limit: usize,
) -> Result<Vec<u8>, CallError> {
    let call = || name.to_owned();
    let payload = payload.map_err(|source| CallError::Encode { call: call(), source })?;
    let (names, most) = (name.len() + to.name_len(), MAX_HEAD - HEAD_RESERVE);
    if names > most {
        return Err(CallError::TooLarge { call: call(), size: names, limit: most });
    }
    if payload.len() > limit {
        return Err(CallError::TooLarge { call: call(), size: payload.len(), limit });
    }
    Ok(payload)
}

impl<R> IntoFuture for Outgoing<R> {
    type Output = Result<R, CallError>;
    type IntoFuture = PendingCall<R>;

    fn into_future(self) -> PendingCall<R> {
        self.send()
    }
}

impl<R> fmt::Debug for Outgoing<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("call", &self.name)
            .field("to", &self.to)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
