//! What ends a command: an exit code, and what to do.

use std::{io, path::Path};

use tunesmith_harness::{log::LogError, task::Outcome};

use super::shown;

/// A run that could not begin, or whose log cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    pub exit: u8,
    /// What was wrong and what to do, in one or two lines.
    pub message: String,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(exit: u8, message: impl ToString) -> Self {
        Failure { exit, message: message.to_string() }
    }

    /// A place that cannot be written: a wrong name where nothing can stand there, else the surroundings, which block.
    /// `elsewhere` says how to name another place.
    pub fn unwritten(path: &Path, error: &io::Error, elsewhere: &str) -> Self {
        use io::ErrorKind as Kind;
        let (exit, why, advice) = match error.kind() {
            Kind::AlreadyExists | Kind::NotADirectory => (2, "a file stands where a directory should be".into(), ""),
            Kind::NotFound | Kind::InvalidFilename | Kind::InvalidInput => (2, plain(error), ""),
            Kind::StorageFull | Kind::QuotaExceeded => {
                (Outcome::Blocked.exit_code(), plain(error), "free some space or ")
            }
            _ => (Outcome::Blocked.exit_code(), plain(error), ""),
        };
        Failure::new(exit, format!("cannot write {}: {why}; {advice}{elsewhere}", shown(path)))
    }
}

/// What the system said, without the path that the library for temporary files adds to it.
pub(crate) fn plain(error: &io::Error) -> String {
    let said = error.to_string();
    said.split_once(" at path ").map_or(said.clone(), |(why, _)| why.to_owned())
}

/// How to name another place for runs.
pub(crate) const ELSEWHERE: &str = "keep runs elsewhere with --dir";
/// How to name another place for what is thrown away.
pub(crate) const TMPDIR: &str = "name another directory for temporary files with TMPDIR";

/// A directory for temporary files, removed at the end.
pub(crate) fn scratch() -> Result<tempfile::TempDir, Failure> {
    tempfile::tempdir().map_err(|error| Failure::unwritten(&std::env::temp_dir(), &error, TMPDIR))
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        match &error {
            LogError::Io { path, error } => Failure::unwritten(path, error, ELSEWHERE),
            LogError::Full { .. } => Failure::new(Outcome::Blocked.exit_code(), error),
            LogError::Busy(_) => Failure::new(Outcome::Blocked.exit_code(), error),
            LogError::Broken { .. } => Failure::new(2, error),
            LogError::Diverged { .. } | LogError::Unwritable { .. } => {
                Failure::new(Outcome::Internal.exit_code(), error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_is_bad_input_and_a_full_disk_blocks() {
        let failure = |error: io::Error| Failure::unwritten(Path::new("runs"), &error, ELSEWHERE);
        let of = |code| failure(io::Error::from_raw_os_error(code));
        let want =
            |exit, why: &str| Failure::new(exit, format!("cannot write runs: {why}keep runs elsewhere with --dir"));
        assert_eq!(of(17), want(2, "a file stands where a directory should be; "));
        assert_eq!(of(20), want(2, "a file stands where a directory should be; "));
        assert_eq!(of(28), want(5, "No space left on device (os error 28); free some space or "));
        assert_eq!(of(30), want(5, "Read-only file system (os error 30); "));
        assert_eq!(of(13), want(5, "Permission denied (os error 13); "));
        // As some libraries wrap it, with a path that is not the user's.
        let missing = tempfile::tempdir_in("/nowhere/at/all").unwrap_err();
        assert_eq!(failure(missing), want(2, "No such file or directory (os error 2); "));
    }
}
