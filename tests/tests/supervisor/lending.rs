//! A sole caller runs the loop himself, and nothing that the loop promises suffers from it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::RwLock;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ganger::{Clock, Completions, Handle, Job, JobError, JobStatus, Supervisor};
use ganger_tests::calls::{Add, Death, Die, Echo, Hold, Spin};
use ganger_tests::harness::{Gate, PATIENCE, Watched, eventually, scenario};
use ganger_tests::workers::{online, online_with_feed, plain};

const SHORT: Duration = Duration::from_millis(50);
const STRESS: Duration = Duration::from_secs(2);

/// How often the loop's thread has gone to sleep.
fn sleeps_of_the_loop() -> u64 {
    let threads =
        fs::read_dir("/proc/self/task").expect("the threads").map(|thread| thread.expect("one").path());
    let is_loop =
        |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "ganger-loop");
    let path = { threads }.find(is_loop).expect("the loop's thread");
    let status = fs::read_to_string(path.join("status")).expect("its status");
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).expect("a number")
}

/// Calls until the loop's thread has left the loop to us: it slept less often than there were jobs.
fn call_until_lent(supervisor: &Supervisor) {
    eventually("the loop is lent to its only caller", || {
        let before = sleeps_of_the_loop();
        for number in 0..100 {
            let sum = supervisor.enqueue(Add(number, 1)).expect("accepted").wait().expect("answered");
            assert_eq!(sum.data, number + 1);
        }
        (sleeps_of_the_loop() - before < 50).then_some(())
    });
}

/// J1: one job after the other is done by the caller's own thread, and the loop's lies low.
#[test]
fn a_sole_caller_is_the_loop() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        call_until_lent(&supervisor);
    });
}

/// J5, P9: the clocks run on while a caller has the loop.
#[test]
fn the_clocks_are_kept_by_the_caller() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor =
            online(Supervisor::builder(plain()).workers(1).cancel_grace(SHORT).term_grace(SHORT));
        call_until_lent(&supervisor);
        let job = Job::new(Spin { gate: gate.path() }).run_timeout(SHORT);
        let since = Instant::now();
        match supervisor.enqueue(job).expect("accepted").wait() {
            Err(JobError::TimedOut { clock, .. }) => assert_eq!(clock, Clock::Run),
            other => panic!("{other:?}"),
        }
        assert!(since.elapsed() >= SHORT);
        let worker = Watched::new(gate.next().pid());
        worker.wait_end();
        supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("by the replacement");
    });
}

/// W4: a worker that dies under a caller who has the loop is found dead, buried and replaced.
#[test]
fn a_death_is_seen_by_the_caller() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        call_until_lent(&supervisor);
        let job = Job::new(Die(Death::Abort)).retries(0);
        match supervisor.enqueue(job).expect("accepted").wait() {
            Err(JobError::WorkerLost { .. }) => {}
            other => panic!("{other:?}"),
        }
        supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("by the replacement");
    });
}

/// W4: a worker that dies while nobody calls is replaced: a loan that is not used ends.
#[test]
fn a_death_is_seen_when_the_caller_is_elsewhere() {
    scenario(|| {
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(plain()).workers(1));
        let pid = feed.spawned();
        call_until_lent(&supervisor);
        Watched::new(pid).kill();
        feed.crashed();
        feed.spawned();
    });
}

/// J1: a second caller is served while the first waits for a job that takes its time, and so is the first.
#[test]
fn company_ends_the_loan() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = Arc::new(online(Supervisor::builder(plain()).workers(2)));
        call_until_lent(&supervisor);
        let first = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let waiting = thread::spawn(move || first.wait().expect("answered"));
        let held = gate.next();
        for number in 0..100 {
            supervisor.enqueue(Add(number, 1)).expect("accepted").wait().expect("answered");
        }
        held.release();
        waiting.join().expect("the first caller is served");
    });
}

/// J2: a caller who gives up waiting leaves his job to the loop, which settles it.
#[test]
fn a_caller_who_gives_up_gives_the_loop_back() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        call_until_lent(&supervisor);
        let handle = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let handle = handle.wait_timeout(SHORT).expect_err("it is held");
        gate.next().release();
        // Nobody waits, and nobody calls.
        eventually("the loop settles it", || (handle.status() == JobStatus::Settled).then_some(()));
        handle.wait().expect("answered");
    });
}

/// S3: a hard kill by another thread settles the job of the caller who has the loop.
#[test]
fn a_hard_kill_reaches_the_caller() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = Arc::new(online(Supervisor::builder(plain()).workers(1)));
        call_until_lent(&supervisor);
        let handle = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let waiting = thread::spawn(move || handle.wait());
        let held = gate.next();
        let killed = supervisor.hard_kill();
        match waiting.join().expect("the caller comes back") {
            Err(JobError::ShuttingDown { .. }) => {}
            other => panic!("{other:?}"),
        }
        killed.wait();
        held.wait_gone();
    });
}

/// J1: between two calls of a caller who has the loop, large payloads go both ways.
#[test]
fn a_large_payload_is_written_and_read_by_the_caller() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        call_until_lent(&supervisor);
        let large = vec![7; 5 << 20];
        let echoed = supervisor.enqueue(Echo(large.clone())).expect("accepted").wait().expect("answered");
        assert!(echoed.data == large);
    });
}

