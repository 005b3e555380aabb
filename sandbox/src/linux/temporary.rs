//! The directory for the temporary files of one job, in its workdir.
//!
//! Earlier jobs, and others that run at the same time, may put links anywhere in the workdir, and the supervisor may be
//! root: what it makes and removes here it names by open directories, never by paths.
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chownat, fstat, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use super::{disk, sys};

/// Where temporary files of jobs are in a workdir.
const ALL: &str = ".tmp";

/// An empty directory of the job's own.
pub(super) struct Temporary {
    all: OwnedFd,
    own: OwnedFd,
    name: String,
    path: PathBuf,
}

impl Temporary {
    /// Makes it, whatever earlier jobs put in its place. It belongs to the owner of the workdir.
    pub fn make(workdir: &Path) -> io::Result<Self> {
        let workdir_file = directory(CWD, workdir)?;
        let all = match made(workdir_file.as_fd(), ALL) {
            Err(Errno::NOTDIR | Errno::LOOP) => {
                unlinkat(&workdir_file, ALL, AtFlags::empty())?;
                made(workdir_file.as_fd(), ALL)
            }
            other => other,
        }?;
        let name = std::process::id().to_string();
        let _ = fs::remove_dir_all(named(&all, &name));
        let own = made(all.as_fd(), &name)?;
        // In a user namespace the owner may be nobody that could be named; then it stays as it is.
        if sys::is_root() {
            let owner = fstat(&workdir_file)?;
            let (user, group) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
            for directory in [&all, &own] {
                match chownat(directory, "", Some(user), Some(group), AtFlags::EMPTY_PATH) {
                    Ok(()) | Err(Errno::INVAL) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let path = workdir.join(ALL).join(&name);
        Ok(Temporary { all, own, name, path })
    }

    /// Its path, for the job alone.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same directory, opened in the mount namespace of the calling process.
    pub fn again(&self, workdir: &Path) -> io::Result<OwnedFd> {
        let all = directory(directory(CWD, workdir)?.as_fd(), Path::new(ALL))?;
        let own = directory(all.as_fd(), Path::new(&self.name))?;
        let (one, other) = (fstat(&self.own)?, fstat(&own)?);
        let same = (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino);
        if same { Ok(own) } else { Err(io::Error::other("something else was put in its place")) }
    }

    /// A path to it for this process that no link in the workdir leads elsewhere.
    fn handle(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.own.as_raw_fd()).into()
    }

    /// Removes it with all that is in it, as far as that is possible: what is left is in the way of nobody.
    pub fn remove(&self) {
        let path = named(&self.all, &self.name);
        if fs::remove_dir_all(&path).is_err() {
            // To count what is in it opens the folders that the job closed.
            let _ = disk::usage(&self.handle().join("."));
            let _ = fs::remove_dir_all(&path);
        }
    }

    /// Makes a place in it to show something else at, whatever else uses the workdir at this time.
    pub fn place(&self, below: &Path, is_dir: bool) -> io::Result<()> {
        let mut at = self.own.try_clone()?;
        let mut names = below.iter().peekable();
        while let Some(name) = names.next() {
            if names.peek().is_some() || is_dir {
                match mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => at = directory(at.as_fd(), Path::new(name))?,
                    Err(error) => return Err(error.into()),
                }
            } else {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
                openat(&at, name, flags, Mode::from_raw_mode(0o644))?;
            }
        }
        Ok(())
    }
}

fn named(all: &OwnedFd, name: &str) -> PathBuf {
    format!("/proc/self/fd/{}/{name}", all.as_raw_fd()).into()
}

/// Opens a directory that is no link, to name what is in it.
fn directory(dir: BorrowedFd<'_>, name: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

fn made(dir: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    match mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => directory(dir, Path::new(name)),
        Err(error) => Err(error),
    }
}
