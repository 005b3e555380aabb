//! One file before it is sent: its kind by its name and its bytes, and what it must not hold.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek},
    path::Path,
};

use serde_json::Value;
use sha1::{Digest, Sha1};
use sha2::Sha256;
use tunesmith_harness::redact::redacted;

use super::{Bytes, Contents, Outgoing, Refusal, hashes, unfit};
use crate::files::open_declared;

/// Files up to this size are sent from memory: the very bytes that were looked at.
const HELD: u64 = 8 << 20;
/// Most bytes of a line of text.
const LINE: u64 = 256 << 20;
/// Most bytes of a tensor file's head.
const HEAD: u64 = 128 << 20;
/// How much of a GGUF file's beginning is read as text: what it says of itself stands there.
const GGUF: u64 = 64 << 20;

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
    Parquet,
    Safetensors,
    Gguf,
}

/// Why a file that training leaves is no part of the result.
pub fn kept_back(contents: Contents, path: &str) -> Option<&'static str> {
    let top = path.split('/').next().unwrap_or(path);
    match path {
        "README.md" => Some("the card is written anew"),
        "tunesmith-hub.json" => Some("it says where a download came from"),
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
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let models = contents != Contents::Dataset;
    match (name, ending) {
        ("LICENSE" | "LICENCE" | "NOTICE" | "merges.txt" | "vocab.txt", _) | (_, "md" | "json" | "jinja") => {
            Some(Form::Text)
        }
        (_, "safetensors") if models => Some(Form::Safetensors),
        (_, "gguf") if models => Some(Form::Gguf),
        (_, "jsonl" | "csv" | "tsv") if !models => Some(Form::Rows),
        (_, "parquet") if !models => Some(Form::Parquet),
        _ => None,
    }
}

/// Whether a file holds rows, which are looked at in a worker.
pub fn holds_rows(contents: Contents, path: &str) -> bool {
    matches!(form(contents, path), Some(Form::Rows | Form::Parquet))
}

/// Looks at one file.
pub fn file(contents: Contents, dir: &Path, path: &str) -> Result<Outgoing, Refusal> {
    let at = dir.join(path);
    let Some(form) = form(contents, path) else {
        let what = "is of a kind that is not published; take it away, or turn rows into .jsonl, .csv or .parquet";
        return Err(unfit(&at, what));
    };
    let mut file = open_declared(dir, Path::new(path)).map_err(|why| unfit(&at, why))?;
    let outgoing = read(&mut file, &at, path)?;
    file.rewind().map_err(|error| unfit(&at, error.to_string()))?;
    let clean = match form {
        Form::Text | Form::Rows => text(file),
        Form::Safetensors => safetensors(file),
        Form::Gguf => gguf(file),
        Form::Parquet => Ok(()),
    };
    clean.map_err(|why| unfit(&at, why)).map(|()| outgoing)
}

/// What is said of a secret.
pub const SECRET: &str = "holds what looks like a secret, such as a token or a key; take it out";

/// Whether a text holds what looks like one.
pub fn secret(text: &str) -> bool {
    redacted(text) != text
}

/// Size and hashes, and the bytes themselves where they are few.
fn read(file: &mut File, at: &Path, path: &str) -> Result<Outgoing, Refusal> {
    let failed = |error: std::io::Error| unfit(at, error.to_string());
    let size = file.metadata().map_err(failed)?.len();
    let mut held = (size <= HELD).then(Vec::new);
    let (mut sha256, mut git) = (Sha256::new(), Sha1::new_with_prefix(format!("blob {size}\0")));
    let (mut buffer, mut count) = (vec![0; 1 << 16], 0);
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            break;
        }
        count += n as u64;
        if count > size {
            return Err(unfit(at, "grows while it is read; publish it when it is finished"));
        }
        sha256.update(&buffer[..n]);
        git.update(&buffer[..n]);
        held.iter_mut().for_each(|held| held.extend_from_slice(&buffer[..n]));
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let bytes = held.map_or_else(|| Bytes::File(at.to_owned()), Bytes::Here);
    Ok(Outgoing { path: path.into(), size: count, sha256: hex(&sha256.finalize()), git: hex(&git.finalize()), bytes })
}

/// Text, line by line.
fn text(file: File) -> Result<(), String> {
    let (mut input, mut line, mut number) = (BufReader::new(file), Vec::new(), 0);
    loop {
        line.clear();
        number += 1;
        let n = input.by_ref().take(LINE).read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        match n {
            0 => return Ok(()),
            n if n as u64 == LINE => return Err(format!("has a line {number} of more than {LINE} bytes")),
            _ if secret(&String::from_utf8_lossy(&line)) => return Err(format!("line {number} {SECRET}")),
            _ => {}
        }
    }
}

/// What a tensor file says of itself.
fn safetensors(mut file: File) -> Result<(), String> {
    let damaged = || "is no safetensors file".to_owned();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|_| damaged())?;
    let length = u64::from_le_bytes(length);
    if length > HEAD {
        return Err(damaged());
    }
    let mut head = Vec::new();
    file.take(length).read_to_end(&mut head).map_err(|_| damaged())?;
    let parsed: Value = serde_json::from_slice(&head).map_err(|_| damaged())?;
    if !parsed.is_object() {
        return Err(damaged());
    }
    if secret(&String::from_utf8_lossy(&head)) { Err(SECRET.into()) } else { Ok(()) }
}

fn gguf(file: File) -> Result<(), String> {
    let mut head = Vec::new();
    file.take(GGUF).read_to_end(&mut head).map_err(|error| error.to_string())?;
    if !head.starts_with(b"GGUF") {
        return Err("is no GGUF file".into());
    }
    // Each run of what may be text by itself: tensors are none.
    let texts = head.split(|byte| !(b' '..=b'~').contains(byte)).filter(|text| text.len() >= 16);
    for text in texts {
        if secret(&String::from_utf8_lossy(text)) {
            return Err(SECRET.into());
        }
    }
    Ok(())
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
        assert!(sent(Contents::Dataset, "data/train.parquet") && !sent(Contents::Dataset, "m.safetensors"));
    }
}
