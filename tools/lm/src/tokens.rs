//! Text to token ids and back, over the `tokenizers` crate.

use std::{ops::Range, panic::catch_unwind, path::Path, sync::OnceLock};

use serde_json::{Map, Value};
use tokenizers::{PostProcessor, PostProcessorWrapper, Tokenizer as Inner};

use crate::{
    config::token_ids,
    error::{Error, Result},
    storage::{printable, read_optional},
};

/// A tokenizer with the ids that end a text.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Inner,
    /// The same tokenizer that reads special tokens in a text as plain text; made when first needed.
    plain: OnceLock<Inner>,
    /// The same tokenizer without its post-processor, some of which cut blanks off the offsets; made when first needed.
    raw: OnceLock<Inner>,
    /// `tokenizer.json`, byte for byte.
    json: String,
    /// `tokenizer_config.json`, byte for byte, where there is one.
    config_json: Option<String>,
    /// Token that starts a text.
    pub bos: Option<u32>,
    /// Token that ends a text: the tokenizer's own word for it.
    pub eos: Option<u32>,
    /// Tokens that end a generated text, `eos` among them, sorted; may be empty.
    pub stops: Vec<u32>,
    /// Token that fills.
    pub pad: Option<u32>,
    /// Whether llama.cpp should put `bos` before a text; templates that write it themselves say no.
    pub add_bos: bool,
}

impl Tokenizer {
    /// Reads `tokenizer.json` and what `tokenizer_config.json`, `generation_config.json` and `config.json` add to it.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let Some(json) = read_optional(&dir.join("tokenizer.json"))? else {
            return Err(Error::Tokenizer(format!(
                "{} has no tokenizer.json; bases with only a SentencePiece or vocabulary file are not supported",
                dir.display()
            )));
        };
        let mut tokenizer = Self::from_json(&json)?;
        let object = |name: &str| -> Result<(Option<String>, Map<String, Value>)> {
            let Some(text) = read_optional(&dir.join(name))? else { return Ok((None, Map::new())) };
            let map = serde_json::from_str(&text).map_err(|e| Error::Tokenizer(format!("{name} is not JSON: {e}")))?;
            Ok((Some(text), map))
        };
        let (config_json, config) = object("tokenizer_config.json")?;
        let (_, generation) = object("generation_config.json")?;
        let (_, model) = object("config.json")?;
        tokenizer.config_json = config_json;
        let named = |field: &str| tokenizer.named(&config, field);
        let ids = |map: &Map<String, Value>, field: &str| token_ids(map, field);
        let first = |field: &str, key: &str| -> Result<Option<u32>> {
            // A null in the tokenizer's own file means that there is none, whatever the other files say.
            match config.contains_key(field) {
                true => Ok(named(field)),
                false => Ok(ids(&model, key)?.first().copied()),
            }
        };
        let (bos, pad) = (first("bos_token", "bos_token_id")?, first("pad_token", "pad_token_id")?);
        let mut stops = ids(&generation, "eos_token_id")?;
        stops.extend(ids(&model, "eos_token_id")?);
        stops.extend(named("eos_token"));
        stops.sort_unstable();
        stops.dedup();
        let eos = named("eos_token").or(ids(&model, "eos_token_id")?.first().copied());
        let add_bos = config.get("add_bos_token").and_then(Value::as_bool).unwrap_or(false);
        Ok(Self { bos, eos, pad, stops, add_bos, ..tokenizer })
    }

    /// Reads the text of a `tokenizer.json`; no ids are known to start or end a text.
    pub fn from_json(json: &str) -> Result<Self> {
        let fail = |e| Error::Tokenizer(printable(&format!("tokenizer.json: {e}")));
        // The library panics on some damaged files: on most that are not JSON, and on a few that are.
        serde_json::from_str::<serde::de::IgnoredAny>(json).map_err(|e| fail(e.into()))?;
        let mut inner = catch_unwind(|| Inner::from_bytes(json))
            .unwrap_or_else(|_| Err("a part of it cannot be read".into()))
            .map_err(fail)?;
        // Settings for batches that some files carry; they would cut or fill what is encoded here.
        inner.with_truncation(None).map_err(fail)?;
        inner.with_padding(None);
        Ok(Self {
            inner,
            plain: OnceLock::new(),
            raw: OnceLock::new(),
            json: json.into(),
            config_json: None,
            bos: None,
            eos: None,
            stops: Vec::new(),
            pad: None,
            add_bos: false,
        })
    }

    /// Token ids of `text`. Special tokens written in it become their ids; none is added.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        encode(&self.inner, text)
    }

    /// Token ids of `text` where special tokens written in it stay ordinary text.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        let plain = self.plain.get_or_init(|| {
            let mut plain = self.inner.clone();
            plain.set_encode_special_tokens(true);
            plain
        });
        encode(plain, text)
    }

    /// Token ids of `text` with the bytes that each stands for, in order; special tokens written in it become their ids.
    /// With `add_special`, also those that the tokenizer puts around a text, which stand for no bytes.
    pub fn encode_with_offsets(&self, text: &str, add_special: bool) -> Result<(Vec<u32>, Vec<Range<usize>>)> {
        let fail = |e| Error::Tokenizer(printable(&format!("cannot encode: {e}")));
        let raw = self.raw.get_or_init(|| {
            let mut raw = self.inner.clone();
            raw.with_post_processor(None::<PostProcessorWrapper>);
            raw
        });
        let encoding = raw.encode(text, false).map_err(fail)?;
        let mut offsets: Vec<Range<usize>> = encoding.get_offsets().iter().map(|&(start, end)| start..end).collect();
        let mut ids = encoding.get_ids().to_vec();
        if add_special && let Some(processor) = self.inner.get_post_processor() {
            let all = processor.process(encoding, None, true).map_err(fail)?;
            let before = all.get_special_tokens_mask().iter().take_while(|special| **special == 1).count();
            let before = before.min(all.len() - ids.len().min(all.len()));
            offsets.splice(0..0, std::iter::repeat_n(0..0, before));
            offsets.resize(all.len(), text.len()..text.len());
            ids = all.get_ids().to_vec();
        }
        Ok((ids, offsets))
    }

    /// The text of `ids`, special tokens written out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        decode(&self.inner, ids, false)
    }

    /// The text of `ids`, special tokens left out.
    pub fn decode_skip(&self, ids: &[u32]) -> Result<String> {
        decode(&self.inner, ids, true)
    }

    /// The id of a token given as it stands in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token with this id, as it stands in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// One more than the largest token id, added ones included.
    pub fn len(&self) -> usize {
        let largest = self.inner.get_vocab(true).into_values().max();
        largest.map_or(0, |id| id as usize + 1)
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text of `tokenizer.json`, byte for byte as it was read.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The text of `tokenizer_config.json`, byte for byte as it was read.
    pub fn config_json(&self) -> Option<&str> {
        self.config_json.as_deref()
    }

    /// The first special token that is written in `text`: text from strangers that has one could fake a turn.
    pub fn special_in(&self, text: &str) -> Option<String> {
        let mut tokens: Vec<_> = self.inner.get_added_tokens_decoder().into_values().filter(|t| t.special).collect();
        tokens.sort_by(|a, b| a.content.cmp(&b.content));
        tokens.into_iter().map(|t| t.content).find(|content| !content.is_empty() && text.contains(content.as_str()))
    }

    /// The id of a token that `tokenizer_config.json` names, as a text or as an object with a `content`.
    fn named(&self, config: &Map<String, Value>, field: &str) -> Option<u32> {
        let value = config.get(field)?;
        self.token_id(value.as_str().or_else(|| value.get("content")?.as_str())?)
    }

    /// Starts decoding token by token, special tokens left out.
    pub fn stream(&self) -> DecodeStream<'_> {
        DecodeStream { tokenizer: self, ids: Vec::new(), prefix: 0, read: 0 }
    }
}

