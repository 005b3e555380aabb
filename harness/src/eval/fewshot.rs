//! Which examples stand before a question, and how they are written.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    config::{FEWSHOT_KEYS, Field, TaskConfig},
    functions::{Functions, Port},
    prompt::{Maker, Question, Resolved, Turn, index, item},
    python::{is_true, random::Random, repr::str_of},
    request::Doc,
};

/// The rows that examples come from, and how they are written: lm-eval's `FewshotConfig` and `ContextSampler`.
#[derive(Debug)]
pub(super) struct Shots {
    /// Or why there are none; it matters only where examples are asked for.
    docs: Result<Vec<Doc>, String>,
    first: bool,
    /// Whether the evaluated row is kept out: the examples come from the split that is evaluated.
    same_split: bool,
    text: Option<Maker>,
    target: Option<Maker>,
    choice: Option<Maker>,
    prefix: Option<Resolved>,
    target_delimiter: String,
    fewshot_delimiter: String,
    has_choices: bool,
}

impl Shots {
    /// Reads `fewshot_config`, whose gaps the task itself fills.
    pub fn new(
        config: &TaskConfig,
        columns: &[String],
        splits: &BTreeMap<String, Vec<Doc>>,
        functions: &Functions,
    ) -> Result<Self, String> {
        let own = &config.fewshot_config;
        if let Some(key) = own.keys().find(|key| !FEWSHOT_KEYS.contains(&key.as_str())) {
            return Err(format!("has an unknown key `{key}` in fewshot_config"));
        }
        let first = match own.get("sampler").map_or("default", |v| v.as_str().unwrap_or_default()) {
            "default" => false,
            "first_n" => true,
            _ => return Err("has a sampler in fewshot_config other than `default` and `first_n`".into()),
        };
        let field = |key: &str, inherited: &Option<Field>| match own.get(key) {
            None => Ok(inherited.clone()),
            Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value.clone())
                .map(Some)
                .map_err(|e| format!("has a {key} in fewshot_config that cannot be read: {e}")),
        };
        let maker = |key: &str, inherited: &Option<Field>| match field(key, inherited)? {
            Some(field) => Maker::new(&field, columns, functions).map(Some).map_err(|e| format!("{key}: {e}")),
            None => Ok(None),
        };
        let delimiter = |key: &str, inherited: &str| match own.get(key) {
            None => Ok(inherited.to_string()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(format!("has a {key} in fewshot_config that is not a text")),
        };
        let split = match own.get("split") {
            None => config.fewshot_split.clone(),
            Some(Value::String(split)) => Some(split.clone()),
            Some(Value::Null) => None,
            Some(_) => return Err("has a split in fewshot_config that is not a text".into()),
        };
        let process = field("process_docs", &config.process_docs)?;
        // What a task inherits but examples leave out falls back to the task's own field.
        let or_own = |maker: Option<Maker>, key: &str, own: &Option<Field>| match (maker, own) {
            (None, Some(field)) => Maker::new(field, columns, functions).map(Some).map_err(|e| format!("{key}: {e}")),
            (maker, _) => Ok(maker),
        };
        let empty = |field: &Option<Field>| match field {
            None => true,
            Some(Field::Value(value)) => !is_true(value),
            Some(Field::Function { .. }) => false,
        };
        let choice = match empty(&field("doc_to_choice", &config.doc_to_choice)?) {
            true => None,
            false => maker("doc_to_choice", &config.doc_to_choice)?,
        };
        let prefix = match field("gen_prefix", &config.gen_prefix)? {
            Some(field) => Resolved::new(&field).map_err(|e| format!("gen_prefix: {e}"))?,
            None => None,
        };
        Ok(Self {
            docs: docs(config, split.as_deref(), process.as_ref(), splits, functions)?,
            first,
            same_split: split == config.test_split,
            text: or_own(maker("doc_to_text", &config.doc_to_text)?, "doc_to_text", &config.doc_to_text)?,
            target: or_own(maker("doc_to_target", &config.doc_to_target)?, "doc_to_target", &config.doc_to_target)?,
            choice,
            prefix,
            target_delimiter: delimiter("target_delimiter", &config.target_delimiter)?,
            fewshot_delimiter: delimiter("fewshot_delimiter", &config.fewshot_delimiter)?,
            has_choices: config.doc_to_choice.is_some(),
        })
    }

    /// Draws `n` examples for a row and writes them as turns. `random` runs on from row to row.
    pub fn turns(
        &self,
        random: &mut Random,
        n: usize,
        doc: &Doc,
        multiple_input: bool,
        turns: &mut Vec<Turn>,
    ) -> Result<(), String> {
        if n == 0 {
            return Ok(());
        }
        for shot in self.pick(random, n, doc)? {
            self.turn(shot, multiple_input, turns).map_err(|e| format!("few-shot example: {e}"))?;
        }
        Ok(())
    }

