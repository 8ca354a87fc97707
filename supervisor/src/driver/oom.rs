//! Whether the kernel's out-of-memory killer is the likely cause of a death.
//!
//! The kernel says how often it killed, not whom: a death by SIGKILL that we did not send, with the count gone up
//! since the last look, is likely its work.

use std::fs;
use std::path::PathBuf;

/// A count of out-of-memory kills that the kernel keeps.
#[derive(Debug)]
pub(super) struct OomCounter {
    path: Option<PathBuf>,
    seen: u64,
}

impl OomCounter {
    /// The count of this process's control group, else of the machine.
    pub(super) fn of_system() -> OomCounter {
        let candidates = [cgroup_events(), Some(PathBuf::from("/proc/vmstat"))];
        let path = candidates.into_iter().flatten().find(|path| read(path).is_some());
        OomCounter::new(path)
    }

    /// The count in a file with a line `oom_kill N`.
    pub(super) fn of_file(path: PathBuf) -> OomCounter {
        OomCounter::new(Some(path))
    }

    fn new(path: Option<PathBuf>) -> OomCounter {
        let mut counter = OomCounter { path, seen: 0 };
        counter.has_risen();
        counter
    }

    /// Whether the count has gone up since the last look.
    pub(super) fn has_risen(&mut self) -> bool {
        let Some(count) = self.path.as_ref().and_then(read) else { return false };
        let has_risen = count > self.seen;
        self.seen = count;
        has_risen
    }
}

/// The event counts of this process's control group (version 2 of the interface).
fn cgroup_events() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(PathBuf::from("/sys/fs/cgroup").join(group).join("memory.events"))
}

fn read(path: &PathBuf) -> Option<u64> {
    parse(&fs::read_to_string(path).ok()?)
}

fn parse(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_among_the_others() {
        assert_eq!(parse("low 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(parse("oom 3\n"), None);
    }

    /// W14: the source can be replaced, so that a test needs no real out-of-memory kill.
    #[test]
    fn only_a_count_that_rises_is_told() {
        let path = std::env::temp_dir().join(format!("ganger-oom-{}", std::process::id()));
        fs::write(&path, "oom_kill 5\n").expect("written");
        let mut counter = OomCounter::of_file(path.clone());
        assert!(!counter.has_risen());
        fs::write(&path, "oom_kill 6\n").expect("written");
        assert!(counter.has_risen());
        assert!(!counter.has_risen());
        fs::remove_file(&path).expect("removed");
        assert!(!counter.has_risen());
    }
}
