//! Which bytes of a rendered chat are trained.

use std::ops::Range;

use serde_json::Value;

use super::{Encoded, Encoder, Notes, tokens_of};
use crate::{
    chat::{ChatTemplate, Conversation},
    error::{Error, Result},
};

/// A chat of which what the assistant says is trained.
pub(super) fn assistant(encoder: &Encoder<'_>, chat: &Conversation) -> Result<Encoded> {
    let template = encoder.template()?;
    let encoded = match template.has_generation_tags() {
        true => by_tags(encoder, template, chat)?,
        false => by_prefixes(encoder, template, chat)?,
    };
    if encoded.trained.iter().all(Range::is_empty) {
        return Err(Error::Data("the assistant says nothing in it; leave the row out or train full".into()));
    }
    Ok(encoded)
}

fn by_tags(encoder: &Encoder<'_>, template: &ChatTemplate, chat: &Conversation) -> Result<Encoded> {
    let (text, spans) = template.text_with_spans(chat)?;
    let (tokens, offsets) = encoder.tokenizer.encode_with_offsets(&text, false)?;
    let trained = spans.iter().map(|span| tokens_of(&offsets, span)).collect();
    let notes = Notes { history_changes: history_changes(template, chat, &text), ..Notes::default() };
    Ok(Encoded { tokens, trained, notes })
}

/// Without tags, what an assistant's turn adds to the chat before it is what the assistant says. That holds where the
/// template leaves earlier turns as they were; elsewhere it is an error.
fn by_prefixes(encoder: &Encoder<'_>, template: &ChatTemplate, chat: &Conversation) -> Result<Encoded> {
    let text = template.text(chat, false)?;
    let (tokens, offsets) = encoder.tokenizer.encode_with_offsets(&text, false)?;
    let mut trained = Vec::new();
    for turn in turns(chat) {
        let before = if turn == 0 { String::new() } else { template.text(&chat.first(turn), true)? };
        let after = template.text(&chat.first(turn + 1), false)?;
        if turn == 0 || !after.starts_with(&before) || !text.starts_with(&after) {
            return Err(Error::Template(format!(
                "it has no generation tags, and what message {} says cannot be found without them, because the template \
                 renders the messages before it in another way alone; add the tags or train full",
                turn + 1
            )));
        }
        let range = tokens_of(&offsets, &(before.len()..after.len()));
        trained.push(with_stop(encoder, &tokens, range)?);
    }
    Ok(Encoded { tokens, trained, notes: Notes::default() })
}

/// Ends a turn after the token that ends it: blanks after that one are not trained, and where the template writes it
/// with the next turn it is.
fn with_stop(encoder: &Encoder<'_>, tokens: &[u32], range: Range<usize>) -> Result<Range<usize>> {
    let stop = |at: usize| tokens.get(at).is_some_and(|token| encoder.tokenizer.stops.contains(token));
    let mut end = range.end;
    while end > range.start && !stop(end - 1) && encoder.blank(tokens[end - 1])? {
        end -= 1;
    }
    if end > range.start && stop(end - 1) {
        return Ok(range.start..end);
    }
    let mut next = range.end;
    while next < tokens.len() && !stop(next) && encoder.blank(tokens[next])? {
        next += 1;
    }
    Ok(if stop(next) { range.start..next + 1 } else { range })
}

/// Whether the template renders what comes before and with an assistant's turn in another way once there is more: then
/// the model is trained on other text than it is given when it is used.
pub(super) fn history_changes(template: &ChatTemplate, chat: &Conversation, text: &str) -> bool {
    let mut turns = turns(chat).peekable();
    while let Some(turn) = turns.next() {
        let later = turns.peek().is_some() || turn + 1 < chat.messages.len();
        let parts = [(turn, true, turn > 0), (turn + 1, false, later)];
        // A template that refuses a part says nothing about it.
        let changed = parts.into_iter().filter(|part| part.2).any(|(turns, prompt, _)| {
            template.text(&chat.first(turns), prompt).is_ok_and(|part| !text.starts_with(&part))
        });
        if changed {
            return true;
        }
    }
    false
}

/// Where the completion begins in `text`, and whether the prompt alone is rendered in another way.
pub(super) fn after_prompt(template: &ChatTemplate, prompt: &Conversation, text: &str) -> Result<(usize, bool)> {
    let prompt = template.text(prompt, true)?;
    let same = prompt.char_indices().zip(text.chars()).take_while(|((_, a), b)| a == b).last();
    let start = same.map_or(0, |((at, c), _)| at + c.len_utf8());
    Ok((start, start < prompt.len()))
}

/// Indices of the messages that the assistant says.
fn turns(chat: &Conversation) -> impl Iterator<Item = usize> + '_ {
    let role = |index: &usize| chat.messages[*index].get("role").and_then(Value::as_str) == Some("assistant");
    (0..chat.messages.len()).filter(role)
}
