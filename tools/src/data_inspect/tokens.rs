//! How long rows are in the tokens of a base.

use std::path::Path;

use anyhow::Context;
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use tunesmith_harness::recipe::Row;
use tunesmith_lm::{
    chat::{ChatTemplate, Conversation},
    config::Config,
    gguf,
    rows::{Instruction, role},
    tokens::Tokenizer,
};

use super::{
    draw::Drawn,
    output::{Fit, Shape, Tokens},
    sketch::Digest,
    text::{cell, said},
};
use crate::memory::{ALLOWANCE, bounded};

/// Rows whose tokens are counted, and bytes of them.
const COUNTED: (usize, usize) = (10_000, 8 << 20);
/// Bars of the histogram.
const BARS: usize = 24;
/// Share of the rows that the histogram shows apart from each other.
const SHOWN: f64 = 0.99;

/// Counts the tokens of rows as they would be trained: as the base's chat template writes them, where there is one and the
/// rows have a prompt and an answer. `max_length` is by default what the base takes.
pub(super) fn count(
    base: &Path,
    max_length: Option<usize>,
    sample: &[Drawn],
    fit: Option<&Fit>,
) -> anyhow::Result<Tokens> {
    let (tokenizer, template, longest) = open(base)?;
    let template = template.filter(|_| fit.is_some_and(|fit| fit.kind != Shape::Text));
    let mut bytes = 0;
    let mut texts = Vec::new();
    for drawn in sample.iter().take(COUNTED.0) {
        let turns = turns(&drawn.row, fit);
        let rendered = template.as_ref().map(|template| bounded(ALLOWANCE, || template.text(&chat(&turns), false)));
        let text = match rendered {
            Some(text) => text.context("the base's chat template does not take the rows")?,
            None => turns.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n"),
        };
        bytes += text.len();
        texts.push(text);
        if bytes > COUNTED.1 {
            break;
        }
    }
    let lengths: Vec<usize> = texts
        .par_iter()
        .map(|text| tokenizer.encode(text).map(|ids| ids.len()))
        .collect::<tunesmith_lm::error::Result<_>>()?;
    let mut digest = Digest::default();
    lengths.iter().for_each(|length| digest.add(*length as f64));
    let max_length = max_length.unwrap_or(longest);
    let at = |share: f64| digest.quantiles(&[share]).first().map_or(0, |length| length.round() as usize);
    let histogram_to = at(SHOWN).div_ceil(BARS).max(1) * BARS;
    Ok(Tokens {
        of: lengths.len(),
        template: template.is_some(),
        lengths: [0.0, 0.5, 0.95, 1.0].map(at),
        histogram: digest.histogram(0.0, histogram_to as f64, BARS).into_iter().map(|rows| rows as usize).collect(),
        histogram_to,
        max_length,
        longer: lengths.iter().filter(|length| **length > max_length).count(),
    })
}

fn open(base: &Path) -> anyhow::Result<(Tokenizer, Option<ChatTemplate>, usize)> {
    if base.is_file() {
        let model = gguf::read(base)?;
        return Ok((model.tokenizer, model.chat, model.config.max_position_embeddings));
    }
    let longest = Config::from_dir(base)?.max_position_embeddings;
    Ok((Tokenizer::from_dir(base)?, ChatTemplate::from_dir(base)?, longest))
}

/// Who says what in a row, as its format maps it; without one, all its texts as one.
fn turns(row: &Row, fit: Option<&Fit>) -> Vec<(String, String)> {
    let part = |name: &str| fit.and_then(|fit| fit.mapping.get(name));
    let of = |name: &str| part(name).and_then(|column| cell(row, column)).unwrap_or_default().into_owned();
    let pair = |prompt: String, answer: String| vec![("user".to_owned(), prompt), ("assistant".to_owned(), answer)];
    match fit.map(|fit| fit.kind) {
        Some(Shape::Messages | Shape::Sharegpt) => {
            part("messages").and_then(|column| row.get(column)).map(chat_turns).unwrap_or_default()
        }
        Some(Shape::Preference) => {
            let chosen = part("chosen").and_then(|column| row.get(column));
            match chosen {
                Some(list @ Value::Array(_)) => chat_turns(list),
                _ => pair(of("prompt"), of("chosen")),
            }
        }
        Some(Shape::Alpaca) => pair(Instruction::new(None, &of("instruction"), &of("input")).text, of("output")),
        Some(Shape::Classification) => pair(of("input"), of("label")),
        Some(Shape::PromptCompletion) => pair(of("prompt"), of("completion")),
        Some(Shape::Text) => vec![("user".to_owned(), of("text"))],
        None => row.values().map(|value| ("user".to_owned(), said(value).into_owned())).collect(),
    }
}

/// The turns of a chat of either format.
fn chat_turns(cell: &Value) -> Vec<(String, String)> {
    let turn = |turn: &Value| {
        let named = turn.get("role").or_else(|| turn.get("from")).and_then(Value::as_str)?;
        let role = role(named).unwrap_or(named);
        let text = turn.get("content").or_else(|| turn.get("value")).map(said).unwrap_or_default();
        Some((role.to_owned(), text.into_owned()))
    };
    cell.as_array().into_iter().flatten().filter_map(turn).collect()
}

fn chat(turns: &[(String, String)]) -> Conversation {
    let message = |(role, content): &(String, String)| {
        let fields = [("role", json!(role)), ("content", json!(content))];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<String, Value>>()
    };
    Conversation::new(turns.iter().map(message).collect())
}
