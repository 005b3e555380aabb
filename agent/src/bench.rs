//! `tunesmith bench`: a suite of tasks, each run as a user would run it, each held to its threshold.
//!
//! | module | answers |
//! |---|---|
//! | `args` | what is asked for, and where results go |
//! | `attempt` | how is one task run, and who plans |
//! | `results` | what did tasks and suite come to |
//! | `baseline` | is it worse than what is stored |
//! | `board` | which cells does a scoreboard have |
//! | `pages`, `junit` | how do other programs and people read it |

pub(crate) mod args;
mod attempt;
mod baseline;
mod board;
pub(crate) mod junit;
mod pages;
mod results;

pub use args::Args;
use args::Outputs;
use attempt::Planner;
use baseline::Compared;
use results::{Results, TaskResult};
use tunesmith_evals::Suite;
use tunesmith_harness::{figures::duration, rows, task::Outcome, text::visible};
use tunesmith_sandbox::Cancel;

use crate::{
    commands::{hub::download, print, print_json, usage},
    config::Config,
    run::{Failure, PLAYBOOK},
};

/// Runs the suite.
pub async fn main(mut args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    let suite = tunesmith_evals::suite(&args.suite).map_err(|error| usage(error.to_string()))?;
    let suite = chosen(suite, &args.only)?;
    let named = match args.planner.take() {
        Some(planner) => planner,
        None => Config::here()?.values.planner.unwrap_or_else(|| PLAYBOOK.into()),
    };
    let planner = Planner::parse(&named)?;
    let jobs = args.require.jobs(args.sandbox)?;
    let baseline = args.baseline.as_deref().map(|file| baseline::read(file, &suite.name)).transpose()?;
    let outputs = Outputs::of(&args)?;
    let base = download::allowed(args.base.as_deref(), &args.allow, cancel).await?.map(|base| {
        args.base = Some(base.id.to_string());
        base.path
    });
    let sealed_seed = args.sealed_seed.unwrap_or_else(args::drawn);
    if !args.json {
        let planner = visible(&named);
        print(&format!("suite {}, planner {planner}, rows of --sealed-seed {sealed_seed}", suite.name));
    }
    let files = args.out.join(format!("bench-{}-{sealed_seed}", suite.name));
    let unwritable = |path: &std::path::Path, error: std::io::Error| Failure::unwritten(path, &error, attempt::OUT);
    std::fs::create_dir_all(&files).map_err(|error| unwritable(&files, error))?;
    let mut tasks = Vec::new();
    for task in &suite.tasks {
        let file = files.join(format!("{}.jsonl", task.id));
        rows::write_jsonl(&file, task.rows(sealed_seed)).map_err(|error| unwritable(&file, error))?;
        let spec = planner.spec(&suite.name, task, &files)?;
        for seed in args.seed..=args.seed.saturating_add(args.seeds - 1) {
            if cancel.is_cancelled() {
                break;
            }
            let given = (file.clone(), spec.clone(), base.clone(), jobs.clone());
            let result = attempt::attempt(&args, task, seed, given, cancel).await;
            if !args.json {
                let seed = if args.seeds > 1 { format!(", seed {seed}") } else { String::new() };
                print(&format!("{}{seed}: {}, {}", result.id, result.ended(), duration(result.seconds)));
            }
            tasks.push(result);
        }
    }
    let asked = suite.tasks.len() * args.seeds as usize;
    let results = Results::of((&suite.name, &named), (args.seed, sealed_seed), tasks, asked);
    let compared = baseline.map(|stored| Compared::of(&results, &stored));
    show(&args, &outputs, &results, compared.as_ref())?;
    let code = results.exit(cancel.is_cancelled());
    let worse = compared.is_some_and(|compared| compared.worse());
    Ok(if code == 0 && worse { Outcome::NotMet.exit_code() } else { code })
}

/// Prints the results and writes the files that were asked for.
fn show(args: &Args, outputs: &Outputs, results: &Results, compared: Option<&Compared>) -> Result<(), Failure> {
    let notes = compared.map_or_else(Vec::new, Compared::lines);
    if args.json {
        let baseline = compared.map(|compared| &compared.tasks);
        print_json(&Printed { results, baseline })?;
    } else {
        board::lines(results).iter().chain(&notes).for_each(|line| print(line));
    }
    args::write(&outputs.junit, || junit::xml(results, compared))?;
    args::write(&outputs.markdown, || pages::markdown(results, &notes))?;
    args::write(&outputs.html, || pages::html(results, &notes))
}

/// What `--json` prints: the results, and what they are beside a baseline where there is one.
#[derive(serde::Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    results: &'a Results,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<&'a Vec<baseline::Row>>,
}

/// The tasks that were asked for.
fn chosen(mut suite: Suite, only: &[String]) -> Result<Suite, Failure> {
    if let Some(unknown) = only.iter().find(|id| !suite.tasks.iter().any(|task| task.id == **id)) {
        let known: Vec<&str> = suite.tasks.iter().map(|task| task.id.as_str()).collect();
        return Err(usage(format!("{} has no task {unknown:?}; its tasks are: {}", suite.name, known.join(", "))));
    }
    suite.tasks.retain(|task| only.is_empty() || only.contains(&task.id));
    Ok(suite)
}

#[cfg(test)]
mod tests;
