//! Metrics of all processes, summed in the supervisor and read back by an independent parser.

use std::collections::BTreeMap;
use std::time::Duration;

use ganger::{Builder, CrashReport, Event, Group, KillCause, MetricError, Supervisor};
use ganger_protocol::{Amount, Change, Declaration, Kind, MetricsReport, Shape};
use ganger_tests::calls::{Count, Death, Die, Manners};
use ganger_tests::harness::{Scratch, eventually, scenario};
use ganger_tests::raw::{Step, frame, life, service};
use ganger_tests::workers::{online, online_with_feed, plain, raw, tireless, with};
use prometheus_parse::{Sample, Scrape, Value};

/// The text, as an independent parser understands it.
struct Text {
    samples: Vec<Sample>,
    help: usize,
}

impl Text {
    fn of(supervisor: &Supervisor) -> Text {
        let text = supervisor.metrics().prometheus();
        let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).expect("it can be read");
        let types = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
        let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert!(names.is_sorted(), "each family is there once: {names:?}");
        let help = text.lines().filter(|line| line.starts_with("# HELP ")).count();
        assert!(types >= help && !scrape.samples.is_empty());
        Text { samples: scrape.samples, help }
    }

    /// The samples of this name, by the values of these labels.
    fn by<const N: usize>(&self, name: &str, labels: [&str; N]) -> BTreeMap<[String; N], f64> {
        let samples = self.samples.iter().filter(|sample| sample.metric == name);
        samples
            .map(|sample| {
                let key = labels.map(|label| sample.labels.get(label).unwrap_or_default().to_owned());
                (key, number(&sample.value))
            })
            .collect()
    }

    fn sum(&self, name: &str) -> f64 {
        self.samples.iter().filter(|sample| sample.metric == name).map(|sample| number(&sample.value)).sum()
    }
}

/// A number; of a histogram, how many were observed.
fn number(value: &Value) -> f64 {
    match value {
        Value::Counter(number) | Value::Gauge(number) | Value::Untyped(number) => *number,
        Value::Histogram(buckets) => {
            assert!(
                buckets.is_sorted_by(|one, next| one.less_than < next.less_than && one.count <= next.count)
            );
            let last = buckets.last().expect("the last bucket is always there");
            assert!(last.less_than.is_infinite());
            last.count
        }
        Value::Summary(_) => panic!("nobody makes summaries"),
    }
}

fn two(program: ganger::Program) -> Builder {
    Supervisor::builder(program).workers(2).restart(tireless())
}

fn count(supervisor: &Supervisor, number: u32) {
    supervisor.enqueue(Count(number)).expect("accepted").wait().expect("answered");
}

/// Whatever was counted has been told.
fn counted(supervisor: &Supervisor, total: u32) {
    eventually("it is told within a period", || {
        (supervisor.metrics().total("counted_total") == Some(f64::from(total))).then_some(())
    });
}

/// M8: counters and histograms add up over processes and over deaths; a gauge goes with its worker; the labels are the
/// group and the slot, and never the process.
#[test]
fn what_the_dead_have_counted_stays() {
    scenario(|| {
        let supervisor = online(two(plain()));
        (0..20).for_each(|_| count(&supervisor, 5));
        counted(&supervisor, 100);
        for _ in 0..2 {
            drop(supervisor.enqueue(Die(Death::Signal(9))).expect("accepted").wait());
        }
        eventually("both are replaced", || (supervisor.health().groups[0].restarts == 2).then_some(()));
        let text = Text::of(&supervisor);
        assert_eq!((text.sum("counted_total"), text.sum("counted_size")), (100.0, 20.0));
        (0..10).for_each(|_| count(&supervisor, 7));
        counted(&supervisor, 170);
        let text = Text::of(&supervisor);
        assert_eq!((text.sum("counted_total"), text.sum("counted_size")), (170.0, 30.0));
        let slots = text.by("counted_total", ["group", "slot", "pid"]);
        assert!(
            slots.keys().all(|[group, slot, pid]| group == "default" && slot.len() == 1 && pid.is_empty())
        );
        let last = text.by("counted_last", ["slot"]);
        assert!(
            !last.is_empty() && last.values().all(|value| *value == 7.0),
            "the dead measure nothing: {last:?}"
        );
        let jobs = text.by("ganger_jobs_total", ["group", "outcome"]);
        let of = |outcome: &str| jobs[&[String::from("default"), String::from(outcome)]];
        assert_eq!((of("replied"), of("worker_lost"), of("failed")), (30.0, 2.0, 0.0));
        assert_eq!(text.sum("ganger_worker_restarts_total"), 2.0);
        assert_eq!((text.sum("ganger_job_run_seconds"), text.sum("ganger_job_queue_seconds")), (30.0, 30.0));
        assert_eq!(text.by("ganger_workers", ["status"])[&[String::from("ready")]], 2.0);
        assert!(text.sum("ganger_worker_resident_bytes") > 2e6 && text.help > 10);
    });
}

