//! The bytes of every token, as a tree: tokens that begin alike are looked at together.

use std::collections::HashMap;

use serde_json::Value;

use crate::{
    error::{Error, Result},
    tokens::Tokenizer,
};

/// The tokens that text can be written with.
pub struct Vocabulary {
    /// In the order of a walk from the root: what begins with a node's bytes follows it directly.
    nodes: Vec<Node>,
    /// Ids by their bytes.
    ids: Vec<u32>,
    /// The bytes of each id.
    bytes: HashMap<u32, Box<[u8]>>,
    /// One more than the largest id.
    size: usize,
    /// Bytes of the longest token.
    longest: u32,
}

struct Node {
    byte: u8,
    /// Bytes up to here.
    depth: u32,
    /// The next node that does not begin with these bytes.
    skip: u32,
    /// The tokens of exactly these bytes, in `ids`.
    first: u32,
    count: u32,
}

impl Vocabulary {
    /// Takes the tokens of a tokenizer. Special ones are no text, unless their text is one of `marks`.
    pub fn new(tokenizer: &Tokenizer, marks: &[&str]) -> Result<Self> {
        let read = reading(tokenizer)?;
        let added = tokenizer.inner.get_added_tokens_decoder();
        let mut tokens: Vec<(Box<[u8]>, u32)> = Vec::new();
        for (text, id) in tokenizer.inner.get_vocab(false) {
            if !added.contains_key(&id) && !tokenizer.stops.contains(&id) {
                tokens.extend(read(&text).map(|bytes| (bytes.into_boxed_slice(), id)));
            }
        }
        let written = added.iter().filter(|(_, token)| !token.special || marks.contains(&token.content.as_str()));
        tokens.extend(written.map(|(id, token)| (token.content.as_bytes().into(), *id)));
        tokens.retain(|(bytes, _)| !bytes.is_empty());
        tokens.sort_unstable();
        let needed = (0x20..=0x7E).chain(0x80..=0xBF).chain(0xC2..=0xF4);
        let lacks =
            |byte: &u8| tokens.binary_search_by(|(bytes, _)| (**bytes).cmp(std::slice::from_ref(byte))).is_err();
        if let Some(byte) = needed.into_iter().find(lacks) {
            return Err(Error::Tokenizer(format!(
                "it has no token for the byte 0x{byte:02X} alone, so what it writes cannot be kept to a form; take a model with \
                 a tokenizer of bytes"
            )));
        }
        Ok(Self::of(tokens))
    }

    /// Builds the tree over sorted tokens.
    fn of(tokens: Vec<(Box<[u8]>, u32)>) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        for (at, (bytes, _)) in tokens.iter().enumerate() {
            let same = open.iter().zip(bytes).take_while(|(node, byte)| nodes[**node].byte == **byte).count();
            let end = nodes.len() as u32;
            open.drain(same..).for_each(|node| nodes[node].skip = end);
            for (depth, byte) in bytes.iter().enumerate().skip(same) {
                open.push(nodes.len());
                nodes.push(Node { byte: *byte, depth: depth as u32 + 1, skip: 0, first: at as u32, count: 0 });
            }
            if let Some(node) = open.last() {
                let node = &mut nodes[*node];
                node.first = if node.count == 0 { at as u32 } else { node.first };
                node.count += 1;
            }
        }
        let end = nodes.len() as u32;
        open.into_iter().for_each(|node| nodes[node].skip = end);
        Vocabulary {
            nodes,
            ids: tokens.iter().map(|(_, id)| *id).collect(),
            size: tokens.iter().map(|(_, id)| *id as usize + 1).max().unwrap_or(0),
            longest: tokens.iter().map(|(bytes, _)| bytes.len() as u32).max().unwrap_or(0),
            bytes: tokens.into_iter().map(|(bytes, id)| (id, bytes)).collect(),
        }
    }

    /// The bytes of a token; `None` for one that is no text.
    pub fn bytes(&self, id: u32) -> Option<&[u8]> {
        self.bytes.get(&id).map(|bytes| &**bytes)
    }

    /// One more than the largest id.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Bytes of the longest token.
    pub(super) fn longest(&self) -> u32 {
        self.longest
    }

    /// Reads all tokens from a state, beginnings that they share once. `step` leads on, or says that nothing does; `found`
    /// hears the tokens that can be read, with the state behind each.
    pub(super) fn walk<S: Copy>(
        &self,
        start: S,
        mut step: impl FnMut(S, u8) -> Option<S>,
        mut found: impl FnMut(&[u32], S),
    ) {
        let mut path = vec![start];
        let mut at = 0;
        while let Some(node) = self.nodes.get(at) {
            path.truncate(node.depth as usize);
            let Some(next) = step(path[node.depth as usize - 1], node.byte) else {
                at = node.skip as usize;
                continue;
            };
            path.push(next);
            if node.count > 0 {
                found(&self.ids[node.first as usize..(node.first + node.count) as usize], next);
            }
            at += 1;
        }
    }
}

