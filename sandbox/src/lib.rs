//! Runs commands confined to a work directory.
use std::path::PathBuf;
/// The directory that jobs may write.
pub struct Workdir {
    #[allow(dead_code)]
    root: PathBuf,
}
