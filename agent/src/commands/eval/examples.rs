//! `tunesmith eval --data`: how good a model is on examples, with the grader's own measures.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tunesmith_harness::{
    figures::{percent, percents},
    grade::{shown, shown_interval},
    recipe::Recipe,
    rows,
    run::write_json,
    text::visible,
};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::{bases, data_prepare::Part, evaluate, files::part, worker::Work};

use super::Args;
use crate::commands::{
    print, print_json,
    table::{NONE, short, table},
    usage,
    work::{Bench, adapter, input},
};
use crate::run::{Failure, TMPDIR};

/// Scores.
pub(super) async fn main(args: &Args, data: &Path, limit: Option<usize>, cancel: &Cancel) -> Result<u8, Failure> {
    let bench = Bench::new(&args.require, cancel)?;
    let base = bench.model(&args.model).await?;
    let adapter = args.adapter.as_deref().map(adapter).transpose()?;
    let dir = bench.private()?;
    let examples = examples(data, args.recipe.as_deref(), dir.path())?;
    let folder = examples.parent().map(Path::to_owned).unwrap_or_default();
    let job = evaluate::Job { base: base.clone(), adapter: adapter.clone(), data: examples, limit };
    let reads = bases::reads(&base).into_iter().chain([folder]).chain(adapter).collect();
    let scored: evaluate::Output = bench.run(&Work::Evaluate(job), &dir, reads, "eval").await?;
    if args.json {
        print_json(&results(args, (data, limit), &scored))?;
    } else {
        lines(&scored).iter().for_each(|line| print(line));
    }
    Ok(0)
}

/// The file of examples, with recipe.json beside it.
fn examples(given: &Path, recipe: Option<&Path>, scratch: &Path) -> Result<PathBuf, Failure> {
    let data = input(given)?;
    if let Some(recipe) = recipe {
        return from_rows(&data, recipe, scratch);
    }
    let file = if data.is_dir() { part(&data, Part::Valid) } else { data };
    let recipe = file.with_file_name("recipe.json");
    if let Some(what) = rows::not_a_file(&file) {
        return Err(usage(format!("{}: {what}, not a file; name one of examples", file.display())));
    }
    if !file.is_file() {
        return Err(usage(format!("{}: there is no such file; make it with `tunesmith data prepare`", file.display())));
    }
    if !recipe.is_file() {
        let why = "there is no recipe.json beside it; name one with --recipe, or use `tunesmith data prepare` first";
        return Err(usage(format!("{}: {why}", file.display())));
    }
    Ok(file)
}

/// Rows that a recipe turns into examples, as the grader does.
fn from_rows(data: &Path, recipe: &Path, scratch: &Path) -> Result<PathBuf, Failure> {
    let wrong = |why: String| usage(format!("{}: {why}", recipe.display()));
    let text = crate::commands::text(recipe)?;
    let read: Recipe = serde_json::from_str(&text).map_err(|error| wrong(format!("not a recipe: {error}")))?;
    let table = rows::read(data).map_err(|error| usage(error.to_string()))?;
    if let Some(note) = &table.note {
        eprintln!("{}: {note}", data.display());
    }
    let examples: Vec<_> = table.rows.iter().filter_map(|row| read.example(row).ok()).collect();
    if examples.is_empty() {
        let columns = table.columns.join(", ");
        return Err(usage(format!(
            "{}: no row fits the recipe, which wants columns {:?} and {:?}; the file has {columns}",
            data.display(),
            read.input,
            read.target
        )));
    }
    let left_out = table.rows.len() - examples.len();
    if left_out > 0 {
        eprintln!("{left_out} of {} rows do not fit the recipe and are left out", table.rows.len());
    }
    let file = scratch.join("examples.jsonl");
    rows::write_jsonl(&file, &examples).map_err(|error| Failure::unwritten(&file, &error, TMPDIR))?;
    write_json(&scratch.join("recipe.json"), &read).map_err(|error| Failure::new(5, error))?;
    Ok(file)
}

/// The object that lm-eval writes, with what it has no place for under `tunesmith`.
fn results(args: &Args, (data, limit): (&Path, Option<usize>), scored: &evaluate::Output) -> Value {
    let task = data.file_stem().map_or_else(|| "data".to_owned(), |name| name.to_string_lossy().into_owned());
    let measured = &scored.measured;
    // The standard error of a mean of zeros and ones, as lm-eval computes it.
    let error = |p: f64| (measured.n > 1).then(|| (p * (1.0 - p) / (measured.n - 1) as f64).sqrt());
    let mut values = Map::from_iter([("alias".to_owned(), json!(task))]);
    let mut add = |name: &str, value: f64| {
        values.insert(format!("{name},none"), json!(value));
        values.insert(format!("{name}_stderr,none"), json!(error(value)));
    };
    if scored.metric == "accuracy" {
        add("acc", measured.value);
    }
    if let Some(share) = measured.exact_match {
        add("exact_match", share);
    }
    for (name, value) in
        [("bits_per_byte", measured.perplexity.map(|_| measured.value)), ("perplexity", measured.perplexity)]
    {
        values.extend(value.map(|value| (format!("{name},none"), json!(value))));
    }
    if let Some(f1) = measured.macro_f1 {
        values.insert("macro_f1,none".into(), json!(f1));
    }
    json!({
        "results": {task.as_str(): values},
        "n-samples": {task.as_str(): {"original": measured.n, "effective": measured.n}},
        "config": {
            "model": "tunesmith",
            "model_args": {"model": args.model, "adapter": args.adapter},
            "limit": limit,
        },
        "tunesmith": scored,
    })
}

fn lines(scored: &evaluate::Output) -> Vec<String> {
    let measured = &scored.measured;
    let cells = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![cells(["", "value", "95 % interval"])];
    let metric = scored.metric.replace('_', " ");
    let (value, interval) = (shown(&scored.metric, measured.value), shown_interval(&scored.metric, measured.interval));
    rows.push(cells([&metric, &value, &interval]));
    if let Some((share, interval)) =
        measured.exact_match.zip(scored.exact_interval).filter(|_| scored.metric != "exact_match")
    {
        rows.push(cells(["exact match", &percent(share), &percents(interval)]));
    }
    rows.extend(measured.format_failures.map(|share| cells(["malformed", &percent(share), NONE])));
    rows.extend(measured.perplexity.map(|value| cells(["perplexity", &format!("{value:.2}"), NONE])));
    rows.extend(measured.macro_f1.map(|f1| cells(["macro F1", &format!("{f1:.3}"), NONE])));
    let baselines = &scored.baselines;
    for (name, value) in
        [("chance", baselines.chance), ("majority class", baselines.majority), ("naive Bayes", baselines.naive_bayes)]
    {
        rows.extend(value.map(|value| cells([name, &percent(value), NONE])));
    }
    let mut lines = vec![format!("{} examples", measured.n)];
    lines.extend(table(&rows));
    if !scored.mistakes.is_empty() {
        lines.extend([String::new(), "wrong, for example".to_owned()]);
        for wrong in &scored.mistakes {
            let got = visible(&wrong.got);
            lines.push(format!(
                "  {} -> {} instead of {}",
                short(&wrong.input, 80),
                short(&got, 40),
                short(&wrong.expected, 40)
            ));
        }
    }
    lines
}
