//! An evaluation from its tasks to its files: asked batch by batch, gone on with after a kill, scored again at will.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    aggregate::Bootstrap,
    answer::{AnswerError, answer, batches},
    journal::{Journal, JournalError, key},
    prompt::ChatTemplate,
    registry::Group,
    results::Results,
    scored::{Planned, ScoreError, Scored},
    task::{Asking, Error, EvalTask, FEWSHOT_SEED},
};
use crate::{
    hash::sha256,
    model::LanguageModel,
    run::{RunError, write_atomically, write_json},
};

mod files;

use files::{line, read_json};

/// The answers, in the directory of an evaluation.
pub const ANSWERS: &str = "answers.jsonl";

/// What was asked of which model.
pub const MANIFEST: &str = "evaluation.json";

/// lm-eval's results object.
pub const RESULTS: &str = "results.json";

/// The longest name of a task that is a part of a file's name as it is, in bytes.
const LONGEST_NAME: usize = 200;

/// What is evaluated, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Names of tasks, groups and tags, patterns such as `mmlu_*`, or task files.
    pub tasks: Vec<String>,
    /// Folders with task files.
    pub include: Vec<PathBuf>,
    /// The folder that relative paths of data in task files start from.
    pub folder: PathBuf,
    /// Local copies of Hub data sets: `org/name` or `org/name:config` to a folder or file.
    pub datasets: BTreeMap<String, PathBuf>,
    /// Only the first rows of each task: a share below 1, else a number.
    pub limit: Option<f64>,
    /// Few-shot examples instead of the tasks' own number.
    pub num_fewshot: Option<usize>,
    /// Seed of the examples' draws.
    pub fewshot_seed: u64,
    /// Renders prompts by the model's chat template.
    pub chat_template: bool,
    /// With a chat template, makes examples turns of their own.
    pub fewshot_as_multiturn: bool,
    /// An instruction before everything else.
    pub system: Option<String>,
    /// A column whose equal values mark rows that are not independent.
    pub cluster: Option<String>,
    /// Resamples behind standard errors that have no formula.
    pub bootstrap_iters: usize,
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            tasks: Vec::new(),
            include: Vec::new(),
            folder: PathBuf::new(),
            datasets: BTreeMap::new(),
            limit: None,
            num_fewshot: None,
            fewshot_seed: FEWSHOT_SEED,
            chat_template: false,
            fewshot_as_multiturn: true,
            system: None,
            cluster: None,
            bootstrap_iters: Bootstrap::ITERATIONS,
        }
    }
}

/// Tasks with all their requests.
pub struct Plan {
    /// The tasks.
    pub tasks: Vec<Planned>,
    /// The groups, an outer one before the inner ones.
    pub groups: Vec<Group>,
    spec: Spec,
}

/// What stands in [`MANIFEST`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What is evaluated.
    pub spec: Spec,
    /// The model as the user named it.
    pub model: Value,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Hash over all requests.
    pub questions: String,
    /// What a reader has to know about the model beside its numbers.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Where an evaluation is kept, and what goes with it.
pub struct Place<'a> {
    /// Its directory, which is there.
    pub out: &'a Path,
    /// Goes on with what an earlier process left.
    pub resume: bool,
    /// Answers of earlier evaluations of the same model.
    pub cache: Option<&'a Path>,
    /// The model as the user named it.
    pub model: Value,
}

/// Why an evaluation did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    /// The tasks cannot be asked.
    #[error(transparent)]
    Task(#[from] Error),
    /// The model was not asked to the end.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// Answers cannot be kept or read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The answers give no scores.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] RunError),
    /// The directory holds something else.
    #[error("{}: {why}", .path.display())]
    Place {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
}

impl Place<'_> {
    /// The answers of this evaluation, and those of earlier ones where they are kept. No other process can open them.
    pub fn journals(&self, fingerprint: &str) -> Result<(Journal, Option<Journal>), EvaluationError> {
        let journal = Journal::open(&self.out.join(ANSWERS), fingerprint)?;
        Ok((journal, self.cache.map(|cache| cached(cache, fingerprint)).transpose()?))
    }
}

impl Plan {
    /// The requests of `tasks`; `chat` renders by the model's template where the spec asks for it.
    pub fn new(
        spec: &Spec,
        tasks: Vec<EvalTask>,
        groups: Vec<Group>,
        chat: Option<ChatTemplate<'_>>,
    ) -> Result<Self, EvaluationError> {
        let planned = tasks.into_iter().map(|task| planned(spec, task, chat)).collect::<Result<_, _>>()?;
        Ok(Plan { tasks: planned, groups, spec: spec.clone() })
    }