type Reading = Box<dyn Fn(&str) -> Option<Vec<u8>>>;

/// How a tokenizer writes the bytes of its tokens.
fn reading(tokenizer: &Tokenizer) -> Result<Reading> {
    let part = |part: Option<Value>| part.unwrap_or_default();
    let decoder = part(tokenizer.inner.get_decoder().and_then(|decoder| serde_json::to_value(decoder).ok()));
    let before = part(tokenizer.inner.get_pre_tokenizer().and_then(|before| serde_json::to_value(before).ok()));
    let kinds = kinds(if decoder.is_null() { &before } else { &decoder });
    let has = |kind: &str| kinds.iter().any(|found| found == kind);
    if has("ByteLevel") {
        let bytes: HashMap<char, u8> = (0..=255).map(|byte| (printed(byte), byte)).collect();
        return Ok(Box::new(move |text| text.chars().map(|c| bytes.get(&c).copied()).collect()));
    }
    if has("ByteFallback") || has("Metaspace") {
        return Ok(Box::new(|text| {
            let byte = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
            match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(byte) => Some(vec![byte]),
                None => Some(text.replace('\u{2581}', " ").into_bytes()),
            }
        }));
    }
    Err(Error::Tokenizer(format!(
        "how it writes bytes is not known ({}), so what it writes cannot be kept to a form",
        if kinds.is_empty() { "it has no decoder".to_owned() } else { kinds.join(", ") }
    )))
}

/// The types that are named in a part of a tokenizer.
fn kinds(part: &Value) -> Vec<String> {
    match part {
        Value::Object(map) => {
            let own = map.get("type").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(map.values().flat_map(kinds)).collect()
        }
        Value::Array(list) => list.iter().flat_map(kinds).collect(),
        _ => Vec::new(),
    }
}

/// How byte-level vocabularies write a byte.
fn printed(byte: u8) -> char {
    let plain = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    match plain(&byte) {
        true => byte.into(),
        false => char::from_u32(256 + (0..byte).filter(|byte| !plain(byte)).count() as u32).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_meets_every_token_that_can_be_read_and_no_other() {
        let words = ["a", "ab", "abc", "abd", "b", "ba", "ab", "c\u{e9}", "c"];
        let mut tokens: Vec<(Box<[u8]>, u32)> =
            words.iter().enumerate().map(|(id, word)| (word.as_bytes().into(), id as u32)).collect();
        tokens.sort_unstable();
        let vocabulary = Vocabulary::of(tokens);
        let met = |allowed: &str| {
            let mut met = Vec::new();
            let step = |(), byte: u8| allowed.as_bytes().contains(&byte).then_some(());
            vocabulary.walk((), step, |ids, ()| met.extend_from_slice(ids));
            met.sort_unstable();
            met
        };
        assert_eq!(met("abcd\u{e9}"), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(met("ab"), [0, 1, 4, 5, 6]);
        assert_eq!(met("bcd"), [4, 8]);
        assert_eq!((vocabulary.longest(), vocabulary.size()), (3, 9));
        assert_eq!(vocabulary.bytes(3), Some(&b"abd"[..]));
    }
}
