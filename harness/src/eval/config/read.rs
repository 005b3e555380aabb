//! A [`TaskConfig`] from the keys of its file, with lm-eval's defaults and checks.

use serde_json::{Map, Value, json};

use super::{ConfigError, Field, OutputType, TaskConfig};

impl TaskConfig {
    /// Reads the keys of a task: lm-eval's `TaskConfig`. A key that lm-eval does not know is an error, as there.
    pub fn new(map: Map<String, Value>) -> Result<Self, ConfigError> {
        let name = map.get("task").and_then(Value::as_str).unwrap_or("a task without a name").to_owned();
        build(Keys(map)).map_err(|what| ConfigError { place: name, what })
    }
}

fn build(mut keys: Keys) -> Result<TaskConfig, String> {
    keys.refuse_foreign()?;
    let output_type = match keys.0.shift_remove("output_type") {
        None => OutputType::GenerateUntil,
        Some(value) => serde_json::from_value(value.clone()).map_err(|_| {
            format!(
                "output_type is {value}; it is loglikelihood, loglikelihood_rolling, generate_until or multiple_choice"
            )
        })?,
    };
    let fewshot_delimiter = keys.exact_text("fewshot_delimiter", "\n\n")?;
    let metadata = match keys.0.shift_remove("metadata") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(map)) => map,
        Some(other) => Map::from_iter([("_metadata".to_owned(), other)]),
    };
    let task = TaskConfig {
        task: keys.text("task")?.ok_or("has no name; write task: NAME")?,
        task_alias: keys.text("task_alias")?,
        tag: keys.texts("tag")?,
        dataset_path: keys.text("dataset_path")?,
        dataset_name: keys.text("dataset_name")?,
        dataset_kwargs: keys.map("dataset_kwargs")?.unwrap_or_default(),
        training_split: keys.text("training_split")?,
        validation_split: keys.text("validation_split")?,
        test_split: keys.text("test_split")?,
        fewshot_split: keys.text("fewshot_split")?,
        process_docs: keys.field("process_docs"),
        doc_to_text: keys.field("doc_to_text"),
        doc_to_target: keys.field("doc_to_target"),
        doc_to_choice: keys.field("doc_to_choice"),
        process_results: keys.field("process_results"),
        description: keys.field("description").unwrap_or(Field::Value("".into())),
        target_delimiter: keys.exact_text("target_delimiter", " ")?,
        gen_prefix: keys.field("gen_prefix"),
        fewshot_config: fewshot(keys.map("fewshot_config")?.unwrap_or_default())?,
        num_fewshot: keys.count("num_fewshot")?,
        output_type,
        generation_kwargs: generation(keys.map("generation_kwargs")?, output_type, &fewshot_delimiter)?,
        fewshot_delimiter,
        repeats: keys.count("repeats")?.unwrap_or(1),
        filter_list: keys.list("filter_list", &["name", "filter"])?,
        metric_list: keys.list("metric_list", &["metric"])?,
        should_decontaminate: keys.flag("should_decontaminate")?,
        doc_to_decontamination_query: keys.field("doc_to_decontamination_query"),
        metadata,
    };
    match keys.0.keys().next() {
        None => Ok(task),
        Some(key) => Err(format!("{key} is no key of a task; check the spelling")),
    }
}

/// lm-eval's defaults: greedy, and the delimiter of the examples as the stop.
fn generation(
    given: Option<Map<String, Value>>,
    output_type: OutputType,
    delimiter: &str,
) -> Result<Option<Map<String, Value>>, String> {
    let Some(mut given) = given else {
        let greedy = json!({"temperature": 0.0, "do_sample": false, "max_gen_toks": 256, "until": [delimiter]});
        let greedy = greedy.as_object().cloned();
        return Ok(greedy.filter(|_| output_type == OutputType::GenerateUntil));
    };
    if let Some(temperature) = given.get_mut("temperature") {
        let number = match &*temperature {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
            _ => None,
        };
        let number = number.filter(|n: &f64| n.is_finite());
        *temperature =
            json!(number.ok_or_else(|| format!("generation_kwargs.temperature is {temperature}, not a number"))?);
    }
    given.entry("until").or_insert_with(|| json!([delimiter]));
    Ok(Some(given))
}

