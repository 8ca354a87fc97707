//! The other processes, as far as a worker on the bench calls them.

use std::collections::HashMap;

use ganger_protocol::{
    Address, Call, CallAnswered, Failure, Kind, Refusal, SupervisorCallAnswer, decode, encode,
};

use super::{Bench, Peer, codec};

type Handler = Box<dyn FnMut(&Address, &[u8]) -> Result<Vec<u8>, Failure>>;

/// Who answers the worker's calls, whomever they are for.
#[derive(Default)]
pub(super) struct Others(HashMap<&'static str, Handler>);

impl Others {
    pub(super) fn answer(&mut self, peer: &mut Peer, call: u64, to: &Address, name: &str, payload: &[u8]) {
        let (answered, bytes) = match self.0.get_mut(name) {
            None => (CallAnswered::Refused(Refusal::UnknownCall), Vec::new()),
            Some(handler) => match handler(to, payload) {
                Ok(reply) => (CallAnswered::Data, reply),
                Err(failure) => (CallAnswered::Failed, encode(&failure).unwrap_or_default()),
            },
        };
        let from = match to {
            Address::Worker(name) => Some(name.into()),
            _ => None,
        };
        let head = SupervisorCallAnswer { call, from, left: 0, answered };
        peer.append(Kind::SupervisorCallAnswer, &head, &bytes);
        peer.flush();
        peer.ring();
    }
}

impl Bench {
    /// Answers calls that the worker makes, whomever it calls, while the bench waits for something. Without this they
    /// are answered with [`UnknownCall`](crate::CallError::UnknownCall).
    ///
    /// ```
    /// use ganger_worker::testing::Bench;
    /// use ganger_worker::{Address, Call};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Twice(u32);
    ///
    /// impl Call for Twice {
    ///     const NAME: &'static str = "twice";
    ///     type Reply = u32;
    /// }
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Next;
    ///
    /// impl Call for Next {
    ///     const NAME: &'static str = "next";
    ///     type Reply = u32;
    /// }
    ///
    /// let mut bench = Bench::start(|worker| {
    ///     worker.on_call(|_: Next, cx| {
    ///         let twice = cx.worker().call(Address::Primary, &Twice(20)).wait()?;
    ///         Ok(twice + 1)
    ///     });
    /// });
    /// bench.on_call(|_to, Twice(number)| Ok(number * 2));
    /// assert_eq!(bench.call(&Next), Ok(41));
    /// ```
    pub fn on_call<C: Call>(
        &mut self,
        mut handler: impl FnMut(&Address, C) -> Result<C::Reply, Failure> + 'static,
    ) {
        let handler = move |to: &Address, bytes: &[u8]| {
            let reply = handler(to, decode(bytes).map_err(codec)?)?;
            encode(&reply).map_err(codec)
        };
        self.others.0.insert(C::NAME, Box::new(handler));
    }
}
