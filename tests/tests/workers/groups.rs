//! Groups of workers with programs, environments and policies of their own.

use ganger::{EnqueueError, Group, Job, Supervisor};
use ganger_tests::calls::{About, Add, Death, Die, Hold, Manners};
use ganger_tests::harness::{Gate, Scratch, scenario};
use ganger_tests::workers::{online, plain, with};

/// W6: a job goes to its group; the first group is the default; an unknown group is refused with the known ones.
#[test]
fn a_job_goes_to_its_group() {
    scenario(|| {
        let others = Group::new("others", plain()).workers(2);
        let supervisor = online(Supervisor::builder(Group::new("first", plain()).workers(1)).group(others));
        let group_of =
            |job: Job<About>| supervisor.enqueue(job).expect("accepted").wait().expect("answered").data;
        assert_eq!(group_of(Job::new(About)).name, "first-0");
        for _ in 0..5 {
            let about = group_of(Job::new(About).group("others"));
            assert_eq!((about.group.as_str(), about.name.starts_with("others-")), ("others", true));
        }
        match supervisor.enqueue(Job::new(Add(1, 2)).group("third")).expect_err("there is none") {
            EnqueueError::UnknownGroup { job, group, known } => {
                assert_eq!((job.into_call(), &*group), (Add(1, 2), "third"));
                assert!(known.contains("first") && known.contains("others"), "{known}");
            }
            other => panic!("{other:?}"),
        }
    });
}

/// W6, P13: one group that is stuck, and one that is gone, do not delay the jobs of another.
#[test]
fn groups_do_not_wait_for_each_other() {
    scenario(|| {
        let gate = Gate::new();
        let dead = Manners { start: ganger_tests::calls::Start::Exit(1), ..Manners::new() };
        let builder = Supervisor::builder(Group::new("stuck", plain()).workers(1))
            .group(Group::new("dead", with(&dead)).workers(1))
            .group(Group::new("alive", plain()).workers(1));
        let supervisor = builder.start().expect("started");
        let hold = supervisor.enqueue(Hold { gate: gate.path() }).expect("accepted");
        let held = gate.next();
        let waiting: Vec<_> =
            (0..10).map(|number| supervisor.enqueue(Add(number, 0)).expect("accepted")).collect();
        for number in 0..100 {
            let response =
                supervisor.enqueue(Job::new(Add(number, 1)).group("alive")).expect("accepted").wait();
            assert_eq!(response.expect("answered").data, number + 1);
        }
        held.release();
        hold.wait().expect("answered");
        waiting.into_iter().for_each(|handle| drop(handle.wait().expect("answered")));
    });
}

/// W6: arguments, environment and working directory are the group's; the environment is inherited unless told
/// otherwise.
#[test]
fn arguments_environment_and_directory_are_the_groups() {
    scenario(|| {
        let scratch = Scratch::new();
        let rich = plain().arg("--colour").env("GANGER_TESTS_A", "1").current_dir(scratch.path());
        let poor = plain().env_clear().env("GANGER_TESTS_B", "2");
        let picky = plain().env_allow(["HOME", "GANGER_TESTS_SURELY_NOT_SET"]).env("GANGER_TESTS_C", "3");
        let supervisor = online(
            Supervisor::builder(Group::new("rich", rich).workers(1))
                .group(Group::new("poor", poor).workers(1))
                .group(Group::new("picky", picky).workers(1)),
        );
        let about = |group: &'static str| {
            let job = Job::new(About).group(group);
            supervisor.enqueue(job).expect("accepted").wait().expect("answered").data
        };
        let names = |env: &[(String, String)]| {
            let mut names: Vec<String> = env.iter().map(|(name, _)| name.clone()).collect();
            names.sort();
            names
        };
        let rich = about("rich");
        assert_eq!(rich.args.last().map(String::as_str), Some("--colour"));
        assert_eq!(rich.directory, scratch.path().canonicalize().expect("it exists"));
        assert!(rich.env.contains(&(String::from("GANGER_TESTS_A"), String::from("1"))));
        assert!(std::env::vars().all(|pair| pair.0 == "GANGER_WORKER" || rich.env.contains(&pair)));
        assert_eq!(names(&about("poor").env), ["GANGER_TESTS_B", "GANGER_WORKER"]);
        let mut expected = vec!["GANGER_TESTS_C", "GANGER_WORKER"];
        expected.extend(std::env::var_os("HOME").map(|_| "HOME"));
        assert_eq!(names(&about("picky").env), expected);
    });
}

/// W6: a death in one group is no matter of another's.
#[test]
fn a_death_stays_in_its_group() {
    scenario(|| {
        let supervisor = online(
            Supervisor::builder(Group::new("a", plain()).workers(1))
                .group(Group::new("b", plain()).workers(1)),
        );
        drop(supervisor.enqueue(Job::new(Die(Death::Abort)).group("b")).expect("accepted").wait());
        supervisor.enqueue(Job::new(Add(1, 1)).group("b")).expect("accepted").wait().expect("answered");
        let restarts: Vec<u64> = supervisor.health().groups.iter().map(|group| group.restarts).collect();
        assert_eq!(restarts, [0, 1]);
    });
}
