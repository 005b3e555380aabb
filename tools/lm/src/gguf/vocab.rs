//! The tokenizer inside a GGUF file, in both directions.
//!
//! llama.cpp knows how to split text before merging by a name, `pre`. The name is found here by comparing the rule in
//! `tokenizer.json` with the rules that llama.cpp has: a wrong name would give other tokens without any error.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::bytes::File;
use crate::{storage::printable, tokens::Tokenizer};

/// Token types.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// What llama.cpp needs to know of a tokenizer.
#[derive(Debug, PartialEq)]
pub(super) struct Vocab {
    pub(super) pre: &'static str,
    pub(super) tokens: Vec<String>,
    pub(super) types: Vec<i32>,
    pub(super) merges: Vec<String>,
}

/// A way of splitting text: llama.cpp's name, the rule in `tokenizer.json`, and whether whole words skip the merges.
struct Pre {
    name: &'static str,
    rule: Value,
    ignore_merges: bool,
}

fn known() -> Vec<Pre> {
    let split = |pattern: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]})
    };
    let gpt2 = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    vec![
        Pre { name: "gpt-2", rule: gpt2.clone(), ignore_merges: false },
        Pre {
            name: "smollm",
            rule: json!({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, gpt2]}),
            ignore_merges: false,
        },
        Pre { name: "llama-bpe", rule: split(&words(r"\p{N}{1,3}")), ignore_merges: true },
        Pre { name: "qwen2", rule: split(&words(r"\p{N}")), ignore_merges: false },
    ]
}

/// The splitting expression of Llama 3 and Qwen 2, which differ in how many digits stay together.
fn words(digits: &str) -> String {
    format!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
}

/// What does not change the split: offsets are not used here.
fn plain(rule: &Value) -> Value {
    let mut rule = rule.clone();
    if let Some(map) = rule.as_object_mut() {
        map.remove("trim_offsets");
        if let Some(Value::Array(parts)) = map.get_mut("pretokenizers") {
            parts.iter_mut().for_each(|part| *part = plain(part));
        }
    }
    rule
}

/// Takes a tokenizer apart for a model of `size` tokens.
pub(super) fn from_tokenizer(tokenizer: &Tokenizer, size: usize) -> Result<Vocab, String> {
    let json: Value = serde_json::from_str(tokenizer.json()).map_err(|e| format!("tokenizer.json: {e}"))?;
    let model = json.get("model").and_then(Value::as_object).ok_or("tokenizer.json has no model")?;
    if model.get("type").is_some_and(|t| t != "BPE") || !model.contains_key("merges") {
        return Err("only byte-level BPE tokenizers can be written to GGUF".into());
    }
    for field in ["byte_fallback", "continuing_subword_prefix", "end_of_word_suffix", "dropout"] {
        let set = |v: &Value| !(v.is_null() || *v == json!(false) || *v == json!("") || *v == json!(0.0));
        if model.get(field).is_some_and(set) {
            return Err(format!("the tokenizer's {field} cannot be expressed in GGUF"));
        }
    }
    let pre = pre_name(&json, model)?;
    // llama.cpp's qwen2 stands for Qwen's tokenizer, which composes characters first (NFC); llama.cpp takes them as
    // they come. Nearly all text is composed already, and what is read back here is what llama.cpp does.
    let composes = |normalizer: &Value| pre == "qwen2" && *normalizer == json!({"type": "NFC"});
    if json.get("normalizer").is_some_and(|n| !n.is_null() && !composes(n)) {
        return Err("the tokenizer changes its text first (normalizer), which cannot be expressed in GGUF".into());
    }
    let (tokens, types) = tokens(tokenizer, &json, size)?;
    let merges = merges(model)?;
    Ok(Vocab { pre, tokens, types, merges })
}

fn pre_name(json: &Value, model: &Map<String, Value>) -> Result<&'static str, String> {
    let rule = plain(json.get("pre_tokenizer").unwrap_or(&Value::Null));
    let names: Vec<&str> = known().iter().map(|pre| pre.name).collect();
    let Some(pre) = known().into_iter().find(|pre| plain(&pre.rule) == rule) else {
        return Err(format!(
            "llama.cpp's name for how this tokenizer splits text is not known (known: {}); export safetensors instead",
            names.join(", ")
        ));
    };
    let ignore = model.get("ignore_merges").and_then(Value::as_bool).unwrap_or(false);
    match ignore == pre.ignore_merges {
        true => Ok(pre.name),
        false => Err(format!("the tokenizer's ignore_merges is {ignore}, llama.cpp's {} does otherwise", pre.name)),
    }
}

