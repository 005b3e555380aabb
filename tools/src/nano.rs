//! The base that this program carries: a small Llama that was pretrained for it, see `tools/nano/README.md`.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

/// The files of the model, by name.
pub const FILES: [(&str, &[u8]); 6] = [
    ("config.json", include_bytes!("../nano/config.json")),
    ("generation_config.json", include_bytes!("../nano/generation_config.json")),
    ("tokenizer.json", include_bytes!("../nano/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../nano/tokenizer_config.json")),
    ("README.md", include_bytes!("../nano/README.md")),
    // The last: where it is, the others are there as well.
    ("model.safetensors", include_bytes!("../nano/model.safetensors")),
];

/// Writes the model into `dir`, which is made where it is missing. Each file is there whole or not at all.
pub fn write(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for (name, bytes) in FILES {
        let path = dir.join(name);
        if fs::read(&path).is_ok_and(|found| found == bytes) {
            continue;
        }
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tunesmith_lm::model::Model;

    use super::*;
    use crate::encode::Encoder;

    #[test]
    fn the_bundled_base_opens_and_ends_its_turns() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path()).unwrap();
        let model = Model::open(dir.path()).unwrap();
        let size = FILES.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        assert!(size < 9 << 20, "{size} bytes");
        assert!((2_000_000..3_500_000).contains(&model.config.parameters()), "{}", model.config.parameters());
        assert!(model.config.max_position_embeddings >= 256);
        assert!(Encoder::of(&model).unwrap().template_ends_turns());
    }

    #[test]
    fn damaged_files_are_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path()).unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, "{}").unwrap();
        write(dir.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), FILES[0].1);
    }
}