    fn turn(&self, shot: &Doc, multiple_input: bool, turns: &mut Vec<Turn>) -> Result<(), String> {
        let text = self.text.as_ref().ok_or("doc_to_text is missing")?.text(shot, self.has_choices)?;
        let choices = self.choice.as_ref().map(|choice| choice.choices(shot)).transpose()?;
        let target = self.target.as_ref().ok_or("doc_to_target is missing")?.target(shot, self.has_choices)?;
        let prefix = self.prefix.as_ref().map(|prefix| prefix.text(shot)).transpose()?;
        let (text, choices) = match (multiple_input, choices) {
            (true, Some(choices)) => {
                let at = index(&text).ok_or("doc_to_text must be the number of a choice here")?;
                (item(&choices, at)?.clone(), None)
            }
            (_, choices) => (text, choices),
        };
        let Value::String(text) = text else {
            return Err(format!("doc_to_text must give a text, not {}", str_of(text)));
        };
        let answer = answer(target, choices.as_deref())?;
        let question = Question {
            text,
            answer,
            prefix,
            target_delimiter: &self.target_delimiter,
            fewshot_delimiter: &self.fewshot_delimiter,
        };
        question.turns(turns);
        Ok(())
    }

    fn pick(&self, random: &mut Random, n: usize, doc: &Doc) -> Result<Vec<&Doc>, String> {
        let docs = self.docs.as_ref().map_err(String::clone)?;
        let few =
            || format!("{n} few-shot examples are asked for, and there are only {} rows to draw from", docs.len());
        let others = || docs.iter().filter(|other| !self.same_split || *other != doc);
        if self.first {
            let picked: Vec<&Doc> = others().take(n).collect();
            return if picked.len() == n { Ok(picked) } else { Err(few()) };
        }
        // One more than needed is drawn where the row itself may be among them.
        let spare = usize::from(self.same_split && !doc.is_empty());
        let drawn = random.sample(docs.len(), n.saturating_add(spare)).ok_or_else(few)?;
        let mut picked: Vec<&Doc> =
            drawn.into_iter().map(|at| &docs[at]).filter(|other| spare == 0 || *other != doc).take(n).collect();
        if picked.len() < n {
            let pool: Vec<&Doc> = others().collect();
            picked = random.sample(pool.len(), n).ok_or_else(few)?.into_iter().map(|at| pool[at]).collect();
        }
        Ok(picked)
    }
}

/// Where examples come from: a split, samples of the task file, or the first split there is.
fn docs(
    config: &TaskConfig,
    split: Option<&str>,
    process: Option<&Field>,
    splits: &BTreeMap<String, Vec<Doc>>,
    functions: &Functions,
) -> Result<Result<Vec<Doc>, String>, String> {
    if let (None, Some(samples)) = (split, config.fewshot_config.get("samples").filter(|samples| !samples.is_null())) {
        return match (samples, serde_json::from_value(samples.clone())) {
            (_, Ok(Field::Function { function })) => match functions.port(&function)? {
                Port::Samples(port) => Ok(Ok(port())),
                _ => Err(format!("names `{}`, which gives no samples", function.name)),
            },
            (Value::Array(items), _) => {
                let rows = items.iter().map(|item| item.as_object().cloned()).collect::<Option<Vec<Doc>>>();
                rows.map(Ok).ok_or_else(|| "has samples in fewshot_config that are not maps".into())
            }
            _ => Err("has samples in fewshot_config that are not a list".into()),
        };
    }
    let inherited = [&config.training_split, &config.validation_split, &config.test_split];
    let own = split.is_some();
    let Some(split) = split.or_else(|| inherited.into_iter().flatten().map(String::as_str).next()) else {
        return Ok(Err("the task has no split to draw few-shot examples from".into()));
    };
    let Some(rows) = splits.get(split) else {
        return Ok(Err(format!("the split `{split}`, which few-shot examples come from, was not loaded")));
    };
    let process = if own { process } else { config.process_docs.as_ref() };
    processed(rows, process, functions).map(Ok)
}

/// Rows of a split after `process_docs`.
pub(super) fn processed(rows: &[Doc], process: Option<&Field>, functions: &Functions) -> Result<Vec<Doc>, String> {
    match process {
        None | Some(Field::Value(Value::Null)) => Ok(rows.to_vec()),
        Some(Field::Value(other)) => Err(format!("process_docs must be a function, not {}", str_of(other))),
        Some(Field::Function { function }) => {
            match functions.port(function).map_err(|e| format!("process_docs: {e}"))? {
                Port::Docs(port) => port(rows.to_vec()).map_err(|e| format!("process_docs: {e}")),
                _ => Err(format!("process_docs: `{}` is not a function of rows", function.name)),
            }
        }
    }
}

/// The answer's text: the choice that an index names, the first of a list, or the text itself.
fn answer(target: Value, choices: Option<&[Value]>) -> Result<Option<String>, String> {
    let value = match (target, choices) {
        (Value::Null, _) => return Ok(None),
        (Value::String(text), _) if text.is_empty() => return Ok(None),
        (target, Some(choices)) if !choices.is_empty() && index(&target).is_some() => {
            item(choices, index(&target).unwrap_or_default())?.clone()
        }
        (Value::Array(several), _) => several.into_iter().next().ok_or("the list of targets is empty")?,
        (target, _) => target,
    };
    match value {
        Value::String(text) => Ok(Some(text)),
        other => Err(format!("the answer must be a text, not {}", str_of(other))),
    }
}
