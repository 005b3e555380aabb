//! Which model is meant by a name.

use std::path::{Path, PathBuf};

use tunesmith_harness::rows::not_a_file;
use tunesmith_lm::model::FILES;

use crate::hub::RepoId;

/// The bundled base's name.
pub const NANO: &str = "nano";

/// A base, found by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// The one that this program carries.
    Nano,
    /// A directory in Hugging Face's format, or a GGUF file.
    Path(PathBuf),
}

/// Why a name means no base, in one line with what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    /// Nothing was named.
    #[error("the base has no name; use nano, a model directory or a GGUF file")]
    Empty,
    /// Something that looks like `owner/name`.
    #[error(
        "there is no directory {0}; to use the Hub's {0}, download it first: tunesmith hub download {0} --out {name}, then \
         name that directory", name = .0.name
    )]
    HubId(RepoId),
    /// A path to nothing.
    #[error("there is no model at {0}; use nano, a model directory or a GGUF file")]
    Missing(String),
    /// A directory without a model.
    #[error("{0} has no config.json; name a model directory in Hugging Face's format")]
    NoConfig(String),
    /// A pipe or a device, which may never end.
    #[error("{0} is a pipe or a device; name a model directory or a file that ends in .gguf")]
    NotAFile(String),
    /// A file that is no GGUF.
    #[error("{0} is not a GGUF file; name a model directory or a file that ends in .gguf")]
    NotGguf(String),
}

/// Finds the base that `name` means. Relative paths start at `cwd`.
pub fn resolve(name: &str, cwd: &Path) -> Result<Base, BaseError> {
    match name {
        "" => return Err(BaseError::Empty),
        NANO => return Ok(Base::Nano),
        _ => {}
    }
    let path = cwd.join(name);
    let Ok(meta) = std::fs::metadata(&path) else {
        return Err(name.parse().map_or_else(|_| BaseError::Missing(name.to_owned()), BaseError::HubId));
    };
    let endless = endless(&path).map(|part| part.display().to_string());
    match () {
        () if !meta.is_dir() && !meta.is_file() => Err(BaseError::NotAFile(name.to_owned())),
        () if meta.is_dir() && !path.join("config.json").is_file() => Err(BaseError::NoConfig(name.to_owned())),
        () if !meta.is_dir() && !is_gguf(&path) => Err(BaseError::NotGguf(name.to_owned())),
        () => endless.map_or(Ok(Base::Path(path)), |part| Err(BaseError::NotAFile(part))),
    }
}

/// A part of the model in `dir` that is a pipe or a device.
fn endless(dir: &Path) -> Option<PathBuf> {
    let mut parts = std::fs::read_dir(dir).ok()?.flatten().filter(is_part).map(|entry| entry.path());
    parts.find(|path| not_a_file(path).is_some() && !path.is_dir())
}

/// What a job must be allowed to read to open the base at `path`: the path itself and, where files of the model are
/// links, as in the Hub's cache, the files that these lead to.
pub fn reads(path: &Path) -> Vec<PathBuf> {
    let mut reads = vec![path.to_path_buf()];
    let names = std::fs::read_dir(path).into_iter().flatten().flatten();
    let links = names.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()) && is_part(entry));
    let targets = links.filter_map(|entry| entry.path().canonicalize().ok());
    reads.extend(targets.filter(|target| target.is_file()));
    reads.sort();
    reads.dedup();
    reads
}

/// Whether a model is opened with this file; what else a directory links to is nobody's business.
fn is_part(entry: &std::fs::DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy().into_owned();
    FILES.contains(&name.as_str()) || name.ends_with(".safetensors") || name == "model.safetensors.index.json"
}

fn is_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic));
    read.is_ok() && magic == *b"GGUF"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_is_nano_a_directory_or_a_gguf_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("model")).unwrap();
        std::fs::create_dir_all(dir.path().join("empty")).unwrap();
        std::fs::write(dir.path().join("model/config.json"), "{}").unwrap();
        std::fs::write(dir.path().join("m.gguf"), "GGUF....").unwrap();
        std::fs::write(dir.path().join("notes.txt"), "hi").unwrap();
        let find = |name: &str| resolve(name, dir.path());
        assert_eq!(find("nano"), Ok(Base::Nano));
        assert_eq!(find("model"), Ok(Base::Path(dir.path().join("model"))));
        assert_eq!(find("m.gguf"), Ok(Base::Path(dir.path().join("m.gguf"))));
        assert_eq!(find(""), Err(BaseError::Empty));
        assert_eq!(find("empty"), Err(BaseError::NoConfig("empty".into())));
        assert_eq!(find("notes.txt"), Err(BaseError::NotGguf("notes.txt".into())));
        assert_eq!(find("./nowhere"), Err(BaseError::Missing("./nowhere".into())));
        let error = find("HuggingFaceTB/SmolLM2-135M").unwrap_err().to_string();
        assert!(error.contains("tunesmith hub download HuggingFaceTB/SmolLM2-135M --out SmolLM2-135M"), "{error}");
    }

    #[test]
    #[cfg(unix)]
    fn files_of_the_model_that_are_links_may_be_read_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (blobs, model) = (root.join("blobs"), root.join("model"));
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::create_dir_all(&model).unwrap();
        for (name, blob) in [("config.json", "a"), ("model.safetensors", "b"), ("id_rsa", "c")] {
            std::fs::write(blobs.join(blob), blob).unwrap();
            std::os::unix::fs::symlink(Path::new("../blobs").join(blob), model.join(name)).unwrap();
        }
        std::fs::write(model.join("tokenizer.json"), "{}").unwrap();
        std::os::unix::fs::symlink(&blobs, model.join("generation_config.json")).unwrap();
        assert_eq!(reads(&model), [blobs.join("a"), blobs.join("b"), model.clone()]);
        assert_eq!(reads(&model.join("tokenizer.json")), [model.join("tokenizer.json")]);
    }
}
