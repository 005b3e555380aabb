//! Programs of the user's as tools: what they say of themselves, what they are given, and how they fail.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::{
    external::{External, Program},
    tool::ToolError,
};

use crate::support::Place;

/// A script beside the workdir, and the place to call it from.
struct Tool {
    place: Place,
    beside: tempfile::TempDir,
}

impl Tool {
    fn new() -> Self {
        Tool { place: Place::new(), beside: tempfile::tempdir().unwrap() }
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.beside.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(self.beside.path(), fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    async fn open(&self, command: Vec<String>) -> Result<External, ToolError> {
        let program = Program {
            name: "words".into(),
            command,
            net: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
            env: [("GREETING".to_owned(), "hello".to_owned())].into(),
            timeout: Duration::from_secs(20),
            output: 2000,
        };
        External::open(&self.place.jobs, &self.place.dir, program, &Cancel::default()).await
    }

    /// Opens a shell's tool whose call does this, and calls it.
    async fn calls(&mut self, body: &str, args: Value) -> Result<Value, ToolError> {
        let schema = r#"{"name": "words", "description": "Counts words.", "parameters":
            {"properties": {"text": {"type": "string"}}, "required": ["text"], "additionalProperties": false}}"#;
        let script =
            format!("#!/bin/sh\nif [ \"$1\" = --schema ]; then cat <<'END'\n{schema}\nEND\nexit\nfi\n{body}\n");
        let path = self.script("words.sh", &script);
        let tool = self.open(vec![path.to_str().unwrap().into()]).await?;
        self.place.registry.tools = vec![Box::new(tool)];
        self.place.call("words", args).await
    }
}

#[tokio::test]
async fn a_shell_script_is_a_tool_with_arguments_progress_and_files() {
    let mut tool = Tool::new();
    let body = r#"
        echo "noise" >&2
        echo '{"progress": {"done": 1, "total": 2, "note": "half"}}' >&2
        cat > got.json
        printf '{"said": "%s", "argument": ' "$GREETING"; cat got.json; echo '}'"#;
    let output = tool.calls(body, json!({"text": "a b"})).await.unwrap();
    assert_eq!(output, json!({"said": "hello", "argument": {"text": "a b"}}));
    assert_eq!(fs::read_to_string(tool.place.path("got.json")).unwrap(), r#"{"text":"a b"}"#);
    let progress = tool.place.progress.lock().unwrap();
    let half = &progress[0];
    assert_eq!((half.what.as_str(), half.done, half.total, half.note.as_deref()), ("words", 1, 2, Some("half")));
    let job = progress[1].job.as_ref().unwrap();
    assert_eq!((&job.record.ended, &job.degraded), (&json!({"exit": 0}), &None));
}

#[tokio::test]
async fn a_python_script_is_a_tool() {
    if !PathBuf::from("/usr/bin/python3").is_file() {
        return println!("SKIPPED: there is no python3");
    }
    let mut tool = Tool::new();
    let script = "import json, sys\n\
        if sys.argv[1:] == ['--schema']:\n    \
        print(json.dumps({'name': 'words', 'parameters': {'properties': {'text': {'type': 'string'}}}}))\n\
        else:\n    print(json.dumps(len(json.load(sys.stdin)['text'].split())))\n";
    let path = tool.script("words.py", script);
    let opened = tool.open(vec!["python3".into(), path.to_str().unwrap().into()]).await.unwrap();
    tool.place.registry.tools = vec![Box::new(opened)];
    assert_eq!(tool.place.ok("words", json!({"text": "one two three"})).await, 3);
}

#[tokio::test]
async fn wrong_arguments_never_start_the_program() {
    let mut tool = Tool::new();
    let wrong = tool.calls("touch started; echo 1", json!({"txt": 1})).await.unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "invalid arguments: /txt: there is no such argument; leave it out; /text: is required"
    );
    assert!(!tool.place.path("started").exists());
}

#[tokio::test]
async fn every_way_in_which_a_call_fails_says_why() {
    let mut tool = Tool::new();
    let text = json!({"text": "a"});
    for (body, why) in [
        ("echo 'no such word' >&2; exit 3", "exit code 3; its last words: no such word"),
        ("kill -9 $$", "signal 9"),
        ("echo 1; echo 2", "words returned no single JSON value: trailing characters at line 2 column 1"),
        ("true", "words returned no single JSON value: EOF while parsing a value at line 1 column 0"),
        ("yes", "stopped by a limit: it printed more than 2000 bytes; ask for less at a time"),
        ("yes | tr -d '\\n'", "stopped by a limit: it printed more than 2000 bytes; ask for less at a time"),
        ("yes >&2", "stopped by a limit: Output"),
    ] {
        assert_eq!(tool.calls(body, text.clone()).await.unwrap_err().to_string(), why, "{body}");
    }
    let limit = tool.calls("cat /etc/shadow", text.clone()).await.unwrap_err().to_string();
    assert!(limit.starts_with("exit code 1; its last words: cat: "), "{limit}");
    tool.place.cancel.cancel();
    assert!(matches!(tool.calls("sleep 60", text).await, Err(ToolError::Cancelled)));
}

#[tokio::test]
async fn a_call_ends_with_the_time_that_is_left() {
    let mut tool = Tool::new();
    tool.place.deadline = Some(std::time::Instant::now() + Duration::from_secs(2));
    let late = tool.calls("sleep 60", json!({"text": "a"})).await.unwrap_err().to_string();
    assert!(late.starts_with("stopped by a limit: time ran out after "), "{late}");
}

#[tokio::test]
async fn a_program_that_does_not_say_what_it_is_is_refused() {
    let tool = Tool::new();
    for (said, why) in [
        ("exit 1", "words --schema: exit code 1"),
        ("echo hi", "words --schema: no schema: expected value at line 1 column 1"),
        ("echo '{}'", "words --schema: no schema: missing field `name` at line 1 column 2"),
        (
            r#"echo '{"name": "shell", "parameters": {}}'"#,
            "words --schema: it calls itself \"shell\"; use one name in both places",
        ),
        (r#"echo '{"name": "words", "parameters": []}'"#, "words --schema: its parameters are no JSON Schema"),
        ("yes", "words --schema: stopped by a limit: it printed more than 65536 bytes; ask for less at a time"),
    ] {
        let path = tool.script("words.sh", &format!("#!/bin/sh\n{said}\n"));
        let error = tool.open(vec![path.to_str().unwrap().into()]).await.err().unwrap();
        assert_eq!(error.to_string(), why, "{said}");
    }
    let missing = tool.open(vec!["/no/such/program".into()]).await.err().unwrap();
    assert_eq!(
        missing.to_string(),
        "words --schema: it cannot be started: cannot run `/no/such/program`: there is no such file"
    );
}

/// The block of a language in the page on extending that holds these words.
fn example(language: &str, words: &str) -> String {
    let page = include_str!("../../../docs/extending.md");
    let fence = format!("```{language}\n");
    let mut blocks = page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.find(|block| block.contains(words)).unwrap().to_owned()
}

#[tokio::test]
async fn the_tool_in_rust_of_the_page_on_extending_is_one() {
    let source = include_str!("count_lines.rs");
    assert_eq!(example("rust", "CountLines"), source);
    assert!(source.lines().count() < 30);
    let mut place = Place::new();
    place.registry.tools = vec![tunesmith_tools::registry::typed(crate::count_lines::CountLines)];
    place.write("notes.txt", "one\ntwo\n");
    assert_eq!(place.ok("count_lines", json!({"file": "notes.txt"})).await, json!({"lines": 2}));
    assert_eq!(place.refused("count_lines", json!({"file": "/etc/passwd"})).await, ["/file"]);
    assert_eq!(place.registry.listing()[0]["description"], "Counts the lines of a text file in the workdir.");
}
