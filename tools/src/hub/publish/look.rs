//! One file before it is sent: its kind by its name and its bytes, and what it must not hold.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek},
    path::Path,
};

use serde::de::IgnoredAny;
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::{
    Bytes, Contents, Outgoing, Refusal, hashes,
    secrets::{self, Texts},
    unfit,
};
use crate::{data_prepare::LEFT_OUT, files::open_declared};

/// Files up to this size are sent from memory: the very bytes that were looked at.
const HELD: u64 = 8 << 20;
/// Most bytes of a tensor file's head.
const HEAD: u64 = 128 << 20;

/// A file that is made here.
pub fn made(path: &str, bytes: Vec<u8>) -> Outgoing {
    let (sha256, git) = hashes(&bytes);
    Outgoing { path: path.into(), size: bytes.len() as u64, sha256, git, bytes: Bytes::Here(bytes) }
}

/// Kinds of files that are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Rows,
    Safetensors,
    Gguf,
}

/// Why a file that training leaves is no part of the result.
pub fn kept_back(contents: Contents, path: &str) -> Option<&'static str> {
    let top = path.split('/').next().unwrap_or(path);
    match path {
        "README.md" => Some("the card is written anew"),
        "tunesmith-hub.json" => Some("it says where a download came from"),
        _ if path.starts_with(".cache/huggingface/") => Some("notes of the Hub's own tools"),
        LEFT_OUT => Some("rows that a preparation left out"),
        _ if contents == Contents::Dataset => None,
        "log.jsonl" => Some("a log of training"),
        _ if top == "runs" && path != top => Some("a log of training"),
        _ if top == "prepared" && path != top => Some("rows it was trained on"),
        _ if top == "checkpoints" && path != top => Some("states of training"),
        _ => None,
    }
}

fn form(contents: Contents, path: &str) -> Option<Form> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ending = |name: &str| name.rsplit_once('.').map(|(_, ending)| ending.to_owned()).unwrap_or_default();
    let unpacked = [".gz", ".zst"].iter().find_map(|packed| name.strip_suffix(packed)).unwrap_or(name);
    let models = contents != Contents::Dataset;
    match (name, ending(name).as_str()) {
        (_, "parquet") if !models => Some(Form::Rows),
        _ if !models && ["jsonl", "ndjson", "json", "csv", "tsv"].contains(&ending(unpacked).as_str()) => {
            Some(Form::Rows)
        }
        ("LICENSE" | "LICENSE.txt" | "LICENCE" | "NOTICE" | "merges.txt" | "vocab.txt", _)
        | (_, "md" | "json" | "jinja") => Some(Form::Text),
        (_, "safetensors") if models => Some(Form::Safetensors),
        (_, "gguf") if models => Some(Form::Gguf),
        _ => None,
    }
}

/// Whether a file may hold rows, which are looked at in a worker.
pub fn holds_rows(contents: Contents, path: &str) -> bool {
    form(contents, path) == Some(Form::Rows)
}

/// Looks at one file.
pub fn file(contents: Contents, dir: &Path, path: &str) -> Result<Outgoing, Refusal> {
    let at = dir.join(path);
    let Some(form) = form(contents, path) else {
        let what = "is of a kind that is not published; take it away, or turn rows into .jsonl, .csv or .parquet";
        return Err(unfit(&at, what));
    };
    let failed = |error: std::io::Error| unfit(&at, error.to_string());
    let mut file = open_declared(dir, Path::new(path)).map_err(|why| unfit(&at, why))?;
    let (outgoing, binary) = read(&mut file, &at, path)?;
    file.rewind().map_err(failed)?;
    let sound = match form {
        Form::Text if binary => Err("holds bytes that are no text; write it as UTF-8".to_owned()),
        Form::Text | Form::Rows => Ok(()),
        Form::Safetensors => safetensors(&mut file),
        Form::Gguf => gguf(&mut file),
    };
    sound.map_err(|why| unfit(&at, why))?;
    file.rewind().map_err(failed)?;
    let secret = if binary { secrets::line(Texts::new(file)) } else { secrets::line(file) };
    match secret.map_err(failed)? {
        None => Ok(outgoing),
        Some(_) if binary => Err(unfit(&at, SECRET)),
        Some(line) => Err(unfit(&at, format!("line {line} {SECRET}"))),
    }
}

