//! How much of the machine one worker may use, as the kernel counts it.

use std::fmt;

/// Something of which a process may have only so much; see `setrlimit(2)`.
///
/// The stack is not among them: the system sets it anew at the end of each execution, and overwrites what was set from
/// outside meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Bytes of address space: an allocation beyond fails.
    AddressSpace,
    /// Bytes of a core dump; 0 for none.
    CoreDump,
    /// Seconds of processor time: SIGXCPU at the soft limit and each second after it, SIGKILL at the hard one.
    CpuTime,
    /// Bytes of heap and other private writable memory: an allocation beyond fails.
    Data,
    /// Bytes of a file that it writes: SIGXFSZ, or a failed write.
    FileSize,
    /// Bytes of memory locked into RAM.
    LockedMemory,
    /// One more than the highest number that a descriptor may have. A worker needs about 20 for itself.
    OpenFiles,
    /// Processes and threads of its user, all together.
    Processes,
}

/// How much of a [`Resource`] a process may have: the soft limit counts, and it may raise that up to the hard one.
///
/// A number alone is both:
///
/// ```
/// use ganger::{Group, Program, Resource, Rlimit};
///
/// let group = Group::new("renderers", Program::beside("renderer"))
///     .rlimit(Resource::AddressSpace, 2 << 30)
///     .rlimit(Resource::CpuTime, Rlimit::new(600, 610));
/// # drop(group);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rlimit {
    pub(crate) soft: Option<u64>,
    pub(crate) hard: Option<u64>,
}

impl Rlimit {
    /// No limit, neither soft nor hard.
    pub const NONE: Rlimit = Rlimit { soft: None, hard: None };

    /// A soft and a hard limit; the soft one may not be higher.
    #[must_use]
    pub fn new(soft: u64, hard: u64) -> Rlimit {
        Rlimit { soft: Some(soft), hard: Some(hard) }
    }

    /// Whether the soft limit is at most the hard one.
    pub(crate) fn is_ordered(self) -> bool {
        self.soft.unwrap_or(u64::MAX) <= self.hard.unwrap_or(u64::MAX)
    }
}

impl From<u64> for Rlimit {
    fn from(both: u64) -> Rlimit {
        Rlimit::new(both, both)
    }
}

impl fmt::Display for Rlimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |limit: Option<u64>| limit.map_or_else(|| String::from("unlimited"), |n| n.to_string());
        write!(f, "{} (soft) and {} (hard)", text(self.soft), text(self.hard))
    }
}
