//! What a job with a mount namespace sees of the file system: its own files where they are, programs and libraries to
//! read, and nothing else, not even names.
use std::cmp::Reverse;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree, unmount,
};

use super::files::{self, DEVICES, SETTINGS, SYSTEM, TEMPORARY};
use super::spaces::User;
use super::sys;
use super::temporary::Temporary;
use crate::wire::Policy;
use crate::{Devices, Net};

/// How a file or directory is shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// To read, with its owner.
    System,
    /// To read, as the job's own where it belongs to the owner of the workdir.
    Read,
    /// To write.
    Write,
    /// A device.
    Device,
}

impl Kind {
    /// Whether what lies in a directory that is shown so need not be shown as `other` besides.
    fn covers(self, other: Kind) -> bool {
        match self {
            Kind::Write => other != Kind::Device,
            Kind::Read | Kind::System => matches!(other, Kind::Read | Kind::System),
            Kind::Device => other == Kind::Device,
        }
    }
}

/// One file or directory, at the path where it is.
struct Shown {
    path: PathBuf,
    kind: Kind,
}

/// Everything that is shown.
pub(super) struct View<'a> {
    policy: &'a Policy,
    user: &'a User,
    temporary: &'a Temporary,
    shown: Vec<Shown>,
    /// Symbolic links: where they stand, and what they hold.
    links: Vec<(PathBuf, PathBuf)>,
}

/// Parts of /proc by which the whole machine is set.
const MACHINE: &[&str] = &["proc/sys", "proc/sysrq-trigger", "proc/irq", "proc/bus", "proc/fs"];

