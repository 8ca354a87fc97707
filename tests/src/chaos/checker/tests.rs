//! Forged ledgers: each tells one lie, and the judge finds that lie and no other.

use std::time::Duration;

use ganger::JobId;

use super::*;
use crate::chaos::ledger::{Admission, Clocks, Deed, End, Mark, Process};

const PAYLOAD: u64 = 70;
const REPLY: u64 = 80;
const WORKER: u64 = 90;
const RETRIES: u16 = 2;

fn job(number: u8) -> JobId {
    JobId::from_bytes([number; 16])
}

/// A ledger in the making. Two processes, 1 and 2, serve with one thread each from moment 10 on.
struct Forger {
    ledger: Ledger,
}

impl Forger {
    fn new() -> Forger {
        let mut forger = Forger { ledger: Ledger::default() };
        forger.process(1, 1);
        forger.process(2, 1);
        forger
    }

    fn process(&mut self, pid: u32, threads: u16) {
        self.ledger.processes.push(Process { pid, alive_at: 0, struck_at: None, end: None });
        self.mark(10, pid, 0, Deed::Boot { worker: WORKER, threads });
        self.leaves(pid);
    }

    fn mark(&mut self, at: u64, pid: u32, thread: u32, deed: Deed) {
        self.ledger.marks.push(Mark { at, pid, born: 10, thread, deed });
    }

    fn accept(&mut self, number: u8) -> &mut Accepted {
        self.ledger.accepted.push(Accepted {
            job: job(number),
            at: 20,
            admission: Admission::AtOnce,
            retries: RETRIES,
            payload: PAYLOAD,
            asked: Asked::Reply,
            clocks: Clocks::default(),
            cancel: Cancel::Never,
            interest: Interest::Awaited,
            poison_deaths: 3,
        });
        self.ledger.accepted.last_mut().expect("just accepted")
    }

    fn start(&mut self, at: u64, pid: u32, number: u8, attempt: u16) {
        self.mark(at, pid, 0, Deed::Start { job: job(number), attempt, payload: PAYLOAD });
    }

    fn end(&mut self, at: u64, pid: u32, number: u8, attempt: u16) {
        self.mark(at, pid, 0, Deed::End { job: job(number), attempt, hash: REPLY });
    }

    fn settle(&mut self, at: u64, number: u8, ending: Ending) {
        self.ledger.settled.push(Settled { job: job(number), at, ending });
    }

    fn reply(&mut self, at: u64, number: u8, attempt: u16) {
        self.settle(at, number, Ending::Replied(Answer { worker: WORKER, attempt, hash: REPLY }));
    }

    fn process_of(&mut self, pid: u32) -> &mut Process {
        self.ledger.processes.iter_mut().find(|process| process.pid == pid).expect("there is one")
    }

    fn leaves(&mut self, pid: u32) {
        self.process_of(pid).end = Some(End { at: 1_000, manner: Manner::Exited, death: death(pid, &[]) });
    }

    /// Killed by the reaper just after it was last seen alive.
    fn dies(&mut self, at: u64, pid: u32, running: &[u8]) -> Death {
        let process = self.process_of(pid);
        let death = death(pid, running);
        process.alive_at = at - 1;
        process.struck_at = Some(at);
        process.end = Some(End { at: at + 5, manner: Manner::Crashed, death: death.clone() });
        death
    }

    /// A job that ran and was answered.
    fn done(&mut self, number: u8) {
        self.accept(number);
        self.start(30, 1, number, 1);
        self.end(40, 1, number, 1);
        self.reply(50, number, 1);
    }

    #[track_caller]
    fn convict(&self, expected: &[Breach]) {
        assert_eq!(check(&self.ledger), expected);
    }
}

fn death(pid: u32, running: &[u8]) -> Death {
    let running = running.iter().map(|number| job(*number)).collect();
    Death { pid, uptime: Duration::from_secs(pid.into()), killer: Killer::SomeoneElse, running }
}

/// Nothing is found where nothing is wrong: answers, retries, hidden runs, a number used twice.
#[test]
fn an_honest_ledger_is_clean() {
    let mut forger = Forger::new();
    forger.done(1);
    forger.accept(2);
    forger.start(60, 1, 2, 1);
    let _ = forger.dies(70, 1, &[2]);
    forger.start(76, 2, 2, 2);
    forger.end(77, 2, 2, 2);
    forger.reply(80, 2, 2);
    // Killed between the library's mark and the handler's first line.
    forger.accept(3);
    let _ = forger.dies(90, 2, &[3]);
    // Another process with a number that was used before.
    forger.ledger.processes.push(Process { pid: 2, alive_at: 0, struck_at: None, end: None });
    let exit = Death { uptime: Duration::from_secs(9), ..death(2, &[]) };
    forger.ledger.processes[2].end = Some(End { at: 900, manner: Manner::Exited, death: exit });
    let boot = Deed::Boot { worker: WORKER, threads: 1 };
    forger.ledger.marks.push(Mark { at: 100, pid: 2, born: 100, thread: 0, deed: boot });
    let start = Deed::Start { job: job(3), attempt: 2, payload: PAYLOAD };
    forger.ledger.marks.push(Mark { at: 110, pid: 2, born: 100, thread: 0, deed: start });
    let end = Deed::End { job: job(3), attempt: 2, hash: REPLY };
    forger.ledger.marks.push(Mark { at: 120, pid: 2, born: 100, thread: 0, deed: end });
    forger.reply(130, 3, 2);
    forger.convict(&[]);
}

