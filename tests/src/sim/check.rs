//! The checks by name: what a schedule can be found guilty of.

use std::fmt;

macro_rules! checks {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A check. Its name is what a planted mistake is attributed to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Check { $($(#[doc = $doc])+ $name,)+ }

        impl Check {
            /// All of them, in the order of their definition.
            pub const ALL: &'static [Check] = &[$(Check::$name,)+];

            /// What it checks, in one sentence.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Check::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

checks! {
    /// P2: a job's outcome is handed over once.
    SettlesOnce,
    /// P1: a job settles in the turn in which its answer, its cancel or its worker's proven death is known.
    SettlesAtOnce,
    /// P3: a handler is called at most 1 + retries times.
    RunsWithinRetries,
    /// P4: no handler of a job starts while another attempt of it runs.
    AttemptsNeverOverlap,
    /// P4: a job is sent again only after its last attempt answered, was taken back or is proven dead.
    ProofBeforeResend,
    /// P5: the attempt counts as its owner counts: losses before the start mark cost nothing.
    UnstartedLossIsFree,
    /// P6: an epoch is used once, and each is higher than the last.
    EpochsAreFresh,
    /// P6: a reply is the bytes of the current attempt's whole answer, from the worker that held it.
    ReplyIsGenuine,
    /// J17: a report is believed from the worker that holds its attempt, for the job that it is about.
    ProgressIsGenuine,
    /// Reply beats exit: an answer that was wholly written counts, however its worker ended.
    ReplyBeatsExit,
    /// `started: no` is said only when no handler was called, and none is called afterwards.
    StartedNoIsTrue,
    /// `started: yes` is said only when a start mark was seen.
    StartedYesIsTrue,
    /// A job ends as lost only when its worker is proven dead.
    LossIsProven,
    /// An outcome is one that the job's life so far allows.
    OutcomeIsEarned,
    /// P7: first assignments within a class of a group are in the order of enqueueing.
    FirstInFirstOut,
    /// J6: a job that comes back keeps its place by age.
    AgeKeepsItsPlace,
    /// J12: no job is sent while one waits that comes before it by class and age.
    ClassesAreKept,
    /// J12: no job is sent before its delay is over.
    NeverBeforeItsTime,
    /// J12: of one key no more jobs are under way than may be, whatever becomes of them and their workers.
    KeysAreKeptApart,
    /// P7: jobs of one key are sent in the order in which they came.
    KeysKeepTheirOrder,
    /// P9: a clock settles its job at its time, give or take 10 ms.
    DeadlinesAreMet,
    /// P9: no clock runs out early.
    ClocksAreNeverEarly,
    /// After a stop of the supervisor clocks move by the gap before anyone is judged.
    StopsAreForgiven,
    /// J10: a request is sent only to a ready worker that is neither busy, draining, tainted nor suspected.
    OnlyReadyWorkers,
    /// J10: never more than the capacity and the window are in a worker's hands.
    WithinCapacity,
    /// J10: a request is started only in a free slot of a worker that says it is ready.
    StartsInFreeSlots,
    /// J14: a job with attachments is sent into a free slot, never ahead.
    AttachmentsAreNotSentAhead,
    /// J14: attachments are let go only when a worker has started their job, and that job is not sent again.
    ReleasedIsNotSent,
    /// A page shows the requests whose handlers run, no more and no fewer.
    PageIsTrue,
    /// An unrouted worker's unstarted requests are taken back at once.
    UnroutedKeepNothing,
    /// A request's ordinal and generation are the ones its worker will accept.
    OrdinalsFollow,
    /// A suspect job runs alone.
    SuspectsRunAlone,
    /// A job is poisoned at exactly the policy's deaths, and our own kills never count.
    PoisonAtItsCount,
    /// Retries are given when they are owed and only then, after their delay.
    RetriesAreGiven,
    /// P10: nothing is sent that the drain rules keep back.
    DrainHoldsBack,
    /// Signals follow the ladder: Cancel, grace, SIGTERM, grace, SIGKILL; each in its time.
    LadderInOrder,
    /// A worker that must go is killed at the latest when the graces are over.
    LadderIsClimbed,
    /// No word and no signal to a worker that was never started or is buried.
    NothingForTheDead,
    /// A worker is buried once, and only when it is proven dead or written off.
    BuriedOnce,
    /// Never more live workers than wanted and leaving.
    NeverTooMany,
    /// Workers beside others are no more than a rollout's batch and the recycles at a time.
    SurgeIsBounded,
    /// P11: whoever is sent away although he is well has a successor that takes jobs and has shown that it works.
    NobodyIsMissed,
    /// A worker runs its group's program, or the one that is being rolled out.
    EditionsAreKept,
    /// What is told of a rollout is so.
    RolloutIsTrue,
    /// A worker is recycled for what it has grown to, done or lived, and only then.
    RecycledForAReason,
    /// A worn worker gets a successor.
    WornAreReplaced,
    /// Every rollout comes to its end.
    EveryRolloutEnds,
    /// A replacement waits for its back-off.
    BackoffIsKept,
    /// A group degrades past its window of unexpected exits and not before.
    WindowIsKept,
    /// W6: where workers are revived by command nobody comes without one, and whoever is called does.
    RevivalIsByCommand,
    /// A degraded group heals when a probe has shown that it works, when its places are back, or when all are well.
    HealingIsEarned,
    /// Jobs end as NoWorkers only in a degraded group without a worker.
    NoWorkersIsTrue,
    /// What the snapshot counts is what is.
    HealthIsTrue,
    /// Nothing waits beside an idle ready worker.
    NothingWaitsBesideAnIdleWorker,
    /// A job in the window is recalled when a worker idles.
    WindowHoldsNothingBack,
    /// Every job settles once faults stop.
    EverythingSettles,
    /// Every wanted worker is back once faults stop.
    WorkersComeBack,
    /// A replacement comes in its time.
    ReplacementsAreStarted,
    /// A kill of everything ends in its time.
    EndingsEnd,
    /// No timer outlives what it was set for.
    NoTimerIsLeft,
    /// The loop is never told to come back at once for nothing.
    LoopNeverSpins,
    /// The scheduler does not panic, whatever a worker does.
    NoPanic,
    /// The worker library accepts everything a supervisor sends.
    WorkerAgrees,
    /// M5: the store answers each operation as the model of it does.
    StoreSaysWhatItShould,
    /// M5: what the store keeps about its keys, locks and followers agrees with itself.
    StoreHoldsTogether,
    /// M5: the store wants to be called when a key's time or a wait for a lock is over, and no later.
    StoreKeepsItsTimes,
    /// M7: no two living processes hold a lock, and none goes to the dead.
    LocksHaveOneHolder,
    /// M7: tokens of locks grow.
    TokensGrow,
    /// M7: who waits for a lock gets it, or is told that he does not.
    LocksAreGivenOrRefused,
    /// M6: what is followed is told in the order of revisions.
    ReplicasKeepOrder,
    /// M6: a replica that says how far it is, is what the store was there.
    ReplicasAreTrue,
    /// M6: a replica that is read comes to where the store is.
    ReplicasCatchUp,
    /// M2: everybody whom a call is for is told of once, and then the call is over.
    CallSettlesOnce,
    /// M2: a call is handed to those whom its address means when it is made, at once, as far as they have room.
    CallIsForWhomItNames,
    /// M2: a caller is told what whoever holds the call has said first, in time, or why nothing was said.
    CallAnswerIsGenuine,
    /// M2: no two targets ever hold a call under the same number.
    CallNumbersAreFresh,
    /// M2: an answer, and the death of a target, is told in the turn in which it is known.
    CallersAreToldAtOnce,
    /// M2: every call ends by its deadline at the latest.
    EveryCallEnds,
    /// M2: when all callees have answered or died nothing is left of any call.
    NothingIsHeldAtTheEnd,
    /// The relay's tables fit each other after every input.
    RelayTablesFit,
    /// The same seed gives the same events.
    SameSeedSameEvents,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A promise that a schedule broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which check found it.
    pub check: Check,
    /// What it found.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.check, self.text, self.check.sentence())
    }
}
