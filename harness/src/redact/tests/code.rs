//! Code in which words such as token, key and password stand everywhere, and secrets nowhere.

use std::path::{Path, PathBuf};

use super::*;

const SNIPPETS: [(&str, &str); 8] = [
    ("train.py", include_str!("code/train.py")),
    ("chat.jinja", include_str!("code/chat.jinja")),
    ("tokenizer_config.json", include_str!("code/tokenizer_config.json")),
    ("ci.yaml", include_str!("code/ci.yaml")),
    ("setup.sh", include_str!("code/setup.sh")),
    ("client.ts", include_str!("code/client.ts")),
    ("keys.rs.txt", include_str!("code/keys.rs.txt")),
    ("prose.md", include_str!("code/prose.md")),
];

/// Files of this repository that hold secrets made up for tests.
const FIXTURES: [&str; 11] = [
    "agent/src/config/tests.rs",
    "agent/tests/it/cli_secrets.rs",
    "agent/tests/it/cli_session.rs",
    "agent/tests/it/mcp_served.rs",
    "agent/tests/it/scored.rs",
    "agent/tests/it/spec.rs",
    "harness/src/redact/tests.rs",
    "tools/src/data_make/check.rs",
    "tools/src/hub/publish/secrets.rs",
    "tools/tests/fake_hub/mod.rs",
    "tools/tests/it/hub_publish.rs",
];

/// The lines in which something was found.
fn hits(name: &str, text: &str) -> Vec<String> {
    let redactor = Redactor::new();
    let lines = text.lines().enumerate();
    let changed = lines.filter_map(|(at, line)| match redactor.text(line) {
        Cow::Borrowed(_) => None,
        Cow::Owned(shown) => Some(format!("{name}:{}: {shown}", at + 1)),
    });
    let whole = match redactor.text(text) {
        Cow::Borrowed(_) => None,
        Cow::Owned(_) => Some(format!("{name}: as a whole")),
    };
    changed.chain(whole).collect()
}

#[test]
fn code_full_of_words_for_secrets_is_left_as_it_is() {
    let found: Vec<String> = SNIPPETS.iter().flat_map(|(name, text)| hits(name, text)).collect();
    assert_eq!(found, Vec::<String>::new());
    // As a planner sees it: a string in JSON, and JSON in JSON.
    for (name, text) in SNIPPETS {
        let once = serde_json::Value::from(text).to_string();
        let twice = serde_json::Value::from(once.as_str()).to_string();
        assert_eq!([hits(name, &once), hits(name, &twice)], [Vec::<String>::new(), Vec::new()]);
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            // Neither what was built nor what a checkout keeps for itself.
            if !name.starts_with('.') && name != "target" && name != "shared" {
                sources(&path, found);
            }
        } else if ["rs", "toml", "md", "py", "json", "lock", "yml"]
            .iter()
            .any(|kind| path.extension().is_some_and(|e| e == *kind))
        {
            found.push(path);
        }
    }
}

#[test]
fn the_sources_of_this_repository_hold_no_secret_but_those_of_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    sources(root, &mut files);
    assert!(files.len() > 400, "{}", files.len());
    let name = |path: &PathBuf| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    let found: Vec<String> = files
        .iter()
        .filter(|path| !FIXTURES.contains(&name(path).as_str()))
        .flat_map(|path| hits(&name(path), &std::fs::read_to_string(path).unwrap()))
        .collect();
    assert_eq!(found, Vec::<String>::new());
}
