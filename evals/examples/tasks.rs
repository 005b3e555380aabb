//! Writes the rows of the eval tasks in `evals/tasks`.

use std::{fs, io, path::Path};

use tunesmith_evals::data::tasks::{SETS, files};

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tasks");
    SETS.into_iter().flat_map(files).try_for_each(|(name, text)| fs::write(folder.join(name), text))
}
