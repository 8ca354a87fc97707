//! What workers print.

use ganger::Supervisor;
use ganger_tests::calls::{Add, Death, Die, Print};
use ganger_tests::harness::{Logbook, scenario};
use ganger_tests::workers::{online, plain};
use log::Level;

/// W12: standard output and standard error are logged line by line with the worker's name; the last line of a dead
/// worker, too, although it has no newline.
#[test]
fn output_is_logged_line_by_line() {
    scenario(|| {
        let log = Logbook::open();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let print = Print { out: String::from("one\ntwo\r\nthr"), err: String::from("warned\n") };
        supervisor.enqueue(print).expect("accepted").wait().expect("answered");
        let print = Print { out: String::from("ee\n"), err: String::from("not ended") };
        supervisor.enqueue(print).expect("accepted").wait().expect("answered");
        drop(supervisor.enqueue(Die(Death::Signal(9))).expect("accepted").wait());
        for (level, line) in [
            (Level::Info, "default-0: one"),
            (Level::Info, "default-0: two"),
            (Level::Info, "default-0: three"),
            (Level::Warn, "default-0: warned"),
            (Level::Warn, "default-0: not ended"),
        ] {
            assert_eq!(log.wait_for(line), (level, line.to_owned()));
        }
        let lines: Vec<String> = log.entries().into_iter().map(|(_, line)| line).collect();
        let place = |text: &str| lines.iter().position(|line| line == text).expect("it is there");
        assert!(place("default-0: one") < place("default-0: two"));
        assert!(place("default-0: two") < place("default-0: three"));
    });
}

/// W12: a line that is too long is cut into marked pieces; nothing of it is lost.
#[test]
fn a_long_line_is_cut_and_marked() {
    scenario(|| {
        let log = Logbook::open();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let print = Print { out: format!("{}end\n", "x".repeat(20_000)), err: String::new() };
        supervisor.enqueue(print).expect("accepted").wait().expect("answered");
        log.wait_for("xend");
        let pieces: Vec<String> = log
            .entries()
            .into_iter()
            .map(|(_, line)| line)
            .filter(|line| line.starts_with("default-0: x"))
            .collect();
        assert_eq!(pieces.len(), 3, "{:?}", pieces.iter().map(String::len).collect::<Vec<_>>());
        assert!(pieces[..2].iter().all(|piece| piece.ends_with(" […]")));
        let total: usize = pieces.iter().map(|piece| piece.matches('x').count()).sum();
        assert_eq!(total, 20_000);
    });
}

/// W12, W14: a crash is logged, with the worker and its last words.
#[test]
fn a_crash_is_logged_with_its_report() {
    scenario(|| {
        let log = Logbook::open();
        let supervisor = online(Supervisor::builder(plain()).workers(1));
        let words = vec![String::from("out of cheese")];
        drop(supervisor.enqueue(Die(Death::LastWords(words))).expect("accepted").wait());
        supervisor.enqueue(Add(1, 1)).expect("accepted").wait().expect("answered");
        let (level, entry) = log.wait_for("ended by signal 9 (SIGKILL)");
        assert!(
            level <= Level::Warn && entry.contains("default-0") && entry.contains("out of cheese"),
            "{entry}"
        );
    });
}
