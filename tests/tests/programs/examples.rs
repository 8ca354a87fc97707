//! The examples do what they say, from their first line to their last process.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ganger_tests::harness::{Scenario, Scratch, live_descendants};

/// The example's program. `cargo test --workspace` has built it; alone, this package's tests have it built.
fn example(name: &str) -> Command {
    let directory = std::env::current_exe().expect("this test").with_file_name("../examples");
    let program: PathBuf = directory.join(name);
    if !program.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "-q", "-p", "ganger-examples", "--examples"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo runs").success(), "the examples do not build");
    }
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let stdout = String::from_utf8(stdout).expect("text");
    assert!(status.success(), "{status}\n{stdout}\n{}", String::from_utf8_lossy(&stderr));
    assert!(live_descendants().is_empty(), "{:?}", live_descendants());
    stdout
}

/// Should the examples have to be built first, that takes its time.
fn patiently() -> Scenario {
    Scenario::default().deadline(Duration::from_secs(300))
}

/// W3: one binary in both roles.
#[test]
fn hello() {
    patiently().run(|| {
        let text = run(example("hello").args(["Ada", "Grace"]));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("Hello, world! (default-"), "{text}");
        assert_eq!(lines[1..], ["Hello, Ada!", "Hello, Grace!"]);
    });
}

/// J13: a file goes through a worker and back, and neither process holds more than a little of it.
#[test]
fn stream() {
    patiently().run(|| {
        let scratch = Scratch::new();
        let (file, packed) = (scratch.path().join("large"), scratch.path().join("large.gz"));
        let bytes: Vec<u8> = (0..48u32 << 20).map(|at| (at.wrapping_mul(at) >> 13) as u8).collect();
        std::fs::write(&file, &bytes).expect("written");
        let text = run(example("stream").arg(&file).args(["--level", "1"]));
        assert!(text.contains(&format!("{} bytes compressed to ", bytes.len())), "{text}");
        assert!(text.contains("expanded again: the same bytes"), "{text}");
        let last = text.lines().last().expect("the memory");
        let mib: Vec<u64> = last.split(' ').filter_map(|word| word.parse().ok()).collect();
        assert!(mib.len() == 2 && mib.iter().all(|mib| (1..32).contains(mib)), "{text}");
        assert!(packed.metadata().expect("there").len() > 1000, "{text}");

        let text = run(example("stream").args(["--sample", "8"]));
        assert!(text.contains("expanded again: the same bytes"), "{text}");
    });
}

/// S1, M8, M9: health and metrics of all processes, as the documents show them.
#[test]
fn vitals() {
    patiently().run(|| {
        let text = run(&mut example("vitals"));
        let words = [
            "told by an event: default-1: the scales are bent",
            "unhealthy, running\n  ! worker default-1 is not healthy: the scales are bent",
            "ganger_jobs_total{group=\"default\",outcome=\"worker_lost\"} 1",
            "ganger_worker_restarts_total{group=\"default\"} 1",
            "\npictures_asked_total 60",
            "# TYPE picture_bytes histogram",
        ];
        for word in words {
            assert!(text.contains(word), "{word:?} is not in\n{text}");
        }
        let counted = text.lines().filter_map(|line| line.strip_prefix("pictures_total{"));
        let sum: u32 = counted.filter_map(|line| line.split(' ').next_back()?.parse::<u32>().ok()).sum();
        assert_eq!(sum, 60, "the dead worker's share is there\n{text}");
    });
}

/// Two binaries, and a tour of what they can do.
#[test]
fn greeter() {
    patiently().run(|| {
        let text = run(&mut example("greeter"));
        let words = [
            "a call       Hello, world!",
            "a retry      attempt 2",
            "a timeout ",
            "a cancel ",
            "too late ",
            "an event ",
        ];
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    });
}

/// J12, J17: a mixed crowd in order, a low job that is done although high ones never end, keys, a delay, progress.
#[test]
fn priorities() {
    patiently().run(|| {
        let text = run(&mut example("priorities"));
        let classes = "opens, high 1, high 2, high 3, normal 1, normal 2, normal 3, low 1, low 2, low 3";
        let words = [
            &format!("classes    {classes}")[..],
            "no hunger  a low job was done after ",
            "a: soup, a: fish, a: cake, b: soup, b: fish, b: cake, c: soup, c: fish, c: cake",
            "a reminder came in time",
            "a roast: 25 %, 50 %, 75 %, 100 %",
        ];
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    });
}