impl<'a> View<'a> {
    /// What the job of `policy` sees; `program` is what it runs, and `temporary` a directory in its workdir.
    pub fn new(policy: &'a Policy, (program, temporary): (&Path, &'a Temporary), user: &'a User) -> Self {
        let mut view = View { policy, user, temporary, shown: Vec::new(), links: Vec::new() };
        for path in SYSTEM {
            view.system(Path::new(path));
        }
        let network = files::of_network(&policy.job.net);
        let settings = SETTINGS.iter().chain(&network).filter(|path| !path.starts_with("/proc"));
        view.add(settings.map(Path::new), Kind::System);
        view.add(DEVICES.iter().map(Path::new), Kind::Device);
        if policy.job.devices == Devices::Gpu {
            view.add(files::GPU_SETTINGS.iter().map(Path::new).filter(|path| !path.starts_with("/proc")), Kind::System);
            view.add(files::gpus().iter().map(PathBuf::as_path), Kind::Device);
        }
        view.add([policy.workdir.as_path()], Kind::Write);
        view.add(policy.job.writes.iter().map(PathBuf::as_path), Kind::Write);
        view.add(policy.job.reads.iter().map(PathBuf::as_path), Kind::Read);
        view.add([program].into_iter().filter(|path| !path.starts_with("/proc")), Kind::Read);
        // Directories come before what lies in them, and what one shows already is not shown once more.
        view.shown.sort_by_key(|shown| (shown.path.components().count(), Reverse(shown.kind)));
        let mut kept: Vec<Shown> = Vec::new();
        for shown in view.shown {
            let covers = |other: &Shown| shown.path.starts_with(&other.path) && other.kind.covers(shown.kind);
            if !kept.iter().any(covers) {
                kept.push(shown);
            }
        }
        view.shown = kept;
        view
    }

    /// A directory of the system; on many systems some are links to others.
    fn system(&mut self, path: &Path) {
        match fs::read_link(path) {
            Ok(target) => self.links.push((path.into(), target)),
            Err(_) => self.add([path], Kind::System),
        }
    }

    fn add<'p>(&mut self, paths: impl IntoIterator<Item = &'p Path>, kind: Kind) {
        for given in paths {
            // What does not exist is not shown.
            let Ok(path) = given.canonicalize() else { continue };
            if path != given {
                self.links.push((given.into(), path.clone()));
            }
            let device = fs::metadata(&path).is_ok_and(|meta| meta.file_type().is_char_device());
            self.shown.push(Shown { path, kind: if device { Kind::Device } else { kind } });
        }
    }

    /// Makes this the whole file system of the calling process, the first of its own namespaces.
    pub fn enter(&self) -> io::Result<()> {
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
            .map_err(told("make / private"))?;
        let mut trees = Vec::new();
        for shown in &self.shown {
            let is_dir = shown.path.is_dir();
            trees.push((shown, is_dir, self.tree(shown)?));
        }
        self.place_in_temporary()?;
        let temporary = self.temporary.again(&self.policy.workdir).map_err(named("show /tmp"))?;
        let temporary = copy(temporary.as_fd(), "", OpenTreeFlags::AT_EMPTY_PATH).map_err(told("show /tmp"))?;
        let owner = fs::metadata(&self.policy.workdir)?;
        self.attribute(temporary.as_fd(), Kind::Write, Some(&owner))?;
        // An empty file system, put where the workdir was: every directory that is needed is open by now.
        let root = made("tmpfs", &[("mode", "755"), ("size", "1m")], MountAttrFlags::empty())?;
        attach(root.as_fd(), CWD, &self.policy.workdir)?;
        rustix::process::fchdir(&root).map_err(told("enter the new root"))?;
        // First all that is made: it must never come to stand in a directory that is shown.
        self.fill()?;
        let mut copies = vec![again(temporary.as_fd())?, again(temporary.as_fd())?];
        // The first itself is used as well: a mount that is never attached is slow to close.
        copies.push(temporary);
        for (directory, copy) in TEMPORARY.iter().zip(copies) {
            let target = inside(Path::new(directory));
            place(target, true)?;
            attach(copy.as_fd(), CWD, target)?;
        }
        for (shown, is_dir, tree) in &trees {
            let target = inside(&shown.path);
            // In a directory that is shown there is a place for it already.
            let within = |other: &Path| shown.path != other && shown.path.starts_with(other);
            if !self.shown.iter().any(|other| within(&other.path))
                && !TEMPORARY.iter().any(|other| within(other.as_ref()))
            {
                place(target, *is_dir)?;
            }
            attach(tree.as_fd(), CWD, target)?;
        }
        rustix::process::pivot_root(".", ".").map_err(told("change the root"))?;
        unmount(".", UnmountFlags::DETACH).map_err(told("leave the old root"))?;
        sys::set_mount(root.as_fd(), libc::MOUNT_ATTR_RDONLY, None, false).map_err(named("close the new root"))?;
        std::env::set_current_dir(&self.policy.workdir).map_err(named("enter the workdir"))
    }

    /// What is shown below a directory for temporary files needs a place in it. It is made before that directory shows its
    /// files to their owner only.
    fn place_in_temporary(&self) -> io::Result<()> {
        for shown in &self.shown {
            for below in TEMPORARY.iter().filter_map(|directory| shown.path.strip_prefix(directory).ok()) {
                self.temporary.place(below, shown.path.is_dir()).map_err(self::shown(&shown.path))?;
            }
        }
        Ok(())
    }

    /// Everything that is not a part of the machine's own files.
    fn fill(&self) -> io::Result<()> {
        place(Path::new("proc"), true)?;
        let hardened = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let proc = made("proc", &[], hardened | MountAttrFlags::MOUNT_ATTR_NOEXEC)?;
        attach(proc.as_fd(), CWD, Path::new("proc"))?;
        for part in MACHINE.iter().map(Path::new).filter(|part| part.exists()) {
            let part_tree = tree(part)?;
            sys::set_mount(part_tree.as_fd(), libc::MOUNT_ATTR_RDONLY, None, true).map_err(shown(part))?;
            attach(part_tree.as_fd(), CWD, part)?;
        }
        let links = [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1")];
        let links = links.into_iter().chain([("stderr", "/proc/self/fd/2")]);
        let devices = links.map(|(name, target)| (Path::new("/dev").join(name), PathBuf::from(target)));
        for (at, target) in self.links.iter().cloned().chain(devices) {
            let shown_there = self.shown.iter().any(|shown| at.starts_with(&shown.path));
            let at = inside(&at);
            // A link may stand in a directory that is shown, and then it is there already.
            if !shown_there && fs::symlink_metadata(at).is_err() {
                place_parent(at)?;
                symlink(&target, at).map_err(shown(at))?;
            }
        }
        let (user, group) = (self.user.uid(), self.user.gid());
        let home = self.policy.workdir.display();
        let passwd =
            format!("root:x:0:0::/:/bin/sh\njob:x:{user}:{group}::{home}:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n");
        write("etc/passwd", &passwd)?;
        write("etc/group", &format!("root:x:0:\njob:x:{group}:\nnogroup:x:65534:\n"))?;
        if self.policy.job.net != Net::Full {
            write("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")?;
        }
        Ok(())
    }

    /// A copy of the mount of a file or directory, not attached anywhere.
    fn tree(&self, shown: &Shown) -> io::Result<OwnedFd> {
        let tree = tree(&shown.path)?;
        let meta = fs::metadata(&shown.path)?;
        let owner = matches!(shown.kind, Kind::Read | Kind::Write).then_some(&meta);
        self.attribute(tree.as_fd(), shown.kind, owner).map_err(self::shown(&shown.path))?;
        Ok(tree)
    }

    /// Files of `owner` are shown as the job's own.
    fn attribute(&self, tree: BorrowedFd<'_>, kind: Kind, owner: Option<&fs::Metadata>) -> io::Result<()> {
        let attributes = match kind {
            Kind::System | Kind::Read => libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
            Kind::Write => libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
            Kind::Device => libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
        };
        sys::set_mount(tree, attributes, owner.and_then(|owner| self.user.map((owner.uid(), owner.gid()))), true)
    }
}

