//! The relay's driver: what it wants is done, and what workers say of calls is brought to it.

use std::sync::Arc;

use bytes::Bytes;
use ganger_protocol::{
    Answers, Awaited, Body as Payload, CallAnswered, CallReply, Kind, Parcel, Refusal, SupervisorCall,
    SupervisorCallAnswer, encode,
};

use super::config::OUTBOX_ANSWERS;
use super::link::Link;
use super::turn::Turn;
use super::worker::Attention;
use crate::calls::Task;
use crate::relay::{Action, CallCounts, Input, Origin, Request, Target};
use crate::scheduler::WorkerKey;

/// Where a caller in this process waits.
pub(crate) type CallTicket = Arc<Awaited<Answers>>;

impl Turn {
    /// Does what the relay wants, in order, until there is nothing left.
    pub(super) fn act_for_relay(&mut self) {
        while let Some(action) = self.relay.poll_action() {
            match action {
                Action::Ask { worker, number, caller, name, payload, timeout } => {
                    let timeout_nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
                    let caller = caller.as_deref().map(Into::into);
                    let head = SupervisorCall { call: number, caller, timeout_nanos, name: (&*name).into() };
                    self.append(worker, |link| {
                        link.send(Kind::SupervisorCall, &head, Payload::Share(payload));
                    });
                }
                Action::Serve { number, caller, name, payload, deadline } => {
                    self.serve(Task { number, caller, name, payload, deadline });
                }
                Action::Tell { worker, call, from, left, reply } => {
                    self.tell(worker, call, from.as_deref(), left, reply);
                }
                Action::Settle { ticket, answers } => self.settled.calls.push((ticket, answers)),
            }
        }
    }

    /// A caller in this process calls.
    pub(super) fn take_in_call(&mut self, parcel: Parcel, ticket: CallTicket) {
        let Parcel { to, name, payload, timeout } = parcel;
        let (name, payload) = (Arc::from(&*name), Bytes::from(payload));
        let request = Request { from: Origin::Primary(ticket), to, name, payload, timeout };
        self.tell_relay(Input::Call(request));
    }

    /// A handler in this process has answered.
    pub(super) fn take_in_served(&mut self, number: u64, reply: CallReply) {
        self.tell_relay(Input::Answer { by: Target::Primary, number, reply });
    }

    pub(super) fn tell_relay(&mut self, input: Input<CallTicket>) {
        self.relay.handle_input(self.now, input);
    }

    pub(super) fn call_counts(&self) -> CallCounts {
        self.relay.counts()
    }

    /// Fills the places of callers in this process with what came of their calls.
    pub(super) fn wake_callers(&mut self) {
        for (ticket, answers) in self.settled.calls.drain(..) {
            if let Some(waker) = ticket.fill(answers) {
                self.shared.rouse(crate::slot::Wake::Task(waker));
            }
        }
    }

    fn serve(&mut self, task: Task) {
        let number = task.number;
        if let Err(refusal) = self.shared.desk.take(&self.shared, task) {
            self.take_in_served(number, CallReply::Refused(refusal));
        }
    }

    /// A worker that does not read what it has asked for is told the reason instead.
    fn tell(&mut self, worker: WorkerKey, call: u64, from: Option<&str>, left: u32, reply: CallReply) {
        self.append(worker, |link| {
            let is_read = link.pending() <= OUTBOX_ANSWERS;
            let (answered, payload) = match reply {
                CallReply::Data(bytes) if is_read => (CallAnswered::Data, bytes),
                CallReply::Failed(failure) if is_read => {
                    (CallAnswered::Failed, encode(&failure).unwrap_or_default())
                }
                CallReply::Refused(refusal) => (CallAnswered::Refused(refusal), Vec::new()),
                CallReply::Data(_) | CallReply::Failed(_) => {
                    (CallAnswered::Refused(Refusal::TooMany), Vec::new())
                }
            };
            let head = SupervisorCallAnswer { call, from: from.map(Into::into), left, answered };
            link.send(Kind::SupervisorCallAnswer, &head, Payload::Share(Bytes::from(payload)));
            if left == 0 {
                link.call_is_over();
            }
        });
    }

    /// Appends what must be heard although all threads of the worker may be busy.
    fn append(&mut self, worker: WorkerKey, append: impl FnOnce(&mut Link)) {
        if let Some(link) = self.workers.body_mut(worker).and_then(|body| body.link.as_mut()) {
            append(link);
            self.due(worker, Attention::FlushAndRing);
        }
    }
}
