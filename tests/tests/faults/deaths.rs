//! Deaths of whole workers, one and all.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ganger::{Event, ExitStatus, Job, JobError, KillCause, RestartPolicy, Supervisor};
use ganger_tests::calls::{About, Add, Death, Die, Hold, Manners, Stop};
use ganger_tests::harness::{Gate, Held, Scenario, Watched, eventually, scenario};
use ganger_tests::workers::{online, online_with_feed, plain, tireless, with};

/// Fault: all workers die at once, each with a job in hand. Jobs with a retry are done, and the pool is as large as
/// before. W5.
#[test]
fn all_workers_die_at_once() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(4));
        let job = || Job::new(Hold { gate: gate.path() }).retries(1);
        let handles: Vec<_> = (0..4).map(|_| supervisor.enqueue(job()).expect("accepted")).collect();
        let held = gate.next_many(4);
        let queued: Vec<_> =
            (0..50).map(|number| supervisor.enqueue(Add(number, 0)).expect("accepted")).collect();
        held.iter().map(|one| Watched::new(one.pid())).for_each(|process| process.kill());
        gate.next_many(4).into_iter().for_each(Held::release);
        for handle in handles {
            assert_eq!(handle.wait().expect("the second attempt answers").attempt, 2);
        }
        for (number, handle) in (0..).zip(queued) {
            let response = handle.wait().expect("answered");
            assert_eq!((response.data, response.attempt), (number, 1));
        }
        eventually("the pool is whole again", || {
            let health = supervisor.health();
            (health.is_healthy() && health.groups[0].ready == 4).then_some(())
        });
    });
}

