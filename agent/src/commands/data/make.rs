//! `tunesmith data make`: rows where there are none, from a spec.

use std::path::{Path, PathBuf};

use tunesmith_harness::{
    ask::Price,
    figures::counted,
    text::{visible, visible_lines},
};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::{
    data_make::{
        self, Made, Order,
        intake::{Intake, Job},
        preview::{Preview, preview},
        purse::{Cost, Limits},
        spec::{Seeds, Spec},
    },
    worker::Work,
};

use super::teacher::{Named, ask, named, open};
use crate::{
    commands::{
        numbers::{amount, whole},
        print, print_json,
        require::Require,
        text, usage,
        work::{Bench, failure, input},
    },
    run::{Failure, Watch},
    terminal::Terminal,
};

const EXAMPLE: &str = "\
Example:
  tunesmith data make tickets.toml --out tickets --teacher openai:gpt-4.1-mini --max-tokens 200000

What stands in OUT: rows.jsonl, provenance.jsonl (where each line comes from), rejected.jsonl (what was not kept, and why),
spec.json, manifest.json, README.md (the card) and journal.jsonl (questions and answers, for --resume).

Exit codes: 0 all rows are made · 3 nothing new came any more · 4 a limit was reached; what there is, is written";

/// `data make`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// What to make: a TOML or JSON file
    spec: PathBuf,
    /// New directory for the data set
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The model that writes rows, named as a planner is, for example ollama:MODEL; or local:MODEL, which is nano, a directory
    /// or a .gguf file, answers in the sandbox and costs nothing
    #[arg(long, value_name = "SPEC")]
    teacher: Option<String>,
    /// The model that judges rows [default: the teacher]
    #[arg(long, value_name = "SPEC")]
    judge: Option<String>,
    /// US dollars for a million tokens that the models read and write, as IN/OUT [default: unknown, but 0 for ollama and vllm]
    #[arg(long, value_name = "IN/OUT", value_parser = price)]
    price: Option<Price>,
    /// Rows to make, in place of the spec's number
    #[arg(long, value_name = "N", value_parser = whole(1..))]
    rows: Option<usize>,
    /// Most tokens, read and written together [default: the spec's limit, or none]
    #[arg(long, value_name = "N")]
    max_tokens: Option<u64>,
    /// Most questions [default: the spec's limit, or none]
    #[arg(long, value_name = "N")]
    max_questions: Option<u64>,
    /// Most US dollars [default: the spec's limit, or none]
    #[arg(long, value_name = "N", value_parser = amount)]
    usd: Option<f64>,
    /// Go on with what an interrupted call left, or with higher limits
    #[arg(long)]
    resume: bool,
    /// Show what would be asked and made, without asking
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    require: Require,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Makes a data set.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    let file = input(&args.spec)?;
    let mut spec = read(&args.spec, &file)?;
    if args.rows.is_some() && !spec.counts.is_empty() {
        return Err(usage("the spec counts the rows of each label; change counts there, and leave out --rows"));
    }
    spec.rows = args.rows.or(spec.rows);
    let (teacher, judge) = (named("--teacher", args.teacher.as_deref())?, named("--judge", args.judge.as_deref())?);
    let bench = Bench::new(&args.require, cancel)?;
    let beside = file.parent().unwrap_or(Path::new("/"));
    let mut intake = gather(&bench, &spec, beside).await?;
    let shown = |why: String| usage(format!("{}: {why}", args.spec.display()));
    let spec = data_make::whole(spec, &mut intake).map_err(shown)?;
    if args.dry_run {
        let price = args.price.or(teacher.as_ref().and_then(Named::price));
        let preview = preview(&spec, price).map_err(shown)?;
        match args.json {
            true => print_json(&preview)?,
            false => previewed(&preview).iter().for_each(|line| print(line)),
        }
        return Ok(0);
    }
    let (writes, judges) =
        (open(teacher.as_ref(), bench.jobs(), spec.seed)?, open(judge.as_ref(), bench.jobs(), spec.seed)?);
    let teacher = ask(teacher, writes.as_deref(), &bench, (args.price, cancel)).await?;
    let judge = ask(judge, judges.as_deref(), &bench, (args.price, cancel)).await?;
    let terminal = Terminal::progress_only("data make");
    let on = |progress| terminal.progress(&progress);
    let order = Order {
        spec,
        intake,
        out: args.out.clone(),
        resume: args.resume,
        beside,
        limits: Limits { tokens: args.max_tokens, usd: args.usd, questions: args.max_questions },
        teacher: teacher.as_deref(),
        judge: judge.as_deref(),
        jobs: bench.jobs(),
        cancel,
        deadline: None,
        on: &on,
    };
    let made = data_make::make(order).await;
    terminal.clear();
    let made = made.map_err(failure).map_err(|error| go_on(error, &args.out))?;
    match args.json {
        true => print_json(&made)?,
        false => told(&made, &args.out).iter().for_each(|line| print(line)),
    }
    Ok(match made.manifest.ended.as_str() {
        "complete" => 0,
        "budget" => 4,
        _ => 3,
    })
}