fn tokens(tokenizer: &Tokenizer, json: &Value, size: usize) -> Result<(Vec<String>, Vec<i32>), String> {
    let mut added = BTreeMap::new();
    for token in json.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
        let id = token.get("id").and_then(Value::as_u64).ok_or("an added token has no id")?;
        let flag = |name: &str| token.get(name).and_then(Value::as_bool).unwrap_or(false);
        if ["single_word", "lstrip", "rstrip"].iter().any(|name| flag(name)) {
            return Err("an added token takes the blanks around it, which cannot be expressed in GGUF".into());
        }
        added.insert(id, if flag("special") { CONTROL } else { USER_DEFINED });
    }
    let (mut tokens, mut types) = (Vec::new(), Vec::new());
    for id in 0..size {
        match tokenizer.token(id as u32) {
            Some(token) => {
                tokens.push(token);
                types.push(added.get(&(id as u64)).copied().unwrap_or(NORMAL));
            }
            None => {
                // llama.cpp dies on two equal tokens, so the name must not be taken.
                let mut name = format!("[PAD{id}]");
                while tokenizer.token_id(&name).is_some() {
                    name.push(']');
                }
                tokens.push(name);
                types.push(UNUSED);
            }
        }
    }
    let distinct: BTreeSet<&String> = tokens.iter().collect();
    match distinct.len() == tokens.len() {
        true => Ok((tokens, types)),
        false => Err("two tokens have the same text".into()),
    }
}

fn merges(model: &Map<String, Value>) -> Result<Vec<String>, String> {
    let list = model.get("merges").and_then(Value::as_array).ok_or("the tokenizer's merges are not a list")?;
    list.iter()
        .map(|merge| match merge {
            Value::String(text) if text.split(' ').count() == 2 => Ok(text.clone()),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(a), Value::String(b)] if !a.contains(' ') && !b.contains(' ') => Ok(format!("{a} {b}")),
                _ => Err("a merge of the tokenizer is not a pair of byte-level texts".to_string()),
            },
            _ => Err("a merge of the tokenizer is not a pair of byte-level texts".to_string()),
        })
        .collect()
}

/// Puts a tokenizer together again from a file.
pub(super) fn to_tokenizer(file: &File<'_>) -> Result<Tokenizer, String> {
    let model = file.string("tokenizer.ggml.model")?;
    if model != "gpt2" {
        return Err(format!("the tokenizer model {} is not supported, only gpt2 (byte-level BPE)", printable(model)));
    }
    let name = file.string("tokenizer.ggml.pre")?;
    let Some(pre) = known().into_iter().find(|pre| pre.name == name) else {
        return Err(format!("the pre-tokenizer {} is not supported", printable(name)));
    };
    let tokens = file.strings("tokenizer.ggml.tokens")?.ok_or("tokenizer.ggml.tokens is missing")?;
    let merges = file.strings("tokenizer.ggml.merges")?.ok_or("tokenizer.ggml.merges is missing")?;
    let types = file.ints("tokenizer.ggml.token_type")?.unwrap_or_else(|| vec![NORMAL.into(); tokens.len()]);
    if types.len() != tokens.len() {
        return Err("there are not as many token types as tokens".into());
    }
    let (mut vocab, mut added) = (Map::new(), Vec::new());
    for (id, (token, kind)) in tokens.iter().zip(&types).enumerate() {
        let kind = i32::try_from(*kind).unwrap_or(NORMAL);
        if kind == UNUSED {
            continue;
        }
        if vocab.insert(token.to_string(), json!(id)).is_some() {
            return Err(format!("the token {} is there twice", printable(token)));
        }
        if kind == CONTROL || kind == USER_DEFINED {
            added.push(json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": kind == CONTROL}));
        }
    }
    // A merge of texts that are no tokens makes the library fail with a message about numbers.
    let known_merges: Vec<&str> = merges;
    if let Some(merge) = known_merges.iter().find(|merge| !valid_merge(merge, &vocab)) {
        return Err(format!("the merge {} does not join two tokens into one", printable(merge)));
    }
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": pre.rule, "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": pre.ignore_merges, "vocab": vocab, "merges": known_merges},
    });
    let mut tokenizer = Tokenizer::from_json(&json.to_string()).map_err(|e| e.to_string())?;
    let id = |key: &str| -> Result<Option<u32>, String> {
        match file.int(key)? {
            Some(id) if id < tokens.len() as u64 => Ok(Some(id as u32)),
            Some(id) => Err(format!("{key} is {id}, there are {} tokens", tokens.len())),
            None => Ok(None),
        }
    };
    tokenizer.bos = id("tokenizer.ggml.bos_token_id")?;
    tokenizer.eos = id("tokenizer.ggml.eos_token_id")?;
    tokenizer.pad = id("tokenizer.ggml.padding_token_id")?;
    tokenizer.stops = tokenizer.eos.into_iter().chain(id("tokenizer.ggml.eot_token_id")?).collect();
    tokenizer.stops.sort_unstable();
    tokenizer.stops.dedup();
    tokenizer.add_bos =
        matches!(file.values.get("tokenizer.ggml.add_bos_token"), Some(super::bytes::Value::Bool(true)));
    tokenizer.puts_bos = tokenizer.add_bos;
    Ok(tokenizer)
}

fn valid_merge(merge: &str, vocab: &Map<String, Value>) -> bool {
    let Some((a, b)) = merge.split_once(' ') else { return false };
    vocab.contains_key(a) && vocab.contains_key(b) && vocab.contains_key(&format!("{a}{b}"))
}
