//! What is said at the end.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::args::Args;
use crate::roll::Rolls;
use crate::tally::Tally;

/// The figures of a run.
pub(crate) struct Report<'a> {
    pub(crate) args: &'a Args,
    pub(crate) address: SocketAddr,
    pub(crate) took: Duration,
    pub(crate) rolls: Rolls,
    pub(crate) changes: u64,
    pub(crate) tally: Tally,
}

impl Report<'_> {
    /// Whether no request failed, of those that there were.
    pub(crate) fn is_flawless(&self) -> bool {
        self.tally.failed == 0 && (self.tally.answers() > 0 || self.args.clients == 0)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { args, address, took, rolls, changes, tally } = self;
        let Rolls { begun, generations } = rolls;
        let rate = tally.answers() as f64 / took.as_secs_f64();
        writeln!(f, "{} workers at {address}, {} clients, {took:.1?}", args.workers, args.clients)?;
        writeln!(
            f,
            "rolling restarts {begun:>8}  one each {} ms, {} workers at a time",
            args.every, args.batch
        )?;
        writeln!(f, "generations      {generations:>8}  after the first")?;
        writeln!(f, "processes        {:>8}  that clients heard from", tally.pids.len())?;
        writeln!(f, "requests         {:>8}  {rate:.0} a second", tally.answers())?;
        writeln!(f, "  new connection {:>8}", tally.once)?;
        writeln!(f, "  kept           {:>8}  on {} connections", tally.kept, tally.connections)?;
        writeln!(
            f,
            "farewells        {:>8}  kept connections answered once more and closed",
            tally.farewells
        )?;
        writeln!(f, "page changes     {changes:>8}  each worker's copy follows")?;
        writeln!(f, "behind           {:>8}  changes of a page, the oldest that was answered", tally.behind)?;
        let [half, most, all] = [0.5, 0.99, 1.0].map(|share| tally.quantile(share));
        writeln!(f, "answered within  {half:>8.1?}  half of them; {most:.1?} 99 %; {all:.1?} all")?;
        writeln!(f, "failed           {:>8}", tally.failed)?;
        write!(f, "resets           {:>8}", tally.resets)?;
        tally.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}
