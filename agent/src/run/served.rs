//! A place in which others call the tools: laid out like a run's directory, with the user's rows sealed as for a run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use tunesmith_harness::{event::Rows, run::Run};
use tunesmith_tools::{bases::Base, nano};

use super::{Failure, plain, prepare::unwritten, reading, sealing::Parts, shown};

/// Such a place.
#[derive(Debug)]
pub struct Served {
    /// Its directory.
    pub run: Run,
    /// Directory or file of the base.
    pub base: PathBuf,
    /// Row counts, where there are rows. Sealed ones stay out of the callers' reach, so that what they train can still be
    /// measured on rows that nobody has seen.
    pub rows: Option<Rows>,
}

impl Served {
    /// Makes it below `dir`, with the rows of these files.
    pub fn new(dir: &Path, files: &[PathBuf], base: Base, at: Timestamp) -> Result<Self, Failure> {
        let parts = match files {
            [] => None,
            files => Some(Parts::new(None, reading::read(files)?, None)?),
        };
        let run = Run::create(dir, "served", at).map_err(|error| Failure::new(5, error))?;
        let made = parts.as_ref().map(|parts| parts.write(&run)).transpose().and_then(|_| match base {
            Base::Path(path) => {
                path.canonicalize().map_err(|e| Failure::new(2, format!("{}: {}", shown(&path), plain(&e))))
            }
            Base::Nano => nano::write(&run.base()).map_err(|e| unwritten(&run.base(), &e)).map(|()| run.base()),
        });
        // Half a place is none.
        let base = made.inspect_err(|_| drop(fs::remove_dir_all(run.dir())))?;
        Ok(Served { base, rows: parts.map(|parts| parts.rows), run })
    }
}