/// The keys of lm-eval's `FewshotConfig`. `fewshot_indices` has no effect in lm-eval, and none here.
pub(in crate::eval) const FEWSHOT_KEYS: [&str; 11] = [
    "sampler",
    "split",
    "process_docs",
    "fewshot_indices",
    "samples",
    "doc_to_text",
    "doc_to_choice",
    "doc_to_target",
    "gen_prefix",
    "fewshot_delimiter",
    "target_delimiter",
];

fn fewshot(map: Map<String, Value>) -> Result<Map<String, Value>, String> {
    match map.keys().find(|key| !FEWSHOT_KEYS.contains(&key.as_str())) {
        Some(key) => Err(format!("fewshot_config.{key} is no key of few-shot examples; check the spelling")),
        None => Ok(map),
    }
}

/// The keys that are still to be read.
struct Keys(Map<String, Value>);

impl Keys {
    /// What lm-eval offers and this does not: said by name, before anything is guessed.
    fn refuse_foreign(&mut self) -> Result<(), String> {
        for (key, why) in [
            ("class", "is a Python class, which is not run; only tasks that a YAML file describes are"),
            ("custom_dataset", "makes its data with a Python function; write the rows to a file and use that"),
            ("doc_to_image", "shows images, which no model here reads"),
            ("doc_to_audio", "plays sound, which no model here hears"),
            ("use_prompt", "takes its prompt from a collection of prompts; write it as doc_to_text"),
        ] {
            match self.0.shift_remove(key) {
                None | Some(Value::Null) => {}
                Some(_) => return Err(format!("{why} ({key})")),
            }
        }
        match self.flag("unsafe_code")? {
            true => Err("runs what the model writes as a program, which is not done (unsafe_code)".into()),
            false => Ok(()),
        }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.0.shift_remove(key).filter(|value| !value.is_null())
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        self.take(key)
            .map(|value| scalar(&value).ok_or_else(|| format!("{key} is {}, not a text", kind(&value))))
            .transpose()
    }

    /// A text that is used as it stands; null is no text here.
    fn exact_text(&mut self, key: &str, default: &str) -> Result<String, String> {
        match self.0.shift_remove(key) {
            None => Ok(default.to_owned()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(format!("{key} is {}, not a text; write \"\" for none", kind(&other))),
        }
    }

    fn texts(&mut self, key: &str) -> Result<Vec<String>, String> {
        let wrong = || format!("{key} takes a text or a list of texts");
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(|item| scalar(item).ok_or_else(wrong)).collect(),
            Some(value) => Ok(vec![scalar(&value).ok_or_else(wrong)?]),
        }
    }

    fn field(&mut self, key: &str) -> Option<Field> {
        let value = self.take(key)?;
        let function = value.get("!function").cloned().and_then(|f| serde_json::from_value(f).ok());
        Some(function.map_or(Field::Value(value), |function| Field::Function { function }))
    }

    fn map(&mut self, key: &str) -> Result<Option<Map<String, Value>>, String> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(format!("{key} is {}, not a map", kind(&other))),
        }
    }

    /// A list of maps, each with the keys that it needs.
    fn list(&mut self, key: &str, needed: &[&str]) -> Result<Option<Vec<Value>>, String> {
        let items = match self.take(key) {
            None => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(format!("{key} is {}, not a list", kind(&other))),
        };
        for (n, item) in items.iter().enumerate() {
            if let Some(missing) = needed.iter().find(|&&name| item.get(name).is_none()) {
                return Err(format!("entry {} of {key} has no {missing}", n + 1));
            }
        }
        Ok(Some(items))
    }

    fn count(&mut self, key: &str) -> Result<Option<usize>, String> {
        let count = |value: Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or(value);
        let wrong = |value| format!("{key} is {value}, not a whole number from 0");
        self.take(key).map(|value| count(value).map_err(wrong)).transpose()
    }

    fn flag(&mut self, key: &str) -> Result<bool, String> {
        match self.take(key) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| format!("{key} is {value}, not true or false")),
        }
    }
}

/// A scalar as Python's `str()` writes it: lm-eval passes names such as `2024` on as they are.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(if *flag { "True" } else { "False" }.to_owned()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map or a function",
    }
}