/// J1: a caller who had the loop lent to him, enqueued a job, and asked after the supervisor's health several times a
/// millisecond instead of waiting, kept the loan up for long, while nobody read what the worker answered: a turn that is
/// run for a command does not look at the system.
#[test]
fn commands_alone_do_not_keep_the_loop_from_its_work() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        call_until_lent(&supervisor);
        let handle = supervisor.enqueue(Add(1, 1)).expect("accepted");
        let since = Instant::now();
        while supervisor.health().workers[0].in_flight > 0 {
            assert!(since.elapsed() < PATIENCE, "the answer is not read");
            // Between two looks, so that the loop's thread finds the turn free, and just used.
            thread::park_timeout(Duration::from_micros(100));
        }
        assert_eq!(handle.wait().expect("answered").data, 2);
    });
}

/// What callers do at random.
struct Caller<'a> {
    supervisor: &'a Supervisor,
    rng: Rng,
    /// Who has it for himself is alone with the loop.
    company: &'a RwLock<()>,
}

impl Caller<'_> {
    fn act(&mut self) {
        if self.rng.u8(..4) == 0 {
            let _alone = self.company.write().expect("nobody panics");
            (0..self.rng.u32(20..60)).for_each(|_| self.call());
            return self.act_in_company();
        }
        // The lock is let go of before the act, so that whoever wants to be alone gets company now and then.
        drop(self.company.read().expect("nobody panics"));
        self.act_in_company();
    }

    fn act_in_company(&mut self) {
        match self.rng.u8(..11) {
            0 => (0..self.rng.u32(1..20)).for_each(|_| self.call()),
            1 => self.burst(),
            2 => self.look_again_and_again(),
            3 => self.be_called_back(),
            4 => self.collect(),
            5 => self.cancel(),
            6 => drop(self.enqueue()),
            7 => assert!(!self.supervisor.health().workers.is_empty()),
            8 => drop(self.supervisor.broadcast("news", &1).expect("it runs")),
            9 => drop(self.supervisor.events()),
            _ => self.waits_for_a_future(),
        }
    }

    fn enqueue(&mut self) -> Handle<Add> {
        self.supervisor.enqueue(Add(1, 1)).expect("accepted")
    }

    fn call(&mut self) {
        assert_eq!(self.enqueue().wait().expect("answered").data, 2);
    }

    fn burst(&mut self) {
        let mut handles: Vec<_> = (0..self.rng.u32(2..20)).map(|_| self.enqueue()).collect();
        self.rng.shuffle(&mut handles);
        handles.into_iter().for_each(|handle| assert_eq!(handle.wait().expect("answered").data, 2));
    }

    fn look_again_and_again(&mut self) {
        let timeout = Duration::from_micros(self.rng.u64(..3) * 20);
        let mut handle = self.enqueue();
        while let Err(not_yet) = handle.wait_timeout(timeout) {
            handle = not_yet;
        }
    }

    fn be_called_back(&mut self) {
        let (told, called) = channel();
        self.enqueue().then(move |result| told.send(result).expect("somebody waits"));
        assert_eq!(called.recv().expect("called back").expect("answered").data, 2);
    }

    fn collect(&mut self) {
        let done = Completions::new();
        for _ in 0..self.rng.u32(1..4) {
            self.supervisor.enqueue_to(Add(1, 1), &done).expect("accepted");
        }
        done.into_iter().for_each(|(_, result)| assert_eq!(result.expect("answered").data, 2));
    }

    fn cancel(&mut self) {
        let handle = self.enqueue();
        handle.cancel();
        match handle.wait() {
            Ok(_) | Err(JobError::Cancelled { .. }) => {}
            other => panic!("{other:?}"),
        }
    }

    fn waits_for_a_future(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let response = runtime.block_on(self.enqueue()).expect("answered");
        assert_eq!(response.data, 2);
    }
}

/// J1, J8: callers who are alone with the loop by turns, and wait, look, cancel, ask, and forget at random: every job
/// settles, whoever is the loop.
#[test]
fn whoever_is_the_loop_every_job_settles() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(2));
        let (company, since) = (RwLock::new(()), Instant::now());
        thread::scope(|scope| {
            for _ in 0..3 {
                let mut caller = Caller { supervisor: &supervisor, rng: Rng::new(), company: &company };
                scope.spawn(move || {
                    while since.elapsed() < STRESS {
                        caller.act();
                    }
                });
            }
        });
        eventually("no job is left", || {
            let group = &supervisor.health().groups[0];
            (group.queued + group.in_flight == 0).then_some(())
        });
        supervisor.soft_kill().wait();
    });
}

/// S3: the last clone goes while others wait, one of whom is the loop: all of them come back.
#[test]
fn a_supervisor_that_is_dropped_settles_the_job_of_whoever_is_the_loop() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        call_until_lent(&supervisor);
        let handle = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let waiting = thread::spawn(move || handle.wait());
        let held = gate.next();
        drop(supervisor);
        match waiting.join().expect("the caller comes back") {
            Err(JobError::ShuttingDown { .. }) => {}
            other => panic!("{other:?}"),
        }
        held.wait_gone();
    });
}
