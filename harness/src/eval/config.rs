//! What a task file says: lm-eval's `TaskConfig`, with `include` resolved.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::text::visible;

mod include;
mod read;

pub(super) use read::FEWSHOT_KEYS;

pub(in crate::eval) use include::Included;

/// Why a task file gives no task, in one line with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", visible(.place), visible(.what))]
pub struct ConfigError {
    /// The file, or the name of the task.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

impl ConfigError {
    pub(in crate::eval) fn new(path: &Path, what: impl Into<String>) -> Self {
        Self { place: path.display().to_string(), what: what.into() }
    }
}

/// The keys of a task file over those of the files it includes: lm-eval's `load_yaml`.
pub fn load(path: &Path) -> Result<Map<String, Value>, ConfigError> {
    Included::default().load(path)
}

/// A task, as its file and the files it includes define it. Fields keep lm-eval's names and defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskConfig {
    /// Its name.
    pub task: String,
    /// The name in tables.
    pub task_alias: Option<String>,
    /// Names under which it is asked for together with others.
    pub tag: Vec<String>,
    /// The data set: a Hub name, or `json`, `csv`, `parquet` with `dataset_kwargs.data_files`.
    pub dataset_path: Option<String>,
    /// The configuration of the data set.
    pub dataset_name: Option<String>,
    /// What else `datasets.load_dataset` would get.
    pub dataset_kwargs: Map<String, Value>,
    /// Split that few-shot examples come from, before the others.
    pub training_split: Option<String>,
    /// Split that is evaluated where there is no test split.
    pub validation_split: Option<String>,
    /// Split that is evaluated.
    pub test_split: Option<String>,
    /// Split that few-shot examples come from, whatever the others are.
    pub fewshot_split: Option<String>,
    /// Changes the rows before anything else.
    pub process_docs: Option<Field>,
    /// The prompt of a row.
    pub doc_to_text: Option<Field>,
    /// The answer of a row.
    pub doc_to_target: Option<Field>,
    /// The choices of a row.
    pub doc_to_choice: Option<Field>,
    /// Turns answers into values of metrics.
    pub process_results: Option<Field>,
    /// Stands before everything else.
    pub description: Field,
    /// Between prompt and answer.
    pub target_delimiter: String,
    /// Between examples.
    pub fewshot_delimiter: String,
    /// Begins the answer for the model.
    pub gen_prefix: Option<Field>,
    /// Where few-shot examples come from: sampler, split, own samples and templates.
    pub fewshot_config: Map<String, Value>,
    /// Number of few-shot examples.
    pub num_fewshot: Option<usize>,
    /// What the model is asked.
    pub output_type: OutputType,
    /// How text is generated, as written.
    pub generation_kwargs: Option<Map<String, Value>>,
    /// How often each request is made.
    pub repeats: usize,
    /// Filter pipelines, as written; none means `none: take_first`.
    pub filter_list: Option<Vec<Value>>,
    /// Metrics, as written; none means the defaults of the output type.
    pub metric_list: Option<Vec<Value>>,
    /// Whether overlap with training data is to be looked for.
    pub should_decontaminate: bool,
    /// What is looked for then.
    pub doc_to_decontamination_query: Option<Field>,
    /// Version and other notes.
    pub metadata: Map<String, Value>,
}

/// A field that says how something is made from a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Field {
    /// A Python function.
    Function {
        /// The function.
        #[serde(rename = "!function")]
        function: Function,
    },
    /// A column's name, a Jinja template, an index, a list, or a map.
    Value(Value),
}

/// A Python function that a task file names with `!function FILE.NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Function {
    /// The Python file, beside the YAML file in which the tag stands.
    pub file: PathBuf,
    /// The function's name.
    pub name: String,
}

/// What a task asks the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputType {
    /// How likely one given answer is.
    Loglikelihood,
    /// How likely a whole text is.
    LoglikelihoodRolling,
    /// What the model writes.
    #[default]
    GenerateUntil,
    /// Which of several answers is the most likely.
    MultipleChoice,
}
