//! Scripted planners that check the tasks themselves: the oracle must pass each task, the null agent must fail it.
//!
//! A script is JSON lines, one [`Turn`] of the planner per line: `{"text": "..", "calls": [{"id": "1", "name": "finish",
//! "arguments": {..}}]}`. The oracle of a task lies beside it in `suites/<suite>/oracle/<task>.jsonl`, the null agent's
//! one script for all tasks in `suites/null.jsonl`. Both are read with [`turns`].

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The script of the null agent, which hands in nothing.
pub const NULL: &str = include_str!("../suites/null.jsonl");

/// The script that must pass a task.
pub fn oracle(suite: &str, task: &str) -> Option<&'static str> {
    crate::suite::oracle(suite, task)
}

/// One turn of a planner: what it says and what it calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// What it says.
    #[serde(default)]
    pub text: String,
    /// What it calls, in order.
    #[serde(default)]
    pub calls: Vec<Call>,
}

/// One call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Name of the call, unique in its script.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
}

/// Why a script is not understood.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the script is not a turn: {error}; each line must be one object with text and calls")]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// What the parser says.
    #[source]
    pub error: serde_json::Error,
}

/// The turns of a script; blank lines do not count.
pub fn turns(script: &str) -> Result<Vec<Turn>, ScriptError> {
    let lines = script.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(n, line)| serde_json::from_str(line).map_err(|error| ScriptError { line: n + 1, error })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_has_an_oracle_and_every_script_is_understood() {
        for name in crate::suite::names() {
            for task in crate::suite(name).unwrap().tasks {
                let script = turns(oracle(name, &task.id).unwrap()).unwrap();
                assert_eq!(script.last().unwrap().calls.last().unwrap().name, "finish", "{name}/{}", task.id);
            }
        }
        assert_eq!(turns(NULL).unwrap().len(), 1);
    }

    #[test]
    fn a_script_is_one_turn_per_line() {
        let script = "{\"text\": \"a\"}\n\n{\"calls\": [{\"id\": \"1\", \"name\": \"finish\", \"arguments\": {\"summary\": \"b\"}}]}\n";
        let arguments = Map::from_iter([("summary".to_owned(), Value::from("b"))]);
        let call = Call { id: "1".into(), name: "finish".into(), arguments };
        let want = vec![Turn { text: "a".into(), calls: vec![] }, Turn { text: String::new(), calls: vec![call] }];
        assert_eq!(turns(script).unwrap(), want);
    }

    #[test]
    fn a_broken_line_is_named() {
        let message = turns("{}\n{\"txt\": \"a\"}\n").unwrap_err().to_string();
        assert!(message.starts_with("line 2 of the script is not a turn: unknown field `txt`"), "{message}");
    }
}
