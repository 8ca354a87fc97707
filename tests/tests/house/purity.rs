//! Walls: the scheduler stays pure, `unsafe` stays where it is.

use crate::source::{Source, sources, words};

/// What of the standard library the scheduler may use: values, no world.
const STD: [&str; 14] = [
    "array",
    "cmp",
    "collections",
    "fmt",
    "hash",
    "iter",
    "marker",
    "mem",
    "num",
    "ops",
    "option",
    "panic",
    "sync::Arc",
    "time::Duration",
];

/// The other crates that it may use.
const CRATES: [&str; 4] = ["bytes", "ganger_protocol", "fastrand", "thiserror"];

/// What of its own crate it may use.
const OWN: [&str; 4] = ["event", "relay", "scheduler", "store"];

/// What the metrics' arithmetic may use.
const OF_METRICS: [&str; 3] = ["health", "metrics", "scheduler"];

/// Words that mean a clock, a file, a thread, another process, a global, or chance without a seed, although they may
/// come without a path.
const FORBIDDEN: [&str; 17] = [
    "Instant",
    "SystemTime",
    "Mutex",
    "RwLock",
    "Condvar",
    "OnceLock",
    "LazyLock",
    "thread_local",
    "println",
    "eprintln",
    "send_with_fds",
    "receive_with_fds",
    "read_into",
    "write_from",
    "File",
    "Command",
    "TcpStream",
];

/// Beginnings of what a crate that it may use has, and it may not.
const FORBIDDEN_CALLS: [&str; 6] =
    ["Time::now", "JobId::random", "Rng::new(", "fastrand::u", "fastrand::f", "fastrand::shuffle"];

/// Types with functions, which look like crates.
const PRIMITIVE: [&str; 11] =
    ["bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "usize", "i64", "f64"];

fn scheduler() -> impl Iterator<Item = Source> {
    let all = sources("supervisor/src/scheduler").into_iter().chain(sources("supervisor/src"));
    let is_meant = |path: &str| {
        path.starts_with("supervisor/src/scheduler/")
            || path.starts_with("supervisor/src/relay/")
            || path.starts_with("supervisor/src/store/")
            || path == "supervisor/src/event.rs"
    };
    all.filter(move |source| is_meant(&source.path) && !source.path.contains("/tests"))
}

/// The paths of a line that begin with a crate or a module: `std::sync::Arc` → ("std", "sync::Arc…").
fn paths(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.match_indices("::").filter_map(move |(place, _)| {
        let (before, rest) = (&line[..place], &line[place + 2..]);
        let begin = before.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |last| last + 1);
        let root = &before[begin..];
        let goes_on = before[..begin].ends_with(['.', ':']) || rest.starts_with('<');
        (!goes_on && root.starts_with(|c: char| c.is_ascii_lowercase())).then_some((root, rest))
    })
}

fn is_one_of(rest: &str, allowed: &[&str]) -> bool {
    let ends = |tail: &str| !tail.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    allowed.iter().any(|allowed| rest.strip_prefix(allowed).is_some_and(ends))
}

fn is_pure(root: &str, rest: &str, modules: &[String], own: &[&str]) -> bool {
    match root {
        "std" => is_one_of(rest, &STD),
        "crate" => is_one_of(rest, own),
        "self" | "super" => true,
        // Modules that were brought in by a `use`, which was looked at where it stands.
        module if STD.contains(&module) => true,
        other => {
            [&CRATES[..], &PRIMITIVE].concat().contains(&other)
                || modules.iter().any(|module| module == other)
        }
    }
}

fn is_global(line: &str) -> bool {
    let line = line.trim_start();
    line.strip_prefix("pub ").unwrap_or(line).starts_with("static ")
}

fn offences(source: &Source, modules: &[String], own: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in source.code() {
        let mut blame = |what: &str| found.push(format!("{}:{number}: {what}: {}", source.path, line.trim()));
        paths(line)
            .filter(|(root, rest)| !is_pure(root, rest, modules, own))
            .for_each(|(root, _)| blame(root));
        words(line).filter(|word| FORBIDDEN.contains(word)).for_each(&mut blame);
        FORBIDDEN_CALLS.into_iter().filter(|call| line.contains(call)).for_each(&mut blame);
        if is_global(line) {
            blame("a global");
        }
    }
    found
}

/// The scheduler has no socket, process, thread, file, clock, lock or global, and no chance but its seed: that is
/// what lets the simulator stand in for the world. What it uses is listed here; whatever is new must be added, and
/// be a value.
#[test]
fn the_scheduler_is_pure() {
    let files: Vec<Source> = scheduler().collect();
    assert!(files.len() > 15, "the scheduler has moved");
    expect_pure("the scheduler", &files, &OWN);
}

/// What adds up the workers' metrics, judges them and makes the text knows no more of the world than the scheduler does.
#[test]
fn what_adds_up_metrics_is_pure() {
    let is_meant = |source: &Source| !source.path.contains("/tests");
    let files: Vec<Source> = sources("supervisor/src/metrics").into_iter().filter(is_meant).collect();
    assert!(files.len() > 5, "the metrics have moved");
    expect_pure("the metrics", &files, &OF_METRICS);
}

fn expect_pure(who: &str, files: &[Source], own: &[&str]) {
    let module =
        |source: &Source| source.path.rsplit('/').next().map(|name| name.trim_end_matches(".rs").to_owned());
    let modules: Vec<String> = files.iter().filter_map(module).collect();
    let found: Vec<String> = files.iter().flat_map(|source| offences(source, &modules, own)).collect();
    assert!(found.is_empty(), "{who} must be pure:\n{}", found.join("\n"));
}

/// The wall sees what it is for.
#[test]
fn the_wall_around_the_scheduler_has_no_holes() {
    let impure = [
        "use std::net::TcpStream;",
        "use std::{fs, io};",
        "let now = std::time::Instant::now();",
        "use std::sync::Mutex;",
        "use std::sync::{Arc, Mutex};",
        "use crate::driver::Turn;",
        "rustix::process::getpid()",
        "let id = JobId::random();",
        "static COUNT: AtomicU32 = AtomicU32::new(0);",
        "fastrand::u64(..)",
    ];
    for line in impure {
        let source = Source { path: String::from("x.rs"), text: line.to_owned() };
        assert!(!offences(&source, &[], &OWN).is_empty(), "{line}");
    }
}

/// The two files that share memory with C and with other processes are the only ones that need `unsafe`; the
/// compiler holds the rest to their safe faces.
#[test]
fn unsafe_is_in_two_files() {
    let is_unsafe = |source: &Source| source.code().any(|(_, line)| words(line).any(|word| word == WORD));
    let found: Vec<String> = sources("").into_iter().filter(is_unsafe).map(|source| source.path).collect();
    assert_eq!(found, ["protocol/src/memory.rs", "worker/src/heap.rs"]);
}

/// Put together, so that this file has none.
const WORD: &str = concat!("un", "safe");
