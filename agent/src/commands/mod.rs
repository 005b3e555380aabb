//! The commands, one file each, and what they share.

pub mod convert;
pub mod data;
pub mod doctor;
pub mod eval;
pub mod generate;
pub mod grade;
pub mod hub;
pub mod pretrain;
pub mod run;
pub mod runs;
pub mod sandbox;
pub mod stop;
pub mod table;
pub mod tools;
pub mod train;
pub mod work;

use std::{
    io::{self, Write},
    path::Path,
};

use serde::Serialize;

use crate::run::Failure;

/// A failure of what the user gave: exit code 2.
pub fn usage(message: impl Into<String>) -> Failure {
    Failure { exit: 2, message: message.into() }
}

/// Prints a line, or several, on standard output. A reader that has gone away, as `head` does, ends the program.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Prints one JSON document.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure { exit: 70, message: format!("the result cannot be written as JSON: {error}") })?;
    print(&text);
    Ok(())
}

/// Writes JSON to a file.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let failed = |why: String| Failure { exit: 5, message: format!("{}: cannot be written: {why}", path.display()) };
    let text = serde_json::to_string_pretty(value).map_err(|error| failed(error.to_string()))?;
    tunesmith_harness::run::write_atomically(path, format!("{text}\n").as_bytes()).map_err(|e| failed(e.to_string()))
}