/// The spec, from TOML or JSON.
fn read(given: &Path, file: &Path) -> Result<Spec, Failure> {
    let source = text(file)?;
    let wrong = |why: String| usage(format!("{}: {why}", given.display()));
    if file.extension().is_some_and(|extension| extension == "json") {
        return serde_json::from_str(&source).map_err(|error| wrong(error.to_string()));
    }
    toml::from_str(&source).map_err(|error| {
        let line = error.span().map(|span| 1 + source[..span.start.min(source.len())].matches('\n').count());
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        wrong(format!("{line}{}", error.message()))
    })
}

/// What is in the files that the spec names, relative to it.
async fn gather(bench: &Bench<'_>, spec: &Spec, beside: &Path) -> Result<Intake, Failure> {
    let file = |name: &String| input(&beside.join(name));
    let seeds = match &spec.seeds {
        Some(Seeds::File(name)) => Some(file(name)?),
        _ => None,
    };
    let avoid = spec.alike.avoid.iter().map(file).collect::<Result<Vec<_>, _>>()?;
    let job = Job { seeds, avoid };
    if job.is_empty() {
        return Ok(Intake::default());
    }
    let reads = job.files();
    bench.run(&Work::Gather(job), &bench.private()?, reads, "data make").await
}

/// A failure, with the way on where answers are kept.
fn go_on(failure: Failure, out: &Path) -> Failure {
    let kept = out.join(data_make::write::JOURNAL).is_file() && matches!(failure.exit, 4 | 5 | 130);
    match kept {
        true => Failure::new(
            failure.exit,
            format!("{}; {} keeps the answers: go on with --resume", failure.message, out.display()),
        ),
        false => failure,
    }
}

fn told(made: &Made, out: &Path) -> Vec<String> {
    let manifest = &made.manifest;
    let named = |counts: &std::collections::BTreeMap<String, usize>| {
        counts.iter().map(|(name, count)| format!("{count} {}", visible(name))).collect::<Vec<_>>().join(", ")
    };
    let by = if manifest.made.is_empty() { String::new() } else { format!(": {}", named(&manifest.made)) };
    let mut lines = vec![format!("{} made{by}", counted(made.rows, "row"))];
    if !manifest.labels.is_empty() {
        lines.push(format!("labels: {}", named(&manifest.labels)));
    }
    let rejected: usize = manifest.rejected.values().sum();
    if rejected > 0 {
        lines.push(format!("{rejected} of {} candidates rejected: {}", manifest.candidates, named(&manifest.rejected)));
    }
    if manifest.cost.questions > 0 {
        lines.push(format!("asked: {}", cost(made.spent.kept)));
    }
    if made.spent.lost.questions > 0 {
        lines.push(format!("broken off or interrupted: {}", cost(made.spent.lost)));
    }
    if let Some(why) = &manifest.why {
        lines.push(format!("{} rows were wanted, but {}", manifest.wanted, visible(why)));
    }
    lines.push(format!("written to {}", visible(&out.display().to_string())));
    lines
}

fn cost(cost: Cost) -> String {
    let usd = cost.usd.map_or("an unknown sum".into(), |usd| format!("${usd:.4}"));
    let most = if cost.exact { "" } else { "at most " };
    format!("{}, {most}{} tokens, {usd}", counted(cost.questions as usize, "question"), cost.tokens)
}

/// What would be made, line by line.
pub fn previewed(preview: &Preview) -> Vec<String> {
    let mut lines = vec![format!("{} to make", counted(preview.rows, "row"))];
    lines.extend(preview.labels.iter().map(|(label, rows)| format!("  {}: {rows}", visible(label))));
    if preview.questions > 0 {
        lines.push(format!("if every answer is good: {}", cost(preview.most)));
    }
    if let Some(question) = &preview.question {
        lines.extend(["the first question:".into(), visible_lines(question).into_owned()]);
    }
    if !preview.samples.is_empty() {
        lines.push("for example:".into());
        lines.extend(preview.samples.iter().map(|row| visible(&row.to_string()).into_owned()));
    }
    lines
}

/// `IN/OUT` in US dollars for a million tokens.
fn price(text: &str) -> Result<Price, String> {
    let form = "write it as IN/OUT, for example 0.15/0.60";
    let (read, written) = text.split_once('/').ok_or(form)?;
    let dollars = |text: &str| amount(text.trim()).map_err(|_| form.to_owned()).map(|usd| usd / 1e6);
    Ok(Price { read: dollars(read)?, written: dollars(written)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_for_a_million_tokens() {
        assert_eq!(price("0.5/2"), Ok(Price { read: 0.5e-6, written: 2e-6 }));
        for wrong in ["", "1", "1/", "a/b", "-1/2", "NaN/1"] {
            assert_eq!(price(wrong), Err("write it as IN/OUT, for example 0.15/0.60".into()), "{wrong}");
        }
    }
}