/// Turns ids into text one by one; a character is given out when all its bytes are there.
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    /// Decoding starts here: some decoders treat the first token of a text differently.
    prefix: usize,
    /// The text of the ids before this one has been given out.
    read: usize,
}

impl DecodeStream<'_> {
    /// Takes one id and returns the text that it completes, often empty.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        let text = self.pending()?;
        if text.ends_with('\u{fffd}') {
            return Ok(String::new());
        }
        self.prefix = self.read;
        self.read = self.ids.len();
        Ok(text)
    }

    /// Returns what is left: bytes that never became a whole character, as replacement characters.
    pub fn finish(self) -> Result<String> {
        self.pending()
    }

    fn pending(&self) -> Result<String> {
        let before = self.tokenizer.decode_skip(&self.ids[self.prefix..self.read])?;
        let all = self.tokenizer.decode_skip(&self.ids[self.prefix..])?;
        Ok(all.strip_prefix(&before).unwrap_or_default().to_string())
    }
}

fn encode(inner: &Inner, text: &str) -> Result<Vec<u32>> {
    let encoding =
        inner.encode_fast(text, false).map_err(|e| Error::Tokenizer(printable(&format!("cannot encode: {e}"))))?;
    Ok(encoding.get_ids().to_vec())
}

fn decode(inner: &Inner, ids: &[u32], skip: bool) -> Result<String> {
    inner.decode(ids, skip).map_err(|e| Error::Tokenizer(printable(&format!("cannot decode: {e}"))))
}
