//! The judge: holds what the witnesses wrote down against the promises. Pure, and it shares no code with ganger but
//! the job's id.
//!
//! A run lasts from its start mark to its end mark or, without one, as long as its process was certainly alive. It
//! may be that a worker is killed after its library has counted a job as started and before the handler's first line
//! is in the journal: such a run is *hidden*. A death can hide at most one run on each thread that had none open, so
//! that the judge allows so many and no more.

use super::breach::Breach;
use super::docket::{Case, Docket, Life, Run};
use super::ledger::{
    Accepted, Answer, Asked, Cancel, Clock, Death, Ending, Interest, Killer, Ledger, Manner,
};
use super::ledger::{Settled, Started};

/// All broken promises, in no order that means anything.
pub(crate) fn check(ledger: &Ledger) -> Vec<Breach> {
    let (docket, mut breaches) = Docket::open(ledger);
    for case in &docket.cases {
        breaches.extend(settles_once(case));
        breaches.extend(runs_as_often_as_allowed(&docket, case));
        breaches.extend(runs_never_overlap(&docket, case));
        breaches.extend(runs_are_faithful(&docket, case));
        breaches.extend(no_retry_is_wasted(&docket, case));
        for settled in &case.settled {
            breaches.extend(ending_is_true(&docket, case, settled));
        }
    }
    for place in 0..docket.processes.len() {
        breaches.extend(death_is_accounted_for(&docket, place));
        breaches.extend(death_is_charged_rightly(&docket, place));
    }
    breaches
}

fn settles_once(case: &Case<'_>) -> Option<Breach> {
    let job = case.accepted.job;
    match (case.accepted.interest, case.settled.len()) {
        (Interest::Awaited | Interest::CalledBack, 1) | (Interest::Forgotten, 0) => None,
        (Interest::Awaited | Interest::CalledBack, 0) => Some(Breach::NeverSettled { job }),
        (Interest::Awaited | Interest::CalledBack, _) => Some(Breach::SettledTwice { job }),
        (Interest::Forgotten, _) => Some(Breach::SettledUnasked { job }),
    }
}

fn runs_as_often_as_allowed(docket: &Docket<'_>, case: &Case<'_>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let Accepted { job, retries, .. } = *case.accepted;
    let (runs, allowed) = (case.runs.len(), 1 + usize::from(retries));
    if runs > allowed {
        breaches.push(Breach::TooManyRuns { job, runs, allowed });
    }
    let mut last = 0;
    for attempt in case.runs.iter().map(|run| docket.runs[*run].attempt) {
        if attempt <= last || usize::from(attempt) > allowed {
            breaches.push(Breach::WrongAttempt { job, attempt });
        }
        last = last.max(attempt);
    }
    breaches
}

fn runs_never_overlap(docket: &Docket<'_>, case: &Case<'_>) -> Vec<Breach> {
    let job = case.accepted.job;
    let mut over = 0;
    let mut breaches = Vec::new();
    for run in case.runs.iter().map(|run| &docket.runs[*run]) {
        if run.start < over || run.collided {
            breaches.push(Breach::Overlap { job, attempt: run.attempt });
        }
        over = over.max(last_moment(docket, run));
    }
    breaches
}

/// The last moment at which the run certainly was not over.
fn last_moment(docket: &Docket<'_>, run: &Run) -> u64 {
    if let Some((at, _)) = run.end {
        return at;
    }
    let life = &docket.lives[run.life];
    let seen = life.process.map_or(0, |process| docket.processes[process].alive_at);
    run.start.max(seen).max(if run.is_superseded { 0 } else { life.last_mark })
}

fn runs_are_faithful(docket: &Docket<'_>, case: &Case<'_>) -> Vec<Breach> {
    let Accepted { job, payload, .. } = *case.accepted;
    let mut breaches = Vec::new();
    for run in case.runs.iter().map(|run| &docket.runs[*run]) {
        if run.payload != payload {
            breaches.push(Breach::WrongPayload { job, attempt: run.attempt });
        }
    }
    let Some(settled) = case.settled.first() else { return breaches };
    let late = case.runs.iter().map(|run| &docket.runs[*run]).filter(|run| run.start > settled.at);
    let late = late.skip(usize::from(may_run_on(&settled.ending)));
    breaches.extend(late.map(|run| Breach::RanAfterSettled { job, attempt: run.attempt }));
    breaches
}

