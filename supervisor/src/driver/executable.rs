//! The program file of a group, held open so that a replacement worker runs what the first one ran.
//!
//! Programs are replaced on disk while supervisors run: by a package upgrade, by a build. A worker that crashed in
//! that moment must not come back as another version beside its siblings. So the file is opened once, without reading
//! it, and executed by that descriptor.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::stdio::above_stdio;

/// A program to execute.
pub(crate) struct Executable {
    path: PathBuf,
    held: Option<OwnedFd>,
}

impl Executable {
    /// Holds the file open. One that cannot be held is executed by its path: a script, whose interpreter opens it
    /// again by name, or any program where /proc is missing. One that does not exist is for the first start to find.
    pub(crate) fn hold(path: &Path) -> Executable {
        let held = open(path).filter(|file| !is_script(path) && by_descriptor(file).exists());
        Executable { path: path.to_owned(), held }
    }

    /// What to hand to the system.
    pub(super) fn to_execute(&self) -> PathBuf {
        self.held.as_ref().map_or_else(|| self.path.clone(), by_descriptor)
    }

    /// What the process is told that it is called, and what people are told.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn open(path: &Path) -> Option<OwnedFd> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    above_stdio(file).ok()
}

fn by_descriptor(file: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn is_script(path: &Path) -> bool {
    let mut start = [0; 2];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && &start == b"#!"
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ganger-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn output(executable: &Executable) -> String {
        let mut command = Command::new(executable.to_execute());
        let output = command.arg0(executable.path()).arg("first").output().expect("it runs");
        String::from_utf8(output.stdout).expect("text")
    }

    /// A package upgrade replaced a running program's file; the worker that crashed next came back as another
    /// version and could not talk to its master (sozu, issue 515).
    #[test]
    fn a_replaced_program_file_does_not_change_what_is_executed() {
        let folder = folder("replaced");
        let program = folder.join("program");
        std::fs::copy("/bin/echo", &program).expect("copied");
        let executable = Executable::hold(&program);
        let other = folder.join("other");
        std::fs::copy("/bin/false", &other).expect("copied");
        std::fs::rename(&other, &program).expect("replaced");
        assert_eq!(output(&executable), "first\n");
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    /// A script is executed by its path, because its interpreter opens it by name.
    #[test]
    fn a_script_runs() {
        let folder = folder("script");
        let script = folder.join("script");
        std::fs::write(&script, "#!/bin/sh\necho \"$1\"\n").expect("written");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("executable");
        assert_eq!(output(&Executable::hold(&script)), "first\n");
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
