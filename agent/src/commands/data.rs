//! `tunesmith data`: what is in files of rows, and turning rows into examples.

use tunesmith_sandbox::Cancel;

use crate::run::Failure;

mod inspect;
mod prepare;

pub use inspect::Inspect;
pub use prepare::{Mapping, Prepare, prepare};

/// Look at rows, or prepare them for training
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Data {
    /// Columns, duplicates, labels, damage, private data, and how the rows could be used
    Inspect(Inspect),
    /// Clean rows, split off a validation part, and write examples with their recipe
    Prepare(Prepare),
}

/// Does what was asked.
pub async fn main(data: Data, cancel: &Cancel) -> Result<u8, Failure> {
    match data {
        Data::Inspect(args) => inspect::main(args, cancel).await,
        Data::Prepare(args) => prepare::main(args, cancel).await,
    }
}
