//! The corpus: inputs that are kept, one file each.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;

use super::Target;

/// Every input of a target's corpus, with its file's name.
///
/// # Errors
/// Those of reading files, except that there is no directory.
pub(super) fn load(target: Target) -> io::Result<Vec<(String, Vec<u8>)>> {
    let entries = match fs::read_dir(target.directory()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut corpus = Vec::new();
    for entry in entries {
        let entry = entry?;
        corpus.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    corpus.sort();
    Ok(corpus)
}

/// Writes an input under a name that begins with `prefix`, and gives its path.
///
/// # Errors
/// Those of writing a file.
pub(super) fn keep(target: Target, prefix: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let path = target.directory().join(format!("{prefix}-{:016x}", hasher.finish()));
    fs::create_dir_all(target.directory())?;
    fs::write(&path, bytes)?;
    Ok(path)
}
