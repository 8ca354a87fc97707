//! Which processor runs what. The wake-up of an idle processor costs more than all the rest, so that figures are
//! comparable only in the same placement.

use std::{env, fmt, io};

use ganger::Program;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Tells a child process on which processor it is to run.
pub(crate) const CPU: &str = "GANGER_BENCH_CPU";

/// Where the two sides run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Both on one processor.
    SameCore,
    /// Each on a processor of its own.
    CrossCore,
    /// Wherever the system puts them.
    Anywhere,
}

/// As in the names of cases.
impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Placement::SameCore => "same-core",
            Placement::CrossCore => "cross-core",
            Placement::Anywhere => "free",
        })
    }
}

/// The processors that this process may use.
#[derive(Clone, Debug)]
pub struct Cores {
    all: Vec<usize>,
}

impl Cores {
    /// Those that it may use now; to be called before anything is pinned.
    ///
    /// # Errors
    /// What the system says.
    pub fn available() -> io::Result<Cores> {
        let set = sched_getaffinity(None)?;
        Ok(Cores { all: (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect() })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The placements that can be had here, of those pinned.
    #[must_use]
    pub fn pinned(&self) -> Vec<Placement> {
        match self.all.len() {
            0 | 1 => vec![Placement::SameCore],
            _ => vec![Placement::SameCore, Placement::CrossCore],
        }
    }

    /// Pins this thread, and with it all threads that it starts from now on, and names the environment variable that
    /// pins the other side.
    ///
    /// # Errors
    /// What the system says.
    pub fn place(&self, placement: Placement) -> io::Result<(&'static str, String)> {
        let first = &self.all[..1];
        let (here, there) = match placement {
            Placement::SameCore => (first, first),
            Placement::CrossCore => (first, &self.all[1..2]),
            Placement::Anywhere => (&self.all[..], &self.all[..]),
        };
        pin(here)?;
        let there: Vec<String> = there.iter().map(ToString::to_string).collect();
        Ok((CPU, there.join(",")))
    }

    /// As [`place`](Cores::place); gives the running executable as the workers' program, pinned.
    ///
    /// # Errors
    /// What the system says.
    pub fn program(&self, placement: Placement) -> io::Result<Program> {
        let (key, value) = self.place(placement)?;
        Ok(Program::this().env(key, value))
    }
}

/// Pins this process as it was told when it was started.
pub(crate) fn settle() -> io::Result<()> {
    let Ok(told) = env::var(CPU) else { return Ok(()) };
    let cpus =
        told.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>().map_err(io::Error::other)?;
    pin(&cpus)
}

fn pin(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    Ok(sched_setaffinity(None, &set)?)
}
