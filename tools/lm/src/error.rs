//! What can go wrong, as values a caller can match.

use std::{io, path::Path};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One line each: what was wrong, and what to do about it where that is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was being done to which file.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The model's configuration is wrong or not supported.
    #[error("config: {0}")]
    Config(String),
    /// The model's tensors are missing, of the wrong shape, or not finite.
    #[error("weights: {0}")]
    Weights(String),
    /// The tokenizer is missing or cannot do what is asked.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template is missing, wrong, or refused the messages.
    #[error("chat template: {0}")]
    Template(String),
    /// The adapter does not fit the base or is damaged.
    #[error("adapter: {0}")]
    Adapter(String),
    /// The GGUF file is damaged or uses something that is not supported.
    #[error("gguf: {0}")]
    Gguf(String),
    /// The rows cannot be used as they are.
    #[error("data: {0}")]
    Data(String),
    /// One of the rows cannot be used, counted from 0.
    #[error("{}", at_row(*.row, .error))]
    Row {
        /// Its place among the rows.
        row: usize,
        /// Why.
        error: Box<Error>,
    },
    /// Training cannot start or go on.
    #[error("training: {0}")]
    Train(String),
    /// The device is unknown, not built in, or does not answer.
    #[error("device: {0}")]
    Device(String),
    /// Training does not fit into the memory that there is.
    #[error("memory: {0}")]
    Memory(String),
    /// Text cannot be generated as asked.
    #[error("generation: {0}")]
    Generate(String),
    /// The form that is asked for cannot be kept to.
    #[error("schema: {0}")]
    Schema(String),
    /// A tensor operation failed.
    #[error("tensor: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// An error of a row with the row's number, counted from 1.
fn at_row(row: usize, error: &Error) -> String {
    let said = error.to_string();
    match said.split_once(": ") {
        Some((what, why)) => format!("{what}: row {}: {why}", row + 1),
        None => format!("row {}: {said}", row + 1),
    }
}

impl Error {
    /// What is wrong, without the word for what it is about.
    pub fn why(&self) -> String {
        match self {
            Error::Data(why) | Error::Template(why) => why.clone(),
            other => other.to_string(),
        }
    }

    /// Wraps a system error with what was being done, for example `cannot read`, and to which file.
    pub fn io(what: &str, path: &Path, source: io::Error) -> Self {
        Error::Io { what: format!("{what} {}", path.display()), source }
    }
}
