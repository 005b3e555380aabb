//! A task with its rows: which questions it asks, and what the right answers are.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    config::{Field, OutputType, TaskConfig},
    fewshot::{Shots, processed},
    functions::{Functions, Port, ResultsPort},
    generation::generation,
    metrics::Metric,
    prompt::{ChatTemplate, Maker, Question, Resolved, Turn, index, maybe_delimit, render},
    python::{
        random::Random,
        repr::{dumps, str_of},
        strings,
    },
    refusal::Refusal,
    request::{Doc, Generation, Instance, Request},
};
use crate::{hash::sha256, model::ModelError};

/// The seed with which lm-eval draws few-shot examples unless it is told another.
pub const FEWSHOT_SEED: u64 = 1234;

/// A task whose rows are loaded: lm-eval's `ConfigurableTask`.
pub struct EvalTask {
    /// What its file says.
    pub config: TaskConfig,
    /// The evaluated rows, after `process_docs`.
    pub docs: Vec<Doc>,
    text: Option<Maker>,
    target: Option<Maker>,
    choice: Option<Maker>,
    description: Option<Resolved>,
    prefix: Option<Resolved>,
    shots: Shots,
    settings: Generation,
    results: Option<ResultsPort>,
    /// Or why they are not computed; it matters only where answers are scored.
    metrics: Result<Vec<Metric>, Refusal>,
    multiple_input: bool,
    multiple_target: bool,
}

/// How questions are asked.
#[derive(Clone, Copy, Default)]
pub struct Asking<'a> {
    /// Only the first rows; `None` and 0 are all.
    pub limit: Option<usize>,
    /// Few-shot examples instead of the task's own number; a task that says 0 stays at 0, as in lm-eval.
    pub num_fewshot: Option<usize>,
    /// Seed of the examples' draws; `None` is [`FEWSHOT_SEED`].
    pub fewshot_seed: Option<u64>,
    /// An instruction before everything else.
    pub system: Option<&'a str>,
    /// Renders turns by a model's template; without one the prompt is plain text.
    pub chat: Option<ChatTemplate<'a>>,
    /// With a template, whether examples are turns of their own.
    pub multiturn: bool,
}

/// The right answer of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The position of the right choice; −100 or another position out of range is none of them.
    Index(i64),
    /// The answer, or for multiple choice the choice itself.
    Text(String),
    /// Each of them is right: positions or texts.
    Several(Vec<Value>),
    /// What else a column may hold.
    Other(Value),
}

/// What lm-eval writes beside each sample, so that samples of two runs can be matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashes {
    /// Of the row.
    pub doc: String,
    /// Of the first prompt.
    pub prompt: String,
    /// Of the target.
    pub target: String,
}