/// M8: a worker that leaves loses nothing, and what there was can be read when all has ended.
#[test]
fn a_worker_that_leaves_has_told_everything() {
    scenario(|| {
        let supervisor = online(two(plain()));
        (1..=50).for_each(|number| count(&supervisor, number));
        supervisor.soft_kill().wait();
        let text = Text::of(&supervisor);
        assert_eq!((text.sum("counted_total"), text.sum("counted_size")), (1275.0, 50.0));
        assert_eq!((text.sum("ganger_up"), text.sum("ganger_problems")), (0.0, 1.0));
        assert!(text.by("counted_last", ["slot"]).is_empty(), "nobody lives");
    });
}

/// M8: groups are told apart, and this process counts beside its workers, without a group.
#[test]
fn this_process_counts_beside_its_workers() {
    scenario(|| {
        let other = Group::new("others", plain()).workers(1);
        let supervisor = online(Supervisor::builder(plain()).workers(1).group(other));
        let own = supervisor.metrics().label("unit", "x").counter("counted_total", "What was counted");
        own.expect("declared").add(1000);
        count(&supervisor, 10);
        let job = ganger::Job::new(Count(3)).group("others");
        supervisor.enqueue(job).expect("accepted").wait().expect("answered");
        counted(&supervisor, 1013);
        let by_group = Text::of(&supervisor).by("counted_total", ["group", "unit"]);
        let of = |group: &str, unit: &str| by_group[&[String::from(group), String::from(unit)]];
        assert_eq!((of("", "x"), of("default", ""), of("others", "")), (1000.0, 10.0, 3.0));
        let size = Text::of(&supervisor).by("counted_size", ["unit"]);
        assert!(size.keys().all(|[unit]| unit.contains("quoted") && unit.contains("unit")), "{size:?}");
        let taken = supervisor.metrics().gauge("counted_total", "").expect_err("it is a counter");
        assert!(matches!(taken, MetricError::Taken { .. }), "{taken}");
    });
}

fn report(declared: Vec<Declaration>, changes: Vec<Amount>) -> Vec<u8> {
    let number = |(metric, amount): (usize, Amount)| Change { metric: metric as u16, amount };
    let changes = changes.into_iter().enumerate().map(number).collect();
    frame(Kind::Metrics, &MetricsReport { declared, changes }, &[])
}

fn declared(name: &str, shape: Shape) -> Declaration {
    Declaration { name: name.to_owned(), help: String::from("made up"), labels: Vec::new(), shape }
}

