//! What the test worker `lib_worker` can be asked, and how it is started.

use std::path::PathBuf;

use ganger_protocol::{Call, JobId, RetryHint};
use serde::{Deserialize, Serialize};

/// Declares calls: a type, its name on the wire, its reply.
macro_rules! calls {
    ($($(#[$doc:meta])* $type:ident $name:literal -> $reply:ty;)*) => {
        $($(#[$doc])* impl Call for $type { const NAME: &'static str = $name; type Reply = $reply; })*
    };
}

/// Gives the bytes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo(pub Vec<u8>);

/// Adds two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Add(pub i64, pub i64);

/// Comes to a gate, waits to be let in, and says which worker it was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hold {
    /// The gate.
    pub gate: PathBuf,
}

/// Adds a line to a file, at once, and gives back the attempt's number. What is in the file was run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The file.
    pub file: PathBuf,
    /// The line.
    pub line: String,
}

/// Reports the numbers below `count` as its progress, comes to a gate if there is one, dies if it was told to at its
/// first attempt, and says how many reports were sent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Advance {
    /// How many.
    pub count: u32,
    /// The gate.
    pub gate: Option<PathBuf>,
    /// How the first attempt ends.
    pub first_ends: Option<Death>,
}

/// Adds its attempt as a line to a file, and then ends as told, if told at this attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Try {
    /// The file.
    pub file: PathBuf,
    /// How the first attempts end, one after the other; later ones succeed.
    pub ends: Vec<End>,
}

/// How an attempt ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum End {
    /// A failure with a word about trying again.
    Fail(RetryHint),
    /// A panic.
    Panic,
    /// The process's death.
    Die(Death),
}

/// Fails.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fail {
    /// What it says.
    pub message: String,
    /// Details for the caller's program.
    pub details: Option<i32>,
}

/// Panics.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Panic(pub String);

/// Drops its request without an answer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Forget;

/// Acknowledges, without data.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Acknowledge;

/// Acknowledges without data although the caller expects some.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct EmptyHanded;

/// Answers with bytes that are no reply.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Misread;

/// Answers with bytes that are a reply and one more byte.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct OneTooMany;

/// A call that no worker knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unheard(pub u8);

/// Ends the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Die(pub Death);

/// How a process ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Death {
    /// It calls `abort`.
    Abort,
    /// It exits with a code.
    Exit(i32),
    /// It sends itself a signal.
    Signal(i32),
    /// It prints lines to standard error and sends itself SIGKILL.
    LastWords(Vec<String>),
}

/// Comes to a gate and is then busy for ever, deaf to everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spin {
    /// The gate.
    pub gate: PathBuf,
}

/// Comes to a gate, then works until it is cancelled, and adds a line to a file when it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cooperate {
    /// The gate.
    pub gate: PathBuf,
    /// The file.
    pub file: PathBuf,
}

/// Answers from another thread, when it is let in at the gate; its handler returns at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Later {
    /// The gate.
    pub gate: PathBuf,
}

/// Prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Print {
    /// To standard output, as it is.
    pub out: String,
    /// To standard error, as it is.
    pub err: String,
}

/// Prints so many bytes without a newline.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Flood(pub usize);

/// Uses so many MiB more, and does not give them back; gives the process's number.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Leak(pub usize);

/// Emits an event with a number, so many times.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Emit {
    /// The event's name.
    pub name: String,
    /// How many.
    pub count: u32,
}

/// Counts so much in the worker's metrics: `counted_total` by it, `counted_size` once, `counted_last` to it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Count(pub u32);

/// Says busy; says ready when it is let in at the gate. Answers before that.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pause {
    /// The gate.
    pub gate: PathBuf,
}

/// Stops its own process, as SIGSTOP does.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Stop;

/// Starts a process that comes to a gate and stays, holding the worker's standard output, in the worker's process
/// group or in a session of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Leave {
    /// The gate.
    pub gate: PathBuf,
    /// In a session of its own.
    pub as_daemon: bool,
}

/// Says what the worker and its process are.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct About;

/// What a worker and its process are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The process.
    pub pid: u32,
    /// The worker's name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its place.
    pub slot: u32,
    /// The process's arguments.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Its descriptors, by what they are.
    pub descriptors: Vec<String>,
    /// How many it was allowed just after it had connected.
    pub open_files: Option<u64>,
}

