//! Rendered chats, spans of what the assistant says, and their tokens, against transformers.

use serde_json::{Map, Value};
use tunesmith_lm::chat::{ChatTemplate, Conversation, Today};

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

/// How our rendering of a case differs from that of transformers.
pub fn difference(source: &str, conversations: &Value, case: &Value) -> Option<String> {
    let number = case["conversation"].as_u64().unwrap() as usize;
    let conversation = conversation(&conversations[number]);
    let prompt = case["prompt"].as_bool().unwrap();
    let template = ChatTemplate::new(source, "<s>", "</s>").and_then(|t| t.on(TODAY));
    let text = template.as_ref().map_err(ToString::to_string).and_then(|template| {
        template.text(&conversation, prompt).map_err(|e| e.to_string())
    });
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
