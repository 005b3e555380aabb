//! Which runs were begun here: what stands in any other directory may have been written by anyone, so it does not decide who
//! is asked for a plan, what is approved, and how much is shared.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tunesmith_harness::{
    hash::sha256,
    run::{Run, write_atomically},
};
use tunesmith_tools::files::read_small;

use crate::config::{Places, trust};

/// Bytes of the list beyond which its older half is forgotten.
const LARGEST: u64 = 1 << 20;
/// Bytes of a manifest.
const MANIFEST: u64 = 64 << 20;

/// Where the list of the user's runs is; `None` where there is no place for it.
pub fn list() -> Option<PathBuf> {
    let env = |name: &str| std::env::var(name).ok();
    Some(Places::of(&env, None).state?.with_file_name("runs"))
}

/// Takes note of a run that begins here.
pub(super) fn remember(list: &Path, run: &Run) -> io::Result<()> {
    if fs::metadata(list).is_ok_and(|found| found.len() > LARGEST) {
        let text = read_small(list, 2 * LARGEST)?;
        let newer = text[text.len() / 2..].split_once('\n').map_or("", |(_, newer)| newer);
        write_atomically(list, newer.as_bytes()).map_err(io::Error::other)?;
    }
    let (path, hash) = manifest(run)?;
    trust::trust(list, &path, &hash)
}

/// Whether a run was begun here, and its manifest is what it was.
pub fn is_own(list: &Path, run: &Run) -> bool {
    manifest(run).is_ok_and(|(path, hash)| trust::is_trusted(list, &path, &hash))
}

fn manifest(run: &Run) -> io::Result<(PathBuf, String)> {
    let path = run.dir().join("run.json");
    let hash = sha256(read_small(&path, MANIFEST)?.as_bytes());
    Ok((path, hash))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn only_what_was_begun_here_and_is_as_it_was_is_ones_own() {
        let dir = tempfile::tempdir().unwrap();
        let (list, run) = (dir.path().join("state/runs"), |name: &str| {
            let run = Run::create(dir.path(), name, Timestamp::UNIX_EPOCH).unwrap();
            fs::write(run.dir().join("run.json"), "{}").unwrap();
            run
        });
        let (own, other) = (run("own"), run("other"));
        remember(&list, &own).unwrap();
        assert_eq!((is_own(&list, &own), is_own(&list, &other)), (true, false));
        fs::write(own.dir().join("run.json"), "{ }").unwrap();
        assert!(!is_own(&list, &own));
        // A list that grows forgets the oldest.
        fs::write(&list, "0 /gone\n".repeat(1 << 18)).unwrap();
        remember(&list, &other).unwrap();
        assert!(is_own(&list, &other) && fs::metadata(&list).unwrap().len() < (1 << 20) + 200);
    }
}
