//! `tunesmith eval --tasks` and `tunesmith score`: lm-eval's tasks.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::json;
use tunesmith_harness::{
    compare::Row,
    eval::{
        evaluation::{self, Spec},
        render,
        results::Results,
    },
    figures::counted,
    text::visible,
};
use tunesmith_sandbox::{Cancel, Workdir};
use tunesmith_tools::{
    eval_tasks::{Answering, Job, Output, Part},
    worker::Work,
};

use super::{Args, Tasks, endpoint};
use crate::{
    commands::{
        print, print_json,
        require::Require,
        stop::CANCELLED,
        table::{count, table},
        usage,
        work::{Bench, adapter, directory, input},
    },
    model::scored::Scored,
    run::{Failure, shown},
};

/// Scores a model on tasks.
pub(super) async fn main(args: &Args, cancel: &Cancel) -> Result<u8, Failure> {
    let bench = Bench::new(&args.require, cancel)?;
    let tasks = &args.tasks;
    let spec = spec(tasks, args.limit)?;
    tasks.outputs.check()?;
    let endpoint = endpoint::named(&args.model)?;
    let model = match args.model.as_str() {
        name @ ("constant" | "random") if args.adapter.is_some() => {
            return Err(usage(format!("--model {name} takes no --adapter; leave it out")));
        }
        "constant" => Answering::Constant,
        "random" => Answering::Random,
        _ if endpoint.is_some() && args.adapter.is_some() => {
            return Err(usage("--adapter needs a model that is here; leave it out for an endpoint"));
        }
        _ if endpoint.is_some() => Answering::Elsewhere,
        name => Answering::Model {
            base: bench.model(name).await?,
            adapter: args.adapter.as_deref().map(adapter).transpose()?,
        },
    };
    let out = match &tasks.out {
        Some(out) if !tasks.dry_run => directory(out)?,
        _ => bench.private()?,
    };
    let job = Job {
        spec,
        model,
        named: json!({"model": args.model, "adapter": args.adapter}),
        out: out.path().to_owned(),
        resume: tasks.resume,
        cache: tasks.cache.as_deref().map(folder_of).transpose()?,
        batch: tasks.batch_size.unwrap_or(BATCH),
        part: if tasks.dry_run { Part::Plan } else { Part::Whole },
    };
    let done = match endpoint.filter(|_| !tasks.dry_run) {
        Some(hosted) => endpoint::evaluate(&bench, &hosted, job, (&out, tasks.batch_size), cancel).await,
        None => work(&bench, job, &out).await,
    };
    let done = done.map_err(|failure| stopped(failure, tasks))?;
    let Some(results) = done.results else {
        planned(args.json, &done)?;
        return Ok(0);
    };
    let worse = tasks.outputs.regressions(out.path())?;
    tasks.outputs.write(&args.model, &results, &worse)?;
    show(args.json, &results, &worse)?;
    Ok(if worse.is_empty() { 0 } else { 3 })
}

/// A failure; of a cancelled evaluation it says what is left to go on with.
fn stopped(failure: Failure, tasks: &Tasks) -> Failure {
    if failure.exit != CANCELLED {
        return failure;
    }
    let left = match (&tasks.out, &tasks.cache) {
        (Some(out), _) => format!("--resume goes on with the answers in {}", shown(out)),
        (None, Some(cache)) => format!("the answers so far are in {}", shown(cache)),
        (None, None) => "no answer is kept without --out".to_owned(),
    };
    Failure::new(CANCELLED, format!("{failure}; {left}"))
}

/// Sequences that a model here computes side by side.
const BATCH: usize = 32;

/// Does a part of the work in a worker.
pub(super) async fn work(bench: &Bench<'_>, job: Job, out: &Workdir) -> Result<Output, Failure> {
    let reads = job.reads();
    bench.run(&Work::EvalTasks(job), out, reads, "eval").await
}

