//! The processes below the supervisor, as /proc shows them.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::Duration;

use super::sys;

/// One process below the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub pid: i32,
    parent: i32,
    pub group: i32,
    ticks: u64,
    threads: u64,
    pages: u64,
}

/// All descendants of a process. With a subreaper as the root, a daemon cannot leave this tree.
pub(super) fn below(root: i32) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for process in all() {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = children.remove(&root).unwrap_or_default();
    let mut next = 0;
    while let Some(process) = found.get(next) {
        let more = children.remove(&process.pid).unwrap_or_default();
        found.extend(more);
        next += 1;
    }
    found
}

/// The same by the kernel's own lists of children: cheap, whatever else runs on the machine, but a child whose parent ends
/// at that moment may be missed until the next look.
pub(super) fn quickly_below(root: i32) -> Vec<Process> {
    let (mut found, mut open) = (Vec::new(), vec![root]);
    while let Some(pid) = open.pop() {
        let Some(children) = children(pid) else { return below(root) };
        for child in children {
            found.extend(read(child));
            open.push(child);
        }
    }
    found
}

/// The children of a process; none if it is gone, `None` if this kernel has no such list.
fn children(pid: i32) -> Option<Vec<i32>> {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        match fs::read_to_string(task.path().join("children")) {
            Ok(list) => children.extend(list.split_whitespace().filter_map(|child| child.parse::<i32>().ok())),
            // A task that ended meanwhile; the list of this one is there on every kernel that has any.
            Err(_) if fs::exists("/proc/thread-self/children").unwrap_or(false) => {}
            Err(_) => return None,
        }
    }
    Some(children)
}

/// One process, if it is there.
pub(super) fn read(pid: i32) -> Option<Process> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn all() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(read)
}

/// Reads a line of /proc/PID/stat. The name in it may hold anything, so the fields are counted from its end.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        threads: number(17)?,
        pages: number(21)?,
    })
}

/// Processes and threads; those that have ended and that nobody has waited for hold their numbers still.
pub(super) fn tasks(tree: &[Process]) -> u64 {
    tree.iter().map(|process| process.threads.max(1)).sum()
}

/// Processor time of the processes and of their children that they waited for.
pub(super) fn cpu<'a>(tree: impl IntoIterator<Item = &'a Process>, ticks_per_second: u64) -> Duration {
    let ticks: u64 = tree.into_iter().map(|process| process.ticks).sum();
    Duration::from_millis(ticks * 1000 / ticks_per_second)
}

/// Bytes of memory with shared pages counted in each process: cheap, and never too little.
pub(super) fn resident(tree: &[Process], page: u64) -> u64 {
    tree.iter().map(|process| process.pages * page).sum()
}

/// Bytes of memory with shared pages counted once. Files in memory count in full, whether they are mapped or not.
pub(super) fn proportional(tree: &[Process], page: u64, files: u64) -> u64 {
    let shares = tree.iter().map(|process| share(process.pid).unwrap_or((process.pages * page, 0)));
    let (all, mapped) = shares.fold((0, 0), |sum, share| (sum.0 + share.0, sum.1 + share.1));
    all + files.saturating_sub(mapped)
}

/// A process's share of memory, and what of it is memory that can be shared.
fn share(pid: i32) -> Option<(u64, u64)> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let bytes = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    };
    Some((bytes("Pss:")?, bytes("Pss_Shmem:").unwrap_or(0)))
}

/// Files that have no name any more, or never had one, and that processes have open: bytes of them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Nameless {
    /// In memory.
    pub memory: u64,
    /// On disk.
    pub disk: u64,
    /// How many sockets are open.
    pub sockets: u64,
}

