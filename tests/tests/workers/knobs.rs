//! What a group's processes get: values by slot, niceness, limits, names; and what is refused at the start.

use std::fs;

use ganger::{Builder, ConfigError, Group, Job, Program, Resource, Rlimit, StartError, Supervisor};
use ganger_tests::calls::{About, Identity};
use ganger_tests::harness::scenario;
use ganger_tests::workers::{online, plain};

/// Every worker of the group, by slot.
fn members(supervisor: &Supervisor, group: &'static str) -> Vec<Identity> {
    let wanted = supervisor.health().workers.iter().filter(|worker| &*worker.group == group).count();
    let mut seen: Vec<Identity> = Vec::new();
    // Round robin, so that each has its turn.
    for _ in 0..10 * wanted {
        let job = Job::new(About).group(group);
        let about = supervisor.enqueue(job).expect("accepted").wait().expect("answered").data;
        if seen.iter().all(|other| other.slot != about.slot) {
            seen.push(about);
        }
    }
    assert_eq!(seen.len(), wanted, "{seen:?}");
    seen.sort_by_key(|about| about.slot);
    seen
}

fn group(name: &str) -> Group {
    Group::new(name, plain()).pick(ganger::Pick::RoundRobin)
}

fn value<'a>(about: &'a Identity, key: &str) -> &'a str {
    let found = about.env.iter().find(|(name, _)| name == key);
    &found.unwrap_or_else(|| panic!("{key} is not set: {:?}", about.env)).1
}

