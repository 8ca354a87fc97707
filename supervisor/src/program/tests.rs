use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// A directory of its own that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = env::temp_dir().join(format!("ganger-program-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Scratch(path)
    }

    fn file(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, "#!/bin/sh\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_missing_program_is_named_with_the_reason() {
    let error = Program::new("/nowhere/worker").resolve().expect_err("it is missing");
    assert_eq!(error.program, Path::new("/nowhere/worker"));
    assert_eq!(error.reason, "there is no such file");
}

#[test]
fn what_is_not_an_executable_file_is_refused() {
    let scratch = Scratch::new("modes");
    let error = Program::new(&scratch.0).resolve().expect_err("a directory");
    assert_eq!(error.reason, "it is not a file");
    let error = Program::new(scratch.file("plain", 0o644)).resolve().expect_err("no execute bit");
    assert!(error.reason.starts_with("it may not be executed: "), "{}", error.reason);
    Program::new(scratch.file("good", 0o755)).resolve().expect("executable");
}

#[test]
fn a_bare_name_is_resolved_to_an_absolute_path() {
    let resolved = Program::new("sh").resolve().expect("sh is in PATH");
    assert!(resolved.program.is_absolute());
    let scratch = Scratch::new("path");
    let good = scratch.file("second/tool", 0o755);
    scratch.file("first/tool", 0o644);
    let path = env::join_paths([scratch.0.join("first"), scratch.0.join("second")]).expect("joined");
    assert_eq!(in_path(Path::new("tool"), &path), Ok(good));
    let error = in_path(Path::new("no-such-tool"), &path).expect_err("nowhere");
    assert!(error.reason.contains("PATH") && error.reason.contains("Program::beside"), "{}", error.reason);
}

#[test]
fn only_a_name_without_a_slash_is_looked_for_in_path() {
    assert!(is_bare_name(Path::new("worker")));
    for path in ["./worker", "bin/worker", "/worker", "", ".."] {
        assert!(!is_bare_name(Path::new(path)), "{path}");
    }
}

#[test]
fn beside_looks_one_up_from_where_cargo_runs_tests() {
    let scratch = Scratch::new("beside");
    let worker = scratch.file("debug/worker", 0o755);
    let debug = scratch.0.join("debug");
    assert_eq!(beside(OsStr::new("worker"), &debug.join("app")), Ok(worker.clone()));
    assert_eq!(beside(OsStr::new("worker"), &debug.join("deps/test-1234")), Ok(worker.clone()));
    assert_eq!(beside(OsStr::new("worker"), &debug.join("examples/demo")), Ok(worker));
    beside(OsStr::new("worker"), &debug.join("other/app")).expect_err("no other directory is searched");
}

#[test]
fn this_is_the_running_executable() {
    let resolved = Program::this().arg("--role").resolve().expect("it runs");
    assert_eq!(resolved.program, env::current_exe().expect("known"));
    assert_eq!(resolved.args, ["--role"]);
}

#[test]
fn allowed_variables_are_taken_over_and_what_is_set_wins() {
    let program = Program::this().env("PATH", "/mine").env_allow(["PATH", "GANGER_SURELY_NOT_SET"]);
    let environment = program.resolve().expect("it runs").env;
    assert_eq!(environment.base, EnvironmentBase::Empty);
    let names: Vec<_> = environment.set.iter().map(|(key, _)| key.as_os_str()).collect();
    assert_eq!(names, ["PATH", "PATH"]);
    assert_eq!(environment.set[1].1, "/mine");
}

#[test]
fn a_working_directory_must_be_one() {
    let error = Program::this().current_dir("/nowhere/at/all").resolve().expect_err("missing");
    assert!(error.reason.contains("working directory"), "{}", error.reason);
}
