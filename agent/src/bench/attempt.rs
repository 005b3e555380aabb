//! One task, run as a user would run it, and who plans it.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::json;
use tunesmith_evals::{Task, agents};
use tunesmith_harness::task;
use tunesmith_sandbox::{Cancel, Local};

use super::{Args, TaskResult};
use crate::{
    commands::usage,
    extensions::Extensions,
    model::spec,
    run::{self, Approve, Failure, Options},
    show::Share,
    terminal::Terminal,
};

/// How to name another place for a suite's runs.
pub(super) const OUT: &str = "keep them elsewhere with --out";

/// Does one task as a user's run would.
pub(super) async fn attempt(
    args: &Args,
    task: &Task,
    seed: u64,
    (file, planner, base, jobs): (PathBuf, String, Option<PathBuf>, Local),
    cancel: &Cancel,
) -> TaskResult {
    let options = Options {
        task: task::Task {
            request: task.request.clone(),
            files: vec![file],
            test: None,
            test_share: None,
            base: args.base.clone(),
            goals: vec![task.goal.clone()],
            artifacts: Vec::new(),
            max_bytes: None,
            minutes: Some(args.minutes.unwrap_or(task.minutes)),
            steps: None,
            usd: None,
            tokens: None,
            disk: None,
            seed,
        },
        base,
        planner,
        dir: args.out.clone(),
        // The rows are made for the suite, so they are nobody's secret.
        share: Share::Samples,
        approve: Approve::Auto,
        allow: Vec::new(),
        extensions: Extensions::default(),
        known: run::own::list(),
        jobs,
        ahead: None,
    };
    let terminal = Terminal::progress_only(&task.id);
    let began = Instant::now();
    let done = run::run(&options, &terminal, cancel).await;
    terminal.clear();
    TaskResult::of(task, seed, done, began.elapsed().as_secs_f64())
}

/// Who plans a suite.
pub(super) enum Planner {
    /// The same one for every task.
    Spec(String),
    /// The script that must pass the task.
    Oracle,
    /// The script that hands in nothing.
    Null,
    /// The script that hands in a forgery.
    Cheat,
}

impl Planner {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        match text {
            "oracle" => Ok(Planner::Oracle),
            "null" => Ok(Planner::Null),
            "cheat" => Ok(Planner::Cheat),
            _ if text.starts_with("scripted:") => run::named(text).map(|_| Planner::Spec(text.to_owned())),
            _ => spec::parse(text)
                .map(|_| Planner::Spec(text.to_owned()))
                .map_err(|error| usage(format!("{error}, or oracle, null or cheat"))),
        }
    }

    /// The `--planner` of a task's run; a script is written beside its rows.
    pub(super) fn spec(&self, suite: &str, task: &Task, files: &Path) -> Result<String, Failure> {
        let missing = || usage(format!("the task {} has no oracle", task.id));
        let (name, script) = match self {
            Planner::Spec(spec) => return Ok(spec.clone()),
            Planner::Null => ("null", agents::NULL.to_owned()),
            Planner::Oracle => ("oracle", agents::oracle(suite, &task.id).ok_or_else(missing)?.to_owned()),
            Planner::Cheat => {
                let turns = agents::cheat(suite, &task.id).ok_or_else(missing)?;
                let turns = turns.map_err(|error| usage(error.to_string()))?;
                ("cheat", turns.iter().map(|turn| json!(turn).to_string() + "\n").collect())
            }
        };
        let path = files.join(format!("{}.{name}.jsonl", task.id));
        std::fs::write(&path, script).map_err(|error| Failure::unwritten(&path, &error, OUT))?;
        Ok(format!("scripted:{}", path.display()))
    }
}