fn refusal(builder: Builder) -> ConfigError {
    match builder.start() {
        Err(StartError::Config(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was accepted"),
    }
}

/// W6: values by slot, from a list that begins again and from a function; a replacement gets its slot's.
#[test]
fn variables_have_a_value_for_each_slot() {
    scenario(|| {
        let group = group("pinned")
            .workers(3)
            .slot_env("DEVICE", ["a", "b"])
            .slot_env_with("SCRATCH", |slot| format!("/scratch/{slot}").into());
        let supervisor = online(Supervisor::builder(group));
        let seen: Vec<(String, String)> = members(&supervisor, "pinned")
            .iter()
            .map(|about| (value(about, "DEVICE").to_owned(), value(about, "SCRATCH").to_owned()))
            .collect();
        let expected = [("a", "/scratch/0"), ("b", "/scratch/1"), ("a", "/scratch/2")]
            .map(|(a, b)| (a.into(), b.into()));
        assert_eq!(seen, expected);
    });
}

/// W6: a worker's niceness is that of all its threads.
#[test]
fn niceness_is_for_the_whole_process() {
    scenario(|| {
        let supervisor =
            online(Supervisor::builder(group("nice").workers(1).niceness(7)).group(group("own").workers(1)));
        let niceness = |group| {
            let pid = members(&supervisor, group)[0].pid;
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
            let mut all: Vec<i32> = tasks
                .map(|task| {
                    let stat =
                        fs::read_to_string(task.expect("a thread").path().join("stat")).expect("its state");
                    // The 19th field; the second, in parentheses, may hold anything.
                    let rest = stat.rsplit(')').next().expect("fields");
                    rest.split_whitespace().nth(16).expect("a niceness").parse().expect("a number")
                })
                .collect();
            all.dedup();
            all
        };
        assert_eq!(niceness("nice"), [7]);
        let own = rustix::process::getpriority_process(None).expect("our own");
        assert_eq!(niceness("own"), [own]);
    });
}

/// W6: limits hold from the worker's first line after its connection on, soft and hard, and for every member.
#[test]
fn limits_hold_from_the_connection_on() {
    scenario(|| {
        let limited = group("limited")
            .workers(4)
            .rlimit(Resource::OpenFiles, 99)
            .rlimit(Resource::CoreDump, Rlimit::new(0, 4096))
            .rlimit(Resource::CpuTime, Rlimit::NONE);
        let supervisor = online(Supervisor::builder(limited));
        for about in members(&supervisor, "limited") {
            assert_eq!(about.open_files, Some(99), "as it was just after the connection");
            let limits = fs::read_to_string(format!("/proc/{}/limits", about.pid)).expect("its limits");
            let of = |name: &str| {
                let line = limits.lines().find(|line| line.starts_with(name)).expect("a line");
                let mut fields = line[name.len()..].split_whitespace();
                (fields.next().expect("soft").to_owned(), fields.next().expect("hard").to_owned())
            };
            assert_eq!(of("Max open files"), (String::from("99"), String::from("99")));
            assert_eq!(of("Max core file size"), (String::from("0"), String::from("4096")));
            assert_eq!(of("Max cpu time"), (String::from("unlimited"), String::from("unlimited")));
        }
    });
}

/// W6: a worker that needs more than its limit ends, and is told as any that does; one that has too few descriptors
/// for its own connection says so.
#[test]
fn a_limit_that_is_too_low_for_a_connection_is_told() {
    scenario(|| {
        let starved = group("starved").workers(1).rlimit(Resource::OpenFiles, 5);
        let (supervisor, mut feed) = ganger_tests::workers::started_with_feed(Supervisor::builder(starved));
        let report = feed.crashed().to_string();
        assert!(report.contains("the connection to the supervisor could not be"), "{report}");
        drop(supervisor);
    });
}

/// W6: what the system will not grant is found at the start, and said with the group and the reason.
#[test]
fn limits_that_are_not_granted_fail_the_start() {
    scenario(|| {
        let most: u64 =
            fs::read_to_string("/proc/sys/fs/nr_open").expect("a limit").trim().parse().expect("a number");
        let greedy = group("greedy").workers(1).rlimit(Resource::OpenFiles, most + 1);
        match Supervisor::builder(greedy).start() {
            Err(StartError::Program { group, reason, .. }) => {
                assert_eq!(&*group, "greedy");
                let expected = format!("it cannot be limited in its OpenFiles to {} (soft) and", most + 1);
                assert!(reason.starts_with(&expected), "{reason}");
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it was started"),
        }
    });
}

/// W6: members have names of their own, a group of one is a named worker, and a group that grows beyond its names
/// goes on with those that ganger gives.
#[test]
fn members_have_names() {
    scenario(|| {
        let supervisor = online(
            Supervisor::builder(group("desks").members(["north", "south"]))
                .group(Group::named("mailer", plain())),
        );
        let names = |group| -> Vec<String> {
            members(&supervisor, group).into_iter().map(|about| about.name).collect()
        };
        assert_eq!(names("desks"), ["north", "south"]);
        assert_eq!(names("mailer"), ["mailer"]);
        supervisor.resize(3).expect("resized");
        ganger_tests::harness::eventually("the third is ready", || {
            (supervisor.health().groups[0].ready == 3).then_some(())
        });
        assert_eq!(names("desks"), ["north", "south", "desks-2"]);
    });
}

/// W6: knobs that make no sense are refused at the start, each with an error of its own kind.
#[test]
fn senseless_knobs_are_refused() {
    let builder = || Supervisor::builder(group("a").workers(2));
    let out_of_range = refusal(builder().niceness(20));
    assert!(matches!(out_of_range, ConfigError::OutOfRange { knob: "niceness", .. }), "{out_of_range}");
    let contradiction = refusal(builder().rlimit(Resource::CpuTime, Rlimit::new(2, 1)));
    assert!(matches!(contradiction, ConfigError::Contradiction { .. }), "{contradiction}");
    assert!(contradiction.to_string().contains("2 (soft) and 1 (hard)"), "{contradiction}");
    let none: [&str; 0] = [];
    for error in [
        refusal(builder().slot_env("A", none)),
        refusal(builder().slot_env("A=B", ["1"])),
        refusal(builder().slot_env("A", ["1\0"])),
        refusal(Supervisor::builder(Program::beside("lib_worker").env("", "1"))),
    ] {
        assert!(matches!(error, ConfigError::Variable { .. }), "{error}");
    }
    for other in [
        group("b").members(["x", "x"]),
        group("b").members(["a-1"]),
        group("b").members(["a-7"]),
        group("b").members(["b-1"]),
    ] {
        let error = refusal(builder().group(other));
        assert!(matches!(error, ConfigError::DuplicateWorker { .. }), "{error}");
    }
    let error = refusal(builder().group(group("b").members(["two words"])));
    assert!(matches!(error, ConfigError::WorkerName { .. }), "{error}");
    drop(online(builder().group(group("b").members(["b-0", "a-01", "a"]))));
}
