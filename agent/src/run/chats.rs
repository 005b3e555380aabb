//! Chats of one question and one answer, read as two columns.

use serde_json::{Map, Value, json};
use tunesmith_harness::recipe::Row;

/// The columns that chats become.
pub(super) const COLUMNS: [&str; 2] = ["prompt", "completion"];
/// Columns that hold chats, and their functions.
pub(super) const CHATS: [&str; 3] = ["messages", "conversations", "tools"];

/// Turns rows that are chats into rows of a prompt and a completion. `false`, and nothing changes, unless all of them are one
/// question and one answer, after the same words to begin with and with the same functions to call.
///
/// A call is written as a JSON object with its name and its arguments.
pub(super) fn unfold(rows: &mut [Row]) -> bool {
    let Some(pairs) = rows.iter().map(pair).collect::<Option<Vec<_>>>() else { return false };
    let same = |of: fn(&Pair) -> &Value| pairs.windows(2).all(|two| of(&two[0]) == of(&two[1]));
    if pairs.is_empty() || !same(|pair| &pair.told) || !same(|pair| &pair.functions) {
        return false;
    }
    for (row, pair) in rows.iter_mut().zip(pairs) {
        let mut new = Map::new();
        new.insert(COLUMNS[0].to_owned(), pair.prompt);
        new.insert(COLUMNS[1].to_owned(), pair.completion);
        let others = std::mem::take(row).into_iter().filter(|(name, _)| !CHATS.contains(&name.as_str()));
        new.extend(others.filter(|(name, _)| !COLUMNS.contains(&name.as_str())));
        *row = new;
    }
    true
}

/// One question and its answer.
struct Pair {
    told: Value,
    functions: Value,
    prompt: Value,
    completion: Value,
}

fn pair(row: &Row) -> Option<Pair> {
    let turns = row.get("messages").or_else(|| row.get("conversations"))?.as_array()?;
    let field = |turn: &Value, names: [&str; 2]| names.iter().find_map(|name| turn.get(*name).cloned());
    let role = |turn: &Value| field(turn, ["role", "from"]).and_then(|role| role.as_str().map(str::to_owned));
    let said = |turn: &Value| field(turn, ["content", "value"]).unwrap_or_default();
    let (first, rest) = turns.split_first()?;
    let (told, rest) = if role(first)? == "system" { (said(first), rest) } else { (Value::Null, turns.as_slice()) };
    let [question, answer] = rest else { return None };
    let fits =
        ["user", "human"].contains(&role(question)?.as_str()) && ["assistant", "gpt"].contains(&role(answer)?.as_str());
    let completion = match answer.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice) {
        Some([one]) => call(one)?,
        Some(calls) if !calls.is_empty() => Value::Array(calls.iter().map(call).collect::<Option<_>>()?),
        _ => said(answer),
    };
    let functions = row.get("tools").cloned().unwrap_or_default();
    fits.then(|| Pair { told, functions, prompt: said(question), completion })
}

fn call(call: &Value) -> Option<Value> {
    let function = call.get("function").unwrap_or(call);
    let arguments = match function.get("arguments")? {
        Value::String(text) => serde_json::from_str(text).ok()?,
        other => other.clone(),
    };
    Some(json!({ "name": function.get("name")?.as_str()?, "arguments": arguments }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rows(rows: Value) -> Vec<Row> {
        rows.as_array().unwrap().iter().map(|row| row.as_object().unwrap().clone()).collect()
    }

    #[test]
    fn a_question_and_its_answer_are_two_columns_and_a_call_is_an_object() {
        let call = json!([{"function": {"name": "light", "arguments": "{\"on\": true}"}}]);
        let mut chats = rows(json!([
            {"id": 1, "messages": [{"role": "system", "content": "You help."}, {"role": "user", "content": "Light!"},
                {"role": "assistant", "content": "", "tool_calls": call}], "tools": [1]},
            {"id": 2, "messages": [{"role": "system", "content": "You help."}, {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello"}], "tools": [1]},
        ]));
        assert!(unfold(&mut chats));
        let want = json!([
            {"prompt": "Light!", "completion": {"name": "light", "arguments": {"on": true}}, "id": 1},
            {"prompt": "Hi", "completion": "Hello", "id": 2},
        ]);
        assert_eq!(chats, rows(want));
        let mut shared =
            rows(json!([{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}]));
        assert!(unfold(&mut shared));
        assert_eq!(shared, rows(json!([{"prompt": "a", "completion": "b"}])));
    }

    #[test]
    fn other_chats_stay_as_they_are() {
        let turn = |role: &str, text: &str| json!({"role": role, "content": text});
        let (ask, say) = (turn("user", "a"), turn("assistant", "b"));
        for chats in [
            json!([]),
            json!([{"text": "a"}]),
            json!([{"messages": [ask, say, ask, say]}]),
            json!([{"messages": [say, ask]}]),
            json!([{"messages": [turn("system", "x"), ask, say]}, {"messages": [turn("system", "y"), ask, say]}]),
            json!([{"messages": [ask, say], "tools": [1]}, {"messages": [ask, say], "tools": [2]}]),
        ] {
            let mut read = rows(chats.clone());
            assert!(!unfold(&mut read), "{chats}");
            assert_eq!(read, rows(chats));
        }
    }
}
