//! The commands, one file each, and what they share.

pub mod compare;
pub mod completions;
pub mod config;
pub mod convert;
pub mod data;
pub mod doctor;
pub mod eval;
pub mod generate;
pub mod grade;
pub mod hub;
pub mod mcp;
pub mod numbers;
pub mod pretrain;
pub mod require;
pub mod resume;
pub mod run;
pub mod runs;
pub mod sandbox;
pub mod stop;
pub mod table;
pub mod tools;
pub mod train;
pub mod unfinished;
pub mod work;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;
use tunesmith_harness::{redact::redacted, rows::not_a_file};
use tunesmith_tools::files::read_small;

use crate::run::Failure;

/// A failure of what the user gave: exit code 2.
pub fn usage(message: impl Into<String>) -> Failure {
    Failure { exit: 2, message: message.into() }
}

/// An input that must be a file, as an absolute path: opening a pipe would wait for its writer, and a device may never end.
pub fn file(path: &Path) -> Result<PathBuf, Failure> {
    let found = work::input(path)?;
    match not_a_file(&found) {
        None => Ok(found),
        Some(what) => Err(usage(format!("{}: {what}, not a file; name a file", path.display()))),
    }
}

/// The largest file that is read as a text, in bytes.
const MOST_TEXT: u64 = 64 << 20;

/// The text of a small file, such as settings.
pub fn text(path: &Path) -> Result<String, Failure> {
    read_small(&file(path)?, MOST_TEXT).map_err(|error| usage(format!("{}: {error}", path.display())))
}

/// Prints a line, or several, on standard output, without secrets. A reader that has gone away, as `head` does, ends the program; where
/// the output cannot be written, as on a full disk, the program has failed.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{}", redacted(text)).and_then(|()| out.flush()) {
        let Some(failure) = unprinted(&error) else { std::process::exit(0) };
        eprintln!("error: {}", redacted(&failure.message));
        std::process::exit(failure.exit.into());
    }
}

/// What output that was not written means; nothing, where its reader has gone away.
pub fn unprinted(error: &io::Error) -> Option<Failure> {
    let lost = |why| Failure::new(5, format!("the output cannot be written: {why}; write it to another place"));
    (error.kind() != io::ErrorKind::BrokenPipe).then(|| lost(error))
}

/// Prints one JSON document.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure { exit: 70, message: format!("the result cannot be written as JSON: {error}") })?;
    print(&text);
    Ok(())
}
