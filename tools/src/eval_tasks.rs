//! Evaluating a model on lm-eval's tasks, in a worker: task files, data sets and models are strangers'.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunesmith_harness::{
    eval::{
        config::TaskConfig,
        dataset::Datasets,
        evaluation::{self, ANSWERS, Manifest, Place, Plan, Spec, evaluate},
        functions::Functions,
        journal::Journal,
        registry::Registry,
        request::{self, Doc, Instance},
        results::Results,
        task::EvalTask,
    },
    model::{
        LanguageModel, Message, ModelError,
        calibration::{Constant, Random},
    },
    run::write_json,
};

use crate::{bases, memory, models::TextModel, worker::Live};

/// The requests of an evaluation whose model answers elsewhere, in its directory.
pub const REQUESTS: &str = "requests.json";

/// What the worker is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// What is evaluated.
    pub spec: Spec,
    /// Who answers.
    pub model: Answering,
    /// The model as the user named it.
    pub named: Value,
    /// The evaluation's directory, which is there.
    pub out: PathBuf,
    /// Goes on with what an earlier process left.
    pub resume: bool,
    /// Answers of earlier evaluations.
    pub cache: Option<PathBuf>,
    /// Sequences that are computed side by side.
    pub batch: usize,
    /// Which part of the work.
    pub part: Part,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answering {
    /// A model here.
    Model {
        /// The base.
        base: PathBuf,
        /// The adapter's directory.
        adapter: Option<PathBuf>,
    },
    /// Nobody thinks: every answer is the same.
    Constant,
    /// Nobody thinks: answers are drawn.
    Random,
    /// A model elsewhere, which the caller asks.
    Elsewhere,
}

/// Which part of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Nothing is asked; what would be is counted.
    Plan,
    /// The same, with the requests in [`REQUESTS`] for a caller who asks.
    Requests,
    /// Everything.
    Whole,
    /// Scores the first rows of what is answered, to find early what cannot be scored.
    TryScore,
    /// Scores what is answered.
    Score,
}

/// What the worker found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Each task with its rows and requests.
    pub tasks: Vec<Counted>,
    /// Hash over all requests.
    pub questions: String,
    /// The results, where the work was to make them.
    pub results: Option<Results>,
}

/// A task's size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Its name.
    pub task: String,
    /// Rows of the evaluated split.
    pub rows: usize,
    /// Requests to the model.
    pub requests: usize,
    /// Few-shot examples.
    pub n_shot: usize,
}

impl Job {
    /// Does it.
    pub fn run(&self, live: &mut Live<'_>) -> anyhow::Result<Output> {
        live.progress("tasks", 0, 1);
        let mut model = self.open()?;
        // The model bounds its own chat template; those of the tasks are tried without it first.
        let plain = Spec { chat_template: false, ..self.spec.clone() };
        let mut plan = memory::bounded(memory::TABLES, || self.plan(&plain, None))?;
        if self.spec.chat_template {
            plan = self.plan(&self.spec, model.as_deref())?;
        }
        let counted = |planned: &tunesmith_harness::eval::scored::Planned| Counted {
            task: planned.task.config.task.clone(),
            rows: planned.task.docs.len(),
            requests: planned.instances.len(),
            n_shot: planned.n_shot,
        };
        let tasks = plan.tasks.iter().map(counted).collect();
        let questions = plan.questions();
        live.progress("tasks", 1, 1);
        let results = match (self.part, model.as_mut()) {
            (Part::Plan, _) => None,
            (Part::Requests, _) => {
                self.write_requests(&plan)?;
                None
            }
            (Part::Whole, Some(model)) => {
                let place = Place {
                    out: &self.out,
                    resume: self.resume,
                    cache: self.cache.as_deref(),
                    model: self.named.clone(),
                };
                Some(evaluate(&plan, model.as_mut(), &place, &mut |what, done, total| {
                    live.progress(what, done, total)
                })?)
            }
            (Part::Whole, None) => anyhow::bail!("this model is asked elsewhere"),
            (Part::TryScore, _) => {
                plan.try_score(&self.answered(&questions)?.1)?;
                None
            }
            (Part::Score, _) => {
                let (manifest, journal) = self.answered(&questions)?;
                Some(plan.score(&journal, &manifest, &self.out)?)
            }
        };
        Ok(Output { tasks, questions, results })
    }