fn violation(report: &CrashReport) -> &str {
    match &report.killed {
        Some(KillCause::Violation(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// Fault: metrics that no library says. P13: the worker is ended for them, and the next one serves.
#[test]
fn a_worker_that_lies_about_its_metrics_is_killed() {
    scenario(|| {
        let wait = || declared("wait_seconds", Shape::Histogram(vec![1.0]));
        let many = (0..257).map(|number| declared(&format!("x{number}"), Shape::Gauge)).collect();
        let lies = [
            (report(vec![declared("two words", Shape::Counter)], vec![]), "two words"),
            (report(vec![declared("ganger_up", Shape::Gauge)], vec![]), "ganger_"),
            (report(many, vec![]), "more than 256 metrics"),
            (report(vec![], vec![Amount::Rise(1)]), "metric 0 of 0"),
            (report(vec![wait()], vec![Amount::Rise(1)]), "another kind"),
            (
                report(vec![wait()], vec![Amount::Observed { buckets: vec![(2, 1)], sum: 1.0 }]),
                "no such buckets",
            ),
            (report(vec![wait()], vec![Amount::Observed { buckets: vec![], sum: f64::NAN }]), "no sum"),
            (frame(Kind::Metrics, &"hello", &[]), "Metrics"),
            (frame(Kind::Metrics, &MetricsReport::default(), b"x"), "payload"),
        ];
        for (bytes, reason) in lies {
            let scratch = Scratch::new();
            let lives = vec![life([Step::Take, Step::Write(bytes), Step::Hang]), service()];
            let builder = Supervisor::builder(raw(&scratch, lives)).workers(1).restart(tireless());
            let (supervisor, mut feed) = online_with_feed(builder);
            supervisor.enqueue_raw("echo", *b"abc").expect("accepted").wait().expect("answered");
            let said = violation(&feed.crashed()).to_owned();
            assert!(said.contains(reason), "{said}");
            let kills = Text::of(&supervisor).by("ganger_worker_kills_total", ["cause"]);
            assert_eq!(kills, BTreeMap::from([([String::from("violation")], 1.0)]));
        }
    });
}

/// Fault: a worker floods with metrics. P13: it is ended for it, and the others do not notice.
#[test]
fn a_flood_of_metrics_is_ended() {
    scenario(|| {
        let scratch = Scratch::new();
        let changes = (0..2000).map(|_| Change { metric: 0, amount: Amount::Rise(1 << 40) }).collect();
        let bytes = frame(Kind::Metrics, &MetricsReport { declared: vec![], changes }, &[]);
        let first = report(vec![declared("flood_total", Shape::Counter)], vec![]);
        let flood = life([Step::Write(first), Step::Repeat { count: 1 << 20, bytes }, Step::Hang]);
        // Where the machine is too busy for it to flood, its silence alone is not to be what ends it.
        let mad = Group::new("mad", raw(&scratch, vec![flood, service()])).workers(1).restart(tireless());
        let mad = mad.heartbeat(Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(120));
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(plain()).workers(1).group(mad));
        count(&supervisor, 1);
        let said = violation(&feed.crashed()).to_owned();
        assert!(said.contains("metrics of more than"), "{said}");
        count(&supervisor, 2);
        counted(&supervisor, 3);
        assert!(supervisor.metrics().total("flood_total").expect("it was told") > 0.0);
    });
}

/// M8: a gauge may show what is no number; what contradicts another worker's word is not kept, and counted.
#[test]
fn what_contradicts_another_worker_is_not_kept() {
    scenario(|| {
        let scratch = Scratch::new();
        let odd = report(
            vec![declared("odd", Shape::Gauge), declared("counted_total", Shape::Gauge)],
            vec![Amount::Level(f64::NAN), Amount::Level(5.0)],
        );
        let others = Group::new("raw", raw(&scratch, vec![life([Step::Take, Step::Write(odd), Step::Hang])]))
            .workers(1);
        let supervisor = online(Supervisor::builder(plain()).workers(1).group(others));
        count(&supervisor, 4);
        counted(&supervisor, 4);
        let job = ganger::Job::new(ganger::Raw::new("go", *b"")).group("raw");
        let _handle = supervisor.enqueue(job).expect("accepted");
        let refused = |text: &Text| {
            text.by("ganger_metrics_refused_total", ["group"]).get(&[String::from("raw")]).copied()
        };
        let text = eventually("it has told", || {
            Some(Text::of(&supervisor)).filter(|text| refused(text) == Some(1.0))
        });
        assert!(text.by("odd", ["group"])[&[String::from("raw")]].is_nan());
        assert_eq!(text.by("counted_total", ["group"]), BTreeMap::from([([String::from("default")], 4.0)]));
    });
}

/// M8: nobody pays for metrics who has none: no frame, and no thread.
#[test]
fn a_worker_without_metrics_and_check_has_no_thread_for_them() {
    scenario(|| {
        let sick = Manners { sick: Some("/nowhere/sick".into()), ..Manners::new() };
        let other = Group::new("checked", with(&sick)).workers(1);
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(plain()).workers(1).group(other));
        let has_thread = |pid: Option<u32>| {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", pid.expect("it runs"))).expect("it lives");
            tasks.flatten().any(|task| {
                std::fs::read_to_string(task.path().join("comm"))
                    .is_ok_and(|name| name.trim() == "ganger-health")
            })
        };
        let workers = supervisor.health().workers;
        eventually("the checked one has a thread", || has_thread(workers[1].pid).then_some(()));
        assert!(!has_thread(workers[0].pid));
        let text = Text::of(&supervisor);
        assert_eq!(text.sum("ganger_metrics_refused_total"), 0.0);
        assert!(text.by("ganger_metrics_refused_total", ["group"]).is_empty(), "nobody has told anything");
        supervisor.shutdown_worker("default-0", Duration::from_secs(10)).expect("there is one");
        feed.wait_for("it leaves", |event| matches!(event, Event::WorkerExited { .. }).then_some(()));
    });
}
