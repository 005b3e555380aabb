//! `generate --schema`: what is answered fits, however small the model is and however few tokens it has.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::cli::{Said, tunesmith};

fn generate(dir: &Path, schema: &Value, more: &[&str]) -> Said {
    fs::write(dir.join("schema.json"), schema.to_string()).unwrap();
    let args = ["generate", "--model", "nano", "--schema", "schema.json", "--prompt", "Who asks?"];
    tunesmith(dir, &[&args[..], more].concat())
}

#[test]
fn answers_fit_the_schema_within_their_tokens_and_repeat_with_the_seed() {
    let dir = tempfile::tempdir().unwrap();
    let schema = json!({"type": "object", "required": ["name", "urgent", "team"], "properties": {
        "name": {"type": "string", "maxLength": 20}, "urgent": {"type": "boolean"},
        "team": {"enum": ["cards", "fees"]}, "tags": {"type": "array", "items": {"type": "string"}}}});
    for more in [&["--max-tokens", "64"][..], &["--prompt", "b", "--temperature", "1.5", "--max-tokens", "90"]] {
        let said = generate(dir.path(), &schema, &[more, &["--json"]].concat()).ok();
        let answers = said.json()["answers"].as_array().unwrap().clone();
        assert_eq!(answers.len(), more.iter().filter(|word| **word == "--prompt").count() + 1);
        for answer in answers {
            let value: Value = serde_json::from_str(answer["text"].as_str().unwrap()).unwrap();
            assert!(value["name"].as_str().unwrap().chars().count() <= 20 && value["urgent"].is_boolean(), "{value}");
            assert!(value["team"] == "cards" || value["team"] == "fees", "{value}");
            assert_eq!(answer["stopped"], true);
        }
        assert_eq!(generate(dir.path(), &schema, &[more, &["--json"]].concat()).out, said.out);
    }
    let chosen = generate(dir.path(), &json!({"enum": ["yes", "no"]}), &[]).ok();
    assert!(["\"yes\"\n", "\"no\"\n"].contains(&chosen.out.as_str()), "{chosen:?}");
}

#[test]
fn a_schema_that_cannot_be_kept_to_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |schema: Value, more: &[&str]| generate(dir.path(), &schema, more).refused(2).to_owned();
    let said = refused(json!({"properties": {"day": {"type": "string", "format": "date"}}}), &[]);
    assert_eq!(said, "error: schema.json: schema: #/properties/day: format is not supported\n");
    let said = refused(json!({"type": "string", "minLength": 100}), &["--max-tokens", "9"]);
    assert_eq!(
        said,
        "error: generation: the form that is asked for takes up to 102 tokens, and 9 may be written; allow more\n"
    );
    assert!(refused(json!({}), &["--stop", "x"]).contains("--stop"));
    fs::write(dir.path().join("broken.json"), "{").unwrap();
    let args = ["generate", "--model", "nano", "--prompt", "a", "--schema", "broken.json"];
    assert!(tunesmith(dir.path(), &args).refused(2).starts_with("error: broken.json: not JSON ("));
}
