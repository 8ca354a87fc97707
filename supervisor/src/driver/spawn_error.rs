//! Whether a process that could not be started is worth another try, and what to tell people.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::scheduler::SpawnFailure;

/// What is wrong with the program itself, so that trying again soon is of no use.
const PERMANENT: [Errno; 13] = [
    Errno::NOENT,
    Errno::ACCESS,
    Errno::PERM,
    Errno::NOEXEC,
    Errno::LOOP,
    Errno::NOTDIR,
    Errno::ISDIR,
    Errno::NAMETOOLONG,
    Errno::TOOBIG,
    Errno::INVAL,
    Errno::LIBBAD,
    Errno::FAULT,
    Errno::NODEV,
];

/// The machine refuses something for now, for instance for want of descriptors.
pub(super) fn temporary(action: &str, error: &io::Error) -> SpawnFailure {
    SpawnFailure::Temporary(format!("cannot {action}: {error}").into())
}

/// The program could not be executed.
pub(super) fn program_failure(program: &Path, cwd: Option<&Path>, error: &io::Error) -> SpawnFailure {
    let reason = match cwd.filter(|cwd| !cwd.is_dir()) {
        Some(cwd) => format!("its working directory {} is not a directory", cwd.display()),
        None => format!("{error}{}", hint(program, error)),
    };
    let sentence = format!("cannot run {}: {reason}", program.display()).into();
    if is_permanent(error) { SpawnFailure::Permanent(sentence) } else { SpawnFailure::Temporary(sentence) }
}

fn is_permanent(error: &io::Error) -> bool {
    // Arguments with a NUL byte are refused by std, without a number of the system's.
    error.kind() == io::ErrorKind::InvalidInput
        || Errno::from_io_error(error).is_some_and(|errno| PERMANENT.contains(&errno))
}

fn hint(program: &Path, error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) if program.exists() => {
            "; the file is there, so the interpreter or loader that it names is not"
        }
        Some(Errno::ACCESS) if program.is_dir() => "; it is a directory",
        Some(Errno::ACCESS) if program.exists() => {
            "; is it executable, and its file system not mounted noexec?"
        }
        Some(Errno::NOEXEC) => {
            "; it is neither a binary for this machine nor a script with an interpreter line"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn failure(program: &str, cwd: Option<&str>) -> SpawnFailure {
        let mut command = Command::new(program);
        if let Some(cwd) = cwd {
            command.current_dir(cwd);
        }
        let error = command.spawn().expect_err("it cannot be run");
        program_failure(Path::new(program), cwd.map(Path::new), &error)
    }

    /// W5: exec errors are permanent, and name the path and the reason.
    #[test]
    fn exec_errors_are_permanent_and_say_what_is_wrong() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let cases = [
            ("/no/such/program", None, "No such file"),
            (file, None, "is it executable"),
            (env!("CARGO_MANIFEST_DIR"), None, "it is a directory"),
            ("/bin/sh", Some("/no/such/directory"), "its working directory /no/such/directory is not"),
        ];
        for (program, cwd, expected) in cases {
            let SpawnFailure::Permanent(reason) = failure(program, cwd) else { panic!("{program}") };
            assert!(reason.starts_with(&format!("cannot run {program}: ")), "{reason}");
            assert!(reason.contains(expected), "{reason}");
        }
    }

    /// EMFILE and EAGAIN on spawn pass.
    #[test]
    fn a_machine_that_is_short_of_something_is_temporary() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM, Errno::TXTBSY] {
            let failure = program_failure(Path::new("/bin/sh"), None, &errno.into());
            assert!(matches!(failure, SpawnFailure::Temporary(_)), "{errno}");
        }
    }
}