/// A path below the new root, which is the current directory while it is built.
fn inside(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn tree(path: &Path) -> io::Result<OwnedFd> {
    copy(CWD, path, OpenTreeFlags::empty()).map_err(|error| shown(path)(error.into()))
}

/// A copy of a mount with all below it, not attached anywhere.
fn copy(dir: BorrowedFd<'_>, path: impl rustix::path::Arg, more: OpenTreeFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(dir, path, flags | more)
}

/// Another copy of a mount that is not attached.
fn again(tree: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(tree, "", flags).map_err(told("show the directory for temporary files"))
}

fn made(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let make = || {
        let system = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (name, value) in options {
            fsconfig_set_string(system.as_fd(), *name, *value)?;
        }
        fsconfig_create(system.as_fd())?;
        fsmount(system.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    make().map_err(told(&format!("make a {kind}")))
}

fn attach(mount: BorrowedFd<'_>, dir: BorrowedFd<'_>, at: &Path) -> io::Result<()> {
    let moved = move_mount(mount, "", dir, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    moved.map_err(|error| shown(at)(error.into()))
}

/// Makes a directory or an empty file to attach a mount to, unless there is something.
fn place(at: &Path, is_dir: bool) -> io::Result<()> {
    if at.as_os_str().is_empty() || at.exists() {
        return Ok(());
    }
    if is_dir {
        return fs::create_dir_all(at).map_err(shown(at));
    }
    place_parent(at)?;
    fs::write(at, "").map_err(shown(at))
}

fn place_parent(at: &Path) -> io::Result<()> {
    at.parent().map_or(Ok(()), |parent| place(parent, true))
}

fn write(at: &str, text: &str) -> io::Result<()> {
    let at = Path::new(at);
    place_parent(at)?;
    fs::write(at, text).map_err(shown(at))
}

fn told(what: &str) -> impl Fn(rustix::io::Errno) -> io::Error + '_ {
    move |error| named(what)(error.into())
}

fn named(what: &str) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("cannot {what}: {error}"))
}

fn shown(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("cannot show {}: {error}", path.display()))
}