    /// What the worker must read.
    pub fn reads(&self) -> Vec<PathBuf> {
        let files = self.spec.tasks.iter().map(PathBuf::from).filter(|path| path.is_absolute());
        // A task file may include its neighbours and name data beside it.
        let folders = files.filter_map(|file| file.parent().map(PathBuf::from));
        let model = match &self.model {
            Answering::Model { base, adapter } => bases::reads(base).into_iter().chain(adapter.clone()).collect(),
            _ => Vec::new(),
        };
        // From the root, only data beside task files and in named folders can be read: a job may not read everything.
        let folder = Some(&self.spec.folder).filter(|folder| folder.parent().is_some());
        folders
            .chain(folder.cloned())
            .chain(self.spec.include.clone())
            .chain(self.spec.datasets.values().cloned())
            .chain(model)
            .collect()
    }

    /// What it writes beside its directory.
    pub fn writes(&self) -> Vec<PathBuf> {
        self.cache.iter().cloned().collect()
    }

    /// What was asked and answered here, which must be these very questions: with rows taken away, the answers that are
    /// left would still give a score.
    fn answered(&self, questions: &str) -> anyhow::Result<(Manifest, Journal)> {
        let manifest = evaluation::manifest(&self.out)?;
        if manifest.questions != questions {
            let changed = "rows, prompts or examples of the tasks have changed since the model was asked";
            anyhow::bail!("{}: {changed}; evaluate again into another --out", self.out.display());
        }
        let journal = Journal::open(&self.out.join(ANSWERS), &manifest.fingerprint)?;
        Ok((manifest, journal))
    }

    fn open(&self) -> anyhow::Result<Option<Box<dyn LanguageModel>>> {
        Ok(match (&self.model, self.part) {
            // Only a template is needed of a model that is not asked.
            (Answering::Model { .. }, Part::Plan | Part::TryScore | Part::Score) if !self.spec.chat_template => None,
            (Answering::Model { base, adapter }, _) => {
                let model = TextModel::open(base, adapter.as_deref())?;
                Some(Box::new(model.batch(self.batch)))
            }
            (Answering::Constant, _) => Some(Box::new(Constant { text: String::new() })),
            (Answering::Random, _) => Some(Box::new(Random { seed: 0 })),
            (Answering::Elsewhere, _) => None,
        })
    }

    fn plan(&self, spec: &Spec, model: Option<&dyn LanguageModel>) -> anyhow::Result<Plan> {
        let registry = Registry::index(&self.spec.include)?;
        let selected = registry.select(&self.spec.tasks)?;
        let datasets = Datasets { local: spec.datasets.clone(), folder: spec.folder.clone() };
        let functions = Functions::native();
        let mut tasks = Vec::new();
        for config in selected.tasks {
            let name = config.task.clone();
            let splits = splits(&datasets, &config, spec).with_context(|| format!("the task `{name}`"))?;
            tasks.push(EvalTask::new(config, &splits, &functions)?);
        }
        let chat = |messages: &[Message]| match (model, &self.model) {
            (Some(model), _) => model.chat_prompt(messages),
            // Whoever is asked elsewhere has the template there.
            (None, Answering::Elsewhere) => request::chat(messages),
            (None, _) => Err(ModelError("there is no chat template here; leave out --chat-template".into())),
        };
        Ok(Plan::new(spec, tasks, selected.groups, Some(&chat))?)
    }

    fn write_requests(&self, plan: &Plan) -> anyhow::Result<()> {
        let all: Vec<(&[Instance], usize)> =
            plan.tasks.iter().map(|planned| (planned.instances.as_slice(), planned.first_row().len())).collect();
        Ok(write_json(&self.out.join(REQUESTS), &all)?)
    }
}

/// The rows of the split that is evaluated, and of the one that examples come from where there are any.
fn splits(datasets: &Datasets, config: &TaskConfig, spec: &Spec) -> anyhow::Result<BTreeMap<String, Vec<Doc>>> {
    let evaluated = config.test_split.iter().chain(&config.validation_split).next();
    let shots = match config.num_fewshot {
        Some(0) => 0,
        own => spec.num_fewshot.or(own).unwrap_or(0),
    };
    let sources = [&config.fewshot_split, &config.training_split, &config.validation_split, &config.test_split];
    let examples = sources.into_iter().flatten().next().filter(|_| shots > 0);
    let names: BTreeSet<&String> = evaluated.into_iter().chain(examples).collect();
    names.into_iter().map(|name| Ok((name.clone(), datasets.rows(config, name)?))).collect()
}
