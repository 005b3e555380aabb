//! The card of what is published: what it was made of, how, what it reaches, and what may be done with it.

use std::fmt::Write;

use serde_json::{Map, Value, json};
use tunesmith_harness::text::visible;

use super::{
    RepoId,
    licence::{Class, Combined, Part, Terms},
};

/// What a card says. What is not known is left out or said to be unknown, never made up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The name that it is published under.
    pub name: String,
    /// `adapter`, `model` or `dataset`.
    pub contents: String,
    /// The base of a model or adapter.
    pub base: Option<Named>,
    /// What it was trained on, or made of.
    pub data: Option<Named>,
    /// What its rows were read from.
    pub inputs: Vec<Named>,
    /// Which of its files is which split.
    pub splits: Vec<(String, String)>,
    /// How rows became examples, or other rows.
    pub recipe: Option<Value>,
    /// How it was trained.
    pub training: Option<Value>,
    /// What it reaches.
    pub results: Vec<Figure>,
    /// The verdict of the run that made it, in a sentence.
    pub verdict: Option<String>,
    /// Rows of a data set by file.
    pub rows: Vec<(String, usize)>,
}

/// A base or data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its id on the Hub, where it has one.
    pub id: Option<RepoId>,
    /// SHA-256 of what was used.
    pub sha256: Option<String>,
}

/// One number with all that tells what it is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The task, or the split.
    pub task: String,
    /// The metric.
    pub metric: String,
    /// Its value.
    pub value: f64,
    /// Its 95 % interval.
    pub interval: Option<(f64, f64)>,
    /// Rows that it is made of.
    pub n: usize,
    /// The base on the same rows.
    pub base: Option<f64>,
    /// What guessing reaches.
    pub chance: Option<f64>,
    /// What it was measured on.
    pub on: Measured,
    /// Whether it is known to be of these very files.
    pub certain: bool,
}

/// What a figure was measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// Rows of the data that it was made of.
    Data,
    /// Rows of the task.
    Task,
}

/// The whole README.md.
pub fn card(facts: &Facts, parts: &[Part], combined: &Combined) -> String {
    let mut text = format!("---\n{}---\n\n# {}\n\n", front(facts, combined), visible(&facts.name));
    let what = match facts.contents.as_str() {
        "adapter" => "A LoRA adapter in PEFT's format.",
        "model" => "A model in Hugging Face's format.",
        _ => "A data set.",
    };
    let _ = writeln!(text, "{what} Published by Tunesmith {}.", env!("CARGO_PKG_VERSION"));
    if let Some(verdict) = &facts.verdict {
        let _ = writeln!(text, "\n{}", visible(verdict));
    }
    made_of(&mut text, facts);
    results(&mut text, facts);
    settings(&mut text, facts);
    licences(&mut text, parts, combined);
    text
}

fn made_of(text: &mut String, facts: &Facts) {
    let hashed = |named: &Named| {
        let name = cell(&named.name);
        named.sha256.as_ref().map_or(name.clone(), |hash| format!("{name} (sha256 `{}`)", cell(hash)))
    };
    let named = |named: &Option<Named>| named.as_ref().map_or_else(|| "unknown".to_owned(), hashed);
    let _ = writeln!(text, "\n## Made of\n\n| | |\n|---|---|");
    if facts.contents != "dataset" {
        let _ = writeln!(text, "| base | {} |", named(&facts.base));
    }
    let _ = writeln!(text, "| data | {} |", named(&facts.data));
    for input in &facts.inputs {
        let _ = writeln!(text, "| input | {} |", hashed(input));
    }
    for (file, rows) in &facts.rows {
        let _ = writeln!(text, "| {} | {rows} rows |", cell(file));
    }
}

fn results(text: &mut String, facts: &Facts) {
    if facts.contents == "dataset" {
        return;
    }
    let _ = writeln!(text, "\n## Results\n");
    if facts.results.is_empty() {
        let _ = writeln!(text, "Nothing was measured: what it reaches is unknown.");
        return;
    }
    let _ = writeln!(
        text,
        "| task | metric | value | 95 % interval | rows | base | chance |\n|---|---|---|---|---|---|---|"
    );
    let number = |value: Option<f64>| value.map_or_else(|| "unknown".into(), |value| format!("{value:.4}"));
    for figure in &facts.results {
        let interval = figure.interval.map_or_else(|| "unknown".into(), |(low, high)| format!("{low:.4} to {high:.4}"));
        let (task, metric, value) = (cell(&figure.task), cell(&figure.metric), figure.value);
        let (base, chance) = (number(figure.base), number(figure.chance));
        let _ = writeln!(text, "| {task} | {metric} | {value:.4} | {interval} | {} | {base} | {chance} |", figure.n);
    }
    for figure in facts.results.iter().filter(|figure| !figure.certain) {
        let (task, metric) = (cell(&figure.task), cell(&figure.metric));
        let _ = writeln!(text, "\nWhether {metric} of {task} was measured on these very files is unknown.");
    }
}