    /// Number of requests.
    pub fn requests(&self) -> usize {
        self.tasks.iter().map(|planned| planned.instances.len()).sum()
    }

    /// Hash over all requests in their order.
    pub fn questions(&self) -> String {
        let keys = self.tasks.iter().flat_map(|planned| &planned.instances);
        let all: String = keys.map(|instance| key(&instance.request, instance.repeats)).collect();
        sha256(all.as_bytes())
    }

    /// Scores the first row of each task, so that what cannot be scored is found before the long run.
    pub fn try_score(&self, journal: &Journal) -> Result<(), EvaluationError> {
        for planned in &self.tasks {
            planned.score(planned.first_row(), journal.answers(), self.bootstrap(0))?;
        }
        Ok(())
    }

    /// Scores answers and writes results and samples into `out`.
    pub fn score(&self, journal: &Journal, manifest: &Manifest, out: &Path) -> Result<Results, EvaluationError> {
        let bootstrap = self.bootstrap(self.spec.bootstrap_iters);
        let mut tasks: Vec<(&Planned, Scored)> = Vec::new();
        for planned in &self.tasks {
            tasks.push((planned, planned.score(&planned.instances, journal.answers(), bootstrap)?));
        }
        let notes = manifest.notes.iter().cloned().chain(notes(&tasks, &self.spec)).collect();
        let results = Results::of(&tasks, &self.groups, (config(manifest), &manifest.fingerprint), notes);
        for (planned, scored) in &tasks {
            let mut lines = String::new();
            for sample in &scored.samples {
                lines.push_str(&line(out, sample)?);
            }
            write_atomically(&out.join(samples_file(&planned.task.config.task)), lines.as_bytes())?;
        }
        write_json(&out.join(RESULTS), &results)?;
        Ok(results)
    }

    fn bootstrap(&self, iterations: usize) -> Bootstrap {
        // The result does not depend on the number of threads.
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Bootstrap { iterations: iterations.min(Bootstrap::MOST), threads }
    }
}

/// Asks `model` everything that is not answered yet, and scores. `on` is told what is being done and how far it is.
///
/// Scoring is tried on the first row of each task before the long run, so that a filter or metric that does not work is
/// found at once.
pub fn evaluate(
    plan: &Plan,
    model: &mut dyn LanguageModel,
    place: &Place<'_>,
    on: &mut dyn FnMut(&str, usize, usize),
) -> Result<Results, EvaluationError> {
    let fingerprint = model.fingerprint();
    let manifest = Manifest {
        spec: plan.spec.clone(),
        model: place.model.clone(),
        fingerprint: fingerprint.clone(),
        questions: plan.questions(),
        notes: Vec::new(),
    };
    begin(&manifest, place)?;
    let (mut journal, mut cache) = place.journals(&fingerprint)?;
    let first = batches(plan.tasks.iter().flat_map(Planned::first_row));
    answer(&first, model, &mut journal, cache.as_mut(), &mut |done, total| on("first rows", done, total))?;
    plan.try_score(&journal)?;
    let all = batches(plan.tasks.iter().flat_map(|planned| &planned.instances));
    answer(&all, model, &mut journal, cache.as_mut(), &mut |done, total| on("requests", done, total))?;
    on("scores", 0, 1);
    let results = plan.score(&journal, &manifest, place.out)?;
    on("scores", 1, 1);
    Ok(results)
}

/// The file of a task's samples. A name that no file can have, or that is too long for one, gets a part of its hash.
pub fn samples_file(task: &str) -> String {
    let name: String = task.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    if name == task && name.len() <= LONGEST_NAME {
        return format!("samples_{name}.jsonl");
    }
    let begin: String = name.chars().take(LONGEST_NAME / 4).collect();
    format!("samples_{begin}-{}.jsonl", &sha256(task.as_bytes())[..16])
}

/// What an evaluation's directory says it is.
pub fn manifest(out: &Path) -> Result<Manifest, EvaluationError> {
    read_json(&out.join(MANIFEST))
}