/// Why a task cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The task file or its rows do not fit.
    #[error("the task `{task}` {message}")]
    Task {
        /// Its name.
        task: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// The model's chat template refused a prompt.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Whether a port can judge all rows; of those that it cannot, the first is named and the others are counted.
fn checked(docs: &[Doc], check: fn(&Doc) -> Result<(), String>) -> Result<(), String> {
    let mut wrong = docs.iter().enumerate().filter_map(|(at, doc)| Some((at + 1, check(doc).err()?)));
    let Some((row, why)) = wrong.next() else { return Ok(()) };
    let others = match wrong.count() {
        0 => String::new(),
        others => format!(" ({} of {} rows cannot be judged)", others + 1, docs.len()),
    };
    Err(format!("process_results: row {row}: {why}{others}"))
}

impl EvalTask {
    /// Puts a task and its rows together. `splits` has the rows of each split that the task evaluates or draws
    /// examples from; `functions` are the native ports of Python functions.
    pub fn new(config: TaskConfig, splits: &BTreeMap<String, Vec<Doc>>, functions: &Functions) -> Result<Self, Error> {
        let name = config.task.clone();
        Self::build(config, splits, functions).map_err(|message| Error::Task { task: name, message })
    }

    fn build(config: TaskConfig, splits: &BTreeMap<String, Vec<Doc>>, functions: &Functions) -> Result<Self, String> {
        let split = config.test_split.as_ref().or(config.validation_split.as_ref());
        let split = split.ok_or("has neither a test nor a validation split to evaluate")?;
        let rows = splits.get(split).ok_or_else(|| format!("evaluates the split `{split}`, which was not loaded"))?;
        let docs = processed(rows, config.process_docs.as_ref(), functions)?;
        let first = docs.first().ok_or_else(|| format!("has no rows in the split `{split}`"))?;
        let columns: Vec<String> = first.keys().cloned().collect();
        let maker = |key: &str, field: &Option<Field>| {
            let field = field.as_ref().filter(|field| **field != Field::Value(Value::Null));
            let made = field.map(|field| Maker::new(field, &columns, functions)).transpose();
            made.map_err(|e| format!("{key}: {e}"))
        };
        let resolved = |key: &str, field: &Field| Resolved::new(field).map_err(|e| format!("{key}: {e}"));
        let results = match &config.process_results {
            None | Some(Field::Value(_)) => None,
            Some(Field::Function { function }) => {
                match functions.port(function).map_err(|e| format!("process_results: {e}"))? {
                    Port::Results(port) => Some(port),
                    Port::CheckedResults(port, check) => {
                        checked(&docs, check)?;
                        Some(port)
                    }
                    _ => return Err(format!("process_results: `{}` is not a function of results", function.name)),
                }
            }
        };
        let mut task = EvalTask {
            text: maker("doc_to_text", &config.doc_to_text)?,
            target: maker("doc_to_target", &config.doc_to_target)?,
            choice: maker("doc_to_choice", &config.doc_to_choice)?,
            description: resolved("description", &config.description)?,
            prefix: config.gen_prefix.as_ref().map(|field| resolved("gen_prefix", field)).transpose()?.flatten(),
            shots: Shots::new(&config, &columns, splits, functions)?,
            settings: generation(config.generation_kwargs.as_ref(), &config.fewshot_delimiter)
                .map_err(|e| format!("generation_kwargs: {e}"))?,
            results,
            metrics: Metric::read(&config, functions),
            multiple_input: false,
            multiple_target: false,
            config,
            docs: Vec::new(),
        };
        // As lm-eval does, the first row decides which kind of task it is.
        task.multiple_input = task.choice.is_some() && index(&task.text_value(first)?).is_some();
        task.multiple_target = task.target_value_inside(first)?.is_array();
        task.docs = docs;
        Ok(task)
    }

    /// The requests of all rows, in order.
    pub fn instances(&self, asking: &Asking<'_>) -> Result<Vec<Instance>, Error> {
        let limit = asking.limit.filter(|&limit| limit > 0).unwrap_or(usize::MAX);
        let shots = self.num_fewshot(asking.num_fewshot);
        let mut random = Random::new(asking.fewshot_seed.unwrap_or(FEWSHOT_SEED));
        let mut instances = Vec::new();
        for (doc_id, doc) in self.docs.iter().enumerate().take(limit) {
            let contexts = self.contexts(doc_id, doc, shots, &mut random, asking)?;
            let requests = self.requests(doc, contexts, asking.chat.is_some()).map_err(|e| self.wrong(doc_id, e))?;
            // lm-eval fails when it scores such a row; to pass over it would change what is scored.
            if requests.is_empty() {
                return Err(self.wrong(doc_id, "it has no choices; leave it out of the data".into()));
            }
            let repeats = self.config.repeats;
            instances.extend(requests.into_iter().enumerate().map(|(idx, request)| Instance {
                doc_id,
                idx,
                repeats,
                request,
            }));
        }
        Ok(instances)
    }

    /// Number of few-shot examples, where `asked` was asked for.
    pub fn num_fewshot(&self, asked: Option<usize>) -> usize {
        match (self.config.num_fewshot, asked) {
            (Some(0), _) => 0,
            (own, asked) => asked.or(own).unwrap_or(0),
        }
    }

    /// The prompts of a row: one, or one for each choice where the choices are the inputs.
    fn contexts(
        &self,
        doc_id: usize,
        doc: &Doc,
        shots: usize,
        random: &mut Random,
        asking: &Asking<'_>,
    ) -> Result<Vec<String>, Error> {
        let turns = self.turns(doc, shots, random, asking.system).map_err(|e| self.wrong(doc_id, e))?;
        let prompts = turns.into_iter().map(|turns| render(turns, asking.chat, asking.multiturn));
        Ok(prompts.collect::<Result<_, _>>()?)
    }

    fn turns(
        &self,
        doc: &Doc,
        shots: usize,
        random: &mut Random,
        system: Option<&str>,
    ) -> Result<Vec<Vec<Turn>>, String> {
        let prefix = self.prefix.as_ref().map(|prefix| prefix.text(doc)).transpose()?;
        let description = self.description.as_ref().map(|description| description.text(doc)).transpose()?;
        let system = maybe_delimit(system, &description.unwrap_or_default(), &self.config.fewshot_delimiter);
        let mut before = Vec::new();
        if !system.is_empty() {
            before.push(Turn { role: "system", content: system, delimiter: String::new() });
        }
        self.shots.turns(random, shots, doc, self.multiple_input, &mut before)?;
        let text = self.text_value(doc)?;
        let (questions, target_delimiter) = match self.multiple_input {
            true => (self.choices_inside(doc)?, ""),
            false => (vec![text], self.config.target_delimiter.as_str()),
        };
        let prompt = |question: Value| {
            let Value::String(text) = question else {
                return Err(format!("doc_to_text must give a text, not {}", str_of(question)));
            };
            let mut turns = before.clone();
            let prefix = prefix.clone();
            Question { text, answer: None, prefix, target_delimiter, fewshot_delimiter: "" }.turns(&mut turns);
            Ok(turns)
        };
        questions.into_iter().map(prompt).collect()
    }

    /// lm-eval's `construct_requests`.
    fn requests(&self, doc: &Doc, contexts: Vec<String>, chat: bool) -> Result<Vec<Request>, String> {
        let target = || match self.target_value_inside(doc)? {
            Value::String(text) => Ok(text),
            other => Err(format!("doc_to_target must give a text, not {}", str_of(other))),
        };
        let ask =
            |context: &str, continuation: String| Request::Loglikelihood { context: context.into(), continuation };
        let context = contexts.first().map(String::as_str).unwrap_or_default();
        Ok(match self.config.output_type {
            OutputType::Loglikelihood => vec![ask(context, target()?)],
            OutputType::LoglikelihoodRolling => vec![Request::LoglikelihoodRolling { text: target()? }],
            OutputType::GenerateUntil => {
                vec![Request::GenerateUntil { context: context.into(), settings: self.settings.clone() }]
            }
            OutputType::MultipleChoice => {
                let choices = self.choices_inside(doc)?;
                let delimiter = self.choice_delimiter(chat);
                let choice = |context: &str, choice: &Value| ask(context, format!("{delimiter}{}", str_of(choice)));
                let mut requests: Vec<Request> = match self.multiple_input {
                    true => {
                        let target = self.target_value_inside(doc)?;
                        contexts.iter().map(|context| choice(context, &target)).collect()
                    }
                    false => choices.iter().map(|c| choice(context, c)).collect(),
                };
                if self.asks_unconditional() {
                    requests.extend(choices.iter().map(|c| choice("", c)));
                }
                requests
            }
        })
    }

    /// What stands before a choice; after a chat template nothing, unless the answer was begun without a blank.
    fn choice_delimiter(&self, chat: bool) -> &str {
        let begun = self.prefix.as_ref().is_some_and(|p| !p.source().ends_with(strings::is_space));
        if chat && !begun { "" } else { &self.config.target_delimiter }
    }

    /// Whether each choice is also asked without its context: `acc_mutual_info` is among the metrics.
    pub fn asks_unconditional(&self) -> bool {
        let name = |metric: &Value| metric.get("metric").and_then(Value::as_str) == Some("acc_mutual_info");
        self.config.metric_list.as_ref().is_some_and(|metrics| metrics.iter().any(name))
    }

    /// Whether the choices are the inputs, and the target follows each of them.
    pub fn multiple_input(&self) -> bool {
        self.multiple_input
    }

    /// Whether several answers are right; the first row decides.
    pub fn multiple_target(&self) -> bool {
        self.multiple_target
    }

    /// Whether the task has choices.
    pub fn has_choices(&self) -> bool {
        self.choice.is_some()
    }

    /// The metrics of the task, or why they are not computed.
    pub fn metrics(&self) -> Result<&[Metric], &Refusal> {
        self.metrics.as_deref()
    }

    /// The native port that scores the task's answers, if it has one.
    pub fn results_port(&self) -> Option<ResultsPort> {
        self.results
    }

    /// The choices of a row, as they are; lm-eval takes most of them for texts.
    pub fn choices(&self, doc: &Doc) -> Result<Vec<Value>, Error> {
        self.choices_inside(doc).map_err(|message| self.fails(message))
    }

    /// What `doc_to_target` gives for a row.
    pub fn target_value(&self, doc: &Doc) -> Result<Value, Error> {
        self.target_value_inside(doc).map_err(|message| self.fails(message))
    }

    /// The right answer of a row: `doc_to_target`, or the index in `doc_to_text` where the choices are the inputs.
    pub fn target(&self, doc: &Doc) -> Result<Target, Error> {
        let value = match self.multiple_input {
            true => self.text_value(doc).map_err(|message| self.fails(message))?,
            false => self.target_value(doc)?,
        };
        Ok(match (index(&value), value) {
            (Some(index), _) => Target::Index(index),
            (None, Value::String(text)) => Target::Text(text),
            (None, Value::Array(several)) => Target::Several(several),
            (None, other) => Target::Other(other),
        })
    }

    /// Hashes of a row, of its first request's prompt, and of its target, as lm-eval computes them.
    pub fn hashes(&self, doc: &Doc, first: &Request) -> Result<Hashes, Error> {
        let row = dumps(doc, Some(2)).map_err(|e| self.fails(e.to_string()))?;
        let prompt = match first {
            Request::Loglikelihood { context, .. } | Request::GenerateUntil { context, .. } => context,
            Request::LoglikelihoodRolling { text } => text,
        };
        let target = str_of(self.target_value(doc)?);
        Ok(Hashes { doc: sha256(row.as_bytes()), prompt: sha256(prompt.as_bytes()), target: sha256(target.as_bytes()) })
    }

    fn text_value(&self, doc: &Doc) -> Result<Value, String> {
        let text = self.text.as_ref().ok_or("has no doc_to_text")?;
        text.text(doc, self.config.doc_to_choice.is_some()).map_err(|e| format!("doc_to_text: {e}"))
    }

    fn target_value_inside(&self, doc: &Doc) -> Result<Value, String> {
        let target = self.target.as_ref().ok_or("has no doc_to_target")?;
        target.target(doc, self.config.doc_to_choice.is_some()).map_err(|e| format!("doc_to_target: {e}"))
    }

    fn choices_inside(&self, doc: &Doc) -> Result<Vec<Value>, String> {
        let choice = self.choice.as_ref().ok_or("has no doc_to_choice")?;
        choice.choices(doc).map_err(|e| format!("doc_to_choice: {e}"))
    }

    fn fails(&self, message: String) -> Error {
        Error::Task { task: self.config.task.clone(), message }
    }

    fn wrong(&self, doc_id: usize, message: String) -> Error {
        self.fails(format!("cannot ask row {}: {message}", doc_id + 1))
    }
}