/// Such files of all these processes, each counted once: those that are open, and those that are only mapped.
pub(super) fn nameless(tree: &[Process]) -> Nameless {
    let mut seen = BTreeSet::new();
    let mut found = Nameless::default();
    for process in tree {
        let entries = fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let Ok(meta) = fs::metadata(&path) else { continue };
            if meta.file_type().is_socket() && seen.insert((meta.dev(), meta.ino())) {
                found.sockets += 1;
            }
            if meta.is_file() && meta.nlink() == 0 && seen.insert((meta.dev(), meta.ino())) {
                let in_memory = fs::read_link(&path).is_ok_and(|link| link.as_os_str().as_bytes().starts_with(MEMORY));
                found.add(in_memory, meta.blocks() * 512);
            }
        }
        let maps = fs::read(format!("/proc/{}/maps", process.pid)).unwrap_or_default();
        for mapped in maps.split(|byte| *byte == b'\n').filter_map(deleted_map) {
            if seen.insert(mapped.file) {
                // Only root may look at the file; of others what is mapped of it counts.
                let file = fs::metadata(format!("/proc/{}/map_files/{}", process.pid, mapped.range));
                found.add(mapped.in_memory, file.map_or(mapped.bytes, |meta| meta.blocks() * 512));
            }
        }
    }
    found
}

/// How files in memory are named.
const MEMORY: &[u8] = b"/memfd:";

impl Nameless {
    fn add(&mut self, in_memory: bool, bytes: u64) {
        *(if in_memory { &mut self.memory } else { &mut self.disk }) += bytes;
    }
}

/// A part of a file that has no name any more, in the memory of a process.
struct Mapped<'a> {
    range: &'a str,
    bytes: u64,
    file: (u64, u64),
    in_memory: bool,
}

/// Reads a line of /proc/PID/maps; memory that processes share without a file counts as theirs already.
fn deleted_map(line: &[u8]) -> Option<Mapped<'_>> {
    let named = line.strip_suffix(b" (deleted)")?;
    let path = &named[named.iter().position(|byte| *byte == b'/')?..];
    if path.starts_with(b"/dev/zero") || path.starts_with(b"/SYSV") {
        return None;
    }
    let mut fields = std::str::from_utf8(&line[..line.len().min(named.len() - path.len())]).ok()?.split_whitespace();
    let (range, device, inode) = (fields.next()?, fields.nth(2)?, fields.next()?);
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = range.split_once('-')?;
    let (major, minor) = device.split_once(':')?;
    let device = rustix::fs::makedev(hex(major)?.try_into().ok()?, hex(minor)?.try_into().ok()?);
    Some(Mapped {
        range,
        bytes: hex(end)?.checked_sub(hex(start)?)?,
        file: (device, inode.parse().ok()?),
        in_memory: path.starts_with(MEMORY),
    })
}

/// Processes and threads of the user that runs this one: the kernel's limit counts them all.
pub(super) fn tasks_of_user() -> u64 {
    let user = sys::real_user().to_string();
    let mine = |pid: i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        Some(uid.split_whitespace().next()? == user)
    };
    all().filter(|process| mine(process.pid) == Some(true)).map(|process| process.threads).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_files_without_a_name_are_told_from_others() {
        let read =
            |line: &str| deleted_map(line.as_bytes()).map(|m| (m.range.to_string(), m.bytes, m.file, m.in_memory));
        let memory = "7f00-8000 rw-s 00000000 00:01 1027                       /memfd:a b (deleted)";
        assert_eq!(read(memory), Some(("7f00-8000".into(), 0x100, (rustix::fs::makedev(0, 1), 1027), true)));
        let disk = "1000-3000 r--s 00000000 fe:00 9    /w/f (deleted)";
        assert_eq!(read(disk), Some(("1000-3000".into(), 0x2000, (rustix::fs::makedev(0xfe, 0), 9), false)));
        for other in
            ["1000-3000 r--p 0 fe:00 9 /w/f", "1000-3000 rw-s 0 00:01 3 /dev/zero (deleted)", "", "x (deleted)"]
        {
            assert_eq!(read(other), None);
        }
    }

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) S 1 (b) R 5 9 9 0 -1 0 0 0 0 0 10 20 30 40 20 0 3 0 99 4096 12 0";
        let process = parse(7, stat);
        let expected = Process { pid: 7, parent: 5, group: 9, ticks: 100, threads: 3, pages: 12 };
        assert_eq!(process, Some(expected));
        assert_eq!(parse(7, "7 (a"), None);
    }
}
