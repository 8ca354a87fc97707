//! Rolling another program out to a group: what its owner says, and what he gets.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::command::Command;
use crate::driver::{Executable, GroupProgram};
use crate::error::{ConfigError, RolloutError};
use crate::group::{MAX_WORKERS, check_program, in_range};
use crate::scheduler::{Edition, GroupIndex, RolloutAbort, RolloutPhase, RolloutStatus, RolloutTerms};
use crate::shared::{RolloutLatch, Shared};
use crate::{Program, Supervisor};

/// Every worker of a group is to be replaced, replacement first.
///
/// For each worker a new one is started beside it. It must say ready within the group's
/// [`boot_timeout`](crate::Group::boot_timeout) and stay well for [`min_uptime`](Rollout::min_uptime); only then the old
/// one finishes what it holds and leaves. There are never fewer workers for jobs because of it, and never more than
/// wanted plus one [`batch`](Rollout::batch), besides those on their way out.
///
/// When more than [`max_failures`](Rollout::max_failures) new workers fail, the rollout is given up: those that had taken
/// over are replaced again, in the same way, by workers of the former program.
///
/// ```no_run
/// use std::time::Duration;
/// use ganger::{Program, Rollout, Supervisor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let supervisor = Supervisor::builder(Program::beside("server")).start()?;
/// // The same program, its file opened anew: whatever was installed in its place is what runs then.
/// supervisor.rollout(Rollout::of("default"))?.wait()?;
///
/// let other = Program::new("/opt/app-2/bin/server").arg("--quiet");
/// let rollout = Rollout::of("default").program(other).batch(2).min_uptime(Duration::from_secs(5));
/// let ticket = supervisor.rollout(rollout)?;
/// println!("{}", ticket.status());
/// ticket.wait()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is rolled out before it is given to Supervisor::rollout"]
pub struct Rollout {
    group: Arc<str>,
    program: Option<Program>,
    batch: usize,
    terms: RolloutTerms,
}

impl Rollout {
    /// A rollout of the group's own program, its file opened anew when the rollout begins, one worker at a time.
    pub fn of(group: impl Into<Arc<str>>) -> Rollout {
        Rollout { group: group.into(), program: None, batch: 1, terms: RolloutTerms::default() }
    }

    /// Another program, arguments or environment. Its file is opened now and held: that is what the workers run, whatever
    /// becomes of the file. The former one is held as well until the rollout is over.
    pub fn program(mut self, program: Program) -> Rollout {
        self.program = Some(program);
        self
    }

    /// How many workers are replaced at a time, from 1 to 4,096. Default 1.
    pub fn batch(mut self, workers: usize) -> Rollout {
        self.batch = workers;
        self
    }

    /// How long a new worker must have been ready before the old one leaves. Default 1 s.
    pub fn min_uptime(mut self, uptime: Duration) -> Rollout {
        self.terms.min_uptime = uptime;
        self
    }

    /// How long an old worker has for what it holds, before the kill ladder. Default as long as it takes, so that no job
    /// is lost; the rollout is over when all old workers have gone.
    pub fn grace(mut self, grace: Duration) -> Rollout {
        self.terms.grace = grace;
        self
    }

    /// How many new workers may fail before it is given up: exit, never say ready, or fall silent. One that dies in a job
    /// has failed when that was its first. A program that cannot be run at all is given up at once. Default 2.
    pub fn max_failures(mut self, workers: u32) -> Rollout {
        self.terms.max_failures = workers;
        self
    }

    fn checked(&self) -> Result<RolloutTerms, ConfigError> {
        in_range("rollout.batch", self.batch, 1, MAX_WORKERS)?;
        Ok(RolloutTerms { batch: self.batch as u32, ..self.terms })
    }
}

/// A rollout that was asked for. It goes on when its tickets are dropped.
#[derive(Clone)]
pub struct RolloutTicket {
    shared: Arc<Shared>,
    name: Arc<str>,
    group: GroupIndex,
    edition: Edition,
    latch: Arc<RolloutLatch>,
}

impl RolloutTicket {
    /// How far it has come.
    #[must_use]
    pub fn status(&self) -> RolloutStatus {
        self.latch.status()
    }

