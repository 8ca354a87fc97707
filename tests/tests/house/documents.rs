//! The documents point at what is there.

use std::collections::HashSet;
use std::fs;

use crate::source::{document, quoted, repository, tests};

/// An index that does not list a decision hides it, and one that lists too much leads nowhere.
#[test]
fn every_decision_is_listed() {
    let index = document("docs/adr/README.md");
    let files = fs::read_dir(repository().join("docs/adr")).expect("there are decisions");
    let names = files.map(|file| file.expect("readable").file_name().into_string().expect("text"));
    let mut decisions: Vec<String> =
        names.filter(|name| name.ends_with(".md") && name != "README.md").collect();
    decisions.sort();
    for (number, name) in (1..).zip(&decisions) {
        let heading = document(&format!("docs/adr/{name}"));
        let title =
            heading.lines().next().and_then(|line| line.split_once(". ")).expect("a number and a title").1;
        assert!(name.starts_with(&format!("{number:04}-")), "{name} is not the next number, {number}");
        assert!(
            index.contains(&format!("[{title}]({name})")),
            "docs/adr/README.md does not list {name}: {title}"
        );
    }
    assert_eq!(index.matches(".md)").count(), decisions.len(), "docs/adr/README.md lists what is not there");
}

/// An invariant that no test guards is a wish.
#[test]
fn every_invariant_names_a_test_that_exists() {
    let tests: HashSet<String> = tests().into_iter().map(|test| test.name).collect();
    let architecture = document("ARCHITECTURE.md");
    let invariants: Vec<&str> = architecture.split("**Architecture Invariant ").skip(1).collect();
    assert!(invariants.len() >= 10, "the invariants have another form now");
    for (number, invariant) in (1..).zip(invariants) {
        let paragraph = invariant.split("\n\n").next().unwrap_or_default();
        assert!(paragraph.starts_with(&format!("{number}.")), "out of order: {paragraph}");
        let guards = paragraph.split_once("Guarded by").unwrap_or_else(|| panic!("no guard: {paragraph}")).1;
        let guards: Vec<&str> = quoted(guards).collect();
        assert!(!guards.is_empty(), "no guard: {paragraph}");
        for guard in guards {
            let is_check = guard.starts_with(|c: char| c.is_ascii_uppercase()) && is_simulator_check(guard);
            assert!(is_check || tests.contains(guard), "there is no test called {guard}: {paragraph}");
        }
    }
}

/// Links between the documents lead somewhere.
#[test]
fn links_lead_somewhere() {
    let pages = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "docs/faults.md",
        "docs/features.md",
        "docs/testing.md",
    ];
    for page in pages {
        let text = document(page);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let local = targets.filter(|target| !target.is_empty() && !target.contains("://"));
        let directory = repository().join(page).parent().expect("a directory").to_owned();
        for target in local {
            assert!(directory.join(target).exists(), "{page} points at {target}, which is not there");
        }
    }
}

/// A fault that is called proven by a test that is not there is not proven.
#[test]
fn what_is_quoted_about_faults_is_there() {
    let tests: HashSet<String> = tests().into_iter().map(|test| test.name).collect();
    let page = document("docs/faults.md");
    let is_there = |quote: &str| {
        tests.contains(quote) || is_simulator_check(quote) || repository().join(quote).is_file()
    };
    let missing: Vec<&str> = quoted(&page).filter(|quote| !is_there(quote)).collect();
    assert!(missing.is_empty(), "docs/faults.md names what is not there: {missing:?}");
}

/// A bug of others that came back here under another name would be met by a test that says what it was. Each row of
/// the table is proven by tests whose comments name, between them, everybody to whom it happened.
#[test]
fn every_bug_of_others_has_a_test_that_tells_of_it() {
    let tests = tests();
    let page = document("docs/faults.md");
    let section = page.split("## Bugs of others").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows: Vec<Vec<&str>> = section
        .expect("the bugs of others")
        .lines()
        .filter(|line| {
            line.starts_with("| ") && !line.starts_with("| what happened") && !line.contains("---")
        })
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() >= 16, "the table has another form now");
    for row in rows {
        let [_, victims, proof] = row[..] else { panic!("not three cells: {row:?}") };
        if proof.starts_with("not proven") {
            continue;
        }
        let named: Vec<&str> = quoted(proof).collect();
        let told: Vec<&str> =
            tests.iter().filter(|test| named.contains(&&*test.name)).map(|test| &*test.doc).collect();
        for victim in victims.split(", ") {
            let is_told = told.iter().any(|doc| doc.contains(victim));
            assert!(is_told, "no test of {named:?} tells what happened to {victim}");
        }
    }
}

/// Whether the simulator has a check of this name.
pub(crate) fn is_simulator_check(name: &str) -> bool {
    let checks = document("tests/src/sim/check.rs");
    checks.lines().any(|line| line.trim() == format!("{name},"))
}
