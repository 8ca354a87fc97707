//! Calls that this process makes.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{Address, Answers, Awaited, Call, CallReply, Carrier, Outgoing, Parcel, Part, Refusal};

use crate::command::Command;
use crate::shared::Shared;

/// How much later than the caller's time the loop's word may come: it names who was late.
const PATIENCE: Duration = Duration::from_secs(1);

/// The workers of a supervisor, to be called. Clones are the same; unlike a [`Supervisor`](crate::Supervisor) they do
/// not keep it up, so that a handler may own one.
///
/// ```no_run
/// # use ganger::{Call, Program, Supervisor};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct Forget { key: String }
/// # impl Call for Forget { const NAME: &'static str = "forget"; type Reply = (); }
/// use ganger::Address;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let supervisor = Supervisor::builder(Program::beside("cache")).start()?;
/// let peers = supervisor.peers();
/// let forgotten = peers.call(Address::all(), &Forget { key: "a".into() }).collect()?;
/// for (worker, error) in forgotten.errors() {
///     eprintln!("{worker}: {error}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

impl Peers {
    pub(crate) fn new(shared: Arc<Shared>) -> Peers {
        Peers { shared }
    }

    /// As [`Supervisor::call`](crate::Supervisor::call).
    pub fn call<C: Call>(&self, to: impl Into<Address>, call: &C) -> Outgoing<C::Reply> {
        Outgoing::typed(Arc::clone(&self.shared) as _, to, call)
    }

    /// As [`Supervisor::call_raw`](crate::Supervisor::call_raw).
    pub fn call_raw(
        &self,
        to: impl Into<Address>,
        name: impl Into<Cow<'static, str>>,
        data: impl Into<Vec<u8>>,
    ) -> Outgoing<Vec<u8>> {
        Outgoing::raw(Arc::clone(&self.shared) as _, to, name, data.into())
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

impl Carrier for Shared {
    fn carry(&self, parcel: Parcel, answers: &Arc<Awaited<Answers>>) {
        if self.admission.is_closed() {
            // Nobody has had the time to await it.
            let _ = answers.fill(shutting_down());
        } else {
            self.send(Command::Call(Box::new(parcel), Arc::clone(answers)));
        }
    }

    fn payload_limit(&self) -> usize {
        self.admission.payload_limit()
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

/// What comes of a call that no loop will see.
pub(crate) fn shutting_down() -> Answers {
    vec![Part { from: None, reply: CallReply::Refused(Refusal::ShuttingDown) }]
}
