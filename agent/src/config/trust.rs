//! Which projects' files the user has trusted: by place and content, so that a changed file is a stranger again.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use tunesmith_tools::files::read_small;

/// Bytes of the list.
const LARGEST: u64 = 4 << 20;

/// Whether the list in `state` holds this content at this place. What cannot be read is not trusted.
pub fn is_trusted(state: &Path, path: &Path, hash: &str) -> bool {
    let line = line(path, hash);
    line.is_some_and(|line| read_small(state, LARGEST).is_ok_and(|list| list.lines().any(|known| known == line)))
}

/// Adds a file to the list, which only the user may read or write.
pub fn trust(state: &Path, path: &Path, hash: &str) -> io::Result<()> {
    let odd = || io::Error::new(io::ErrorKind::InvalidInput, "the file's place cannot be written in one line");
    let line = line(path, hash).ok_or_else(odd)?;
    if let Some(dir) = state.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut options = File::options();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    writeln!(options.open(state)?, "{line}")
}

/// One line for one file: links in its place are resolved.
fn line(path: &Path, hash: &str) -> Option<String> {
    let real = path.canonicalize().ok()?;
    let text = real.to_str().filter(|text| !text.contains(char::is_control))?;
    Some(format!("{hash} {text}"))
}
