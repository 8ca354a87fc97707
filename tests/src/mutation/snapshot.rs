//! The sources as they are when the run begins: somebody may be editing them meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What the simulator and the fuzzing driver are built from, and the workspace's own files.
const PARTS: [&str; 17] = [
    "protocol",
    "supervisor",
    "worker",
    "tests/Cargo.toml",
    "tests/corpus",
    "tests/src/arg.rs",
    "tests/src/bin/fuzz.rs",
    "tests/src/bin/simulate.rs",
    "tests/src/fuzz",
    "tests/src/raw.rs",
    "tests/src/rig",
    "tests/src/runner.rs",
    "tests/src/sim",
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "docs",
];
/// The rest of the crate of tests is left out, so that it is not built once more for every mutant.
const LIBRARY: &str = "//! The simulator alone.\n\npub mod arg;\npub mod runner;\npub mod sim;\n";
/// The same for those that the fuzzing driver is to find.
const FUZZ_LIBRARY: &str = "//! Fuzzing alone.\n\npub mod arg;\npub mod fuzz;\npub mod raw;\npub mod rig;\n";
/// The library's root, in the copy.
const ROOT: &str = "tests/src/lib.rs";
/// Where the fuzzing driver writes what it finds.
const CORPUS: &str = "tests/corpus";

/// Files by their paths in the repository.
#[derive(Debug)]
pub(super) struct Snapshot {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Snapshot {
    /// Reads what is needed of the repository.
    ///
    /// # Errors
    /// Which file cannot be read, and why.
    pub(super) fn take(root: &Path) -> Result<Snapshot, String> {
        let mut snapshot = Snapshot { files: BTreeMap::new() };
        for part in PARTS {
            snapshot.add(root, Path::new(part)).map_err(|error| format!("{part}: {error}"))?;
        }
        snapshot.keep_members();
        snapshot.files.insert(ROOT.into(), LIBRARY.into());
        Ok(snapshot)
    }

    fn add(&mut self, root: &Path, path: &Path) -> std::io::Result<()> {
        if !root.join(path).is_dir() {
            self.files.insert(path.into(), fs::read(root.join(path))?);
            return Ok(());
        }
        for entry in fs::read_dir(root.join(path))? {
            self.add(root, &path.join(entry?.file_name()))?;
        }
        Ok(())
    }

    /// Examples and benches are not copied, and so are no members there.
    fn keep_members(&mut self) {
        let Some(manifest) = self.files.get_mut(Path::new("Cargo.toml")) else { return };
        let text = String::from_utf8_lossy(manifest).replace(r#", "examples", "benches""#, "");
        *manifest = text.into_bytes();
    }

    /// Makes the copy's library that of the fuzzing driver, with the corpus as it was: without what was found since.
    ///
    /// # Errors
    /// Which file cannot be written, and why.
    pub(super) fn lay_out_fuzzing(&self, tree: &Path) -> Result<(), String> {
        let complain = |error: std::io::Error| format!("{}: {error}", tree.display());
        fs::remove_dir_all(tree.join(CORPUS)).map_err(complain)?;
        for (path, bytes) in self.files.iter().filter(|(path, _)| path.starts_with(CORPUS)) {
            lay_out_one(&tree.join(path), bytes).map_err(complain)?;
        }
        lay_out_one(&tree.join(ROOT), FUZZ_LIBRARY.as_bytes()).map_err(complain)
    }

    /// Makes `tree` a copy. A file that is as it should be keeps its time, so that it is not built again.
    ///
    /// # Errors
    /// Which file cannot be written, and why.
    pub(super) fn lay_out(&self, tree: &Path) -> Result<(), String> {
        for (path, bytes) in &self.files {
            let path = tree.join(path);
            lay_out_one(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }
}

fn lay_out_one(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, bytes)
}
