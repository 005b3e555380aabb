//! Text to token ids and back, over the `tokenizers` crate.

use std::{ops::Range, panic::catch_unwind, path::Path, sync::OnceLock};

use serde_json::{Map, Value};
use tokenizers::{PostProcessor, PostProcessorWrapper, Tokenizer as Inner};

use crate::{
    config::token_ids,
    error::{Error, Result},
    storage::{printable, read_optional},
};

/// Bytes of the pieces in which a long text is encoded, at least.
const PIECE: usize = 1 << 18;
/// Bytes on each side of a cut that are looked at.
const LOOK: usize = 512;
/// Line ends that are tried.
const TRIES: usize = 16;

/// A tokenizer with the ids that end a text.
#[derive(Clone)]
pub struct Tokenizer {
    pub(crate) inner: Inner,
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
    /// Whether `bos` is put before a text although `tokenizer.json` has no rule for it, as in a GGUF file.
    pub(crate) puts_bos: bool,
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
            puts_bos: false,
        })
    }

    /// Token ids of `text`. Special tokens written in it become their ids; none is added.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        encode(&self.inner, text)
    }

    /// Token ids of `text` with the tokens that are put around a text unless told otherwise. As in transformers,
    /// `tokenizer.json` alone decides; `add_bos_token` beside it changes nothing.
    pub fn encode_with_added(&self, text: &str) -> Result<Vec<u32>> {
        let fail = |e| Error::Tokenizer(printable(&format!("cannot encode: {e}")));
        let ids = self.inner.encode_fast(text, true).map_err(fail)?;
        Ok(self.bos.filter(|_| self.puts_bos).into_iter().chain(ids.get_ids().iter().copied()).collect())
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

    /// The ids of [`encode_with_offsets`](Self::encode_with_offsets) with `add_special`, for a text of any length:
    /// encoding takes more than a hundred times a text's memory, so a long one is encoded in pieces.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_in_pieces(text, PIECE)
    }

    fn encode_in_pieces(&self, text: &str, size: usize) -> Result<Vec<u32>> {
        let mut rest = text;
        let first = self.next_piece(&mut rest, size)?;
        let (inner, mut ids) = (self.encode_with_offsets(first, false)?.0, self.encode_with_offsets(first, true)?.0);
        let before = ids.windows(inner.len().max(1)).position(|ids| ids == inner).unwrap_or(0);
        let after = ids.split_off((before + inner.len()).min(ids.len()));
        while !rest.is_empty() {
            ids.extend(self.encode_with_offsets(self.next_piece(&mut rest, size)?, false)?.0);
        }
        ids.extend(after);
        Ok(ids)
    }

    /// Takes a piece of at least `size` bytes from the start of `rest`: up to a line end where a look at both sides says
    /// that the cut changes no token. Where no line end nearby is one, it is all of `rest`.
    fn next_piece<'t>(&self, rest: &mut &'t str, size: usize) -> Result<&'t str> {
        let text = *rest;
        let ids = |range: Range<usize>| self.encode_with_offsets(&text[range], false).map(|(ids, _)| ids);
        let ends = text.bytes().enumerate().skip(size).filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        for at in ends.filter(|at| text[*at..].starts_with(|c: char| !c.is_whitespace())).take(TRIES) {
            let boundary = |at: &usize| text.is_char_boundary(*at);
            let start = (0..at.saturating_sub(LOOK) + 1).rev().find(boundary).unwrap_or(0);
            let sides = start..(at + LOOK..text.len()).find(boundary).unwrap_or(text.len());
            let (whole, mut cut) = (ids(sides.clone())?, ids(sides.start..at)?);
            cut.extend(ids(at..sides.end)?);
            if whole == cut {
                *rest = &text[at..];
                return Ok(&text[..at]);
            }
        }
        *rest = "";
        Ok(text)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer of bytes with merges, special tokens around a text, and words cut by `pattern`.
    fn tokenizer(pattern: &str) -> Tokenizer {
        let mut vocab: Map<String, Value> = (0..=255u8).map(|byte| (printed(byte), u32::from(byte).into())).collect();
        let merges = ["a b", "Ċ a", "ab Ċ", "Ċ Ċ", "Ġ a", ". Ċ"];
        merges.iter().for_each(|merge| drop(vocab.insert(merge.replace(' ', ""), vocab.len().into())));
        let special = |id: u32, content: &str| {
            serde_json::json!({"id": id, "content": content, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false, "special": true})
        };
        let json = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null,
            "added_tokens": [special(300, "<s>"), special(301, "</s>")],
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
            "post_processor": {"type": "TemplateProcessing", "pair": [],
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                           {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [300], "tokens": ["<s>"]},
                                   "</s>": {"id": "</s>", "ids": [301], "tokens": ["</s>"]}}},
            "model": {"type": "BPE", "vocab": vocab, "merges": merges},
        });
        Tokenizer::from_json(&json.to_string()).unwrap()
    }

    /// How byte-level vocabularies write a byte.
    fn printed(byte: u8) -> String {
        let plain = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
        let rank = (0..byte).filter(|byte| !plain(byte)).count() as u32;
        char::from_u32(if plain(&byte) { byte.into() } else { 256 + rank }).unwrap().to_string()
    }

    #[test]
    fn a_text_in_pieces_has_the_tokens_of_the_whole_text() {
        let text = "ab ab.\n\nab\n  ab\u{e9}\n</s>\u{301}ab\nb.\nab \n\n\n".repeat(40);
        // Words that end at lines, words that go on over them, and no words at all: one token may hold a line end.
        for pattern in [r"\s*[\r\n]+|\s+|[^\s]+", r" ?[a-z]+|[^a-z]+", r"(?s).+"] {
            let tokenizer = tokenizer(pattern);
            for (size, text) in
                [1, 16, 100, 1 << 20].into_iter().flat_map(|size| [(size, text.as_str()), (size, ""), (size, "a")])
            {
                let whole = tokenizer.encode_with_offsets(text, true).unwrap().0;
                assert_eq!(tokenizer.encode_in_pieces(text, size).unwrap(), whole, "{pattern} {size}");
            }
        }
        let (tokenizer, mut rest) = (tokenizer(r"\s*[\r\n]+|\s+|[^\s]+"), text.as_str());
        assert!(tokenizer.next_piece(&mut rest, 16).unwrap().len() < 64);
    }
}
