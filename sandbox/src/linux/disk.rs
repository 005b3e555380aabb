//! How much a directory holds.
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a directory holds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Usage {
    /// Bytes on disk.
    pub bytes: u64,
    /// Files, directories and whatever else has a name.
    pub files: u64,
}

/// What is below a directory, links not followed.
///
/// A directory that cannot be read is an error: a job could hide anything in it.
pub(super) fn usage(root: &Path) -> io::Result<Usage> {
    let mut usage = Usage::default();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        let Some(entries) = unless_gone(fs::read_dir(&folder))? else { continue };
        for entry in entries {
            let Some(entry) = unless_gone(entry)? else { continue };
            let Some(metadata) = unless_gone(entry.metadata())? else { continue };
            usage.bytes += metadata.blocks() * 512;
            usage.files += 1;
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(usage)
}

/// A job deletes files while they are counted.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
}