fn settings(text: &mut String, facts: &Facts) {
    for (title, value) in [("Recipe", &facts.recipe), ("Training", &facts.training)] {
        let Some(pretty) = value.as_ref().and_then(|value| serde_json::to_string_pretty(value).ok()) else { continue };
        // A fence longer than any in the text cannot be closed by it.
        let _ = writeln!(text, "\n## {title}\n\n````json\n{}\n````", pretty.replace("````", "` ` ` `"));
    }
}

fn licences(text: &mut String, parts: &[Part], combined: &Combined) {
    let _ = writeln!(text, "\n## Licences and limits\n\n| part | name | licence | |\n|---|---|---|---|");
    for part in parts {
        let (name, shown) = (cell(&part.name), cell(part.terms.shown()));
        let _ = writeln!(text, "| {} | {name} | {shown} | {} |", part.role, part.terms.class.words());
    }
    let _ = writeln!(text, "\nTogether: {} ({}).", cell(&combined.licence), combined.class.words());
    for limit in &combined.limits {
        let _ = writeln!(text, "- {}", cell(limit));
    }
    let _ = writeln!(
        text,
        "- These are the tags that the parts state, not legal advice.\n- The figures hold for the rows they were measured on."
    );
}

/// Text in a cell of a table, or in a line.
pub(crate) fn cell(text: &str) -> String {
    visible(text).replace('|', "\\|").replace('<', "&lt;")
}

/// The head that the Hub reads.
fn front(facts: &Facts, combined: &Combined) -> String {
    let mut head = Map::new();
    let mut put = |name: &str, value: Value| drop(head.insert(name.into(), value));
    put("license", json!(if known(&combined.licence) { combined.licence.as_str() } else { "other" }));
    if !known(&combined.licence) {
        // Whoever reads only the head must see it too.
        let name = match combined.class {
            _ if combined.licence != "other" => combined.licence.as_str(),
            Class::NonCommercial => "non-commercial",
            Class::NoDerivatives => "no-derivatives",
            Class::Unknown => "unknown",
            Class::Permissive | Class::ShareAlike | Class::Custom => "see-card",
        };
        put("license_name", json!(name));
    }
    // The head has no place for a commit.
    let id = |named: &Option<Named>| Some(named.as_ref()?.id.as_ref()?.id());
    let data = id(&facts.data);
    match facts.contents.as_str() {
        "dataset" => {
            put("tags", json!(["tunesmith"]));
            let split = |(split, path): &(String, String)| json!({"split": split, "path": path});
            if !facts.splits.is_empty() {
                let files: Vec<Value> = facts.splits.iter().map(split).collect();
                put("configs", json!([{"config_name": "default", "data_files": files}]));
            }
        }
        contents => {
            put("library_name", json!(if contents == "adapter" { "peft" } else { "transformers" }));
            put("pipeline_tag", json!("text-generation"));
            id(&facts.base).iter().for_each(|id| put("base_model", json!(id)));
            put("tags", if contents == "adapter" { json!(["tunesmith", "lora"]) } else { json!(["tunesmith"]) });
            data.iter().for_each(|id| put("datasets", json!([id])));
        }
    }
    if !facts.results.is_empty() {
        let results: Vec<Value> = facts.results.iter().map(|figure| result(figure, facts, data.as_deref())).collect();
        put("model-index", json!([{"name": facts.name, "results": results}]));
    }
    let mut text = String::new();
    yaml(&Value::Object(head), 0, &mut text);
    text
}