/// Whether the job may have been in a handler's hands when it settled: counted as started, with the handler's first
/// line still to be written. What was never started is judged elsewhere.
fn may_run_on(ending: &Ending) -> bool {
    match ending {
        Ending::TimedOut { .. } | Ending::Cancelled { .. } => true,
        Ending::Replied(_) | Ending::Failed(_) | Ending::Lost(_) | Ending::Poisoned(_) | Ending::Odd(_) => {
            false
        }
    }
}

/// Every attempt that was counted was a run, or may have been a hidden one.
fn no_retry_is_wasted(docket: &Docket<'_>, case: &Case<'_>) -> Option<Breach> {
    let answered = case.settled.iter().filter_map(|settled| match &settled.ending {
        Ending::Replied(answer) | Ending::Failed(answer) => Some(answer.attempt),
        Ending::TimedOut { .. }
        | Ending::Cancelled { .. }
        | Ending::Lost(_)
        | Ending::Poisoned(_)
        | Ending::Odd(_) => None,
    });
    let counted = case.runs.iter().map(|run| docket.runs[*run].attempt).chain(answered).max()?;
    let known = case.runs.len() + hidden_runs(docket, case);
    (usize::from(counted) > known).then_some(Breach::RetryWasted { job: case.accepted.job, attempt: counted })
}

/// How many runs of the job deaths may have hidden.
fn hidden_runs(docket: &Docket<'_>, case: &Case<'_>) -> usize {
    let is_hidden = |place: &&usize| open_run(docket, case, **place).is_none();
    case.deaths.iter().filter(is_hidden).count()
}

/// The run of the job that its process's death ended.
fn open_run<'a>(docket: &'a Docket<'_>, case: &Case<'_>, place: usize) -> Option<&'a Run> {
    let is_there = |run: &&Run| docket.lives[run.life].process == Some(place) && is_open(run);
    case.runs.iter().map(|run| &docket.runs[*run]).find(is_there)
}

fn is_open(run: &Run) -> bool {
    run.end.is_none() && !run.is_superseded
}

fn ending_is_true(docket: &Docket<'_>, case: &Case<'_>, settled: &Settled) -> Vec<Breach> {
    let Accepted { job, asked, cancel, .. } = *case.accepted;
    let unasked = || Some(Breach::UnaskedEnding { job, ending: Box::new(settled.ending.clone()) });
    match &settled.ending {
        Ending::Replied(answer) if asked == Asked::Reply => answer_is_true(docket, case, answer),
        Ending::Failed(answer) if asked == Asked::Fail => answer_is_true(docket, case, answer),
        Ending::TimedOut { clock, started } => {
            let mut breaches = started_is_true(docket, case, *started);
            breaches.extend(timeout_is_true(case, settled, *clock));
            breaches
        }
        Ending::Cancelled { started } if cancel == Cancel::Asked => started_is_true(docket, case, *started),
        Ending::Lost(death) => loss_is_true(docket, case, death),
        Ending::Poisoned(deaths) => poison_is_true(docket, case, deaths),
        Ending::Replied(_) | Ending::Failed(_) | Ending::Cancelled { .. } | Ending::Odd(_) => {
            unasked().into_iter().collect()
        }
    }
}

fn answer_is_true(docket: &Docket<'_>, case: &Case<'_>, answer: &Answer) -> Vec<Breach> {
    let gave_it = |run: &Run| {
        run.attempt == answer.attempt
            && docket.lives[run.life].worker == answer.worker
            && run.end.is_some_and(|(_, hash)| hash == answer.hash)
    };
    let is_given = case.runs.iter().any(|run| gave_it(&docket.runs[*run]));
    if is_given { Vec::new() } else { vec![Breach::WrongAnswer { job: case.accepted.job }] }
}

fn started_is_true(docket: &Docket<'_>, case: &Case<'_>, started: Started) -> Vec<Breach> {
    let job = case.accepted.job;
    let may_have_run = !case.runs.is_empty() || hidden_runs(docket, case) > 0;
    match started {
        Started::No if !case.runs.is_empty() => vec![Breach::StartedAfterAll { job }],
        Started::Yes if !may_have_run => vec![Breach::NeverStarted { job }],
        Started::No | Started::Yes => Vec::new(),
    }
}

fn timeout_is_true(case: &Case<'_>, settled: &Settled, clock: Clock) -> Option<Breach> {
    let Accepted { job, at, clocks, .. } = *case.accepted;
    let limit = match clock {
        Clock::Queue => clocks.queue,
        Clock::Run => clocks.run,
        Clock::Total => clocks.total,
    };
    let Some(limit) = limit else {
        return Some(Breach::UnaskedEnding { job, ending: Box::new(settled.ending.clone()) });
    };
    let due = at.saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
    let early_nanos = due.saturating_sub(settled.at);
    (early_nanos > 0).then_some(Breach::TimedOutEarly { job, clock, early_nanos })
}