    /// Blocks until it is over: every worker runs the new program, and no old one is left; or all that is undone.
    ///
    /// # Errors
    /// [`RolloutError::Aborted`] when it was given up, [`RolloutError::Stopped`] when the supervisor stopped first.
    pub fn wait(&self) -> Result<RolloutStatus, RolloutError> {
        self.judge(self.latch.wait(None))
    }

    /// As [`wait`](RolloutTicket::wait), but not longer than `timeout`; the status says whether it is over.
    ///
    /// # Errors
    /// As [`wait`](RolloutTicket::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<RolloutStatus, RolloutError> {
        self.judge(self.latch.wait(Some(timeout)))
    }

    /// Gives it up: what it has replaced gets the former program again. One that waits does not begin; one that is
    /// over, or was given up, is left alone. A request that shares this ticket's [edition](RolloutStatus::edition) is
    /// cancelled, too.
    pub fn cancel(&self) {
        self.shared.send(Command::CancelRollout { group: self.group, edition: self.edition });
    }

    fn judge(&self, status: Option<RolloutStatus>) -> Result<RolloutStatus, RolloutError> {
        let status = status.ok_or(RolloutError::Stopped)?;
        match (status.phase, &status.aborted) {
            (RolloutPhase::Aborted, Some(why)) => Err(RolloutError::Aborted {
                group: Arc::clone(&self.name),
                edition: status.edition,
                why: why.clone(),
            }),
            _ => Ok(status),
        }
    }
}

impl fmt::Debug for RolloutTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RolloutTicket").field("group", &self.name).field("status", &self.status()).finish()
    }
}

impl Supervisor {
    /// Replaces every worker of a group, replacement first: see [`Rollout`]. Returns when it has been noted.
    ///
    /// A group has one rollout on its way and one that waits for it. A request that finds one waiting replaces its
    /// program and terms, and both tickets are told what comes of it: so many requests during a rollout are one more
    /// rollout, of the latest program.
    ///
    /// # Errors
    /// [`RolloutError::UnknownGroup`], [`RolloutError::Config`], [`RolloutError::Program`] when the program is missing or
    /// may not be executed, [`RolloutError::Stopped`].
    pub fn rollout(&self, rollout: Rollout) -> Result<RolloutTicket, RolloutError> {
        let terms = rollout.checked()?;
        let Rollout { group: name, program, .. } = rollout;
        let group = self.rollout_group(&name)?;
        let program = program.map(|program| hold(&name, &program)).transpose()?;
        let latch = Arc::new(RolloutLatch::default());
        let teller = Teller(Arc::clone(&latch));
        let program = program.map(Box::new);
        let edition = self.ask_rollout(|reply| Command::Rollout { group, terms, program, teller, reply })?;
        Ok(RolloutTicket { shared: self.shares(), name, group, edition, latch })
    }
}

fn hold(group: &Arc<str>, program: &Program) -> Result<HeldProgram, RolloutError> {
    check_program(group, program)?;
    let program = program.resolve().map_err(|unusable| RolloutError::Program {
        group: Arc::clone(group),
        program: unusable.program,
        reason: unusable.reason,
    })?;
    Ok(HeldProgram { executable: Executable::hold(&program.program), program })
}

/// A program whose file is open, on its way to the spawner.
pub(crate) struct HeldProgram {
    pub(crate) program: GroupProgram,
    pub(crate) executable: Executable,
}

/// Tells the tickets of a rollout how far it has come; dropped, that nobody will any more.
pub(crate) struct Teller(Arc<RolloutLatch>);

impl Teller {
    pub(crate) fn tell(&self, status: &RolloutStatus) {
        self.0.tell(status);
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.0.stopped();
    }
}

impl fmt::Display for RolloutStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RolloutStatus { edition, phase, done, left, failed, aborted } = self;
        write!(f, "program {edition}: {phase:?}, {done} done, {left} left, {failed} failed")?;
        aborted.as_ref().map_or(Ok(()), |why: &RolloutAbort| write!(f, "; {why}"))
    }
}