/// One entry of `model-index`; the interval is in the metric's arguments.
fn result(figure: &Figure, facts: &Facts, data: Option<&str>) -> Value {
    let (data, name) = match figure.on {
        Measured::Data => (data, facts.data.as_ref().map_or("unknown", |data| data.name.as_str())),
        Measured::Task => (None, figure.task.as_str()),
    };
    let mut metric = json!({"type": figure.metric, "value": figure.value, "name": figure.metric, "verified": false});
    let mut args = json!({"n": figure.n});
    if let Some((low, high)) = figure.interval {
        args["confidence_interval"] = json!([low, high]);
        args["confidence_level"] = json!(0.95);
        metric["name"] = json!(format!("{} (95 % interval {low:.4} to {high:.4})", figure.metric));
    }
    metric["args"] = args;
    json!({
        "task": {"type": "text-generation", "name": figure.task},
        "dataset": {"type": data.unwrap_or(&figure.task), "name": name},
        "metrics": [metric],
    })
}

/// Whether the Hub has a tag for it: its tags are plain words.
fn known(licence: &str) -> bool {
    licence != "other" && !licence.contains(',') && Terms::of(Some(licence)).class != Class::Unknown
}

/// Block style; JSON's texts and numbers are YAML's, so that nothing in a name can break the head. Characters that YAML
/// does not take are written out.
fn yaml(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let _ = write!(out, "{indent}{name}:");
                nested(value, depth, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                let mut inner = String::new();
                yaml(item, depth + 1, &mut inner);
                // The first line of an item stands behind its dash.
                let _ = write!(out, "{indent}- {}", inner.trim_start());
            }
        }
        plain => {
            let _ = writeln!(out, "{indent}{}", scalar(plain));
        }
    }
}

fn scalar(value: &Value) -> Value {
    value.as_str().map_or_else(|| value.clone(), |text| json!(visible(text)))
}

fn nested(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            yaml(value, depth + 1, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            yaml(value, depth, out);
        }
        plain => {
            let _ = writeln!(out, " {}", scalar(plain));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use tunesmith_harness::eval::yaml;

    use super::*;
    use crate::hub::licence::combine;

    fn figure() -> Figure {
        Figure {
            task: "sealed rows".into(),
            metric: "accuracy".into(),
            value: 0.5,
            interval: Some((0.4, 0.6)),
            n: 100,
            base: None,
            chance: Some(0.25),
            on: Measured::Data,
            certain: true,
        }
    }

    proptest! {
        #[test]
        fn no_name_breaks_the_head(name in "[a-z:#'\"{}\\[\\]|>&*!%@`\n -]{0,20}|.{0,30}") {
            let named = Some(Named { name: name.clone(), id: None, sha256: None });
            let figure = Figure { task: name.clone(), metric: name.clone(), ..figure() };
            let results = vec![figure];
            let facts = Facts { name: name.clone(), contents: "model".into(), data: named, results, ..Facts::default() };
            let head = front(&facts, &combine(&[], None).unwrap());
            let read = yaml::parse(&head, std::path::Path::new("")).unwrap();
            let result = &read["model-index"][0]["results"][0];
            prop_assert_eq!(&read["model-index"][0]["name"], &json!(visible(&name)));
            prop_assert_eq!(&result["task"]["name"], &json!(visible(&name)));
            prop_assert_eq!(&result["metrics"][0]["type"], &json!(visible(&name)));
            prop_assert_eq!(&read["tags"], &json!(["tunesmith"]));
        }
    }

    #[test]
    fn a_card_says_what_is_known_and_no_more() {
        let part = |role: &str, name: &str, licence: Option<&str>| Part {
            role: role.into(),
            name: name.into(),
            terms: Terms::of(licence),
        };
        let parts = [part("base", "a/base", Some("apache-2.0")), part("data", "rows.csv", Some("cc-by-nc-4.0"))];
        let named = |name: &str, id: Option<&str>| {
            Some(Named { name: name.into(), id: id.map(|id| id.parse().unwrap()), sha256: None })
        };
        let facts = Facts {
            name: "tickets".into(),
            contents: "adapter".into(),
            base: named("a/base@v1", Some("a/base@v1")),
            data: named("rows.csv\n---\nlicense: mit", None),
            inputs: vec![],
            splits: vec![],
            recipe: Some(json!({"input": "text"})),
            training: None,
            results: vec![
                figure(),
                Figure { task: "arith".into(), on: Measured::Task, certain: false, interval: None, ..figure() },
            ],
            verdict: None,
            rows: vec![],
        };
        let text = card(&facts, &parts, &combine(&parts, None).unwrap());
        insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }
}
