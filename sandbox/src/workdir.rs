//! The directory that jobs may write, and the one way to name a path in it.
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The directory that jobs may write.
///
/// Invariant: the root is a canonical, existing directory that is not `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workdir {
    root: PathBuf,
}

/// Why a path was refused.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// The path has no characters.
    #[error("the path is empty; name a file in the workdir")]
    Empty,
    /// The path contains a NUL byte.
    #[error("the path contains a NUL byte; remove it")]
    Nul,
    /// The path starts at the root of the file system.
    #[error("`{0}` is absolute; use a path relative to the workdir")]
    Absolute(String),
    /// The path contains `..`.
    #[error("`{0}` contains `..`; use a path below the workdir")]
    Parent(String),
    /// A symbolic link leads out of the workdir, or nowhere.
    #[error("`{0}` leads out of the workdir through a symbolic link; use a path below the workdir")]
    Outside(String),
    /// The file system could not say where the path leads.
    #[error("cannot look at `{path}`: {source}")]
    Io {
        /// The path as it was given.
        path: String,
        /// What the file system said.
        source: io::Error,
    },
}

impl Workdir {
    /// Makes the directory where it is missing, with its parents, and opens it.
    pub fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Self::open(path)
    }

    /// Opens a directory that exists.
    pub fn open(path: &Path) -> io::Result<Self> {
        let refused = |kind, why: &str| io::Error::new(kind, format!("{} cannot be a workdir: {why}", path.display()));
        let root = path.canonicalize().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => refused(error.kind(), "it does not exist; make it first"),
            kind => refused(kind, &error.to_string()),
        })?;
        if !root.is_dir() {
            return Err(refused(io::ErrorKind::InvalidInput, "it is not a directory; name one"));
        }
        if root.parent().is_none() {
            let why = "jobs may write all of it; choose a directory of its own";
            return Err(refused(io::ErrorKind::InvalidInput, why));
        }
        Ok(Workdir { root })
    }

    /// The canonical absolute path.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Turns a relative path that a model named into an absolute path inside; the file need not exist.
    ///
    /// The result has no symbolic link in the part that exists. It is true at the time of the call: a job that runs
    /// meanwhile can put a link in its place, so the caller looks at files only between jobs.
    pub fn join(&self, rel: &str) -> Result<PathBuf, PathError> {
        if rel.is_empty() {
            return Err(PathError::Empty);
        }
        if rel.contains('\0') {
            return Err(PathError::Nul);
        }
        let mut path = self.root.clone();
        let mut exists = true;
        for component in Path::new(rel).components() {
            match component {
                Component::CurDir => {}
                Component::ParentDir => return Err(PathError::Parent(rel.into())),
                Component::RootDir | Component::Prefix(_) => return Err(PathError::Absolute(rel.into())),
                Component::Normal(name) => {
                    path.push(name);
                    if exists {
                        exists = self.resolve(&mut path, rel)?;
                    }
                }
            }
        }
        Ok(path)
    }

    /// Follows a symbolic link in the last component and says whether the path exists.
    fn resolve(&self, path: &mut PathBuf, rel: &str) -> Result<bool, PathError> {
        let io_error = |source| PathError::Io { path: rel.into(), source };
        match fs::symlink_metadata(&*path) {
            Ok(metadata) if metadata.is_symlink() => {
                // A link to a missing file would let a write make that file wherever the link points.
                *path = path.canonicalize().map_err(|_| PathError::Outside(rel.into()))?;
                if !path.starts_with(&self.root) {
                    return Err(PathError::Outside(rel.into()));
                }
                Ok(true)
            }
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io_error(error)),
        }
    }
}
