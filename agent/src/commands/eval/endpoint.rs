//! `tunesmith eval --tasks` with a model that answers elsewhere: the worker plans and scores, this process asks.
//!
//! Task files and data sets are strangers', so only the worker reads them; keys stay here, so only this process sends.

use std::{fs, path::Path};

use tokio::runtime::Handle;
use tunesmith_harness::{
    eval::{
        answer::{AnswerError, Question, answer, batches},
        evaluation::{self, Manifest, Place},
        request::Instance,
    },
    model::LanguageModel,
    rows::not_a_file,
    text::visible,
};
use tunesmith_sandbox::{Cancel, Workdir};
use tunesmith_tools::{
    eval_tasks::{Job, Output, Part, REQUESTS},
    worker::{Rates, Tick},
};

use super::tasks::work;
use crate::{
    commands::{stop::CANCELLED, usage, work::Bench},
    model::{
        openai::{self, OpenAi},
        scored::{Api, Scored},
        spec::{self, Hosted, Planner, SpecError},
    },
    run::{Failure, Watch},
    terminal::Terminal,
};

/// The largest file of requests that is read, in bytes.
const MOST_REQUESTS: u64 = 4 << 30;

/// Requests that are under way side by side where the user does not say.
const AT_ONCE: usize = 8;

/// Answers are kept after so many rounds of requests: what a kill can lose is paid for twice.
const ROUNDS: usize = 4;

/// The endpoint that a `--model` names; `None` for what is no endpoint.
pub(super) fn named(model: &str) -> Result<Option<Hosted>, Failure> {
    if Path::new(model).exists() {
        return Ok(None);
    }
    match spec::parse(model) {
        Ok(Planner::Hosted(hosted)) if hosted.base.contains('?') => {
            Err(usage(format!("{model}: an address must not hold a query; keys belong into variables")))
        }
        Ok(Planner::Hosted(hosted)) => Ok(Some(hosted)),
        Ok(Planner::Playbook | Planner::Scripted(_) | Planner::Replay(_) | Planner::Local(_))
        | Err(SpecError::Unknown(_)) => Ok(None),
        Err(error) => Err(usage(format!("--model: {error}"))),
    }
}

/// Asks the endpoint what the tasks ask, and has it scored.
pub(super) async fn evaluate(
    bench: &Bench<'_>,
    hosted: &Hosted,
    job: Job,
    (out, at_once): (&Workdir, Option<usize>),
    cancel: &Cancel,
) -> Result<Output, Failure> {
    let api = if job.spec.chat_template { Api::Chat } else { Api::Completions };
    let mut model = open(hosted, api, at_once.unwrap_or(AT_ONCE), cancel)?;
    if !openai::is_loopback(&hosted.base) {
        eprintln!("prompts are sent to {} ({})", visible(&hosted.base), visible(&hosted.model));
    }
    let part = |part| Job { part, ..job.clone() };
    let planned = work(bench, part(Part::Requests), out).await?;
    let requests = read(&out.path().join(REQUESTS))?;
    let manifest = Manifest {
        spec: job.spec.clone(),
        model: job.named.clone(),
        fingerprint: model.fingerprint(),
        questions: planned.questions,
        notes: vec![format!(
            "{} answered at {}{}; what is behind an endpoint's name may change without notice.",
            hosted.model,
            hosted.base,
            api.path()
        )],
    };
    let place = Place { out: out.path(), resume: job.resume, cache: job.cache.as_deref(), model: job.named.clone() };
    evaluation::begin(&manifest, &place).map_err(|error| usage(error.to_string()))?;
    let first = requests.iter().flat_map(|(instances, first)| &instances[..*first]);
    ask(&mut model, batches(first), &place, "first rows")?;
    // What cannot be scored is found before the long run.
    work(bench, part(Part::TryScore), out).await?;
    let all = requests.iter().flat_map(|(instances, _)| instances);
    ask(&mut model, batches(all), &place, "requests")?;
    work(bench, part(Part::Score), out).await
}

fn open(hosted: &Hosted, api: Api, at_once: usize, cancel: &Cancel) -> Result<Scored, Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let model = hosted.endpoint(&env).and_then(|endpoint| OpenAi::new(endpoint, 0));
    let model = model.map_err(|error| Failure::new(5, error.message))?;
    Ok(Scored { model, api, at_once, runtime: Handle::current(), cancel: cancel.clone() })
}

/// Each task's requests, and how many of them belong to its first row.
fn read(path: &Path) -> Result<Vec<(Vec<Instance>, usize)>, Failure> {
    let damaged = |why: String| Failure::new(70, format!("the worker's requests cannot be read: {why}"));
    if let Some(what) = not_a_file(path) {
        return Err(damaged(format!("{what}, not a file")));
    }
    if fs::metadata(path).is_ok_and(|meta| meta.len() > MOST_REQUESTS) {
        return Err(usage("the tasks ask too much at once; name fewer, or set --limit"));
    }
    let text = fs::read_to_string(path).map_err(|error| damaged(error.to_string()))?;
    let requests: Vec<(Vec<Instance>, usize)> =
        serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    // They are kept by their answers alone; the file would be in the way of the results.
    fs::remove_file(path).map_err(|error| damaged(error.to_string()))?;
    match requests.iter().all(|(instances, first)| *first <= instances.len()) {
        true => Ok(requests),
        false => Err(damaged("a first row has more requests than its task".into())),
    }
}

/// Gets and keeps answers. The journals are closed afterwards, for the worker to read them.
fn ask(model: &mut Scored, batches: Vec<Vec<Question>>, place: &Place<'_>, what: &str) -> Result<(), Failure> {
    let piece = ROUNDS * model.at_once;
    let pieces: Vec<Vec<Question>> =
        batches.iter().flat_map(|batch| batch.chunks(piece)).map(<[Question]>::to_vec).collect();
    let terminal = Terminal::progress_only("eval");
    let mut rates = Rates::default();
    let mut on = |done, total| {
        terminal.progress(&rates.progress(Tick { what: what.into(), done, total, ..Tick::default() }));
    };
    let done = tokio::task::block_in_place(|| {
        let (mut journal, mut cache) =
            place.journals(&model.fingerprint()).map_err(|error| usage(error.to_string()))?;
        let answered = answer(&pieces, model, &mut journal, cache.as_mut(), &mut on);
        answered.map_err(|error| failure(error, model.cancel.is_cancelled()))
    });
    terminal.clear();
    done
}

fn failure(error: AnswerError, cancelled: bool) -> Failure {
    match error {
        AnswerError::Model(_) if cancelled => Failure::new(CANCELLED, "cancelled"),
        AnswerError::Model(error) => Failure::new(5, error),
        AnswerError::Journal(error) => usage(error.to_string()),
    }
}