#[test]
fn a_handle_that_never_settles() {
    let mut forger = Forger::new();
    forger.accept(1);
    forger.convict(&[Breach::NeverSettled { job: job(1) }]);
}

#[test]
fn a_handle_that_settles_twice() {
    let mut forger = Forger::new();
    forger.done(1);
    forger.reply(50, 1, 1);
    forger.convict(&[Breach::SettledTwice { job: job(1) }]);
}

#[test]
fn an_outcome_of_a_job_that_was_never_accepted() {
    let mut forger = Forger::new();
    forger.reply(50, 1, 1);
    forger.convict(&[Breach::SettledUnasked { job: job(1) }]);
}

#[test]
fn a_run_of_a_job_that_was_never_accepted() {
    let mut forger = Forger::new();
    forger.start(30, 1, 1, 1);
    forger.end(40, 1, 1, 1);
    forger.convict(&[Breach::RanUnasked { job: job(1) }]);
}

#[test]
fn a_run_too_many() {
    let mut forger = Forger::new();
    forger.accept(1).retries = 0;
    forger.start(30, 1, 1, 1);
    forger.end(31, 1, 1, 1);
    forger.start(32, 1, 1, 2);
    forger.end(33, 1, 1, 2);
    forger.reply(50, 1, 2);
    forger.convict(&[
        Breach::TooManyRuns { job: job(1), runs: 2, allowed: 1 },
        Breach::WrongAttempt { job: job(1), attempt: 2 },
    ]);
}

#[test]
fn an_attempt_run_twice() {
    let mut forger = Forger::new();
    forger.done(1);
    forger.start(41, 2, 1, 1);
    forger.end(42, 2, 1, 1);
    forger.convict(&[Breach::WrongAttempt { job: job(1), attempt: 1 }]);
}

#[test]
fn an_attempt_that_begins_before_the_last_was_answered() {
    let mut forger = Forger::new();
    forger.accept(1);
    forger.start(30, 1, 1, 1);
    forger.start(35, 2, 1, 2);
    forger.end(40, 1, 1, 1);
    forger.end(41, 2, 1, 2);
    forger.reply(50, 1, 2);
    forger.convict(&[Breach::Overlap { job: job(1), attempt: 2 }]);
}

#[test]
fn an_attempt_that_begins_while_the_last_ones_process_lives() {
    let mut forger = Forger::new();
    forger.accept(1);
    forger.start(30, 1, 1, 1);
    let _ = forger.dies(45, 1, &[1]);
    forger.start(43, 2, 1, 2);
    forger.end(46, 2, 1, 2);
    forger.reply(50, 1, 2);
    forger.convict(&[Breach::Overlap { job: job(1), attempt: 2 }]);
}

#[test]
fn an_attempt_that_met_another_one() {
    let mut forger = Forger::new();
    forger.accept(1);
    forger.start(30, 1, 1, 1);
    let _ = forger.dies(35, 1, &[1]);
    forger.start(36, 2, 1, 2);
    forger.mark(37, 2, 0, Deed::Collision { job: job(1), attempt: 2 });
    forger.end(38, 2, 1, 2);
    forger.reply(50, 1, 2);
    forger.convict(&[Breach::Overlap { job: job(1), attempt: 2 }]);
}

#[test]
fn a_run_after_the_end() {
    let mut forger = Forger::new();
    forger.done(1);
    forger.start(60, 2, 1, 2);
    forger.end(61, 2, 1, 2);
    forger.convict(&[Breach::RanAfterSettled { job: job(1), attempt: 2 }]);
}

/// The library had counted it as started; the handler's first line came later.
#[test]
fn a_cancelled_job_whose_handler_was_just_about_to_begin() {
    let mut forger = Forger::new();
    forger.accept(1).cancel = Cancel::Asked;
    forger.settle(50, 1, Ending::Cancelled { started: Started::Yes });
    forger.start(60, 2, 1, 1);
    forger.end(61, 2, 1, 1);
    forger.convict(&[]);
    forger.start(70, 2, 1, 2);
    forger.end(71, 2, 1, 2);
    forger.convict(&[Breach::RanAfterSettled { job: job(1), attempt: 2 }]);
}

