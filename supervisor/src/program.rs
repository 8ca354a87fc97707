//! Which program a group's workers run, and how it is found.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::driver::{Environment, EnvironmentBase, GroupProgram};

/// A worker's program with its arguments, environment and working directory.
///
/// ```
/// use ganger::Program;
///
/// let by_path = Program::new("/opt/app/bin/resizer").arg("--quiet").env("RUST_LOG", "info");
/// let in_path = Program::new("resizer"); // looked for in PATH, once, when the supervisor starts
/// let sibling = Program::beside("resizer"); // next to the running executable
/// let myself = Program::this(); // one binary, both roles
/// # drop((by_path, in_path, sibling, myself));
/// ```
#[derive(Clone, Debug)]
pub struct Program {
    location: Location,
    args: Vec<OsString>,
    environment: Environment,
    /// Variables taken over from the supervisor's environment although it starts empty.
    allowed: Vec<OsString>,
    current_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Location {
    /// A path, or a bare name to be looked for in PATH.
    Path(PathBuf),
    /// A name in the directory of the running executable, or in its parent.
    Beside(OsString),
    /// The running executable.
    This,
}

/// A program that cannot be run, as far as it was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub(crate) program: PathBuf,
    pub(crate) reason: String,
}

impl Program {
    /// The program at `path`. A relative path is taken from the supervisor's working directory; a name without a
    /// slash is looked for in `PATH`. Both are resolved once, when the supervisor starts. A script that sets things up
    /// for a worker must end with `exec`: a worker has to be the supervisor's own child.
    pub fn new(path: impl Into<PathBuf>) -> Program {
        Program::at(Location::Path(path.into()))
    }

    /// The program called `name` in the directory of the running executable: where cargo and most packages put
    /// the binaries that belong together. Tests and examples, which cargo runs from a directory below that one,
    /// find it there too.
    pub fn beside(name: impl Into<OsString>) -> Program {
        Program::at(Location::Beside(name.into()))
    }

    /// The running executable itself: one binary plays both roles. It must ask whether it was started as a worker
    /// before it does anything else, with `ganger_worker::Worker::inherited()`: if it does not, each worker is a
    /// supervisor that starts workers of its own, and so on without end.
    #[must_use]
    pub fn this() -> Program {
        Program::at(Location::This)
    }