fn spec(tasks: &Tasks, limit: Option<f64>) -> Result<Spec, Failure> {
    let absolute = |name: &String| -> Result<String, Failure> {
        // A file is one that is there; every other word is the name of a task.
        match Path::new(name).is_file() {
            true => Ok(input(Path::new(name))?.display().to_string()),
            false => Ok(name.clone()),
        }
    };
    let dataset = |given: &String| -> Result<(String, PathBuf), Failure> {
        let wrong = || usage(format!("--dataset {given}: is not NAME=PATH, for example allenai/ai2_arc=data/arc"));
        let (name, path) = given.split_once('=').ok_or_else(wrong)?;
        Ok((name.to_owned(), input(Path::new(path))?))
    };
    Ok(Spec {
        tasks: tasks.tasks.iter().map(absolute).collect::<Result<_, _>>()?,
        include: tasks.include.iter().map(|dir| input(dir)).collect::<Result<_, _>>()?,
        datasets: tasks.dataset.iter().map(dataset).collect::<Result<BTreeMap<_, _>, _>>()?,
        folder: folder(tasks.data_dir.as_deref())?,
        limit,
        num_fewshot: tasks.fewshot,
        fewshot_seed: tasks.fewshot_seed,
        chat_template: tasks.chat_template,
        fewshot_as_multiturn: !tasks.one_turn,
        system: tasks.system.clone(),
        cluster: tasks.cluster.clone(),
        bootstrap_iters: tasks.bootstrap_iters,
    })
}

/// Where relative paths of data in task files start.
fn folder(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let folder = input(given.unwrap_or(Path::new(".")))?;
    match () {
        () if !folder.is_dir() => Err(usage(format!("--data-dir {}: is not a directory", folder.display()))),
        () if given.is_some() && folder.parent().is_none() => {
            Err(usage("--data-dir /: is everything; name the folder that holds the data"))
        }
        () => Ok(folder),
    }
}

/// The folder of a cache, which is made where it is not there.
fn folder_of(cache: &Path) -> Result<PathBuf, Failure> {
    Ok(directory(cache)?.path().to_owned())
}

/// What would be asked.
fn planned(as_json: bool, done: &Output) -> Result<(), Failure> {
    if as_json {
        return print_json(&json!({"tasks": done.tasks, "questions": done.questions}));
    }
    let head = ["task", "rows", "shots", "requests"].map(str::to_owned).to_vec();
    let row = |task: &tunesmith_tools::eval_tasks::Counted| {
        vec![task.task.clone(), count(task.rows as u64), task.n_shot.to_string(), count(task.requests as u64)]
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(done.tasks.iter().map(row)).collect();
    table(&rows).iter().for_each(|line| print(line));
    let total: usize = done.tasks.iter().map(|task| task.requests).sum();
    print(&format!("{} in {}", counted(total, "request"), counted(done.tasks.len(), "task")));
    Ok(())
}

fn show(as_json: bool, results: &Results, worse: &[Row]) -> Result<(), Failure> {
    if as_json {
        return print_json(results);
    }
    table(&render::cells(&results.tunesmith.figures)).iter().for_each(|line| print(line));
    results.tunesmith.notes.iter().for_each(|note| print(&format!("note: {}", visible(note))));
    worse.iter().for_each(|row| {
        print(&format!(
            "worse than the baseline: {}, {}: {}",
            visible(&row.task),
            visible(&row.metric),
            visible(&row.why)
        ))
    });
    Ok(())
}

const EXAMPLE: &str = "\
Example:
  tunesmith score scores

The answers in DIR are scored again by the task files as they are now: filters and metrics may have changed, prompts may not.";

/// Score the answers of an evaluation again, without asking the model
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Score {
    /// The --out directory of `tunesmith eval --tasks`
    dir: PathBuf,
    #[command(flatten)]
    require: Require,
    /// Print lm-eval's results object
    #[arg(long)]
    json: bool,
}

/// Scores again.
pub async fn score(args: Score, cancel: &Cancel) -> Result<u8, Failure> {
    let dir = input(&args.dir)?;
    let manifest = evaluation::manifest(&dir).map_err(|error| usage(error.to_string()))?;
    // Prompts to an endpoint are conversations; only a model here has made texts of them.
    if manifest.spec.chat_template && !Scored::gave(&manifest.fingerprint) {
        return Err(usage(
            "prompts of a chat template need the model; use `tunesmith eval --resume` with the same options",
        ));
    }
    let bench = Bench::new(&args.require, cancel)?;
    let out = directory(&dir)?;
    let job = Job {
        spec: manifest.spec,
        model: Answering::Elsewhere,
        named: manifest.model,
        out: out.path().to_owned(),
        resume: true,
        cache: None,
        batch: 1,
        part: Part::Score,
    };
    let done = work(&bench, job, &out).await?;
    let results = done.results.ok_or_else(|| Failure::new(70, "the worker's answer has no results"))?;
    show(args.json, &results, &[])?;
    Ok(0)
}