#[test]
fn not_started_and_yet_it_ran() {
    let mut forger = Forger::new();
    forger.accept(1).cancel = Cancel::Asked;
    forger.start(30, 1, 1, 1);
    forger.end(40, 1, 1, 1);
    forger.settle(50, 1, Ending::Cancelled { started: Started::No });
    forger.convict(&[Breach::StartedAfterAll { job: job(1) }]);
}

#[test]
fn started_and_yet_it_never_ran() {
    let mut forger = Forger::new();
    forger.accept(1).cancel = Cancel::Asked;
    forger.settle(50, 1, Ending::Cancelled { started: Started::Yes });
    forger.convict(&[Breach::NeverStarted { job: job(1) }]);
}

#[test]
fn a_handler_that_was_given_other_bytes() {
    let mut forger = Forger::new();
    forger.done(1);
    forger.ledger.accepted[0].payload += 1;
    forger.convict(&[Breach::WrongPayload { job: job(1), attempt: 1 }]);
}

#[test]
fn an_answer_with_other_bytes_or_from_elsewhere() {
    let lies: [fn(&mut Answer); 3] =
        [|answer| answer.hash += 1, |answer| answer.worker += 1, |answer| answer.attempt = 0];
    for lie in lies {
        let mut forger = Forger::new();
        forger.done(1);
        let Ending::Replied(answer) = &mut forger.ledger.settled[0].ending else { panic!("replied") };
        lie(answer);
        forger.convict(&[Breach::WrongAnswer { job: job(1) }]);
    }
}

#[test]
fn an_answer_that_was_never_finished() {
    let mut forger = Forger::new();
    forger.accept(1);
    forger.start(30, 1, 1, 1);
    forger.reply(50, 1, 1);
    let _ = forger.dies(60, 1, &[1]);
    forger.convict(&[Breach::WrongAnswer { job: job(1) }]);
}

#[test]
fn endings_that_nobody_asked_for() {
    let answer = Answer { worker: WORKER, attempt: 1, hash: REPLY };
    for ending in [
        Ending::Failed(answer),
        Ending::Cancelled { started: Started::Yes },
        Ending::TimedOut { clock: Clock::Queue, started: Started::Yes },
        Ending::TimedOut { clock: Clock::Run, started: Started::Yes },
        Ending::TimedOut { clock: Clock::Total, started: Started::Yes },
        Ending::Odd(String::from("no workers")),
    ] {
        let mut forger = Forger::new();
        forger.done(1);
        forger.ledger.settled[0].ending = ending.clone();
        forger.convict(&[Breach::UnaskedEnding { job: job(1), ending: Box::new(ending) }]);
    }
}

#[test]
fn a_clock_that_runs_out_early() {
    let mut forger = Forger::new();
    forger.accept(1).clocks.total = Some(Duration::from_nanos(31));
    forger.settle(50, 1, Ending::TimedOut { clock: Clock::Total, started: Started::No });
    forger.convict(&[Breach::TimedOutEarly { job: job(1), clock: Clock::Total, early_nanos: 1 }]);
}

#[test]
fn a_retry_spent_on_a_death_before_the_start() {
    let mut forger = Forger::new();
    forger.accept(1);
    let _ = forger.dies(25, 1, &[]);
    forger.start(30, 2, 1, 2);
    forger.end(40, 2, 1, 2);
    forger.reply(50, 1, 2);
    forger.convict(&[Breach::RetryWasted { job: job(1), attempt: 2 }]);
}

#[test]
fn a_retry_that_was_not_given() {
    let mut forger = Forger::new();
    forger.accept(1);
    forger.start(30, 1, 1, 1);
    let death = forger.dies(35, 1, &[1]);
    forger.settle(50, 1, Ending::Lost(death));
    forger.convict(&[Breach::RetryWithheld { job: job(1) }]);
}

#[test]
fn a_job_lost_with_a_worker_that_never_had_it() {
    let mut forger = Forger::new();
    forger.accept(1).retries = 0;
    forger.start(30, 1, 1, 1);
    forger.end(31, 1, 1, 1);
    let death = forger.dies(35, 2, &[]);
    forger.settle(50, 1, Ending::Lost(death));
    forger.convict(&[Breach::Bystander { job: job(1), pid: 2 }]);
}

#[test]
fn a_death_charged_to_a_job_beside_the_one_that_ran() {
    let mut forger = Forger::new();
    forger.accept(1);
    forger.accept(2);
    forger.start(30, 1, 1, 1);
    let _ = forger.dies(35, 1, &[1, 2]);
    for number in [1, 2] {
        forger.start(41 + u64::from(number) * 2, 2, number, 2);
        forger.end(42 + u64::from(number) * 2, 2, number, 2);
        forger.reply(50, number, 2);
    }
    forger.convict(&[Breach::Bystander { job: job(2), pid: 1 }]);
}

