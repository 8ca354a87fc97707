//! The tree, read as text.

use std::fs;
use std::path::{Path, PathBuf};

/// Directories that hold nothing of ours, or nothing that is compiled.
const SKIPPED: [&str; 3] = ["target", ".git", "mutants"];

/// A Rust file.
pub(crate) struct Source {
    /// Relative to the repository, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A function under `#[test]`.
pub(crate) struct TestFunction {
    /// The file that it is in, relative to the repository.
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) doc: String,
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is a member of the workspace")
        .to_owned()
}

pub(crate) fn document(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All Rust files below a directory of the repository; "" is all of it.
pub(crate) fn sources(directory: &str) -> Vec<Source> {
    let root = repository();
    let mut paths = Vec::new();
    collect(&root.join(directory), &mut paths);
    paths.sort();
    let relative = |path: &Path| path.strip_prefix(&root).expect("it is below").display().to_string();
    // A file that somebody is just removing is none of ours.
    let read = |path: PathBuf| Some(Source { path: relative(&path), text: fs::read_to_string(path).ok()? });
    paths.into_iter().filter_map(read).collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of the repository") {
        let path = entry.expect("readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !SKIPPED.contains(&name) {
            collect(&path, paths);
        } else if name.ends_with(".rs") {
            paths.push(path);
        }
    }
}

impl Source {
    /// The lines that are more than a comment, with their numbers, and without the comment at their end.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let without_comment = |line: &'_ str| line.find("// ").unwrap_or(line.len());
        let lines = (1..).zip(self.text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//"));
        lines.map(move |(number, line)| (number, &line[..without_comment(line)]))
    }

    fn tests(&self) -> Vec<TestFunction> {
        let lines: Vec<&str> = self.text.lines().map(str::trim).collect();
        let marked = lines.iter().enumerate().filter(|(_, line)| **line == "#[test]");
        marked.filter_map(|(place, _)| self.test_at(&lines, place)).collect()
    }

    fn test_at(&self, lines: &[&str], place: usize) -> Option<TestFunction> {
        let signature = lines[place..].iter().find_map(|line| line.split_once("fn "))?.1;
        let name = signature.split('(').next()?.to_owned();
        let above =
            lines[..place].iter().rev().take_while(|line| line.starts_with("///") || line.starts_with("#["));
        let mut doc: Vec<&str> = above.copied().collect();
        doc.reverse();
        Some(TestFunction { path: self.path.clone(), name, doc: doc.join("\n") })
    }
}

impl TestFunction {
    /// Whether the doc comment names `id`, and not just a longer one that begins alike.
    pub(crate) fn names(&self, id: &str) -> bool {
        words(&self.doc).any(|word| word == id)
    }
}

/// All tests of the workspace.
pub(crate) fn tests() -> Vec<TestFunction> {
    sources("").iter().flat_map(Source::tests).collect()
}

pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
}

/// What stands between backticks.
pub(crate) fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}