    fn at(location: Location) -> Program {
        Program {
            location,
            args: Vec::new(),
            environment: Environment::default(),
            allowed: Vec::new(),
            current_dir: None,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Program {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Program {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable. Workers inherit the supervisor's environment unless told otherwise.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Program {
        let key = key.into();
        self.environment.remove.retain(|removed| *removed != key);
        self.environment.set.push((key, value.into()));
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Program {
        let key = key.into();
        self.environment.set.retain(|(set, _)| *set != key);
        self.environment.remove.push(key);
        self
    }

    /// Starts from an empty environment instead of the supervisor's, and forgets what was set so far.
    #[must_use]
    pub fn env_clear(mut self) -> Program {
        self.environment = Environment { base: EnvironmentBase::Empty, ..Environment::default() };
        self
    }

    /// Starts from an empty environment that has only these variables of the supervisor's, as far as they are set
    /// when the supervisor starts. What was set with [`env`](Program::env) stays.
    #[must_use]
    pub fn env_allow<K: Into<OsString>>(mut self, keys: impl IntoIterator<Item = K>) -> Program {
        self.environment.base = EnvironmentBase::Empty;
        self.allowed.extend(keys.into_iter().map(Into::into));
        self
    }

    /// The workers' working directory. Default the supervisor's.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Program {
        self.current_dir = Some(directory.into());
        self
    }

    /// The variables that are set, and the names of those that are allowed or removed.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&OsStr, Option<&OsStr>)> {
        let set = self.environment.set.iter().map(|(key, value)| (key.as_os_str(), Some(value.as_os_str())));
        let named = self.allowed.iter().chain(&self.environment.remove);
        set.chain(named.map(|key| (key.as_os_str(), None)))
    }

    /// Finds the program and checks that it can be run.
    pub(crate) fn resolve(&self) -> Result<GroupProgram, Unusable> {
        let program = self.locate()?;
        check(&program).map_err(|reason| Unusable { program: program.clone(), reason })?;
        let mut resolved = GroupProgram::new(program);
        resolved.args.clone_from(&self.args);
        resolved.env = self.resolve_environment();
        resolved.cwd = self.resolve_directory()?;
        Ok(resolved)
    }

    fn locate(&self) -> Result<PathBuf, Unusable> {
        match &self.location {
            Location::Path(path) if is_bare_name(path) => {
                in_path(path, env::var_os("PATH").unwrap_or_default().as_os_str())
            }
            Location::Path(path) => {
                std::path::absolute(path).map_err(|error| unusable(path, &format!("it is no path: {error}")))
            }
            Location::Beside(name) => beside(name, &this_executable()?),
            Location::This => this_executable(),
        }
    }

    fn resolve_environment(&self) -> Environment {
        let inherited = self.allowed.iter().filter_map(|key| Some((key.clone(), env::var_os(key)?)));
        let mut environment = self.environment.clone();
        // In front: what was set on purpose wins.
        environment.set = inherited.chain(environment.set).collect();
        environment
    }

    fn resolve_directory(&self) -> Result<Option<PathBuf>, Unusable> {
        let Some(directory) = &self.current_dir else { return Ok(None) };
        if directory.is_dir() {
            return std::path::absolute(directory)
                .map(Some)
                .map_err(|error| unusable(directory, &error.to_string()));
        }
        Err(unusable(directory, "it was given as the working directory and is no directory"))
    }
}

fn unusable(program: &Path, reason: &str) -> Unusable {
    Unusable { program: program.to_owned(), reason: reason.to_owned() }
}

fn is_bare_name(path: &Path) -> bool {
    let mut components = path.components();
    let first = components.next();
    matches!(first, Some(std::path::Component::Normal(name)) if name == path.as_os_str())
        && components.next().is_none()
}

fn this_executable() -> Result<PathBuf, Unusable> {
    env::current_exe().map_err(|error| {
        unusable(Path::new("/proc/self/exe"), &format!("the running executable's path is not known: {error}"))
    })
}

/// Looks for `name` as a shell would.
fn in_path(name: &Path, path: &OsStr) -> Result<PathBuf, Unusable> {
    let found = env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|candidate| check(candidate).is_ok());
    found.ok_or_else(|| {
        let reason = format!(
            "no directory of PATH ({}) holds an executable file of this name; for one next to this executable use \
             Program::beside",
            path.display()
        );
        unusable(name, &reason)
    })
}

/// Looks for `name` next to `executable`, then one directory up when cargo put the executable into one of its own.
fn beside(name: &OsStr, executable: &Path) -> Result<PathBuf, Unusable> {
    let directory = executable.parent().unwrap_or(Path::new("/"));
    let sibling = directory.join(name);
    if sibling.exists() {
        return Ok(sibling);
    }
    let is_cargos = matches!(directory.file_name().and_then(OsStr::to_str), Some("deps" | "examples"));
    match directory.parent().filter(|_| is_cargos).map(|above| above.join(name)) {
        Some(above) if above.exists() => Ok(above),
        Some(above) => {
            let reason = format!("there is no such file, nor {}; is it built?", above.display());
            Err(unusable(&sibling, &reason))
        }
        None => {
            Err(unusable(&sibling, "there is no such file; is it built? cargo run builds only what it runs"))
        }
    }
}

/// Whether the kernel would let us execute the file.
fn check(program: &Path) -> Result<(), String> {
    let metadata = program.metadata().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => String::from("there is no such file"),
        _ => error.to_string(),
    })?;
    if !metadata.is_file() {
        return Err(String::from("it is not a file"));
    }
    rustix::fs::access(program, Access::EXEC_OK)
        .map_err(|error| format!("it may not be executed: {}", io::Error::from(error)))
}

#[cfg(test)]
mod tests;
