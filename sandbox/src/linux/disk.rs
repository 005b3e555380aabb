//! How many bytes a directory holds.
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes on disk below a directory, links not followed.
///
/// A directory that cannot be read is an error: a job could hide anything in it.
pub(super) fn usage(root: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        let Some(entries) = unless_gone(fs::read_dir(&folder))? else { continue };
        for entry in entries {
            let Some(entry) = unless_gone(entry)? else { continue };
            let Some(metadata) = unless_gone(entry.metadata())? else { continue };
            bytes += metadata.blocks() * 512;
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(bytes)
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
        let grown = usage(dir.path()).unwrap() - before;
        assert!((100_000..200_000).contains(&grown), "{grown}");
    }
}
