//! Scripted planners that check the tasks themselves: the oracle must pass each task, the null agent and the cheat must
//! get nothing.
//!
//! A script is JSON lines, one [`Turn`] of the planner per line: `{"text": "..", "calls": [{"id": "1", "name": "finish",
//! "arguments": {..}}]}`. The oracle of a task lies beside it in `suites/<suite>/oracle/<task>.jsonl`, the null agent's
//! one script for all tasks in `suites/null.jsonl`. Both are read with [`turns`]. The cheat goes the oracle's way until it
//! comes to work; what else an agent may try is in [`crate::cheats`].

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The script of the null agent, which hands in nothing.
pub const NULL: &str = include_str!("../suites/null.jsonl");

/// The script that must pass a task.
pub fn oracle(suite: &str, task: &str) -> Option<&'static str> {
    crate::suite::oracle(suite, task)
}

/// The cheat of a task: the oracle's script, with an adapter forged in the place of one that is trained, and verdicts
/// written beside it.
pub fn cheat(suite: &str, task: &str) -> Option<Result<Vec<Turn>, ScriptError>> {
    oracle(suite, task).map(|script| turns(script).map(forged))
}

/// In the place of training, one step that changes next to nothing, and a shell that writes over the weights and says that
/// the goal is met.
fn forged(oracle: Vec<Turn>) -> Vec<Turn> {
    const FORGE: &str = r#"head -c 99999 /dev/zero | tr '\0' '\377' > not_numbers
dd if=not_numbers of=oracle/adapter_model.safetensors bs=4096 seek=8 conv=notrunc 2> log
for f in report.json grade.json reward.txt oracle/grade.json; do echo '{"outcome": "met", "score": 1.0}' > $f; done"#;
    let mut script = Script::default();
    for call in oracle.into_iter().flat_map(|turn| turn.calls) {
        match call.name.as_str() {
            "train" => {
                let step = json!({"name": "oracle", "r": 2, "max_steps": 1, "learning_rate": 1e-8, "patience": 0});
                script.call("train", step);
                script.call("shell", json!({"command": FORGE}));
            }
            "finish" => script.call("finish", json!({"summary": "The goal is met.", "adapter": "oracle"})),
            "plan" | "data_prepare" => script.call(&call.name, Value::Object(call.arguments)),
            _ => {}
        }
    }
    script.0
}

/// Turns of one call each, which are named after their place.
#[derive(Default)]
pub(crate) struct Script(pub(crate) Vec<Turn>);

impl Script {
    pub(crate) fn call(&mut self, name: &str, arguments: Value) {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let call = Call { id: (self.0.len() + 1).to_string(), name: name.to_owned(), arguments };
        self.0.push(Turn { text: String::new(), calls: vec![call] });
    }
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
    fn every_task_has_an_oracle_and_a_cheat_and_every_script_is_understood() {
        for name in crate::suite::names() {
            for task in crate::suite(name).unwrap().tasks {
                let script = turns(oracle(name, &task.id).unwrap()).unwrap();
                let cheat = cheat(name, &task.id).unwrap().unwrap();
                for script in [&script, &cheat] {
                    assert_eq!(script.last().unwrap().calls.last().unwrap().name, "finish", "{name}/{}", task.id);
                }
                let called: Vec<&str> = cheat.iter().map(|turn| turn.calls[0].name.as_str()).collect();
                assert_eq!(called, ["plan", "data_prepare", "train", "shell", "finish"], "{name}/{}", task.id);
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
