//! `tunesmith data`: what is in files of rows, turning rows into examples, making rows, and what of eval sets stands in them.

use tunesmith_sandbox::Cancel;

use crate::run::Failure;

mod inspect;
pub mod make;
mod overlap;
mod prepare;
pub mod teacher;

pub use inspect::Inspect;
pub use prepare::{Mapping, Prepare, prepare};

/// Look at rows, prepare them for training, or make some
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Data {
    /// Columns, duplicates, labels, damage, private data, and how the rows could be used
    Inspect(Inspect),
    /// Clean rows, split off a validation part, and write examples with their recipe
    Prepare(Box<Prepare>),
    /// Make rows where there are none: ask a model, or draw from templates
    Make(make::Args),
    /// Look for rows of eval sets in training rows
    Overlap(overlap::Overlap),
}

/// Does what was asked.
pub async fn main(data: Data, cancel: &Cancel) -> Result<u8, Failure> {
    match data {
        Data::Inspect(args) => inspect::main(args, cancel).await,
        Data::Prepare(args) => prepare::main(*args, cancel).await,
        Data::Make(args) => make::main(args, cancel).await,
        Data::Overlap(args) => overlap::main(&args, cancel).await,
    }
}
