//! How much a directory holds.
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

/// What a directory holds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Usage {
    /// Bytes on disk.
    pub bytes: u64,
    /// Files, directories and whatever else has a name.
    pub files: u64,
}

/// Folders in folders in folders: each that is walked through is an open file.
const DEEPEST: usize = 200;

/// What is below a directory, other file systems aside. No link is followed, also none that is put in the place of a
/// directory meanwhile.
///
/// A directory that cannot be read, or is too deep, is an error: a job could hide anything in it.
pub(super) fn usage(root: &Path) -> io::Result<Usage> {
    let top = folder(CWD, root)?;
    let device = fstat(&top)?.st_dev;
    let mut usage = Usage::default();
    walk(top, device, 0, &mut usage)?;
    Ok(usage)
}

fn walk(folder_file: OwnedFd, device: u64, depth: usize, usage: &mut Usage) -> io::Result<()> {
    if depth > DEEPEST {
        return Err(io::Error::other(format!("there are folders more than {DEEPEST} deep")));
    }
    let mut below = Dir::new(folder_file)?;
    while let Some(entry) = below.read() {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        let Some(meta) = unless_gone(statat(below.fd()?, name, AtFlags::SYMLINK_NOFOLLOW))? else { continue };
        usage.bytes += u64::try_from(meta.st_blocks).unwrap_or(0) * 512;
        usage.files += 1;
        if FileType::from_raw_mode(meta.st_mode) == FileType::Directory && meta.st_dev == device {
            match readable(below.fd()?, name) {
                Ok(folder) => walk(folder, device, depth + 1, usage)?,
                Err(error) if is_gone(error) => {}
                // What belongs to somebody else, the job could not have made.
                Err(Errno::ACCESS | Errno::PERM) if meta.st_uid != rustix::process::geteuid().as_raw() => {}
                Err(error) => {
                    let what = format!("{} cannot be read: {error}", name.to_string_lossy());
                    return Err(io::Error::other(what));
                }
            }
        }
    }
    Ok(())
}

fn folder(dir: BorrowedFd<'_>, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    openat(dir, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a folder that its owner may have closed to itself.
fn readable(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    match folder(dir, name) {
        Err(Errno::ACCESS) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let closed = openat(dir, name, flags, Mode::empty())?;
            rustix::fs::chmod(format!("/proc/self/fd/{}", closed.as_fd().as_raw_fd()), Mode::RWXU)?;
            folder(dir, name)
        }
        other => other,
    }
}

/// A job deletes files while they are counted, and puts others in their place.
fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

fn unless_gone<T>(result: rustix::io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_gone(error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn counts_what_is_below_and_not_what_links_point_to() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        let before = usage(dir.path()).unwrap();
        fs::write(dir.path().join("a/file"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("link")).unwrap();
        let after = usage(dir.path()).unwrap();
        assert!((100_000..200_000).contains(&(after.bytes - before.bytes)), "{after:?}");
        assert_eq!((before.files, after.files), (1, 3));
    }

    #[test]
    fn a_closed_folder_is_opened_and_one_too_deep_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let closed = dir.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::write(closed.join("file"), "x").unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
        assert_eq!(usage(dir.path()).unwrap().files, 2);
        let deep = dir.path().join("d/".repeat(DEEPEST + 2));
        fs::create_dir_all(deep).unwrap();
        assert_eq!(usage(dir.path()).unwrap_err().to_string(), "there are folders more than 200 deep");
    }
}