fn planned(spec: &Spec, task: EvalTask, chat: Option<ChatTemplate<'_>>) -> Result<Planned, Error> {
    let rows = task.docs.len();
    if let Some(limit) = spec.limit.filter(|limit| limit.is_nan() || *limit <= 0.0) {
        let message = format!("cannot be limited to {limit} rows; give a number from 1, or a share below 1");
        return Err(Error::Task { task: task.config.task, message });
    }
    let limit = spec.limit.map(|limit| {
        let rows = if limit < 1.0 { (rows as f64 * limit).ceil() } else { limit.floor() };
        // From a float, this saturates.
        (rows as usize).max(1)
    });
    let asking = Asking {
        limit,
        num_fewshot: spec.num_fewshot,
        fewshot_seed: Some(spec.fewshot_seed),
        system: spec.system.as_deref(),
        chat: chat.filter(|_| spec.chat_template),
        multiturn: spec.fewshot_as_multiturn,
    };
    let (instances, n_shot) = (task.instances(&asking)?, task.num_fewshot(spec.num_fewshot));
    let clusters = spec.cluster.as_ref().map(|column| clusters(&task, column)).transpose()?;
    // Every template that scoring needs is rendered here too, so that what a stranger's one may take is bounded once.
    let firsts = instances.iter().filter(|instance| instance.idx == 0).zip(&task.docs);
    let hashes = firsts.map(|(first, doc)| task.hashes(doc, &first.request)).collect::<Result<_, _>>()?;
    Ok(Planned { task, instances, n_shot, hashes, clusters })
}

/// The number of each row's cluster.
fn clusters(task: &EvalTask, column: &str) -> Result<Vec<usize>, Error> {
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let number = |doc: &super::request::Doc| {
        let next = numbers.len();
        Some(*numbers.entry(doc.get(column)?.to_string()).or_insert(next))
    };
    task.docs.iter().map(number).collect::<Option<_>>().ok_or_else(|| Error::Task {
        task: task.config.task.clone(),
        message: format!("has rows without the column `{column}` that --cluster names; leave it out or name another"),
    })
}

/// Makes sure that the directory is new or holds this very evaluation, and writes down what is evaluated.
pub fn begin(manifest: &Manifest, place: &Place<'_>) -> Result<(), EvaluationError> {
    let path = place.out.join(MANIFEST);
    if path.symlink_metadata().is_err() {
        return Ok(write_json(&path, manifest)?);
    }
    let wrong = |why: &str| Err(EvaluationError::Place { path: path.clone(), why: why.to_owned() });
    if !place.resume {
        return wrong("an evaluation is here already; go on with --resume, or name another --out");
    }
    let found: Manifest = read_json(&path)?;
    match () {
        () if found.fingerprint != manifest.fingerprint => {
            wrong("the evaluation here is of another model or adapter; name another --out")
        }
        () if found.questions != manifest.questions => {
            wrong("the evaluation here asks something else (other tasks, rows, limit or examples); name another --out")
        }
        () if found != *manifest => Ok(write_json(&path, manifest)?),
        () => Ok(()),
    }
}

/// The cache of a model's answers, in a folder shared by many.
fn cached(folder: &Path, fingerprint: &str) -> Result<Journal, EvaluationError> {
    let failed = |error: io::Error| EvaluationError::Place { path: folder.into(), why: error.to_string() };
    fs::create_dir_all(folder).map_err(failed)?;
    let name = sha256(fingerprint.as_bytes());
    Ok(Journal::open(&folder.join(format!("{}.jsonl", &name[..32])), fingerprint)?)
}

fn config(manifest: &Manifest) -> Value {
    let spec = &manifest.spec;
    json!({
        "model": "tunesmith",
        "model_args": manifest.model,
        "limit": spec.limit,
        "bootstrap_iters": spec.bootstrap_iters,
        "num_fewshot": spec.num_fewshot,
        "fewshot_seed": spec.fewshot_seed,
        "chat_template": spec.chat_template,
        "fewshot_as_multiturn": spec.fewshot_as_multiturn,
        "system_instruction": spec.system,
        "cluster": spec.cluster,
    })
}

/// What a reader has to know beside the numbers.
fn notes(tasks: &[(&Planned, Scored)], spec: &Spec) -> Vec<String> {
    let mut notes = Vec::new();
    let cut = tasks.iter().filter(|(planned, scored)| scored.rows < planned.task.docs.len()).count();
    if spec.limit.is_some() && cut > 0 {
        notes.push(format!("Only the first rows of {cut} tasks were scored (--limit), which is no result to report."));
    }
    for (_, scored) in tasks {
        for figure in &scored.figures {
            if let Some(share) = figure.format_failures.filter(|share| *share > 0.0) {
                let (task, share) = (&figure.task, crate::figures::percent(share));
                notes.push(format!(
                    "{task}, {}: {share} of the answers did not have the asked-for form.",
                    figure.filter
                ));
            }
        }
    }
    notes.dedup();
    notes
}