/// The job was there, with its handler called, and no attempt was left.
fn loss_is_true(docket: &Docket<'_>, case: &Case<'_>, death: &Death) -> Vec<Breach> {
    let Accepted { job, retries, .. } = *case.accepted;
    let Some(place) = docket.process_of(death) else {
        return vec![Breach::UnknownDeath { job, pid: death.pid }];
    };
    let mut breaches = Vec::new();
    let ran_there = |run: &usize| docket.lives[docket.runs[*run].life].process == Some(place);
    if !case.runs.iter().any(ran_there) && !death.running.contains(&job) {
        breaches.push(Breach::Bystander { job, pid: death.pid });
    }
    if case.runs.len() + hidden_runs(docket, case) < 1 + usize::from(retries) {
        breaches.push(Breach::RetryWithheld { job });
    }
    breaches
}

/// So many deaths with the job running or, when it was never got to, as many beyond those that made it suspect.
fn poison_is_true(docket: &Docket<'_>, case: &Case<'_>, deaths: &[Death]) -> Vec<Breach> {
    let Accepted { job, poison_deaths, .. } = *case.accepted;
    let mut breaches = Vec::new();
    for death in deaths {
        if docket.process_of(death).is_none() {
            breaches.push(Breach::UnknownDeath { job, pid: death.pid });
        }
        if death.killer == Killer::Supervisor {
            breaches.push(Breach::PoisonedByUs { job });
        }
    }
    let (running, unstarted): (Vec<&Death>, Vec<&Death>) =
        deaths.iter().partition(|death| death.running.contains(&job));
    if running.len().max(unstarted.len()) < poison_deaths {
        breaches.push(Breach::PoisonedEarly { job });
    }
    let in_company = running.iter().skip(1).find(|death| death.running.len() > 1);
    breaches.extend(in_company.map(|death| Breach::SuspectNotAlone { job, pid: death.pid }));
    breaches
}

fn death_is_accounted_for(docket: &Docket<'_>, place: usize) -> Option<Breach> {
    let process = &docket.processes[place];
    let pid = process.pid;
    let Some(end) = &process.end else { return Some(Breach::DeathUnnoticed { pid }) };
    let life = docket.life_of(place);
    if life.is_some_and(|life| life.last_mark > end.at) || process.alive_at > end.at {
        return Some(Breach::AliveAfterDeath { pid });
    }
    let is_explained = process.struck_at.is_some()
        || end.death.killer == Killer::Supervisor
        || end.manner == Manner::Exited
        || life.is_some_and(|life| life.has_last_words);
    (!is_explained).then_some(Breach::DeathUnexplained { pid })
}

/// The jobs named in a report are those that were running: all that have a run open there, and of the others no more
/// than the death can have hidden.
fn death_is_charged_rightly(docket: &Docket<'_>, place: usize) -> Vec<Breach> {
    let Some(end) = &docket.processes[place].end else { return Vec::new() };
    let pid = docket.processes[place].pid;
    let Some(life) = docket.life_of(place) else {
        // It did not come so far as to serve.
        return end.death.running.iter().map(|job| Breach::Bystander { job: *job, pid }).collect();
    };
    let open: Vec<_> = life.runs.iter().map(|run| &docket.runs[*run]).filter(|run| is_open(run)).collect();
    let mut breaches = Vec::new();
    for run in &open {
        let job = docket.cases[run.job].accepted.job;
        if end.manner != Manner::WrittenOff && !end.death.running.contains(&job) {
            breaches.push(Breach::RunningUnnamed { job, pid });
        }
    }
    let mut idle_threads = life.threads.saturating_sub(open.len());
    for job in &end.death.running {
        let number = docket.number(*job);
        if open.iter().any(|run| Some(run.job) == number) {
            continue;
        }
        if idle_threads == 0 || !may_be_hidden(docket, life, number) {
            breaches.push(Breach::Bystander { job: *job, pid });
        }
        idle_threads = idle_threads.saturating_sub(1);
    }
    breaches
}

/// Whether a run of the job may have been hidden, or just about to answer, at this life's end.
fn may_be_hidden(docket: &Docket<'_>, life: &Life, job: Option<usize>) -> bool {
    let Some(job) = job else { return false };
    let runs = life.runs.iter().map(|run| &docket.runs[*run]).filter(|run| run.job == job);
    let is_done_with = runs.clone().count() > 0 && runs.clone().all(|run| run.is_superseded);
    !is_done_with || docket.cases[job].accepted.retries > 0
}

#[cfg(test)]
mod tests;
