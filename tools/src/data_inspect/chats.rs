//! Chats in a column: lists of messages with roles, or of turns with `from` and `value`.

use serde_json::Value;
use tunesmith_lm::rows::role;

use super::output::Shape;

/// Who speaks, whatever the format calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker {
    System,
    User,
    Assistant,
    Tool,
}

/// The names of fields with the speaker and with what is said.
const FIELDS: [(Shape, &str, &str); 2] = [(Shape::Messages, "role", "content"), (Shape::Sharegpt, "from", "value")];

/// The format of a cell that is a chat, or looks like one.
pub(super) fn shape(cell: &Value) -> Option<Shape> {
    let turns = cell.as_array()?;
    let is = |speaker: &str| {
        let named = |turn: &Value| turn.get(speaker).is_some_and(Value::is_string);
        !turns.is_empty() && turns.iter().filter(|turn| named(turn)).count() * 2 > turns.len()
    };
    FIELDS.iter().find(|(_, speaker, _)| is(speaker)).map(|(shape, ..)| *shape)
}

/// What is wrong with a chat, the worst first; `None` if nothing is.
pub(super) fn wrong(cell: &Value, shape: Shape) -> Option<&'static str> {
    let (speaker, text) = FIELDS
        .iter()
        .find(|(kind, ..)| *kind == shape)
        .map_or(("role", "content"), |(_, speaker, text)| (*speaker, *text));
    let Some(turns) = cell.as_array().filter(|turns| !turns.is_empty()) else {
        return Some("the chat is empty or no list of turns");
    };
    let mut speakers = Vec::with_capacity(turns.len());
    let mut empty = false;
    for turn in turns {
        let Some(name) = turn.get(speaker).and_then(Value::as_str) else {
            return Some("a turn does not say who speaks");
        };
        let Some(who) = who(name) else { return Some("a role that chat templates do not know") };
        let calls = turn.get("tool_calls").is_some_and(|calls| !calls.is_null());
        empty |= !calls && turn.get(text).is_none_or(|said| super::text::said(said).trim().is_empty());
        speakers.push(who);
    }
    let talk: Vec<Speaker> =
        speakers.iter().copied().filter(|who| matches!(who, Speaker::User | Speaker::Assistant)).collect();
    let tools = speakers.contains(&Speaker::Tool);
    match () {
        () if !talk.contains(&Speaker::Assistant) => Some("no assistant's turn, so that there is nothing to learn"),
        () if empty => Some("an empty turn"),
        () if speakers.iter().skip(1).any(|who| *who == Speaker::System) => Some("a system turn that is not the first"),
        () if talk.first() != Some(&Speaker::User) => Some("the assistant speaks first"),
        // With tools the assistant speaks again after each answer.
        () if !tools && talk.windows(2).any(|two| two[0] == two[1]) => Some("roles do not alternate"),
        () if speakers.last() != Some(&Speaker::Assistant) => Some("the last turn is not the assistant's"),
        () => None,
    }
}

fn who(name: &str) -> Option<Speaker> {
    Some(match role(name) {
        Some("system") => Speaker::System,
        None if name.eq_ignore_ascii_case("developer") => Speaker::System,
        Some("user") => Speaker::User,
        Some("assistant") => Speaker::Assistant,
        Some(_) => Speaker::Tool,
        None => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_chat_is_known_by_the_names_of_its_fields() {
        let table = [
            (json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]), Some(Shape::Messages)),
            (json!([{"from": "human", "value": "a"}]), Some(Shape::Sharegpt)),
            (json!([{"role": "user"}, {"from": "gpt"}, {"x": 1}]), None),
            (json!([]), None),
            (json!([1, 2]), None),
            (json!({"role": "user", "content": "a"}), None),
        ];
        for (cell, want) in table {
            assert_eq!(shape(&cell), want, "{cell}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_chat_is_said() {
        let chat = |turns: &[(&str, &str)]| -> Value {
            turns.iter().map(|(role, content)| json!({"role": role, "content": content})).collect()
        };
        let table = [
            (chat(&[("system", "s"), ("user", "a"), ("assistant", "b")]), None),
            (chat(&[("user", "a"), ("assistant", "b"), ("tool", "c"), ("assistant", "d")]), None),
            (chat(&[]), Some("the chat is empty or no list of turns")),
            (json!("text"), Some("the chat is empty or no list of turns")),
            (json!([{"content": "a"}]), Some("a turn does not say who speaks")),
            (chat(&[("user", "a"), ("wizard", "b")]), Some("a role that chat templates do not know")),
            (chat(&[("user", "a")]), Some("no assistant's turn, so that there is nothing to learn")),
            (chat(&[("user", "a"), ("assistant", " ")]), Some("an empty turn")),
            (chat(&[("user", "a"), ("system", "s"), ("assistant", "b")]), Some("a system turn that is not the first")),
            (chat(&[("assistant", "b"), ("user", "a"), ("assistant", "b")]), Some("the assistant speaks first")),
            (chat(&[("user", "a"), ("user", "a"), ("assistant", "b")]), Some("roles do not alternate")),
            (chat(&[("user", "a"), ("assistant", "b"), ("user", "a")]), Some("the last turn is not the assistant's")),
        ];
        for (cell, want) in table {
            assert_eq!(wrong(&cell, Shape::Messages), want, "{cell}");
        }
        let shared = json!([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]);
        assert_eq!(wrong(&shared, Shape::Sharegpt), None);
        let calls =
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": null, "tool_calls": [{}]}]);
        assert_eq!(wrong(&calls, Shape::Messages), None);
    }
}