/// M3, M4: what one worker has set every other gets, because the primary keeps it; what each has done, and whether it
/// is well, is collected from all.
#[test]
fn run_in_primary() {
    patiently().run(|| {
        let text = run(&mut example("run_in_primary"));
        let words = [
            "4 values, each seen by 9 requests",
            "failed at the primary process: handler error: -1 is below zero",
            "41 requests by 3 workers",
            "healthy: true",
        ];
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("set to ")).count(), 4, "{text}");
        assert_eq!(text.lines().filter(|line| line.contains(" has handled ")).count(), 3, "{text}");
    });
}

/// J6, W14: the main example on pictures that it spoils itself: all but the spoiled ones get a thumbnail, those are
/// told with their reasons, and the pool is as healthy at its end as at its start.
#[test]
fn thumbnails() {
    patiently().run(|| {
        let scratch = Scratch::new();
        let mut program = example("thumbnails");
        let text = run(program
            .args(["--samples", "12", "--workers", "2", "--size", "32"])
            .arg("--out")
            .arg(scratch.path()));
        let words = [
            "done           13",
            "failed          5",
            "poisoned        2",
            "healthy at the start and is healthy at the end",
        ];
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        let made = std::fs::read_dir(scratch.path()).expect("the thumbnails").count();
        assert_eq!(made, 13, "twelve good ones, and one on which the worker aborts only once: {text}");
    });
}

/// The number that a report gives for a word.
fn figure(report: &str, word: &str) -> u64 {
    let line = report.lines().find(|line| line.trim_start().starts_with(word));
    let figure = line.and_then(|line| line.trim_start()[word.len()..].split_whitespace().next());
    figure
        .and_then(|figure| figure.parse().ok())
        .unwrap_or_else(|| panic!("no figure for {word:?}: {report}"))
}

/// S7, S6, M6: all workers of a web server are replaced each second, under load, on new and on kept connections: no request
/// fails, no connection is reset, and each connection that a worker kept when it was to leave is answered once more. What
/// they answer from is a copy of the store, whole from their first moment on, that follows it closely. The
/// long form is `cargo run --release --example web_cluster`.
#[test]
fn web_cluster() {
    patiently().run(|| {
        let report = run(example("web_cluster").args(["--seconds", "8"]));
        let of = |word| figure(&report, word);
        assert_eq!((of("failed"), of("resets")), (0, 0), "{report}");
        // Some may be one together on a slow machine. Were there fewer, or nobody who asked, nothing would be shown.
        assert_eq!(of("rolling restarts"), 8, "{report}");
        assert!(of("generations") >= 4, "{report}");
        assert!(of("processes") > 4 * 4, "{report}");
        assert!(of("new connection") >= 200 && of("kept") >= 200, "{report}");
        assert!(of("farewells") >= 8, "{report}");
        assert!(of("page changes") >= 200 && of("behind") <= 20, "{report}");
    });
}

/// M2, M5, M6, M7: two workers count to 6,000 together, one commands the other, the lock of one that dies is free again,
/// and it is revived.
#[test]
fn cluster_store() {
    patiently().run(|| {
        let text = run(&mut example("cluster_store"));
        let words =
            ["together: 6000", "the replica: 6000", "does it: tidy up", "and its lock is ours", "is revived"];
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    });
}

/// W10: workers that leak far more than they may use are recycled under load: no job is lost, nobody is killed, and nobody
/// comes near the limit.
#[test]
fn leaky() {
    patiently().run(|| {
        let report = run(example("leaky").arg("2000"));
        let of = |word| figure(&report, word);
        assert_eq!((of("jobs done"), of("jobs lost"), of("killed")), (2000, 0, 0), "{report}");
        assert!(of("recycled") >= 3, "{report}");
        assert!(of("largest worker") < 256 && of("leaked in all") == 500, "{report}");
    });
}
