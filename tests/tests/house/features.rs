//! `docs/features.md` is true: what it calls done is tested, by tests that are there and say so.

use std::collections::{HashMap, HashSet};

use crate::documents::is_simulator_check;
use crate::source::{TestFunction, document, quoted, tests};

/// The features of the first release.
const SCOPE: [&str; 31] = [
    "J1", "J2", "J3", "J4", "J5", "J6", "J7", "J8", "J9", "J10", "J11", "J15", "W1", "W2", "W3", "W4", "W5",
    "W7", "W8", "W9", "W11", "W12", "W13", "W14", "S1", "S2", "S3", "S4", "S5", "S8", "M1",
];

/// A row of the table.
struct Row<'a> {
    id: &'a str,
    state: &'a str,
    proof: &'a str,
}

fn rows(page: &str) -> Vec<Row<'_>> {
    page.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<Row<'_>> {
    let cells: Vec<&str> =
        line.strip_prefix('|')?.trim_end().strip_suffix('|')?.split('|').map(str::trim).collect();
    match cells[..] {
        [id, _, state, proof] if is_id(id) => Some(Row { id, state, proof }),
        _ => None,
    }
}

fn is_id(text: &str) -> bool {
    let number = text.trim_start_matches(|c: char| c.is_ascii_uppercase());
    text.len() == number.len() + 1 && number.parse::<u8>().is_ok()
}

/// What is quoted as proof: a file of scenarios that has a test of the id, a test, or a check of the simulator.
fn is_proof(quote: &str, id: &str, tests: &[TestFunction]) -> bool {
    if quote.ends_with(".rs") {
        return tests.iter().any(|test| test.path == quote && test.names(id));
    }
    tests.iter().any(|test| test.name == quote) || is_simulator_check(quote)
}

/// A row that is done has a test that names its id, and everything it quotes as proof is there.
#[test]
fn what_is_done_is_proved() {
    let (page, tests) = (document("docs/features.md"), tests());
    for Row { id, state, proof } in rows(&page) {
        match state {
            "done" => {
                assert!(tests.iter().any(|test| test.names(id)), "no test's doc comment names {id}");
                assert!(quoted(proof).next().is_some(), "{id} names no test");
            }
            "not yet" => {}
            other => panic!("{id} is neither done nor not yet, but {other:?}"),
        }
        let missing: Vec<&str> = quoted(proof).filter(|quote| !is_proof(quote, id, &tests)).collect();
        assert!(
            missing.is_empty(),
            "{id}: there is no such test, or the file has none that names the id: {missing:?}"
        );
    }
}

/// Each id has one row.
#[test]
fn the_scope_is_covered() {
    let page = document("docs/features.md");
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for row in rows(&page) {
        assert!(seen.insert(row.id, row.state).is_none(), "{} has two rows", row.id);
    }
    let scope: HashSet<&str> = SCOPE.into_iter().collect();
    let missing: Vec<&&str> = scope.iter().filter(|id| !seen.contains_key(**id)).collect();
    assert!(missing.is_empty(), "without a row: {missing:?}");
}

/// Promises are features, too: each that goes for jobs in memory is named by a test.
#[test]
fn every_promise_is_named_by_a_test() {
    let semantics = document("docs/semantics.md");
    let tests = tests();
    let checks = document("tests/src/sim/check.rs");
    let promises = semantics.lines().filter_map(|line| line.strip_prefix("| P")?.split(' ').next());
    let unnamed: Vec<String> = promises
        .map(|number| format!("P{number}"))
        .filter(|id| !tests.iter().any(|test| test.names(id)) && !checks.contains(&format!("/// {id}:")))
        .collect();
    assert!(unnamed.is_empty(), "no test's doc comment names {unnamed:?}");
}
