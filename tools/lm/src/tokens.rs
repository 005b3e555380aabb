//! Text to token ids and back, over the `tokenizers` crate.

use std::{path::Path, sync::OnceLock};

use tokenizers::Tokenizer as Inner;

use crate::error::{Error, Result};

/// A tokenizer with the ids that end a text.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Inner,
    /// The same tokenizer that reads special tokens in a text as plain text; made when first needed.
    plain: OnceLock<Inner>,
    /// `tokenizer.json`, byte for byte.
    json: String,
    /// `tokenizer_config.json`, byte for byte, where there is one.
    config_json: Option<String>,
    /// Token that starts a text.
    pub bos: Option<u32>,
    /// Tokens that end a generated text, sorted; may be empty.
    pub stops: Vec<u32>,
    /// Token that fills.
    pub pad: Option<u32>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` and what `tokenizer_config.json`, `generation_config.json` and `config.json` add to it.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        Self::from_json(&std::fs::read_to_string(&path).map_err(|e| Error::io("cannot read", &path, e))?)
    }

    /// Reads the text of a `tokenizer.json`; no ids are known to start or end a text.
    pub fn from_json(json: &str) -> Result<Self> {
        let inner = Inner::from_bytes(json).map_err(|e| Error::Tokenizer(format!("tokenizer.json: {e}")))?;
        Ok(Self {
            inner,
            plain: OnceLock::new(),
            json: json.into(),
            config_json: None,
            bos: None,
            stops: Vec::new(),
            pad: None,
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

    /// Number of tokens, added ones included.
    pub fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
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
    let encoding = inner.encode_fast(text, false).map_err(|e| Error::Tokenizer(format!("cannot encode: {e}")))?;
    Ok(encoding.get_ids().to_vec())
}

fn decode(inner: &Inner, ids: &[u32], skip: bool) -> Result<String> {
    inner.decode(ids, skip).map_err(|e| Error::Tokenizer(format!("cannot decode: {e}")))
}
