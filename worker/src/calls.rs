//! Calls of this worker's own: on their way up, and back to who waits.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use ganger_protocol::{Answers, Awaited, CallReply, Carrier, Parcel, Part, Refusal};

use crate::link::{Link, State};
use crate::session::CallAnswer;

/// Calls of one worker that may be in flight at once.
pub(crate) const CALLS_IN_FLIGHT: usize = 256;

/// How much later than the caller's time the supervisor's word may come: it names who was late.
const PATIENCE: Duration = Duration::from_millis(500);

/// Who waits for what comes of a call, and what has come so far.
pub(crate) struct Asked {
    answers: Arc<Awaited<Answers>>,
    parts: Answers,
}

impl Asked {
    fn settle(self) -> Option<Waker> {
        self.answers.fill(self.parts)
    }

    /// Settles it without an answer of the supervisor's.
    pub(crate) fn give_up(self) -> Option<Waker> {
        self.answers.fill(refused(Refusal::ShuttingDown))
    }
}

impl Carrier for Link {
    fn carry(&self, parcel: Parcel, answers: &Arc<Awaited<Answers>>) {
        let mut state = self.lock();
        if let Err(refusal) = self.send_call(&mut state, parcel, answers) {
            // Nobody has had the time to await it.
            let _ = answers.fill(refused(refusal));
        }
    }

    fn payload_limit(&self) -> usize {
        self.payload_limit
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

impl Link {
    fn send_call(
        &self,
        state: &mut State,
        parcel: Parcel,
        answers: &Arc<Awaited<Answers>>,
    ) -> Result<(), Refusal> {
        if state.is_over() {
            return Err(Refusal::ShuttingDown);
        }
        if state.calls.len() >= CALLS_IN_FLIGHT {
            return Err(Refusal::TooMany);
        }
        let Parcel { to, name, payload, timeout } = parcel;
        let call = state.calls.enter(Asked { answers: Arc::clone(answers), parts: Vec::new() });
        let sent = state.session.call(call, to, &name, timeout, Bytes::from(payload));
        if sent.is_err() {
            state.calls.leave(call);
        }
        self.flush_and_watch(state);
        sent
    }

    /// An answer has come: the last of a call settles it.
    pub(crate) fn take_call_answer(state: &mut State, answer: CallAnswer) {
        let CallAnswer { call, part, left } = answer;
        let Some(asked) = state.calls.find(call) else { return };
        asked.parts.push(part);
        if left == 0
            && let Some(asked) = state.calls.leave(call)
        {
            state.wakers.extend(asked.settle());
        }
    }
}

fn refused(refusal: Refusal) -> Answers {
    vec![Part { from: None, reply: CallReply::Refused(refusal) }]
}
