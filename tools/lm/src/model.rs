//! A model on disk: a directory in Hugging Face's format, or a GGUF file.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{
    chat::ChatTemplate,
    config::Config,
    error::{Error, Result},
    gguf,
    storage::Files,
    tokens::Tokenizer,
    weights::{self, Check, Weights},
};

/// Everything that is needed to run a model.
#[derive(Clone)]
pub struct Model {
    /// Its shape.
    pub config: Config,
    /// Its tensors.
    pub weights: Weights,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its chat template, where it has one.
    pub chat: Option<ChatTemplate>,
    /// Where it was read from.
    pub path: PathBuf,
    /// SHA-256 in hex: of a GGUF file, or of the `sha256sum` lines of a directory's [`FILES`] and tensors.
    pub sha256: String,
    /// The files of a model that [`Model::open_once`] opened; of others none.
    pub files: Files,
}

/// The files besides the tensors that define a model, as far as they are there, in the order they are hashed.
pub const FILES: [&str; 5] =
    ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

impl Model {
    /// Opens a directory in Hugging Face's format or a GGUF file.
    pub fn open(path: &Path) -> Result<Self> {
        let meta = std::fs::metadata(path).map_err(|e| Error::io("cannot open the model", path, e))?;
        if meta.is_file() {
            let mut model = gguf::read(path)?;
            model.sha256 = hash_file(path)?;
            return Ok(model);
        }
        let config = Config::from_dir(path)?;
        let tokenizer = Tokenizer::from_dir(path)?;
        check_vocabulary(&tokenizer, &config)?;
        let chat = ChatTemplate::from_dir(path)?;
        let (weights, sha256) = rayon::join(|| Weights::load(path, &config), || hash_dir(path));
        let files = Files::default();
        Ok(Self { weights: weights?, config, tokenizer, chat, path: path.into(), sha256: sha256?, files })
    }

    /// Opens a model of which each number is read once, as [`gguf::write`] does, which checks them: no number is looked at,
    /// all stay in their files, and `sha256` is empty.
    pub fn open_once(path: &Path) -> Result<Self> {
        if path.is_file() {
            return gguf::read_as(path, Check::Later);
        }
        let config = Config::from_dir(path)?;
        let tokenizer = Tokenizer::from_dir(path)?;
        check_vocabulary(&tokenizer, &config)?;
        let chat = ChatTemplate::from_dir(path)?;
        let (weights, files) = Weights::open(path, &config, Check::Later)?;
        Ok(Self { weights, config, tokenizer, chat, path: path.into(), sha256: String::new(), files })
    }
}

/// A token without an embedding could never be read.
pub(crate) fn check_vocabulary(tokenizer: &Tokenizer, config: &Config) -> Result<()> {
    let tokens = tokenizer.len();
    match tokens <= config.vocab_size {
        true => Ok(()),
        false => Err(Error::Tokenizer(format!(
            "its ids go up to {}, the model's vocab_size is {}; they do not belong together",
            tokens - 1,
            config.vocab_size
        ))),
    }
}

/// SHA-256 of a model without opening it: the same as [`Model::sha256`].
pub fn hash(path: &Path) -> Result<String> {
    if path.is_file() { hash_file(path) } else { hash_dir(path) }
}

fn hash_dir(dir: &Path) -> Result<String> {
    let mut paths: Vec<PathBuf> = FILES.iter().map(|name| dir.join(name)).filter(|path| path.is_file()).collect();
    paths.extend(weights::files(dir)?);
    let mut all = Sha256::new();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        all.update(format!("{}  {name}\n", hash_file(&path)?));
    }
    Ok(hex(&all.finalize()))
}

/// SHA-256 of a file's bytes, in hex.
pub fn hash_file(path: &Path) -> Result<String> {
    let fail = |e: io::Error| Error::io("cannot read", path, e);
    let mut file = File::open(path).map_err(fail)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(fail)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// SHA-256 of bytes, in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
