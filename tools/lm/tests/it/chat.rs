//! Rendered chats, spans of what the assistant says, and their tokens, against transformers.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use tunesmith_lm::{
    chat::{ChatTemplate, Conversation, Today},
    error::Result,
    rows::{Encoder, Train},
    tokens::Tokenizer,
};

use crate::golden;

/// The day on which golden chats were rendered.
const TODAY: Today = Today { year: 2024, month: 7, day: 6 };

/// A conversation of the golden files.
pub fn conversation(case: &Value) -> Conversation {
    let messages = case["messages"].as_array().unwrap();
    Conversation {
        messages: messages.iter().map(|m| m.as_object().unwrap().clone()).collect(),
        tools: case.get("tools").cloned(),
        kwargs: case.get("kwargs").map_or_else(Map::new, |k| k.as_object().unwrap().clone()),
    }
}

/// A template with the special tokens of the tokenizer `llama/tied`.
pub fn template(source: &str) -> Result<ChatTemplate> {
    ChatTemplate::new(source, "<|endoftext|>", "<|end|>")?.on(TODAY)
}

/// How our rendering of a case differs from that of transformers.
pub fn difference(source: &str, conversations: &Value, case: &Value) -> Option<String> {
    let number = case["conversation"].as_u64().unwrap() as usize;
    let conversation = conversation(&conversations[number]);
    let prompt = case["prompt"].as_bool().unwrap();
    let template = template(source);
    let text = template
        .as_ref()
        .map_err(ToString::to_string)
        .and_then(|template| template.text(&conversation, prompt).map_err(|e| e.to_string()));
    let line = match (text, case["text"].as_str()) {
        (Err(_), None) => return None,
        (Err(error), Some(_)) => error,
        (Ok(text), None) => format!("should fail with {}, gave {text:?}", case["error"]),
        (Ok(text), Some(expected)) if text != expected => {
            let at = text.bytes().zip(expected.bytes()).take_while(|(a, b)| a == b).count();
            let near = |text: &str| text.as_bytes()[at.saturating_sub(30)..text.len().min(at + 50)].to_vec();
            format!("{:?} is not {:?}", String::from_utf8_lossy(&near(&text)), String::from_utf8_lossy(&near(expected)))
        }
        (Ok(text), Some(_)) => {
            let expected = case.get("spans")?;
            let spans = template.unwrap().text_with_spans(&conversation);
            match spans {
                Ok((again, spans)) if again == text => {
                    let spans: Vec<[usize; 2]> = spans.into_iter().map(|s| [s.start, s.end]).collect();
                    if serde_json::to_value(&spans).unwrap() == *expected {
                        return None;
                    }
                    format!("spans {spans:?} are not {expected}")
                }
                other => format!("with spans: {other:?}"),
            }
        }
    };
    Some(format!("conversation {number}, prompt {prompt}: {line}"))
}

fn read(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden(name)).unwrap()).unwrap()
}

#[test]
fn our_templates_render_with_text_spans_and_tokens_as_in_transformers() {
    let (conversations, expected) = (read("chat/conversations.json"), read("chat/expected.json"));
    let tokenizer = Tokenizer::from_dir(&golden("llama/tied")).unwrap();
    let (mut names, mut refusals, mut masks, mut differences) = (BTreeSet::new(), 0, 0, Vec::new());
    for case in expected["cases"].as_array().unwrap() {
        let name = case["template"].as_str().unwrap();
        let source = std::fs::read_to_string(golden(&format!("chat/templates/{name}.jinja"))).unwrap();
        names.insert(name);
        refusals += usize::from(case.get("error").is_some());
        if let Some(line) = difference(&source, &conversations, case) {
            differences.push(format!("{name}: {line}"));
            continue;
        }
        let Some(ids) = case.get("ids") else { continue };
        let (tokens, _) = tokenizer.encode_with_offsets(case["text"].as_str().unwrap(), false).unwrap();
        assert_eq!(serde_json::to_value(&tokens).unwrap(), *ids, "{name}");
        let Some(mask) = case.get("mask") else { continue };
        let template = template(&source).unwrap();
        let encoder = Encoder {
            tokenizer: &tokenizer,
            template: Some(&template),
            train: Some(Train::Assistant),
            max_length: None,
        };
        let conversation = &conversations[case["conversation"].as_u64().unwrap() as usize];
        let mut row = conversation.clone();
        row["chat_template_kwargs"] = conversation.get("kwargs").cloned().unwrap_or(Value::Null);
        // A conversation in which nothing is masked is no row, and neither is one that never stops.
        let sequences = match encoder.sequences(&[row]) {
            Ok((sequences, _)) => sequences,
            Err(error) if mask.as_array().unwrap().is_empty() => {
                assert!(error.to_string().contains("says nothing"), "{error}");
                continue;
            }
            Err(error) => {
                assert!(error.to_string().contains("would never stop"), "{name}: {error}");
                continue;
            }
        };
        assert_eq!(sequences[0].tokens, tokens, "{name}");
        // The mask is told by the tokens at which it turns; where it reaches the end, the last turn is not there.
        let turns = sequences[0].trained.iter().flat_map(|range| [range.start, range.end]);
        let turns: Vec<usize> = turns.filter(|turn| *turn < tokens.len()).collect();
        assert_eq!(serde_json::to_value(turns).unwrap(), *mask, "{name}");
        masks += 1;
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!((names.len(), refusals, masks), (24, 20, 44));
}