/// temporalio/sdk-python#245: there, one death broke the whole pool. Here the others' jobs go on, and the dead one's
/// place is filled.
#[test]
fn one_death_breaks_only_its_own_worker() {
    scenario(|| {
        let gate = Gate::new();
        let supervisor = online(Supervisor::builder(plain()).workers(3));
        let handles: Vec<_> =
            (0..3).map(|_| supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted")).collect();
        let mut held = gate.next_many(3);
        let dead = held.remove(1);
        let victim = dead.arrival().job.expect("it holds one");
        Watched::new(dead.pid()).kill();
        held.into_iter().for_each(Held::release);
        for handle in handles {
            let is_victim = handle.id() == victim;
            match handle.wait() {
                Ok(_) => assert!(!is_victim),
                Err(JobError::WorkerLost { .. }) => assert!(is_victim),
                Err(other) => panic!("{other:?}"),
            }
        }
        eventually("the pool is whole again", || (supervisor.health().groups[0].ready == 3).then_some(()));
    });
}

/// cpython#115634, roadrunner#737, #772, #1168, graphile/worker#592: there, after some deaths a replacement was never
/// started, and the pool shrank for good. Here a worker is killed a hundred times, idle or at work, while jobs come.
#[test]
fn a_replacement_is_always_started() {
    scenario(|| {
        let supervisor = online(Supervisor::builder(plain()).workers(2).restart(tireless()));
        for round in 0..100i64 {
            let handle = supervisor.enqueue(Job::new(Add(round, 0)).retries(2)).expect("accepted");
            let victim = eventually("there is a worker", || {
                let workers = supervisor.health().workers;
                workers.iter().find(|worker| worker.slot == round as u32 % 2).and_then(|worker| worker.pid)
            });
            // Between the look and the kill it may have ended by the last round's hand.
            if let Some(process) = rustix::process::Pid::from_raw(victim as i32) {
                let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
            }
            assert_eq!(handle.wait().expect("answered").data, round);
        }
        eventually("the pool is whole again", || {
            let health = supervisor.health();
            (health.is_healthy() && health.groups[0].ready == 2).then_some(())
        });
    });
}

/// W14: every way to die is told as what it was, with the job in hand, in the error as well as in the event; the
/// worker's last words are attached.
#[test]
fn every_way_to_die_is_told() {
    scenario(|| {
        let (supervisor, mut feed) =
            online_with_feed(Supervisor::builder(plain()).workers(1).restart(tireless()));
        let words: Vec<String> = (0..70).map(|number| format!("line {number}")).collect();
        let deaths = [
            (Death::Abort, ExitStatus::Signal(6)),
            (Death::Exit(0), ExitStatus::Code(0)),
            (Death::Exit(42), ExitStatus::Code(42)),
            (Death::Signal(11), ExitStatus::Signal(11)),
            (Death::Signal(9), ExitStatus::Signal(9)),
            (Death::Signal(15), ExitStatus::Signal(15)),
            (Death::LastWords(words.clone()), ExitStatus::Signal(9)),
        ];
        for (death, status) in deaths {
            let handle = supervisor.enqueue(Die(death.clone())).expect("accepted");
            let id = handle.id();
            let JobError::WorkerLost { report, because, .. } = handle.wait().expect_err("it dies") else {
                panic!("{death:?}")
            };
            assert_eq!(
                (report.exit.status, because, &report.running[..]),
                (status, None, &[id][..]),
                "{death:?}"
            );
            assert_eq!((&*report.worker, &*report.group, report.slot), ("default-0", "default", 0));
            assert!(report.pid.is_some() && report.killed.is_none() && !report.exit.oom_likely);
            assert_eq!(*feed.crashed(), *report, "the event tells the same");
            if let Death::LastWords(_) = death {
                assert_eq!(report.exit.stderr_tail, words[6..], "the last 64 lines");
            }
        }
    });
}

/// W14: the report has the worker's memory as sampled last, and how long it lived.
#[test]
fn a_report_has_memory_and_uptime() {
    scenario(|| {
        let manners = Manners { holds_mib: vec![30], ..Manners::new() };
        let builder = Supervisor::builder(with(&manners)).workers(1).sample_every(Duration::from_millis(100));
        let since = Instant::now();
        let (supervisor, mut feed) = online_with_feed(builder);
        eventually("it is sampled", || {
            supervisor.health().workers[0].rss_bytes.filter(|rss| *rss > 30 << 20)
        });
        drop(supervisor.enqueue(Die(Death::Abort)).expect("accepted"));
        let report = feed.crashed();
        assert!(report.rss_bytes.expect("sampled") > 30 << 20);
        assert!(report.uptime > Duration::ZERO && report.uptime <= since.elapsed(), "{:?}", report.uptime);
    });
}

/// W14: a panic that aborts the process, as under `panic = "abort"`: the job is lost with the panic's own message.
#[test]
fn a_panic_that_aborts_is_told_by_the_last_words() {
    scenario(|| {
        let manners = Manners { aborts_on_panic: true, ..Manners::new() };
        let supervisor = online(Supervisor::builder(with(&manners)).workers(1));
        let panic = ganger_tests::calls::Panic(String::from("the reactor is too hot"));
        let error = supervisor.enqueue(panic).expect("accepted").wait().expect_err("it aborts");
        let JobError::WorkerLost { report, .. } = &error else { panic!("{error:?}") };
        assert_eq!(report.exit.status, ExitStatus::Signal(6));
        let tail = report.exit.stderr_tail.join("\n");
        assert!(tail.contains("the reactor is too hot"), "{tail}");
    });
}

/// W14, fault: a worker is killed by the kernel's out-of-memory killer: the report says that this is likely. The
/// count of such kills is the test's.
#[test]
fn an_out_of_memory_kill_is_told_as_likely() {
    scenario(|| {
        let scratch = ganger_tests::harness::Scratch::new();
        let counter = scratch.file("memory.events", "low 0\noom 0\noom_kill 4\n", 0o644);
        let supervisor =
            online(Supervisor::builder(plain()).workers(1).oom_events(&counter).restart(tireless()));
        let lost = |death: Death| match supervisor.enqueue(Die(death)).expect("accepted").wait() {
            Err(JobError::WorkerLost { report, .. }) => report,
            other => panic!("{other:?}"),
        };
        assert!(!lost(Death::Signal(9)).exit.oom_likely, "the count has not gone up");
        std::fs::write(&counter, "low 0\noom 1\noom_kill 5\n").expect("written");
        let report = lost(Death::Signal(9));
        assert!(report.exit.oom_likely);
        assert!(report.to_string().contains("out-of-memory killer"), "{report}");
        std::fs::write(&counter, "low 0\noom 2\noom_kill 6\n").expect("written");
        assert!(!lost(Death::Abort).exit.oom_likely, "that killer sends SIGKILL");
    });
}

/// W11, fault: a worker that stops itself (SIGSTOP) in a request is found silent and killed; a stopped process can be
/// ended, too.
#[test]
fn a_worker_that_stops_itself_is_killed() {
    scenario(|| {
        let beats = [20, 100, 300].map(Duration::from_millis);
        let builder = Supervisor::builder(plain()).workers(1).heartbeat(beats[0], beats[1], beats[2]);
        let (supervisor, mut feed) = online_with_feed(builder.sample_every(beats[0]).term_grace(beats[1]));
        let handle = supervisor.enqueue(Stop).expect("accepted");
        feed.wait_for("suspicion", |event| matches!(event, Event::WorkerSuspected { .. }).then_some(()));
        assert_eq!(feed.crashed().killed, Some(KillCause::Silent));
        match handle.wait() {
            Err(JobError::WorkerLost { report, .. }) => assert_eq!(report.killed, Some(KillCause::Silent)),
            // SIGTERM comes with SIGCONT: it may get as far as its answer before it ends.
            Ok(_) => {}
            other => panic!("{other:?}"),
        }
        supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("answered by the replacement");
    });
}

/// W5: a death with a job running is charged to the job: it does not count in the restart window.
#[test]
fn a_death_by_a_job_does_not_degrade_the_group() {
    scenario(|| {
        let restart = RestartPolicy { limit: Some(1), ..RestartPolicy::default() };
        let supervisor = online(Supervisor::builder(plain()).workers(1).restart(restart));
        for round in 0..15 {
            let lost = supervisor.enqueue(Die(Death::Signal(9))).expect("accepted").wait();
            assert!(matches!(lost, Err(JobError::WorkerLost { .. })), "{lost:?}");
            let sum = supervisor.enqueue(Add(round, 1)).expect("accepted").wait();
            assert_eq!(sum.expect("answered").data, round + 1);
        }
        assert!(supervisor.health().groups[0].degraded.is_none());
    });
}

/// W5: only unexpected exits count: workers that the supervisor itself ends, many more than the window allows, do not
/// degrade the group.
#[test]
fn our_own_kills_do_not_degrade_the_group() {
    scenario(|| {
        let restart = RestartPolicy { limit: Some(1), ..RestartPolicy::default() };
        let (supervisor, mut feed) =
            online_with_feed(Supervisor::builder(plain()).workers(2).restart(restart));
        let mut pids = HashSet::new();
        for _ in 0..8 {
            let about = supervisor.enqueue(About).expect("accepted").wait().expect("answered");
            pids.insert(about.data.pid);
            supervisor.shutdown_worker(&about.worker, Duration::from_secs(5)).expect("it begins");
            let report = feed.exited();
            assert_eq!((report.pid, report.exit.status), (Some(about.data.pid), ExitStatus::Code(0)));
        }
        assert!(pids.len() >= 8, "{pids:?}");
        assert!(supervisor.health().groups[0].degraded.is_none());
    });
}

/// W11: a handler that is busy in native code beats on: it is not taken for hung.
#[test]
fn a_busy_handler_is_not_taken_for_hung() {
    Scenario::default().run(|| {
        let gate = Gate::new();
        let beats = [20, 100, 300].map(Duration::from_millis);
        let builder = Supervisor::builder(plain()).workers(1).heartbeat(beats[0], beats[1], beats[2]);
        let (supervisor, feed) = online_with_feed(builder.sample_every(beats[0]));
        let spin = supervisor.enqueue(ganger_tests::calls::Spin { gate: gate.path() }).expect("accepted");
        let process = Watched::new(gate.next().pid());
        assert!(!process.ends_within(Duration::from_millis(800)), "it was killed");
        let spin = spin.try_result().expect_err("it spins");
        supervisor.hard_kill().wait();
        drop(spin);
        let is_suspected = |event: &Event| matches!(event, Event::WorkerSuspected { .. });
        assert!(!feed.finish().iter().any(is_suspected));
    });
}