/// Accepts one connection at the worker's listener, writes its name and its state into it, and gives the name back.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Accept {
    /// It comes to this gate first, and goes on when it is let in.
    pub gate: Option<PathBuf>,
}

/// Says what the request's context holds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Inspect;

/// What a request's context holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The job.
    pub job: JobId,
    /// Which attempt.
    pub attempt: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// Whether there is a deadline.
    pub has_deadline: bool,
    /// The requests in hand, by their calls.
    pub in_hand: Vec<String>,
}

calls! {
    Echo "echo" -> Vec<u8>;
    Add "add" -> i64;
    Hold "hold" -> String;
    Record "record" -> u16;
    Advance "advance" -> u32;
    Try "try" -> u16;
    Fail "fail" -> ();
    Panic "panic" -> ();
    Forget "forget" -> ();
    Acknowledge "acknowledge" -> ();
    EmptyHanded "empty-handed" -> u32;
    Misread "misread" -> String;
    OneTooMany "one-too-many" -> u8;
    Unheard "unheard" -> ();
    Die "die" -> ();
    Spin "spin" -> ();
    Cooperate "cooperate" -> ();
    Later "later" -> String;
    Print "print" -> ();
    Flood "flood" -> ();
    Leak "leak" -> u32;
    Emit "emit" -> ();
    Count "count" -> ();
    Pause "pause" -> ();
    Stop "stop" -> ();
    Leave "leave" -> u32;
    About "about" -> Identity;
    Accept "accept" -> String;
    Inspect "inspect" -> Seen;
}

/// How a `lib_worker` behaves from its start on: passed as its only argument.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Manners {
    /// Handler threads; 0 means 1.
    pub threads: u32,
    /// The capacity that it announces, if not the number of threads.
    pub capacity: Option<u32>,
    /// It comes to this gate when it is connected, and goes on when it is let in.
    pub gate_at_start: Option<PathBuf>,
    /// It comes to this gate when it is connected and stays in touch until it ends.
    pub present_at: Option<PathBuf>,
    /// What it does instead of serving.
    pub start: Start,
    /// A panic in a handler aborts the process, as in a program built with `panic = "abort"`.
    pub aborts_on_panic: bool,
    /// SIGTERM has no effect.
    pub ignores_term: bool,
    /// Its soft-kill hook adds a line to the file and is done when it is let in at the gate.
    pub soft_kill: Option<(PathBuf, PathBuf)>,
    /// Its hard-kill hook adds a line to the file.
    pub hard_kill: Option<PathBuf>,
    /// What it is told by the event "tell", it adds as a line to the file.
    pub told: Option<PathBuf>,
    /// Its health check fails as long as there is a file of this name with the worker's own name behind it, for the
    /// reason that is in it; when that is "hang" it hangs instead.
    pub sick: Option<PathBuf>,
    /// MiB that it holds from the start on, by its place in the group.
    pub holds_mib: Vec<usize>,
    /// The listener that it takes.
    pub listener: Option<Taken>,
    /// When it has served, it comes to this gate, and ends when it is let in.
    pub gate_at_end: Option<PathBuf>,
}

/// As what a worker takes its listener of this name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Taken {
    /// A `TcpListener`.
    Tcp(String),
    /// A `UnixListener`.
    Unix(String),
    /// A descriptor, of a TCP socket.
    Descriptor(String),
}

/// What a worker does when it has been started.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub enum Start {
    /// It serves.
    #[default]
    Serve,
    /// It never says ready.
    NeverReady,
    /// It panics before it serves.
    Panic,
    /// It panics before it serves as long as there is this file.
    PanicWhile(PathBuf),
    /// It exits with a code before it connects.
    Exit(i32),
    /// As long as there is this file it connects with room for one descriptor besides its end of the link.
    CrowdedWhile(PathBuf),
}

impl Manners {
    /// One handler thread, nothing special.
    #[must_use]
    pub fn new() -> Manners {
        Manners::default()
    }

    /// As the argument of the process.
    ///
    /// # Panics
    /// Never: everything in it can be encoded.
    #[must_use]
    pub fn to_arg(&self) -> String {
        crate::arg::pack(self)
    }
}