#[test]
fn a_death_charged_to_a_job_that_was_done() {
    let mut forger = Forger::new();
    forger.accept(1).retries = 0;
    forger.accept(2);
    forger.start(30, 1, 1, 1);
    forger.end(31, 1, 1, 1);
    forger.reply(32, 1, 1);
    forger.start(33, 1, 2, 1);
    forger.end(34, 1, 2, 1);
    forger.reply(35, 2, 1);
    let _ = forger.dies(40, 1, &[1]);
    forger.convict(&[Breach::Bystander { job: job(1), pid: 1 }]);
}

#[test]
fn a_death_while_booting_charged_to_a_job() {
    let mut forger = Forger::new();
    forger.done(1);
    forger.ledger.marks.retain(|mark| mark.pid != 2);
    let _ = forger.dies(45, 2, &[1]);
    forger.convict(&[Breach::Bystander { job: job(1), pid: 2 }]);
}

#[test]
fn a_report_that_leaves_out_who_was_running() {
    let mut forger = Forger::new();
    forger.accept(1).cancel = Cancel::Asked;
    forger.start(30, 1, 1, 1);
    forger.settle(33, 1, Ending::Cancelled { started: Started::Yes });
    let _ = forger.dies(35, 1, &[]);
    forger.convict(&[Breach::RunningUnnamed { job: job(1), pid: 1 }]);
}

/// Three deaths with the job running, which is then given up.
fn poisoned() -> (Forger, Vec<Death>) {
    let mut forger = Forger::new();
    forger.process(3, 2);
    forger.accept(1).asked = Asked::Die;
    let mut deaths = Vec::new();
    for pid in [1, 2, 3] {
        let at = 30 + u64::from(pid) * 10;
        forger.start(at, pid, 1, pid as u16);
        deaths.push(forger.dies(at + 3, pid, &[1]));
    }
    (forger, deaths)
}

#[test]
fn a_job_that_was_given_up_rightly() {
    let (mut forger, deaths) = poisoned();
    forger.settle(90, 1, Ending::Poisoned(deaths));
    forger.convict(&[]);
}

#[test]
fn a_job_that_was_given_up_too_early() {
    let (mut forger, mut deaths) = poisoned();
    deaths.pop();
    forger.settle(90, 1, Ending::Poisoned(deaths));
    forger.convict(&[Breach::PoisonedEarly { job: job(1) }]);
}

#[test]
fn a_job_that_was_given_up_for_the_supervisors_own_kill() {
    let (mut forger, mut deaths) = poisoned();
    deaths[1].killer = Killer::Supervisor;
    forger.process_of(2).end.as_mut().expect("ended").death.killer = Killer::Supervisor;
    forger.settle(90, 1, Ending::Poisoned(deaths));
    forger.convict(&[Breach::PoisonedByUs { job: job(1) }]);
}

#[test]
fn a_suspect_in_company() {
    let (mut forger, mut deaths) = poisoned();
    forger.accept(2).cancel = Cancel::Asked;
    forger.mark(62, 3, 7, Deed::Start { job: job(2), attempt: 1, payload: PAYLOAD });
    forger.settle(63, 2, Ending::Cancelled { started: Started::Yes });
    deaths[2] = forger.dies(65, 3, &[1, 2]);
    forger.settle(90, 1, Ending::Poisoned(deaths));
    forger.convict(&[Breach::SuspectNotAlone { job: job(1), pid: 3 }]);
}

#[test]
fn a_death_that_nobody_has_heard_of() {
    let (mut forger, mut deaths) = poisoned();
    deaths[0].uptime += Duration::from_secs(1);
    forger.settle(90, 1, Ending::Poisoned(deaths));
    forger.convict(&[Breach::UnknownDeath { job: job(1), pid: 1 }]);
}

#[test]
fn a_death_that_the_supervisor_did_not_notice() {
    let mut forger = Forger::new();
    forger.process_of(1).end = None;
    forger.convict(&[Breach::DeathUnnoticed { pid: 1 }]);
}

#[test]
fn a_worker_that_died_and_nobody_did_it() {
    let mut forger = Forger::new();
    let _ = forger.dies(40, 1, &[]);
    forger.process_of(1).struck_at = None;
    forger.convict(&[Breach::DeathUnexplained { pid: 1 }]);
    forger.mark(39, 1, 0, Deed::LastWords { job: job(1), attempt: 1 });
    forger.convict(&[]);
}

#[test]
fn a_process_declared_dead_that_goes_on() {
    let mut forger = Forger::new();
    forger.done(1);
    let _ = forger.dies(32, 1, &[]);
    forger.convict(&[Breach::AliveAfterDeath { pid: 1 }]);
}
