//! A control group of the job's own, where this user may make one: memory and processes by the kernel, and one stroke for
//! the whole tree. Version 2 only.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Limit, Limits};

/// A control group; it is removed when this is dropped.
pub(super) struct Group {
    dir: PathBuf,
    /// Whether the kernel holds the limit on memory.
    pub memory: bool,
    /// Whether the kernel holds the limit on processes.
    pub processes: bool,
}

impl Group {
    /// A group below that of this process, or beside it: the kernel delegates no controllers below a group that holds
    /// processes itself, unless it is the first. An error where none can be made.
    pub fn make(limits: &Limits) -> io::Result<Self> {
        let own = own(&fs::read_to_string("/proc/self/cgroup")?, &fs::read_to_string("/proc/self/mountinfo")?)?;
        let beside = |error| own.parent().map_or(Err(error), |parent| Self::below(parent, limits));
        let group = Self::below(&own, limits).or_else(beside)?;
        // There and back: a group that cannot be entered is none.
        fs::write(group.entrance(), "0")?;
        fs::write(own.join("cgroup.procs"), "0")?;
        Ok(group)
    }

    fn below(parent: &Path, limits: &Limits) -> io::Result<Self> {
        let delegated = fs::read_to_string(parent.join("cgroup.subtree_control"))?;
        if !delegated.split_whitespace().any(|controller| ["memory", "pids"].contains(&controller)) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no controller is delegated"));
        }
        let dir = parent.join(format!("tunesmith-{}", std::process::id()));
        // One that a supervisor of the same number left behind is empty.
        let _ = fs::remove_dir(&dir);
        fs::create_dir(&dir)?;
        let mut group = Group { dir, memory: false, processes: false };
        group.memory = group.limit("memory.max", limits.memory);
        if group.memory {
            // Without it the job would go on in swap; where there is no such file there is no swap.
            let _ = fs::write(group.dir.join("memory.swap.max"), "0");
            // The whole job is ended, not the process that asked last.
            let _ = fs::write(group.dir.join("memory.oom.group"), "1");
        }
        // One more for the first process of the job's namespaces.
        group.processes = group.limit("pids.max", limits.processes.map(|most| u64::from(most) + 1));
        Ok(group)
    }

    /// Whether the kernel took a limit. Files of controllers that were not delegated are not there.
    fn limit(&self, file: &str, most: Option<u64>) -> bool {
        let path = self.dir.join(file);
        path.exists() && most.is_some_and(|most| fs::write(path, most.to_string()).is_ok())
    }

    /// The file to which a process writes its number to enter the group, with all that it will start; 0 stands for itself.
    pub fn entrance(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// The limit that the kernel says was reached.
    pub fn reached(&self) -> Option<Limit> {
        let count = |file: &str, name: &str| -> u64 {
            let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        match () {
            () if self.memory && count("memory.events", "oom_kill") > 0 => Some(Limit::Memory),
            () if self.processes && count("pids.events", "max") > 0 => Some(Limit::Processes),
            () => None,
        }
    }

    /// The most memory that the kernel counted, in bytes.
    pub fn peak_memory(&self) -> Option<u64> {
        fs::read_to_string(self.dir.join("memory.peak")).ok()?.trim().parse().ok()
    }

    /// Kills every process of the group at one stroke.
    pub fn kill(&self) {
        // Kernels before 5.14 have no such file; there processes are killed one by one.
        let _ = fs::write(self.dir.join("cgroup.kill"), "1");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group with processes in it stays, and its name tells whose it was.
        let _ = fs::remove_dir(&self.dir);
    }
}

/// The directory of this process's own group, from what /proc/self/cgroup and /proc/self/mountinfo say.
fn own(groups: &str, mounts: &str) -> io::Result<PathBuf> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "there are no control groups of version 2");
    let path = groups.lines().find_map(|line| line.strip_prefix("0::")).ok_or_else(missing)?;
    // Fields before the dash: number, parent, device, root, mount point, options.
    let mount = mounts.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup2 ").then_some((root, point))
    });
    let (root, point) = mount.ok_or_else(missing)?;
    // A container sees only a part of the tree.
    let below = Path::new(path).strip_prefix(root).map_err(|_| missing())?;
    Ok(Path::new(point).join(below))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_own_group_is_found_below_its_mount() {
        let mounts =
            "22 1 0:21 / /proc rw - proc proc rw\n41 31 0:38 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n";
        let found = |groups: &str, mounts: &str| own(groups, mounts).map(|path| path.display().to_string()).ok();
        assert_eq!(found("1:cpu:/a\n0::/user/b\n", mounts), Some("/sys/fs/cgroup/unified/user/b".into()));
        let part = "41 31 0:38 /user /sys/fs/cgroup rw - cgroup2 none rw\n";
        assert_eq!(found("0::/user/b\n", part), Some("/sys/fs/cgroup/b".into()));
        assert_eq!(found("0::/other\n", part), None);
        assert_eq!(found("1:cpu:/\n", mounts), None);
        assert_eq!(found("0::/\n", "22 1 0:21 / /proc rw - proc proc rw\n"), None);
    }

    #[test]
    fn limits_go_where_controllers_are_and_events_are_read_back() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("cgroup.subtree_control"), "cpu\n").unwrap();
        assert!(Group::below(parent.path(), &Limits::default()).is_err());
        fs::write(parent.path().join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
        let dir = parent.path().join(format!("tunesmith-{}", std::process::id()));
        let limits = Limits { memory: Some(1 << 20), processes: Some(7), ..Limits::default() };
        let group = Group::below(parent.path(), &limits).unwrap();
        // The kernel makes these files in a new group; a plain directory has none, so nothing was delegated.
        assert!(!group.memory && !group.processes);
        for file in ["memory.max", "pids.max"] {
            fs::write(dir.join(file), "").unwrap();
        }
        assert!(group.limit("memory.max", limits.memory) && group.limit("pids.max", Some(7)));
        assert!(!group.limit("pids.max", None));
        let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap();
        assert_eq!(["memory.max", "pids.max"].map(read), ["1048576", "7"]);
        let group = Group { dir: dir.clone(), memory: true, processes: true };
        assert_eq!(group.reached(), None);
        fs::write(dir.join("pids.events"), "max 2\n").unwrap();
        assert_eq!(group.reached(), Some(Limit::Processes));
        fs::write(dir.join("memory.events"), "low 0\noom 1\noom_kill 1\noom_group_kill 1\n").unwrap();
        fs::write(dir.join("memory.peak"), "1048576\n").unwrap();
        assert_eq!((group.reached(), group.peak_memory()), (Some(Limit::Memory), Some(1 << 20)));
    }
}