/// What is said of a secret.
pub const SECRET: &str = "holds what looks like a secret, such as a token or a key; take it out";

/// Size and hashes, and the bytes themselves where they are few; and whether they are something else than text.
fn read(file: &mut File, at: &Path, path: &str) -> Result<(Outgoing, bool), Refusal> {
    let failed = |error: std::io::Error| unfit(at, error.to_string());
    let size = file.metadata().map_err(failed)?.len();
    let mut held = (size <= HELD).then(Vec::new);
    let (mut sha256, mut git) = (Sha256::new(), Sha1::new_with_prefix(format!("blob {size}\0")));
    let (mut buffer, mut count, mut binary) = (vec![0; 1 << 16], 0, false);
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            break;
        }
        count += n as u64;
        binary |= buffer[..n].contains(&0);
        if count > size {
            return Err(unfit(at, "grows while it is read; publish it when it is finished"));
        }
        sha256.update(&buffer[..n]);
        git.update(&buffer[..n]);
        held.iter_mut().for_each(|held| held.extend_from_slice(&buffer[..n]));
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let bytes = held.map_or_else(|| Bytes::File(at.to_owned()), Bytes::Here);
    let (sha256, git) = (hex(&sha256.finalize()), hex(&git.finalize()));
    Ok((Outgoing { path: path.into(), size: count, sha256, git, bytes }, binary))
}

/// Whether a file begins as a tensor file does.
fn safetensors(file: &mut File) -> Result<(), String> {
    let damaged = || "is no safetensors file".to_owned();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|_| damaged())?;
    let length = u64::from_le_bytes(length);
    if length > HEAD {
        return Err(damaged());
    }
    let mut head = Vec::new();
    file.take(length).read_to_end(&mut head).map_err(|_| damaged())?;
    let tensors: Result<BTreeMap<String, IgnoredAny>, _> = serde_json::from_slice(&head);
    tensors.map(drop).map_err(|_| damaged())
}

fn gguf(file: &mut File) -> Result<(), String> {
    let mut magic = [0; 4];
    let read = file.read_exact(&mut magic);
    if read.is_ok() && magic == *b"GGUF" { Ok(()) } else { Err("is no GGUF file".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_files_are_known_by_their_names_and_all_others_are_not_sent() {
        let sent =
            |contents: Contents, path: &str| kept_back(contents, path).is_none() && form(contents, path).is_some();
        for path in ["config.json", "model.safetensors", "m.gguf", "chat_template.jinja", "LICENSE", "merges.txt"] {
            assert!(sent(Contents::Model, path), "{path}");
        }
        for path in
            ["rows.jsonl", "x.bin", "a.py", ".env", "id_rsa", "prepared/train.jsonl", "log.jsonl", "a.tar.gz", "x"]
        {
            assert!(!sent(Contents::Model, path), "{path}");
        }
        for path in ["data/train.parquet", "a.jsonl", "a.jsonl.gz", "a.csv.zst", "a.json", "manifest.json"] {
            assert!(sent(Contents::Dataset, path) && holds_rows(Contents::Dataset, path), "{path}");
        }
        assert!(!holds_rows(Contents::Dataset, "LICENSE") && !holds_rows(Contents::Model, "config.json"));
        for path in ["m.safetensors", "a.parquet.gz", "a.gz", "x.txt.zst", "a.tar.gz"] {
            assert!(!sent(Contents::Dataset, path), "{path}");
        }
    }
}
