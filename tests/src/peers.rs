//! What test workers are asked to ask of other processes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ganger_protocol::{Address, Call, CallError, Failure, encode};
use serde::{Deserialize, Serialize};

/// Calls somebody, waits, and tells what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// Whom.
    pub to: Address,
    /// The call's name.
    pub name: String,
    /// The argument.
    pub payload: Vec<u8>,
    /// How long to wait.
    pub timeout: Duration,
}

/// As [`Ask`], and tells what came of it at everybody.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AskAll(pub Ask);

/// Makes many calls at once, and counts how they end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pester {
    /// The call.
    pub ask: Ask,
    /// How often.
    pub times: usize,
}

/// Says who called, as a handler sees it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct WhoCalls;

/// Comes to the gate, then calls somebody who will not answer before it is too late, and does not wait.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AskAndDie {
    /// The call.
    pub ask: Ask,
    /// The gate at which the process waits for its death.
    pub gate: PathBuf,
}

/// How a call ended that has no reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// The error's name.
    pub kind: String,
    /// What it says.
    pub text: String,
    /// What the handler said.
    pub failure: Option<Failure>,
}

impl Ask {
    /// To make the call `C` of somebody.
    ///
    /// # Panics
    /// When it cannot be encoded.
    #[must_use]
    pub fn of<C: Call>(to: Address, call: &C) -> Ask {
        let payload = encode(call).expect("it encodes");
        Ask { to, name: C::NAME.to_owned(), payload, timeout: Duration::from_secs(60) }
    }

    /// The same, waiting for another time.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Ask {
        Ask { timeout, ..self }
    }
}

/// The reply's bytes, or how the call ended.
pub type Told = Result<Vec<u8>, Complaint>;

impl Call for Ask {
    const NAME: &'static str = "ask";
    type Reply = Told;
}

impl Call for AskAll {
    const NAME: &'static str = "ask-all";
    type Reply = Result<BTreeMap<String, Told>, Complaint>;
}

impl Call for Pester {
    const NAME: &'static str = "pester";
    type Reply = BTreeMap<String, usize>;
}

impl Call for WhoCalls {
    const NAME: &'static str = "who-calls";
    type Reply = String;
}

impl Call for AskAndDie {
    const NAME: &'static str = "ask-and-die";
    type Reply = ();
}

impl From<CallError> for Complaint {
    fn from(error: CallError) -> Complaint {
        let shown = format!("{error:?}");
        let kind = shown.split([' ', '(']).next().unwrap_or_default().to_owned();
        Complaint { kind, text: error.to_string(), failure: error.failure().cloned() }
    }
}
